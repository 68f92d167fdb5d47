"""Alternates `relin bench` with the peers on the same shapes and prints ratios as Markdown.

    python compare.py attention RELIN [--lengths 512,2048] [--threads 1,2] [--compile] [--rounds 3] [--seconds 1]
    python compare.py train     RELIN [--lengths 512,2048] [--threads 2] [--compile]
    python compare.py spe       RELIN [--lengths 8192] [--threads 1,2]

RELIN is the binary. A ratio is the median over the rounds of the peer's time by relin's in the same round: above 1,
relin is faster. One side runs at a time. Both check their results before they time anything. SDPA is softmax
attention with RoPE, whatever the row's encoding. `spe` needs the package of that name.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Buffers that glibc would give back after every use cost PyTorch page faults at every step.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824"}
RIVALS = ["chunked", "fast-transformers"]


def main():
    args = arguments()
    if not os.access(args.relin, os.X_OK):
        sys.exit(f"{args.relin} is not a program")
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"warning: others use this machine (load {load:.1f}); barriers between threads suffer most", file=sys.stderr)
    {"attention": attention, "train": train, "spe": stochastic}[args.what](args)


def arguments():
    integers = lambda text: [int(part) for part in text.split(",")]
    words = lambda text: text.split(",")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["attention", "train", "spe"])
    parser.add_argument("relin", type=Path, help="the binary")
    parser.add_argument("--lengths", type=integers, help="numbers of tokens")
    parser.add_argument("--threads", type=integers, default=[1, 2])
    parser.add_argument("--positions", type=words, default=["none", "rope", "lrpe-orthogonal", "lrpe-unitary"])
    parser.add_argument("--directions", type=words, default=["forward", "forward-backward"])
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--key-dim", type=int, default=64, help="K = V")
    parser.add_argument("--softmax-longest", type=int, default=8192, help="longest sequence for softmax attention")
    parser.add_argument("--compile", action="store_true", help="compiled peers too; the better one counts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement in each round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there, a line each")
    return parser.parse_args()


def attention(args):
    lengths = args.lengths or [512, 2048, 8192, 32768, 131072]
    print("| threads | direction | T | position | relin, ms | best rival, ms | ratio | SDPA + RoPE, ms | ratio |")
    print("|--:|---|--:|---|--:|--:|--:|--:|--:|", flush=True)
    missing = {}
    for threads in args.threads:
        peer = Peer(threads)
        for direction in args.directions:
            for length in lengths:
                for position in args.positions:
                    case = {"position": position, "direction": direction, "length": length, "batch": 1, "chunk": 64}
                    case |= {"heads": args.heads, "key_dim": args.key_dim, "value_dim": args.key_dim}
                    attention_row(args, peer, case, missing)
        peer.close()
    for name, reason in missing.items():
        print(f"\n{name}: {reason}")


def attention_row(args, peer, case, missing):
    """Times relin and every peer of one case in turn and prints the row."""
    paths = RIVALS + (["sdpa"] if case["length"] <= args.softmax_longest else [])
    own, times = [], {}
    for _ in range(args.rounds):
        own.append(relin_attention(args, case, peer.threads)["median_seconds"])
        for path in paths:
            for compiled in [False, True] if args.compile else [False]:
                request = case | {"path": path, "compiled": compiled, "seconds": args.seconds, "row": str(case)}
                request |= {"position": "rope"} if path == "sdpa" else {}
                answer = peer.ask(request)
                if "median_seconds" in answer:
                    times.setdefault((path, compiled), []).append(answer["median_seconds"])
                elif "installed" in answer["missing"]:
                    missing[path] = answer["missing"]
    named = {name_of(*key): seconds for key, seconds in times.items()}
    log(args, {"threads": peer.threads, "relin": own, "peers": named} | case)
    rivals = best(own, {key: value for key, value in times.items() if key[0] in RIVALS})
    softmax = best(own, {key: value for key, value in times.items() if key[0] == "sdpa"})
    where = f"| {peer.threads} | {case['direction']} | {case['length']} | {case['position']}"
    print(where, f"| {1e3 * statistics.median(own):.2f} | {cells(rivals)} | {cells(softmax)} |", flush=True)


def name_of(path, compiled):
    return f"{path}, compiled" if compiled else path


def best(own, times):
    """Name, median time and ratio of the fastest."""
    if not times:
        return None
    key = min(times, key=lambda key: statistics.median(times[key]))
    ratio = statistics.median(peer / relin for peer, relin in zip(times[key], own))
    return name_of(*key), statistics.median(times[key]), ratio


def cells(found):
    if found is None:
        return "– | –"
    name, seconds, ratio = found
    return f"{1e3 * seconds:.2f} ({name}) | {ratio:.2f}"


def relin_attention(args, case, threads):
    definition = f"""
        seconds_per_measurement = {args.seconds}
        threads = [{threads}]
        directions = ["{case['direction']}"]
        lengths = [{case['length']}]
        positions = ["{case['position']}"]
        feature_map = "elu1"
        normalizer = "plain"
        bandwidth_mib = 0
        [[shape]]
        batch = 1
        heads = {case['heads']}
        key_dim = {case['key_dim']}
        value_dim = {case['value_dim']}
        chunk = {case['chunk']}
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "attention.toml"
        path.write_text(definition)
        (line,) = relin(args, ["attention", "--file", path])
    return line


def relin(args, rest):
    """Measurements of `relin bench`; its own words end the comparison if it fails."""
    command = [args.relin, "bench", *rest, "--json", "--quiet"]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{run.stderr}")
    return [json.loads(line) for line in run.stdout.splitlines()]


class Peer:
    """A `time_attention.py` that waits for requests."""

    def __init__(self, threads):
        self.threads = threads
        command = [sys.executable, str(HERE / "time_attention.py"), str(threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=os.environ | ALLOCATOR, text=True, **pipes)
        self.read()

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.read()
        if "failed" in answer:
            sys.exit(f"{request}\n{answer['failed']}")
        return answer

    def read(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit("the peer ended")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def train(args):
    shapes = [(length, max(4096 // length, 1)) for length in args.lengths or [512, 2048]]
    print("| threads | T | B | attention | relin, tokens/s | PyTorch, tokens/s | ratio | relin, MB | PyTorch, MB |")
    print("|--:|--:|--:|---|--:|--:|--:|--:|--:|", flush=True)
    for threads in args.threads:
        for length, batch in shapes:
            own, peers = [], {}
            for _ in range(args.rounds):
                rest = ["train", "--lengths", str(length), "--batch", str(batch), "--threads", str(threads)]
                lines = relin(args, rest + ["--seconds-per-measurement", str(args.seconds)])
                own.append({line["name"].removeprefix("train-"): line for line in lines})
                for kind in ("linear", "softmax"):
                    for compiled in [False, True] if args.compile else [False]:
                        found = torch_step(args, kind, length, batch, threads, compiled)
                        peers.setdefault((kind, compiled), []).append(found)
            log(args, {"threads": threads, "length": length, "relin": own, "peers": list(peers.values())})
            train_rows(threads, length, batch, own, peers)


def train_rows(threads, length, batch, own, peers):
    """relin's linear model against PyTorch's softmax model, and each against its like."""
    rate = lambda lines: statistics.median(line["tokens_per_second"] for line in lines)
    for mine, theirs in [("linear", "softmax"), ("linear", "linear"), ("softmax", "softmax")]:
        lines = [line[mine] for line in own]
        compiled = max((c for kind, c in peers if kind == theirs), key=lambda c: rate(peers[theirs, c]))
        rivals = peers[theirs, compiled]
        pairs = zip(lines, rivals)
        ratio = statistics.median(a["tokens_per_second"] / b["tokens_per_second"] for a, b in pairs)
        memory = [max(line["peak_bytes"] for line in lines), min(line["peak_bytes_over_start"] for line in rivals)]
        print(
            f"| {threads} | {length} | {batch} | {mine} by {theirs}{', compiled' if compiled else ''} "
            f"| {rate(lines):.0f} | {rate(rivals):.0f} | {ratio:.2f} | {memory[0] / 1e6:.0f} | {memory[1] / 1e6:.0f} |",
            flush=True,
        )


def torch_step(args, kind, length, batch, threads, compiled):
    command = [sys.executable, HERE / "train_step.py", "--attention", kind, "--length", length, "--batch", batch]
    command += ["--threads", threads, "--seconds", args.seconds] + (["--compile"] if compiled else [])
    run = subprocess.run([str(part) for part in command], env=os.environ | ALLOCATOR, stdout=subprocess.PIPE, text=True)
    return json.loads(run.stdout) if run.returncode == 0 else sys.exit(f"train_step.py failed: {command}")


def stochastic(args):
    print("| threads | direction | T | position | relin, s | PyTorch, s | ratio | relin, MB | PyTorch, MB | ratio |")
    print("|--:|---|--:|---|--:|--:|--:|--:|--:|--:|", flush=True)
    for threads in args.threads:
        for direction in args.directions:
            for length in args.lengths or [8192]:
                for kind in ("sine", "conv"):
                    stochastic_row(args, threads, direction, length, kind)


def stochastic_row(args, threads, direction, length, kind):
    """Both with the attention after it, and a peer's process for each round: its memory is then its own."""
    case = {"position": f"{kind}-spe", "direction": direction, "length": length, "chunk": 64}
    case |= {"heads": args.heads, "key_dim": args.key_dim, "value_dim": args.key_dim}
    own, peers = [], []
    for _ in range(args.rounds):
        own.append(relin_attention(args, case, threads))
        command = [sys.executable, HERE / "stochastic.py", "--kind", kind, "--direction", direction]
        command += ["--length", length, "--threads", threads, "--heads", args.heads, "--key-dim", args.key_dim]
        run = subprocess.run([str(part) for part in command], env=os.environ | ALLOCATOR, stdout=subprocess.PIPE, text=True)
        peers.append(json.loads(run.stdout) if run.returncode == 0 else sys.exit(f"stochastic.py failed: {command}"))
    log(args, {"threads": threads, "relin": own, "peers": peers} | case)
    seconds = [[line["median_seconds"] for line in lines] for lines in (own, peers)]
    ratio = statistics.median(peer / relin for relin, peer in zip(*seconds))
    # Inputs, outputs and gradients are in neither.
    memory = [max(line["peak_bytes"] for line in own), min(line["peak_bytes_over_start"] for line in peers)]
    print(
        f"| {threads} | {direction} | {length} | {kind}-spe | {statistics.median(seconds[0]):.3f} "
        f"| {statistics.median(seconds[1]):.3f} | {ratio:.1f} | {memory[0] / 1e6:.1f} | {memory[1] / 1e6:.0f} "
        f"| {memory[1] / memory[0]:.0f} |",
        flush=True,
    )


def log(args, line):
    if args.json:
        with args.json.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
