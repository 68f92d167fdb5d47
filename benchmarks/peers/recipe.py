"""A recipe as relin reads it: every key with relin's default, and the presets of `model.position`."""

import copy
import json
import sys
import tomllib
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[2] / "recipes"

DEFAULTS = {
    "task": "causal-lm",
    "model": {
        "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": None,
        "vocab_size": None, "max_position_embeddings": None, "tie_word_embeddings": True, "hidden_act": "gelu",
        "mlp": "plain", "norm": "layer", "norm_eps": 1e-5, "attention": "linear", "feature_map": "elu1",
        "normalizer": "none", "normalizer_eps": 1e-6, "output_norm": None, "position": "lrpe-unitary",
        "absolute": "none", "attention_chunk": 64, "bias": True, "initializer_range": None,
    },
    "data": {"source": "quickstart", "tokenizer": "byte", "context": 256, "validation": 0.1},
    "train": {
        "steps": 1000, "batch_size": 16, "gradient_accumulation": 1, "learning_rate": 1e-3,
        "min_learning_rate_ratio": 0.1, "warmup_steps": 100, "schedule": "cosine", "weight_decay": 0.1,
        "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "grad_clip": 1.0, "dropout": 0.0, "seed": 0,
    },
}

LRPE = {
    "type": "lrpe", "family": "unitary", "basis": "householder", "reflections": 1, "theta_base": 10_000.0,
    "theta": None, "learn_theta": False, "learn_basis": False, "per_head": False, "pairs": "interleaved",
    "rotated": "all", "basis_permutation": None, "seed": 0,
}


def _rotation(basis="householder", pairs="interleaved", learn_theta=False, learn_basis=False):
    given = {"basis": basis, "pairs": pairs, "learn_theta": learn_theta, "learn_basis": learn_basis}
    return LRPE | {"family": "orthogonal"} | given


PRESETS = {
    "none": {"type": "none"},
    "sinusoidal": {"type": "none"},
    "learned": {"type": "none"},
    "rope": _rotation("identity", "half"),
    "rope-interleaved": _rotation("identity"),
    "lrpe-unitary": LRPE,
    "lrpe-unitary-learned": LRPE | {"learn_theta": True},
    "lrpe-orthogonal": _rotation(learn_theta=True),
    "lrpe-type1": _rotation(),
    "lrpe-type2": _rotation(learn_theta=True),
    "lrpe-type3": _rotation(learn_theta=True, learn_basis=True),
    "lrpe-type5": _rotation("odd-even"),
    "lrpe-type6": _rotation("odd-even", learn_theta=True),
    "lrpe-type8": LRPE | {"basis": "fourier"},
}


def load(source, overrides=()):
    """The recipe of a TOML or JSON file, or of `recipes/NAME.toml`, with `path=value` overrides."""
    path = Path(source) if Path(source).is_file() else RECIPES / f"{source}.toml"
    if not path.is_file():
        sys.exit(f"{source} is neither a file nor one of {sorted(p.stem for p in RECIPES.glob('*.toml'))}")
    given = json.loads(path.read_text()) if path.suffix == ".json" else tomllib.loads(path.read_text())
    recipe = copy.deepcopy(DEFAULTS)
    for table in ("model", "data", "train"):
        recipe[table] |= given.get(table, {})
    for override in overrides:
        key, _, value = override.partition("=")
        table, _, name = key.partition(".")
        if name not in recipe.get(table, {}):
            sys.exit(f"unknown key `{key}`")
        recipe[table][name] = _value(value)
    return recipe


def _value(text):
    """A JSON value, or the text itself: `0.5` and `true`, but also `softmax`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def model_config(given, vocab_size=None, context=None):
    """A complete model table: defaults, and what follows from other values."""
    config = DEFAULTS["model"] | {key: value for key, value in given.items() if key in DEFAULTS["model"]}
    if vocab_size is not None:
        config["vocab_size"] = vocab_size
    config["intermediate_size"] = config["intermediate_size"] or 4 * config["hidden_size"]
    config["initializer_range"] = config["initializer_range"] or config["hidden_size"] ** -0.5
    config["max_position_embeddings"] = config["max_position_embeddings"] or context
    unbounded = config["attention"] == "linear" and config["normalizer"] == "none"
    config["output_norm"] = config["output_norm"] or ("layer" if unbounded else "none")
    if config["position"] in ("sinusoidal", "learned"):
        config["absolute"] = config["position"]
    return config


def encoding(position):
    """The encoding's table behind `model.position`, complete."""
    if isinstance(position, str):
        if position not in PRESETS:
            sys.exit(f"position `{position}` is not among the peer's: {', '.join(PRESETS)}")
        return PRESETS[position]
    return LRPE | position if position["type"] == "lrpe" else position
