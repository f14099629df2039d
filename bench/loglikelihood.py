"""The `transformers` backend beside lm-eval's `hf` on a CPU: time and equality of results.

python bench/loglikelihood.py --data-dir DIR [--items 200] [--batch-sizes 1,8,32] [--generate 16]

Each engine runs in a process of its own, start-up counted, on the demo model in float32: first the
choices of ARC-Challenge questions, then greedy answers to GSM8K questions with five examples. Where
the machine is shared, OMP_NUM_THREADS=1 keeps threads that wait from counting as work.
"""

import argparse
import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from _measure import measure, table
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from h3eval.backends import _demo
from h3eval.backends.transformers import Transformers
from h3eval.config import ModelSpec
from h3eval.types import Call, Reply, Request

STOPS = ["Question:", "</s>"]
MAX_TOKENS = 96


def main() -> None:
    """Print the tables; or, as a worker, write one engine's results."""
    options = arguments()
    if options.worker:
        results = {"ours": ours, "lm_eval": lm_eval}[options.worker](options)
        Path(options.out).write_text(json.dumps(results))
        return
    _demo.folder("demo:base")
    if options.items:
        scoring(options)
    if options.generate:
        generating(options)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--batch-sizes", default="1,8,32")
    parser.add_argument("--generate", type=int, default=16)
    parser.add_argument("--worker", choices=("ours", "lm_eval"), help=argparse.SUPPRESS)
    parser.add_argument("--job", choices=("score", "generate"), help=argparse.SUPPRESS)
    parser.add_argument("--batch-size", default="auto", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    return parser.parse_args()


def scoring(options: argparse.Namespace) -> None:
    """Log-likelihoods of choices: times, and the largest difference."""
    own, scores = run(options, "ours", "score", "auto")
    rows = [["engine", "batch", "wall, s", "CPU, s", "peak MB", "wall / ours", "largest difference", "greedy differs"]]
    rows.append(["h3eval transformers", "auto", *own, "1.00", "–", "–"])
    for size in options.batch_sizes.split(","):
        peer, theirs = run(options, "lm_eval", "score", size)
        pairs = list(zip(scores, theirs, strict=True))
        apart = max(abs(a[0] - b[0]) for a, b in pairs)
        unlike = sum(a[1] != b[1] for a, b in pairs)
        ratio = f"{float(peer[0]) / float(own[0]):.2f}"
        rows.append(["lm-eval hf", size, *peer, ratio, f"{apart:.2e}", f"{unlike}/{len(pairs)}"])
    table(rows)


def generating(options: argparse.Namespace) -> None:
    """Greedy texts: times, and how many differ."""
    own, texts = run(options, "ours", "generate", "auto")
    rows = [["engine", "batch", "wall, s", "CPU, s", "peak MB", "wall / ours", "texts that differ"]]
    rows.append(["h3eval transformers", "auto", *own, "1.00", "–"])
    for size in ("1", "16"):
        peer, theirs = run(options, "lm_eval", "generate", size)
        unlike = sum(a != b for a, b in zip(texts, theirs, strict=True))
        ratio = f"{float(peer[0]) / float(own[0]):.2f}"
        rows.append(["lm-eval hf", size, *peer, ratio, f"{unlike}/{len(texts)}"])
    table(rows)


def run(options: argparse.Namespace, worker: str, job: str, size: str) -> tuple[list[str], list[Any]]:
    """One engine in its own process: wall and CPU seconds, peak memory, and what it found."""
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "out.json", Path(folder) / "log"
        command = [sys.executable, __file__, "--data-dir", str(options.data_dir), "--items", str(options.items)]
        command += ["--generate", str(options.generate), "--worker", worker, "--job", job]
        cost = measure([*command, "--batch-size", size, "--out", str(out)], log)
        if cost.code:
            raise SystemExit(log.read_text())
        numbers = [f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", f"{cost.peak_mb:.0f}"]
        print(f"{worker} {job} batch {size}: {' '.join(numbers)}", file=sys.stderr, flush=True)
        return numbers, json.loads(out.read_text())


def ours(options: argparse.Namespace) -> list[Any]:
    """h3eval's results, in the order of the questions."""
    engine = Transformers(ModelSpec("transformers", "demo:base", {"batch_size": options.batch_size, "device": "cpu"}))
    if options.job == "score":
        requests = [Request("loglikelihood", a, continuation=b) for a, b in choices(options)]
    else:
        requests = [Request("complete", each, max_tokens=MAX_TOKENS, stop=tuple(STOPS)) for each in questions(options)]
    calls = [Call(str(place).encode(), request) for place, request in enumerate(requests)]
    replies = {call.key: reply for call, reply in engine.answer(calls, None)}  # type: ignore[arg-type]
    ordered = [replies[call.key] for call in calls]
    assert all(isinstance(reply, Reply) for reply in ordered)
    return [(reply.logprob, reply.is_greedy) if options.job == "score" else reply.text for reply in ordered]


def lm_eval(options: argparse.Namespace) -> list[Any]:
    """lm-eval's results, in the order of the questions."""
    torch.set_grad_enabled(False)
    size = int(options.batch_size)
    model = HFLM(pretrained=str(_demo.folder("demo:base")), dtype="float32", device="cpu", batch_size=size)
    if options.job == "score":
        asked = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(choices(options))]
        return model.loglikelihood(asked)
    how = {"until": STOPS, "max_gen_toks": MAX_TOKENS, "do_sample": False}
    prompts = questions(options)
    return model.generate_until(
        [Instance("generate_until", {}, (text, dict(how)), i) for i, text in enumerate(prompts)]
    )


def choices(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Question and choice pairs in the form of lm-eval's arc_challenge."""
    lines = (options.data_dir / "arc" / "ARC-Challenge-Test.jsonl").read_text().splitlines()[: options.items]
    rows = [json.loads(line) for line in lines]
    return [(f"Question: {r['question']}\nAnswer:", f" {c}") for r in rows for c in r["choices"]["text"]]


def questions(options: argparse.Namespace) -> list[str]:
    """Questions with five solved ones before them."""
    with gzip.open(options.data_dir / "gsm8k" / "train.jsonl.gz", "rt") as file:
        shots = [json.loads(next(file)) for _ in range(5)]
    lines = (options.data_dir / "gsm8k" / "test.jsonl").read_text().splitlines()[: options.generate]
    solved = "\n\n".join(f"Question: {r['question']}\nAnswer: {r['answer']}" for r in shots)
    return [f"{solved}\n\nQuestion: {json.loads(line)['question']}\nAnswer:" for line in lines]


if __name__ == "__main__":
    main()
