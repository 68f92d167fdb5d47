"""Text as tokens, random windows to train on, consecutive ones to evaluate on."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import philox

ROWS_PER_STEP = 1 << 24


def tokenize(path, kind, validation):
    """Training tokens, validation tokens (the last share of the characters) and the number of different ones."""
    text = Path(path).read_bytes().decode()
    cut = int(len(text) * (1.0 - validation))
    if kind == "byte":
        ids, size = (lambda part: np.frombuffer(part.encode(), dtype=np.uint8)), 256
    elif kind == "char":
        code = {character: i for i, character in enumerate(sorted(set(text)))}
        ids, size = (lambda part: np.array([code[character] for character in part])), len(code)
    else:
        sys.exit(f"the peer trains on bytes or characters, not on tokenizer `{kind}`")
    train, valid = (torch.from_numpy(ids(part).astype(np.int64)) for part in (text[:cut], text[cut:]))
    return train, valid, size


def encode(tokenizer_file, text):
    """Token ids by a run's `tokenizer.json`; the package `tokenizers` is asked only where there are merges."""
    document = json.loads(Path(tokenizer_file).read_text())
    model = document["model"]
    if model["type"] == "WordLevel":
        return [model["vocab"][character] for character in text]
    if model["type"] == "BPE" and not model["merges"] and len(model["vocab"]) == 256:
        return list(text.encode())
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(tokenizer_file)).encode(text, add_special_tokens=False).ids


def training_batch(tokens, seed, step, micro_step, rows, context):
    """Inputs and targets `[rows, context]`, from the starts that relin draws for this seed and step."""
    counters = [step * ROWS_PER_STEP + micro_step * rows + row for row in range(rows)]
    starts = philox.below(seed, philox.WINDOW_STREAM, counters, len(tokens) - context)
    windows = torch.stack([tokens[start : start + context + 1] for start in starts])
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


@torch.inference_mode()
def evaluate(model, tokens, context, rows=16):
    """Mean loss in nats over consecutive windows: every token but the first is a target once."""
    total, targets = 0.0, len(tokens) - 1
    whole = targets // context
    pieces = [(at * context, min(rows, whole - at), context) for at in range(0, whole, rows)]
    if targets % context:
        pieces.append((whole * context, 1, targets % context))
    for start, count, length in pieces:
        window = tokens[start : start + count * length + 1]
        inputs, expected = window[:-1].view(count, length), window[1:]
        logits = model(inputs).flatten(0, 1)
        total += F.cross_entropy(logits, expected, reduction="sum").item()
    return total / targets
