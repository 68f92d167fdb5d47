"""Loads a relin run into the PyTorch model and scores a text, so that the two losses can be compared.

    python check.py RUN --data FILE | --text TEXT [--expect LOSS] [--json]

RUN holds `config.json`, `model.safetensors` and, for text, `tokenizer.json`; the loss is what `relin eval RUN --data FILE`
reports: nats a target over consecutive windows of the training context.
"""

import argparse
import json
import math
import sys
import tomllib
from pathlib import Path

import torch
from safetensors.torch import load_file

import recipe
import text
from lm import CausalLm, Session


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    # Rounding of the peer's own is then no part of a difference.
    torch.set_default_dtype(torch.float64 if args.dtype == "float64" else torch.float32)
    model = load_run(args.run).eval()
    content = args.text if args.text is not None else Path(args.data).read_bytes().decode()
    tokens = torch.tensor(text.encode(args.run / "tokenizer.json", content))
    if len(tokens) < 2:
        sys.exit(f"{len(tokens)} token(s) of text: a loss needs two")
    context = args.context or training_context(args.run, model.config)
    loss = text.evaluate(model, tokens, context)
    tail = tokens[-context:]
    logits = last_logits(model, tail)
    difference = recurrent_difference(model, tail, logits)
    report(args, loss, len(tokens) - 1, context, logits, difference)
    if args.expect is not None and not abs(loss - args.expect) <= args.tolerance:
        sys.exit(f"the loss is {loss:.6f}; expected {args.expect:.6f}, within {args.tolerance}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", help="a text file")
    source.add_argument("--text", help="the text itself")
    parser.add_argument("--context", type=int, help="tokens a window; default: the run's")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--top", type=int, default=5, help="how many of the last logits to show")
    parser.add_argument("--logits", type=Path, help="write the logits after the last window there, as JSON")
    parser.add_argument("--expect", type=float, metavar="LOSS", help="fail unless the loss is this")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def load_run(folder):
    """The model of a run; a tensor too many, too few or of another shape ends the script."""
    given = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    # Wherever config.json does not say it, the table of embeddings does.
    vocab_size = given.get("vocab_size") or len(tensors["model.embed_tokens.weight"])
    model = CausalLm(recipe.model_config(given, vocab_size, recipe_context(folder)))
    dtype = torch.get_default_dtype()
    try:
        model.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()})
    except RuntimeError as error:
        sys.exit(str(error))
    return model.to(dtype)


def recipe_context(folder):
    path = folder / "recipe.toml"
    return tomllib.loads(path.read_text()).get("data", {}).get("context") if path.is_file() else None


def training_context(folder, config):
    context = recipe_context(folder) or config["max_position_embeddings"]
    return context or sys.exit("the run does not say its context: give --context")


@torch.inference_mode()
def last_logits(model, tokens):
    return model(tokens[None])[0, -1]


@torch.inference_mode()
def recurrent_difference(model, tokens, logits):
    """Largest difference between the parallel form's last logits and the recurrent form's."""
    session = Session(model, len(tokens))
    for position in range(len(tokens)):
        stepped = session.step(tokens[position : position + 1], position)
    return (stepped - logits).abs().max().item()


def report(args, loss, targets, context, logits, difference):
    best = logits.topk(min(args.top, len(logits)))
    top = {int(token): float(value) for value, token in zip(*best)}
    if args.logits:
        args.logits.write_text(json.dumps(logits.tolist()))
    line = {
        "event": "eval", "peer": "torch", "length": context, "loss": loss, "perplexity": math.exp(loss),
        "tokens": targets, "recurrent_difference": difference, "last_logits": top,
    }
    if args.json:
        print(json.dumps(line))
        return
    print(f"loss {loss:.6f} nats a target, perplexity {math.exp(loss):.4f}, {targets} targets, windows of {context}")
    print(f"the recurrent form differs from the parallel one by {difference:.2e} at most")
    print("largest logits after the text:", ", ".join(f"{token}: {value:.5f}" for token, value in top.items()))


if __name__ == "__main__":
    main()
