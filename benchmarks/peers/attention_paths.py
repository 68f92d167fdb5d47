"""Causal attention as a careful user of PyTorch would write it, with one interface for every path.

A path is a function of q, k `[B, T, H, K]` and v `[B, T, H, V]`. `NAMES` lists the paths; `build` makes one.
`check` holds it to the definition, in NumPy and double precision.
"""

import numpy as np
import torch
import torch.nn.functional as F

import linear_attention
import recipe
import relative

EPS = 1e-6
NAMES = ["chunked", "fast-transformers", "sdpa"]


class MissingPeer(Exception):
    """A library that is not installed, or a function that it does not have."""


def build(name, position, sizes, compiled=False):
    """The path and the parameters that it learns beside q, k and v."""
    if name == "fast-transformers":
        if position != "none" or compiled:
            raise MissingPeer("fast-transformers has no such path")
        return fast_transformers(), []
    encoding = relative.Relative(position, sizes["key_dim"], sizes["heads"], 0)
    learned = list(encoding.parameters())
    # Fixed angles are computed once, learned ones in every call.
    fixed = None if learned else encoding.table(sizes["length"])

    def run(q, k, v):
        if name == "chunked":
            q, k = (linear_attention.feature_map("elu1", x) for x in (q, k))
        table = encoding.table(q.shape[1]) if learned else fixed
        encoded_q, encoded_k = encoding(q, table), encoding(k, table)
        if name == "sdpa":
            encoded_q, encoded_k, v = (x.transpose(1, 2) for x in (encoded_q, encoded_k, v))
            scale = sizes["key_dim"] ** -0.5
            out = F.scaled_dot_product_attention(encoded_q, encoded_k, v, is_causal=True, scale=scale)
            return out.transpose(1, 2)
        out = linear_attention.chunked(encoded_q, encoded_k, v, sizes["chunk"])
        return out / linear_attention.divisor("plain", EPS, encoded_q, encoded_k, q, k)

    return (torch.compile(run, dynamic=False) if compiled else run), learned


def fast_transformers():
    """Its causal kernel with its feature map and denominator, as its CausalLinearAttention combines them."""
    try:
        from fast_transformers.causal_product import causal_dot_product
    except ImportError as error:
        raise MissingPeer(f"fast-transformers is not installed: {error}") from error

    def run(q, k, v):
        q, k, v = (x.transpose(1, 2).contiguous() for x in (F.elu(q) + 1, F.elu(k) + 1, v))
        denominator = torch.einsum("bhtk,bhtk->bht", q, k.cumsum(2)) + EPS
        return (causal_dot_product(q, k, v) / denominator[..., None]).transpose(1, 2)

    return run


def tensors(sizes, dtype=torch.float32):
    """q, k, v and the gradient of the output: uniform, mean 0, variance 1."""
    generator = torch.Generator().manual_seed(0)
    rows = (sizes["batch"], sizes["length"], sizes["heads"])
    widths = [sizes["key_dim"], sizes["key_dim"], sizes["value_dim"], sizes["value_dim"]]
    uniform = lambda width: torch.rand((*rows, width), generator=generator, dtype=torch.float32).to(dtype)
    return [(2 * uniform(width) - 1) * 3**0.5 for width in widths]


def gradients(run, learned, x):
    q, k, v, d_out = x
    inputs = [y.detach().requires_grad_() for y in (q, k, v)]
    out = run(*inputs)
    return out, torch.autograd.grad(out, inputs + learned, d_out)


def check(name, position, sizes):
    """Ends in an AssertionError if the path is not the function that relin computes. On a short sequence: outputs
    against the definition, gradients against differences along a random direction of the definition."""
    sizes = sizes | {"length": 2 * sizes["chunk"] + 5, "batch": 1, "heads": min(sizes["heads"], 2)}
    run, learned = build(name, position, sizes)
    x = tensors(sizes)
    out, d = gradients(run, learned, x)
    q, k, v, d_out = (y[0].double().numpy() for y in x)
    softmax = name == "sdpa"
    expected = definition(q, k, v, position, softmax)
    error = np.sqrt(((out[0].detach().numpy() - expected) ** 2).mean() / (expected**2).mean())
    assert error < 1e-5, f"{name}, {position}: outputs differ from the definition by {error:.1e}"
    random = np.random.default_rng(1)
    along = [random.standard_normal(y.shape) for y in (q, k, v)]
    value = lambda by: (definition(*(y + by * u for y, u in zip((q, k, v), along)), position, softmax) * d_out).sum()
    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    terms = np.concatenate([(u * g[0].double().numpy()).ravel() for u, g in zip(along, d)])
    error = abs(terms.sum() - slope) / np.sqrt((terms**2).sum())
    assert error < 1e-4, f"{name}, {position}: the gradient's slope differs from the definition's by {error:.1e}"


def check_equal(found, expected):
    """Tensors, or outputs with gradients, in single precision."""
    if not torch.is_tensor(found):
        for a, b in zip(found, expected, strict=True):
            check_equal(a, b)
        return
    error = ((found - expected).double().norm() / expected.double().norm()).item()
    assert error < 1e-4, f"the compiled path differs from the eager one by {error:.1e}"


def definition(q, k, v, position, softmax):
    """`o_s = sum over t <= s of score(s, t) v_t / d_s`, score by score: q, k `[T, H, K]`, v `[T, H, V]`."""
    time, heads, key_dim = q.shape
    if not softmax:
        q, k = (np.where(x >= 0, x + 1, np.exp(np.minimum(x, 0))) for x in (q, k))
    scores = encoded_scores(q, k, recipe.encoding(position))
    hidden = np.triu(np.ones((time, time), dtype=bool), 1)[:, None]
    if softmax:
        scores = np.where(hidden, -np.inf, scores / np.sqrt(key_dim))
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
    else:
        plain = np.where(hidden, 0, np.einsum("shk,thk->sht", q, k))
        weights = np.where(hidden, 0, scores) / (plain.sum(-1, keepdims=True) + EPS)
    return np.einsum("sht,thv->shv", weights, v)


def encoded_scores(q, k, spec):
    """`q_s^T W_(t-s) k_t` `[S, H, T]`, W written as a function of the lag."""
    time, _, key_dim = q.shape
    if spec["type"] == "none":
        return np.einsum("shk,thk->sht", q, k)
    if spec["basis"] != "identity":
        p = relative.basis(spec, key_dim, relative.philox.BASIS_STREAM)
        q, k = q @ p.T, k @ p.T
    theta = relative.initial_theta(spec, key_dim, 1)[0].astype(np.float32).astype(np.float64)
    lag = np.arange(time)[None, :, None] - np.arange(time)[:, None, None]
    cos, sin = np.cos(lag * theta), np.sin(lag * theta)
    if spec["family"] == "unitary":
        return np.einsum("shk,thk,stk->sht", q, k, cos)
    half = key_dim // 2
    adjacent = slice(0, None, 2), slice(1, None, 2)
    pairs = (slice(0, half), slice(half, None)) if spec["pairs"] == "half" else adjacent
    (qa, qb), (ka, kb) = ([x[..., part] for part in pairs] for x in (q, k))
    even = np.einsum("shk,thk,stk->sht", qa, ka, cos) + np.einsum("shk,thk,stk->sht", qb, kb, cos)
    return even + np.einsum("shk,thk,stk->sht", qb, ka, sin) - np.einsum("shk,thk,stk->sht", qa, kb, sin)
