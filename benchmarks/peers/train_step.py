"""Times training steps of `benchmarks/train.toml` in PyTorch, on random tokens.

    python train_step.py --attention softmax --position rope --length 512 --batch 8 --threads 2 [--compile]

Prints one JSON object. `peak_bytes_over_start` has the weights, moments, gradients and activations, and for compiled
models the compiler's own memory.
"""

import argparse
import json
import statistics
import time
import tomllib
from pathlib import Path

import torch

import recipe
import torch_lm

DEFINITION = Path(__file__).resolve().parents[1] / "train.toml"


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    given = tomllib.loads(args.file.read_text())["model"]
    given |= {"attention": args.attention, "position": args.position}
    config = recipe.model_config(recipe.DEFAULTS["model"] | given, given["vocab_size"], args.length)
    plan = recipe.DEFAULTS["train"] | {"batch_size": args.batch, "warmup_steps": 0, "schedule": "constant"}
    tokens = torch.randint(given["vocab_size"], (1 << 20,), generator=torch.Generator().manual_seed(0))
    before = torch_lm.forget_peak()
    model = torch_lm.build(config, plan)
    optimizer = torch_lm.adamw(model, plan)
    forward = torch.compile(model) if args.compile else model
    seconds = []
    while len(seconds) < args.warmup + 3 or sum(seconds[args.warmup :]) < args.seconds:
        begin = time.perf_counter()
        torch_lm.update(forward, optimizer, plan, tokens, len(seconds) + 1, args.length)
        seconds.append(time.perf_counter() - begin)
    peak = torch_lm.peak_bytes()
    median = statistics.median(seconds[args.warmup :])
    print(json.dumps({
        "peer": "torch", "torch": torch.__version__, "attention": args.attention, "position": args.position,
        "compile": args.compile, "threads": args.threads, "batch": args.batch, "length": args.length,
        "median_seconds": median, "tokens_per_second": args.batch * args.length / median,
        "calls": len(seconds) - args.warmup, "peak_bytes_over_start": peak - before,
        "parameters": torch_lm.count(model),
    }))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--file", type=Path, default=DEFINITION, help="a definition of `relin bench train`")
    parser.add_argument("--attention", choices=["linear", "softmax"], default="softmax")
    parser.add_argument("--position", default="rope")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--warmup", type=int, default=2, help="first steps left out")
    parser.add_argument("--seconds", type=float, default=10.0, help="of timed steps")
    return parser.parse_args()


if __name__ == "__main__":
    main()
