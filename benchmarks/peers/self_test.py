"""Checks of the scripts against definitions: run by `torch_lm.py --self-test`."""

import itertools

import numpy as np
import torch

import linear_attention
import philox
import recipe
import relative
from lm import CausalLm, Session, initialize

CONFIG = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "vocab_size": 11, "attention_chunk": 4,
}
# LRPE of every kind, beyond the presets.
TABLES = [
    {"type": "lrpe", "family": "orthogonal", "per_head": True, "rotated": "half", "learn_theta": True},
    {"type": "lrpe", "family": "orthogonal", "basis": "permutation", "per_head": True, "seed": 3},
    {"type": "lrpe", "family": "unitary", "basis": "dct", "reflections": 2},
    {"type": "lrpe", "family": "unitary", "reflections": 3, "learn_basis": True, "per_head": True},
]


def run():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    tests = [known_answers, chunks_match_the_loop, bases_are_unitary, scores_depend_on_the_lag, steps_match_the_whole]
    for test in tests:
        print(f"{test.__name__.replace('_', ' ')}: {test()} cases")
    print(f"{len(tests)} passed, 0 failed")


def known_answers():
    """Published with the Random123 library (kat_vectors, philox4x32, 10 rounds)."""
    ones = 2**64 - 1
    for seed, stream, counter, expected in [
        (0, 0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (ones, ones, ones, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ]:
        found = " ".join(f"{int(word):08x}" for word in philox.blocks(seed, stream, [counter])[0])
        assert found == expected, f"philox({seed}, {stream}, {counter}) = {found}, not {expected}"
    assert sorted(philox.permutation(1, 2, 50)) == list(range(50))
    return 2


def chunks_match_the_loop():
    """Values and gradients, and the divisors against their own sums."""
    lengths = [1, 3, 4, 5, 8, 19]
    for time in lengths:
        q, k, v = (torch.randn(2, time, 3, width, requires_grad=True) for width in (5, 5, 7))
        out, expected = linear_attention.chunked(q, k, v, 4), linear_attention.naive(q, k, v)
        close("chunked", out, expected)
        weight = torch.randn_like(out)
        gradients = [torch.autograd.grad((y * weight).sum(), (q, k, v)) for y in (out, expected)]
        for found, wanted in zip(*gradients):
            close("gradient", found, wanted)
        scores = torch.einsum("bshk,bthk->bhst", q, k).tril().sum(-1).transpose(1, 2)[..., None]
        close("plain", linear_attention.divisor("plain", 0.1, None, None, q, k), scores + 0.1)
        close("encoded", linear_attention.divisor("encoded", 0.1, q, k, None, None), scores.clamp(min=0.1))
    return len(lengths)


def bases_are_unitary():
    cases = list(itertools.product(["householder", "odd-even", "permutation", "dct", "fourier"], [2, 5, 8]))
    for kind, k in cases:
        p = relative.basis(recipe.LRPE | {"basis": kind, "reflections": 3, "seed": 5}, k, 1)
        assert np.allclose(p.T @ p, np.eye(k), atol=1e-12), f"{kind} of size {k}"
    return len(cases)


def scores_depend_on_the_lag():
    """(M_s q) . (M_t k) is the same for every s and t of one lag, and the encoding keeps lengths."""
    positions = list(recipe.PRESETS) + TABLES
    for position in positions:
        encoding = relative.Relative(position, 8, 3, 1)
        q, k = torch.randn(2, 1, 1, 3, 8)
        time = 12
        q, k = (x.expand(1, time, 3, 8) for x in (q, k))
        encoded_q, encoded_k = (encoding(x, encoding.table(time)) for x in (q, k))
        scores = torch.einsum("bshk,bthk->hst", encoded_q, encoded_k)
        assert encoded_q.shape[-1] == encoding.encoded_dim
        close(f"{position}", scores[:, 1:, 1:], scores[:, :-1, :-1])
        close(f"{position}", encoded_q.norm(dim=-1), q.norm(dim=-1))
    return len(positions)


def steps_match_the_whole():
    """The recurrent form and the cache give the logits of the whole sequence."""
    positions = list(recipe.PRESETS) + TABLES
    kinds = [("linear", "none"), ("linear", "plain"), ("linear", "encoded"), ("softmax", "none")]
    for position, (attention, normalizer) in itertools.product(positions, kinds):
        given = CONFIG | {"position": position, "attention": attention, "normalizer": normalizer}
        # Scores of both signs make the sum behind `encoded` pass through zero, where any rounding shows.
        given |= {"normalizer_eps": 1.0, "mlp": "gated", "tie_word_embeddings": False, "norm": "rms"}
        model = CausalLm(recipe.model_config(given, context=16))
        initialize(model, 1)
        ids = torch.randint(11, (1, 13))
        with torch.inference_mode():
            session = Session(model, 13)
            steps = torch.stack([session.step(ids[0, t : t + 1], t) for t in range(13)])
            close(f"{position} {attention} {normalizer}", steps, model(ids)[0], 1e-9)
    return len(positions) * len(kinds)


def close(what, found, expected, tolerance=1e-12):
    difference = (found - expected).abs().max().item()
    scale = max(expected.abs().max().item(), 1.0)
    assert difference <= tolerance * scale, f"{what}: differs by {difference:.2e}"
