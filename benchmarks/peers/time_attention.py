"""Times attention paths on request: a JSON object a line in, one out. Started by `compare.py`, which alternates it with
relin; the process stays, so that compiled code and the allocator's pages do.

    {"row": "1", "path": "chunked", "position": "rope", "compiled": false, "direction": "forward", "seconds": 1, ...}
"""

import json
import statistics
import sys
import time

import torch

import attention_paths


def main():
    torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    cases = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = measure(request, cases)
        except attention_paths.MissingPeer as error:
            answer = {"missing": str(error)}
        except Exception as error:  # Told to the driver, which ends.
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def measure(request, cases):
    row, key = request["row"], (request["path"], request["compiled"])
    if row not in cases:
        # One row at a time: tensors of the longest sequences fill the memory, and compiled code is limited in number.
        cases.clear()
        torch.compiler.reset()
        cases[row] = {"tensors": attention_paths.tensors(sizes_of(request))}
    if key not in cases[row]:
        cases[row][key] = prepare(request, cases[row]["tensors"])
    run, seconds = cases[row][key], []
    run()
    while len(seconds) < 3 or sum(seconds) < request["seconds"]:
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return {"median_seconds": statistics.median(seconds), "min_seconds": min(seconds), "calls": len(seconds)}


def sizes_of(request):
    return {name: request[name] for name in ("batch", "heads", "key_dim", "value_dim", "chunk", "length")}


def prepare(request, x):
    """The call, after its function was held to the definition, and compiled code to what it was compiled from."""
    sizes, path = sizes_of(request), (request["path"], request["position"])
    attention_paths.check(*path, sizes)
    run, learned = attention_paths.build(*path, sizes, request["compiled"])
    if request["direction"] == "forward-backward":
        call = lambda run, learned: attention_paths.gradients(run, learned, x)
    else:
        call = lambda run, learned: forward(run, x)
    if request["compiled"]:
        attention_paths.check_equal(call(run, learned), call(*attention_paths.build(*path, sizes)))
    return lambda: call(run, learned)


def forward(run, x):
    with torch.no_grad():
        return run(*x[:3])


if __name__ == "__main__":
    main()
