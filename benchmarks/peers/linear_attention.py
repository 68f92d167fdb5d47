"""Linear attention, `o_s = sum over t <= s of (q_s . k_t) v_t / d_s`, in three forms.

Inputs are the features after the encoding; `plain_q` and `plain_k` are those before it, for the denominator
`plain`. All are `[B, T, H, *]`.
"""

import torch
import torch.nn.functional as F


def feature_map(kind, x):
    if kind == "elu1":
        return F.elu(x) + 1
    if kind == "exp":
        return (x - x.amax(-1, keepdim=True).detach()).exp()
    return {"relu": F.relu, "silu": F.silu, "identity": lambda x: x}[kind](x)


def chunked(q, k, v, chunk):
    """Undivided sums: quadratic inside chunks of C tokens, a state between them."""
    batch, time, heads, _ = q.shape
    chunk = min(chunk, time)
    padding = -time % chunk
    q, k, v = (_to_chunks(x, chunk, padding) for x in (q, k, v))
    out = (q @ k.transpose(-1, -2)).tril() @ v
    if time > chunk:
        sums = k[:, :, :-1].transpose(-1, -2) @ v[:, :, :-1]
        out = torch.cat((out[:, :, :1], out[:, :, 1:] + q[:, :, 1:] @ sums.cumsum(2)), dim=2)
    return out.flatten(2, 3)[:, :, :time].transpose(1, 2)


def _to_chunks(x, chunk, padding):
    """`[B, T, H, W]` to `[B, H, T / C, C, W]`."""
    x = F.pad(x, (0, 0, 0, 0, 0, padding)) if padding else x
    return x.transpose(1, 2).unflatten(2, (-1, chunk))


def naive(q, k, v):
    """The same sums by the definition, O(T^2)."""
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=v.dtype)
    for s in range(q.shape[1]):
        for t in range(s + 1):
            out[:, s] += (q[:, s] * k[:, t]).sum(-1, keepdim=True) * v[:, t]
    return out


def divisor(kind, eps, q, k, plain_q, plain_k):
    """d_s `[B, T, H, 1]`, or None where nothing is divided."""
    if kind == "none":
        return None
    if kind == "plain":
        return (plain_q * plain_k.cumsum(1)).sum(-1, keepdim=True) + eps
    return (q * k.cumsum(1)).sum(-1, keepdim=True).clamp(min=eps)


class Memory:
    """What generation remembers of the tokens so far, updated in place; constant size."""

    def __init__(self, heads, encoded_dim, value_dim, normalizer_dim):
        self.s = torch.zeros(heads, encoded_dim, value_dim)
        self.z = torch.zeros(heads, normalizer_dim)

    def step(self, q, k, v, kind, eps, plain_q, plain_k):
        """One token: `[H, *]` each."""
        self.s.addcmul_(k[:, :, None], v[:, None, :])
        out = torch.bmm(q[:, None, :], self.s)[:, 0]
        if kind == "none":
            return out
        self.z.add_(plain_k if kind == "plain" else k)
        total = ((plain_q if kind == "plain" else q) * self.z).sum(-1, keepdim=True)
        return out / (total + eps if kind == "plain" else total.clamp(min=eps))


class Cache:
    """What softmax attention remembers: every key and value, in memory taken beforehand."""

    def __init__(self, heads, encoded_dim, value_dim, length):
        self.k = torch.zeros(1, heads, length, encoded_dim)
        self.v = torch.zeros(1, heads, length, value_dim)

    def step(self, q, k, v, position, scale):
        """One token at `position`: `[H, *]` each."""
        self.k[0, :, position] = k
        self.v[0, :, position] = v
        seen = slice(position + 1)
        q = q[None, :, None]
        out = F.scaled_dot_product_attention(q, self.k[:, :, seen], self.v[:, :, seen], scale=scale)
        return out[0, :, 0]
