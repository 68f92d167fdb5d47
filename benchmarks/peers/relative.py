"""The LRPE family, RoPE included: `M_t = Lambda(t) P`, the same map for queries and keys."""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import philox
import recipe


class Relative(nn.Module):
    """One layer's encoding. Tensors over sharers have one row if the heads share it, else one a head."""

    def __init__(self, position, key_dim, heads, layer):
        super().__init__()
        self.spec = spec = recipe.encoding(position)
        self.encoded_dim = key_dim
        if spec["type"] == "none":
            return
        if spec["type"] != "lrpe" or spec["family"] not in ("unitary", "orthogonal"):
            sys.exit(f"the peer has no encoding {spec['type']}, {spec.get('family')}")
        self.unitary = spec["family"] == "unitary"
        if self.unitary:
            self.encoded_dim = 2 * key_dim
        sharers = heads if spec["per_head"] else 1
        theta = torch.from_numpy(initial_theta(spec, key_dim, sharers))
        if spec["learn_theta"]:
            self.theta = nn.Parameter(theta.to(torch.get_default_dtype()))
        else:
            self.register_buffer("theta", theta, persistent=False)
        streams = [layer << 32 | head << 8 | philox.BASIS_STREAM for head in range(sharers)]
        if spec["learn_basis"]:
            vectors = np.stack([reflection_vectors(spec, key_dim, stream) for stream in streams])
            self.reflections = nn.Parameter(torch.from_numpy(vectors).to(torch.get_default_dtype()))
        elif spec["basis"] != "identity":
            dense = np.stack([basis(spec, key_dim, stream) for stream in streams])
            self.register_buffer("p", torch.from_numpy(dense).to(torch.get_default_dtype()), persistent=False)
        self.fixed = None

    def angles(self, positions):
        """cos and sin `[T, sharers, n]`; t * theta in double precision, which f32 would round by 6e-8 t."""
        angle = positions.double()[:, None, None] * self.theta.double()
        return angle.cos().to(torch.get_default_dtype()), angle.sin().to(torch.get_default_dtype())

    def table(self, time):
        """`angles` of the positions `0..time`, computed once if they are not learned."""
        if self.spec["type"] == "none":
            return None
        if self.spec["learn_theta"]:
            return self.angles(torch.arange(time))
        if self.fixed is None or len(self.fixed[0]) != time:
            self.fixed = self.angles(torch.arange(time))
        return self.fixed

    def forward(self, x, table):
        """`[B, T, H, K]` to `[B, T, H, K']`."""
        if table is None:
            return x
        x = self.change_basis(x)
        cos, sin = table
        if not self.unitary:
            return self.rotate(x, cos, sin)
        if self.spec["basis"] == "fourier":
            re, im = x.chunk(2, dim=-1)
            return torch.cat((re * cos - im * sin, re * sin + im * cos), dim=-1)
        return (x.unsqueeze(-2) * torch.stack((cos, sin), dim=-2)).flatten(-2)

    def change_basis(self, x):
        if self.spec["learn_basis"]:
            for i in range(self.spec["reflections"]):
                unit = F.normalize(self.reflections[:, i], dim=-1)
                x = x - 2 * (x * unit).sum(-1, keepdim=True) * unit
            return x
        if self.spec["basis"] == "identity":
            return x
        # One small matrix product reads and writes x once; reflections one by one would three times.
        return F.linear(x, self.p[0]) if len(self.p) == 1 else torch.einsum("bthk,hwk->bthw", x, self.p)

    def rotate(self, x, cos, sin):
        rotated = 2 * cos.shape[-1]
        x, rest = x.split((rotated, x.shape[-1] - rotated), dim=-1)
        if self.spec["pairs"] == "half":
            a, b = x.chunk(2, dim=-1)
            x = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
        else:
            a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
            x = torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)
        return torch.cat((x, rest), dim=-1) if rest.shape[-1] else x


def initial_theta(spec, key_dim, sharers):
    """One geometric progression through the frequencies of all sharers, `[sharers, n]`."""
    n = key_dim if spec["family"] == "unitary" else key_dim // 2
    if spec["family"] == "orthogonal" and spec["rotated"] == "half":
        n = -(-n // 2)
    span = 2.0 if spec["family"] == "unitary" else 1.0
    count = n * sharers
    theta = spec["theta"] or spec["theta_base"] ** (-span * np.arange(count) / count)
    return np.asarray(theta, dtype=np.float64).reshape(sharers, n)


def reflection_vectors(spec, key_dim, stream):
    """Standard normal vectors `[m, K]`, in the order in which they act."""
    return philox.normals(spec["seed"], stream, spec["reflections"] * key_dim).reshape(-1, key_dim)


def basis(spec, key_dim, stream):
    """P as a dense matrix `[W, K]`; a complex one has its imaginary parts below its real parts."""
    k, kind = key_dim, spec["basis"]
    row, column = np.arange(k)[:, None], np.arange(k)
    if kind == "householder":
        p = np.eye(k)
        for v in reflection_vectors(spec, k, stream):
            p = p - 2 * np.outer(v, v @ p) / (v @ v)
        return p
    if kind == "odd-even":
        return np.eye(k)[np.where(column % 2 == 0, column // 2, -(-k // 2) + column // 2)]
    if kind == "permutation":
        return np.eye(k)[spec["basis_permutation"] or philox.permutation(spec["seed"], stream, k)]
    if kind == "dct":
        scale = np.sqrt(np.where(row == 0, 1, 2) / k)
        return scale * np.cos(np.pi * row * (column + 0.5) / k)
    angle = 2 * np.pi * row * column / k
    return np.concatenate((np.cos(angle), -np.sin(angle))) / np.sqrt(k)
