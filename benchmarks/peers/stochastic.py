"""Times stochastic positional encoding in PyTorch, by its authors' package, with causal linear attention after it.

    python stochastic.py --kind sine --length 8192 --direction forward-backward --threads 2

The package `spe` (github.com/aliutkus/spe, src/pytorch) must be importable. A gated code is drawn, applied to q and k,
and mapped by 1 + elu; attention is the chunked form, divided by the plain denominator. Prints one JSON object.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

import linear_attention
import torch_lm

EPS, CHUNK = 1e-6, 64


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    run, learned = model(args)
    q, k, v, d_out = (torch.rand(1, args.length, args.heads, args.key_dim) * 2 - 1 for _ in range(4))
    backward = args.direction == "forward-backward"
    inputs = [x.requires_grad_(backward) for x in (q, k, v)]

    def call():
        with torch.set_grad_enabled(backward):
            out = run(*inputs)
        return torch.autograd.grad(out, inputs + learned, d_out) if backward else out

    before, seconds = torch_lm.forget_peak(), []
    while len(seconds) < args.calls + 1:
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    timed = seconds[1:]
    print(json.dumps(vars(args) | {
        "torch": torch.__version__, "median_seconds": statistics.median(timed), "calls": len(timed),
        "peak_bytes_over_start": torch_lm.peak_bytes() - before,
    }))


def model(args):
    """The path and what it learns."""
    import spe

    sizes = {"num_heads": args.heads, "in_features": args.key_dim, "num_realizations": args.realizations}
    if args.kind == "sine":
        code = spe.SineSPE(**sizes, num_sines=args.sines)
    else:
        code = spe.ConvSPE(**sizes, kernel_size=args.kernel_size)
    gate = spe.SPEFilter(gated=True, code_shape=code.code_shape)

    def run(q, k, v):
        encoded = gate(q, k, code(q.shape[:2]))
        q, k = (F.elu(x) + 1 for x in encoded)
        out = linear_attention.chunked(q, k, v, CHUNK)
        return out / linear_attention.divisor("plain", EPS, q, k, q, k)

    return run, [*code.parameters(), *gate.parameters()]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kind", choices=["sine", "conv"], default="sine")
    parser.add_argument("--direction", choices=["forward", "forward-backward"], default="forward")
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--key-dim", type=int, default=64)
    parser.add_argument("--realizations", type=int, default=64)
    parser.add_argument("--sines", type=int, default=10)
    parser.add_argument("--kernel-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--calls", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
