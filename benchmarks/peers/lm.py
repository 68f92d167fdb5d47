"""relin's causal language model in PyTorch's public API: the same maths, names and shapes of the tensors."""

import math
import sys

import torch
import torch.nn.functional as F
from torch import nn

import linear_attention
import philox
from relative import Relative

ACTIVATIONS = {
    "gelu": F.gelu, "gelu-tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "relu": F.relu,
}


def norm(config, kind):
    if kind == "none":
        return nn.Identity()
    width, eps = config["hidden_size"], config["norm_eps"]
    return nn.LayerNorm(width, eps) if kind == "layer" else nn.RMSNorm(width, eps)


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        width, self.heads = config["hidden_size"], config["num_attention_heads"]
        self.config, self.linear = config, config["attention"] == "linear"
        projection = lambda: nn.Linear(width, width, bias=config["bias"])
        self.q_proj, self.k_proj, self.v_proj = projection(), projection(), projection()
        self.position = Relative(config["position"], width // self.heads, self.heads, layer)
        self.norm = norm(config, config["output_norm"])
        self.o_proj = projection()
        # An encoded query may be wider than K; relin scales the scores by the width before the encoding.
        self.scale = (width // self.heads) ** -0.5

    def project(self, x):
        """Features of queries and keys, and values: `[B, T, H, K]` each."""
        heads = lambda y: y.unflatten(-1, (self.heads, -1))
        q, k, v = heads(self.q_proj(x)), heads(self.k_proj(x)), heads(self.v_proj(x))
        if self.linear:
            q, k = (linear_attention.feature_map(self.config["feature_map"], y) for y in (q, k))
        return q, k, v

    def forward(self, x):
        q, k, v = self.project(x)
        table = self.position.table(x.shape[1])
        encoded_q, encoded_k = self.position(q, table), self.position(k, table)
        out = self.attend(encoded_q, encoded_k, v, q, k)
        return self.o_proj(self.norm(out.flatten(2)))

    def attend(self, q, k, v, plain_q, plain_k):
        if not self.linear:
            q, k, v = (y.transpose(1, 2) for y in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale).transpose(1, 2)
        out = linear_attention.chunked(q, k, v, self.config["attention_chunk"])
        kind, eps = self.config["normalizer"], self.config["normalizer_eps"]
        divisor = linear_attention.divisor(kind, eps, q, k, plain_q, plain_k)
        return out if divisor is None else out / divisor

    def memory(self, length):
        """Before the first token of a generation of at most `length`."""
        value_dim, encoded = self.config["hidden_size"] // self.heads, self.position.encoded_dim
        if not self.linear:
            return linear_attention.Cache(self.heads, encoded, value_dim, length)
        z = encoded if self.config["normalizer"] == "encoded" else value_dim
        return linear_attention.Memory(self.heads, encoded, value_dim, z)

    def step(self, x, position, table, memory):
        """One token, `[1, 1, D]`; `table` is the encoding's at `position`."""
        q, k, v = self.project(x)
        encoded_q, encoded_k = self.position(q, table)[0, 0], self.position(k, table)[0, 0]
        if self.linear:
            kind, eps = self.config["normalizer"], self.config["normalizer_eps"]
            out = memory.step(encoded_q, encoded_k, v[0, 0], kind, eps, q[0, 0], k[0, 0])
        else:
            out = memory.step(encoded_q, encoded_k, v[0, 0], position, self.scale)
        return self.o_proj(self.norm(out.flatten()[None, None]))


class FeedForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, inner, bias = config["hidden_size"], config["intermediate_size"], config["bias"]
        self.gate_proj = nn.Linear(width, inner, bias=bias) if config["mlp"] == "gated" else None
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)
        self.activation = ACTIVATIONS[config["hidden_act"]]

    def forward(self, x):
        if self.gate_proj is None:
            return self.down_proj(self.activation(self.up_proj(x)))
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, config, layer, dropout):
        super().__init__()
        self.input_layernorm = norm(config, config["norm"])
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = norm(config, config["norm"])
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x):
        x = x + self.dropout(self.self_attn(self.input_layernorm(x)))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))

    def step(self, x, position, table, memory):
        x = x + self.self_attn.step(self.input_layernorm(x), position, table, memory)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, config, dropout):
        super().__init__()
        width = config["hidden_size"]
        self.embed_tokens = nn.Embedding(config["vocab_size"], width)
        learned = config["absolute"] == "learned"
        self.embed_positions = nn.Embedding(config["max_position_embeddings"], width) if learned else None
        self.layers = nn.ModuleList(
            Block(config, layer, dropout) for layer in range(config["num_hidden_layers"])
        )
        self.norm = norm(config, config["norm"])


class CausalLm(nn.Module):
    def __init__(self, config, dropout=0.0):
        super().__init__()
        if config["hidden_size"] % config["num_attention_heads"]:
            sys.exit("hidden_size is not a multiple of num_attention_heads")
        self.config = config
        self.model = Decoder(config, dropout)
        tied = config["tie_word_embeddings"]
        self.lm_head = None if tied else nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, ids):
        """Logits: `[B, T]` to `[B, T, vocab]`."""
        x = self.dropout(self.embed(ids, torch.arange(ids.shape[1])))
        for block in self.model.layers:
            x = block(x)
        return self.project(x)

    def embed(self, ids, positions):
        x = self.model.embed_tokens(ids)
        if self.config["absolute"] == "sinusoidal":
            return x * self.config["hidden_size"] ** 0.5 + sinusoidal(positions, self.config["hidden_size"])
        if self.model.embed_positions is not None:
            rows = self.model.embed_positions.num_embeddings
            return x + self.model.embed_positions(positions.clamp(max=rows - 1))
        return x

    def project(self, x):
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return F.linear(self.model.norm(x), head.weight)


class Session:
    """One sequence in the middle of its generation, of at most `length` tokens."""

    def __init__(self, model, length):
        self.model = model
        attentions = [block.self_attn for block in model.model.layers]
        self.memories = [attention.memory(length) for attention in attentions]
        encodings = [attention.position for attention in attentions]
        encoded = encodings[0].spec["type"] != "none"
        self.theta = torch.stack([e.theta.detach().double() for e in encodings]) if encoded else None

    def step(self, token, position):
        """Logits `[vocab]` after one token, `[1]`; `position` is an integer."""
        x = self.model.embed(token[None], torch.full((1,), position))
        layers = self.model.model.layers
        for block, table, memory in zip(layers, self.tables(position), self.memories):
            x = block.step(x, position, table, memory)
        return self.model.project(x)[0, 0]

    def tables(self, position):
        """Each layer's angles, all computed at once; in double precision, as exact late as early."""
        if self.theta is None:
            return [None] * len(self.memories)
        angle = (self.theta * position)[:, None]
        dtype = torch.get_default_dtype()
        return list(zip(angle.cos().to(dtype), angle.sin().to(dtype)))


def sinusoidal(positions, width):
    half = width // 2
    rate = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / max(half, 1))
    angle = positions.double()[:, None] * rate
    table = torch.cat((angle.sin(), angle.cos()), dim=-1)
    return F.pad(table, (0, width - 2 * half)).to(torch.get_default_dtype())


@torch.no_grad()
def initialize(model, seed):
    """relin's initial weights, number for number: pure functions of the seed and the weight's name."""
    deviation = model.config["initializer_range"]
    residual = math.sqrt(2 * model.config["num_hidden_layers"])
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and name.endswith(".weight"):
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            draws = philox.normals(seed, philox.hash_name(name), weight.numel())
            draws = draws * (deviation / (residual if into_residual else 1.0))
            # relin keeps the weight of a linear layer as [in, out]; embeddings and lm_head are rows.
            in_rows = "_proj." not in name
            shape = weight.shape if in_rows else weight.shape[::-1]
            draws = torch.from_numpy(draws).reshape(shape)
            weight.copy_(draws if in_rows else draws.T)
        elif weight.dim() == 1 and name.endswith("_proj.bias"):
            weight.zero_()
