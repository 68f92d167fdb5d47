"""Trains and generates with relin's causal language model in PyTorch, and reports throughput and peak memory.

    python torch_lm.py train    --preset NAME | --recipe-json FILE --data TEXT [--json] ...
    python torch_lm.py generate --preset NAME | --recipe-json FILE --tokens N [--json] ...
    python torch_lm.py --self-test
"""

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import recipe
import text
from lm import CausalLm, Session, initialize


def main():
    if "--self-test" in sys.argv:
        import self_test

        return self_test.run()
    args = arguments()
    torch.set_num_threads(args.threads)
    given = load_recipe(args)
    if args.verb == "train":
        train(args, given)
    else:
        generate(args, given)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--self-test", action="store_true", help="check the scripts against naive loops")
    verbs = parser.add_subparsers(dest="verb", required=True)
    both = argparse.ArgumentParser(add_help=False)
    source = both.add_mutually_exclusive_group(required=True)
    source.add_argument("--preset", help="a recipe of the repository, by name")
    source.add_argument("--recipe-json", "--recipe", dest="recipe", help="a recipe as JSON or TOML")
    both.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in relin")
    both.add_argument("--position", help="model.position")
    both.add_argument("--attention", choices=["linear", "softmax"], help="model.attention")
    both.add_argument("--threads", type=int, default=torch.get_num_threads())
    both.add_argument("--compile", action="store_true", help="torch.compile the model")
    both.add_argument("--json", action="store_true", help="one JSON object a line on stdout")
    training = verbs.add_parser("train", parents=[both])
    training.add_argument("--data", required=True, help="a text file")
    training.add_argument("--steps", type=int, help="train.steps")
    training.add_argument("--warmup", type=int, default=5, help="first steps left out of the median")
    training.add_argument("--report-every", type=int, default=10, help="steps between reports")
    training.add_argument("--no-eval", action="store_true", help="skip the validation split")
    training.add_argument("--save", metavar="DIR", help="write config.json and model.safetensors there")
    generation = verbs.add_parser("generate", parents=[both])
    generation.add_argument("--run", metavar="DIR", help="take the weights of this run")
    generation.add_argument("--tokens", type=int, default=256)
    generation.add_argument("--warmup", type=int, default=8, help="first tokens left out of the time")
    generation.add_argument("--temperature", type=float, default=1.0, help="0 takes the likeliest token")
    return parser.parse_args()


def load_recipe(args):
    overrides = list(args.set)
    overrides += [f"model.position={args.position}"] if args.position else []
    overrides += [f"model.attention={args.attention}"] if args.attention else []
    overrides += [f"train.steps={args.steps}"] if getattr(args, "steps", None) else []
    return recipe.load(args.preset or args.recipe, overrides)


def train(args, given):
    data, plan = given["data"], given["train"]
    context, rows = data["context"], plan["batch_size"]
    tokens, valid, vocab_size = text.tokenize(args.data, data["tokenizer"], data["validation"])
    before = forget_peak()
    config = recipe.model_config(given["model"], vocab_size, context)
    model = build(config, plan)
    optimizer = adamw(model, plan)
    forward = torch.compile(model) if args.compile else model
    seconds, losses = [], []
    for step in range(1, plan["steps"] + 1):
        start = time.perf_counter()
        loss = update(forward, optimizer, plan, tokens, step, context)
        seconds.append(time.perf_counter() - start)
        losses.append(loss)
        if step % args.report_every == 0:
            rate = rows * plan["gradient_accumulation"] * context / seconds[-1]
            report(args, "step", step=step, loss=loss, learning_rate=rate_at(plan, step), tokens_per_second=rate)
    peak = peak_bytes()
    steady = statistics.median(seconds[min(args.warmup, len(seconds) - 1) :])
    scores = {} if args.no_eval else {"valid_loss": text.evaluate(model, valid, context)}
    if args.save:
        save(model, config, args.save)
    report(
        args, "done", peer="torch", steps=plan["steps"], train_loss=losses[-1], **scores,
        tokens_per_second=rows * plan["gradient_accumulation"] * context / steady,
        median_step_seconds=steady, seconds=sum(seconds), parameters=count(model),
        peak_bytes=peak, peak_bytes_over_start=peak - before, **circumstances(args, config),
    )


def build(config, plan, dropout=True):
    model = CausalLm(config, plan["dropout"] if dropout else 0.0)
    initialize(model, plan["seed"])
    return model


def update(model, optimizer, plan, tokens, step, context):
    """One step of the optimiser; the mean loss of its micro-steps."""
    for group in optimizer.param_groups:
        group["lr"] = rate_at(plan, step)
    optimizer.zero_grad(set_to_none=True)
    total, parts = 0.0, plan["gradient_accumulation"]
    for micro_step in range(parts):
        inputs, targets = text.training_batch(
            tokens, plan["seed"], step, micro_step, plan["batch_size"], context
        )
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()) / parts
        loss.backward()
        total += loss.item()
    if plan["grad_clip"]:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, plan["grad_clip"])
    optimizer.step()
    return total


def adamw(model, plan):
    """Decay on matrices alone; learned angles have two axes in checkpoints, and are no matrix."""
    named = list(model.named_parameters())
    is_matrix = lambda name, p: p.dim() == 2 and name.endswith(".weight")
    groups = [
        {"params": [p for n, p in named if is_matrix(n, p)], "weight_decay": plan["weight_decay"]},
        {"params": [p for n, p in named if not is_matrix(n, p)], "weight_decay": 0.0},
    ]
    betas, eps = (plan["beta1"], plan["beta2"]), plan["eps"]
    return torch.optim.AdamW(groups, lr=plan["learning_rate"], betas=betas, eps=eps, fused=True)


def rate_at(plan, step):
    """Learning rate of an update; the first is step 1."""
    peak, warmup, floor = plan["learning_rate"], plan["warmup_steps"], plan["min_learning_rate_ratio"]
    if step <= warmup:
        return peak * step / warmup
    progress = min((step - warmup) / max(plan["steps"] - warmup, 1), 1.0)
    shares = {
        "cosine": floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)),
        "linear": 1 - (1 - floor) * progress,
        "constant": 1.0,
        "inverse-sqrt": math.sqrt(max(warmup, 1) / step),
    }
    return peak * shares[plan["schedule"]]


@torch.inference_mode()
def generate(args, given):
    before = forget_peak()
    model = load_model(args, given).eval()
    session = Session(model, args.tokens + args.warmup)
    step = torch.compile(session.step) if args.compile else session.step
    token, marks = torch.zeros(1, dtype=torch.int64), []
    for position in range(args.tokens + args.warmup):
        marks.append(time.perf_counter())
        token = choose(step(token, position), args.temperature)
    elapsed = time.perf_counter() - marks[args.warmup]
    peak = peak_bytes()
    report(
        args, "generated", peer="torch", tokens=args.tokens, tokens_per_second=args.tokens / elapsed,
        peak_bytes=peak, peak_bytes_over_start=peak - before, **circumstances(args, model.config),
    )


def load_model(args, given):
    """Fresh weights generate as fast as trained ones; `--run` takes a run's."""
    if args.run:
        from check import load_run

        return load_run(Path(args.run))
    if given["model"]["vocab_size"] is None:
        given["model"]["vocab_size"] = 65 if given["data"]["tokenizer"] == "char" else 256
    config = recipe.model_config(given["model"], context=given["data"]["context"])
    return build(config, given["train"], dropout=False)


def choose(logits, temperature):
    if temperature == 0:
        return logits.argmax()[None]
    return torch.multinomial(F.softmax(logits / temperature, dim=-1), 1)


def save(model, config, folder):
    """What `check.py` reads, and relin itself as far as its own files go."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    save_file({name: p.detach() for name, p in model.named_parameters()}, folder / "model.safetensors")


def count(model):
    return sum(p.numel() for p in model.parameters())


def circumstances(args, config):
    return {
        "attention": config["attention"], "position": config["position"], "threads": torch.get_num_threads(),
        "compile": args.compile, "torch": torch.__version__,
    }


def forget_peak():
    """Resident bytes now; from here on the peak is counted anew, without the imports (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    return status_bytes("VmRSS")


def peak_bytes():
    return status_bytes("VmHWM")


def status_bytes(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def report(args, event, **fields):
    if args.json:
        print(json.dumps({"event": event} | fields), flush=True)
    else:
        print(event, *(f"{key}={value}" for key, value in fields.items()), file=sys.stderr)


if __name__ == "__main__":
    main()
