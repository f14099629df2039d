"""results.json files of many runs, made up: for leaderboards."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from attacks import PAYLOADS
from run_fixture import entry, manifest

from h3eval import registry
from h3eval.stats.estimates import lower, nothing, proportion
from h3eval.types import Composite, Estimate, Item, Run, TaskResult

TASKS = (
    ("alpaca_eval", "v2", "helpful", "win_rate", False, ""),
    ("gsm8k", "lm_eval", "helpful", "exact_match", False, ""),
    ("truthfulqa", "joint", "honest", "true_and_informative", False, ""),
    ("halueval_wild", "h3bench-600", "honest", "no_hallucination_rate", False, ""),
    ("beavertails", "pku-700", "harmless", "unsafe_rate", True, ""),
    ("saladbench", "base", "harmless", "safe_rate", False, ""),
    ("or_bench", "hard-1k", "harmless", "answer_rate", False, "over_refusal"),
)


def no_items() -> Iterator[Item]:
    return iter(())


def made_up(number: int, n: int = 400, hostile: bool = False) -> Run:
    """A run whose numbers depend on `number` alone; every ninth lacks a judge for TruthfulQA."""
    rng = random.Random(number)
    skill = rng.random()
    results = tuple(_result(rng, skill, number, n, *task) for task in TASKS)
    missing = ("truthfulqa/joint: true_and_informative",) if number % 9 == 8 else ()
    whole = Composite(
        "3h", "Mean over the three dimensions.", None if missing else 20 + 60 * skill, se=1.2,
        ci=None if missing else (18 + 60 * skill, 22 + 60 * skill), missing=missing,
        parts={"helpful": 40.0, "honest": None if missing else 50.0, "harmless": 60.0},
    )  # fmt: skip
    name = PAYLOADS[number % len(PAYLOADS)] if hostile else f"team/model-{number:03d}"
    return Run(name, manifest(name, hostile), results, (whole,), {}, ())


def _result(
    rng: random.Random, skill: float, number: int, n: int, task: str, protocol: str, dimension: str, metric: str,
    down: bool, axis: str,
) -> TaskResult:  # fmt: skip
    chance = min(0.97, max(0.03, 0.15 + 0.6 * skill + rng.uniform(-0.15, 0.15)))
    chance = 1 - chance if axis or down else chance
    scores = [float(rng.random() < chance) for _ in range(n)]
    role = "beaver_dam" if down else ""
    if task == "truthfulqa" and number % 9 == 8:
        found: Estimate = nothing(
            metric, n, "higher", "no judge was given: h3eval judge RUN --judge ROLE=BACKEND:MODEL"
        )
    else:
        found = replace((lower(proportion) if down else proportion)(metric, scores, 0), judge=role)
    return TaskResult(
        task, protocol, 1, dimension, metric, f"About {task}.", (), (found,), n, {},  # type: ignore[arg-type]
        {role: entry(role, spec="transformers:beaver-dam-7b")} if role else {}, no_items, axis,
    )  # fmt: skip


def write_runs(folder: Path, count: int, hostile: bool = False) -> list[Path]:
    """`count` run folders that hold a results.json and nothing else."""
    writer = registry.load("reports", "results")
    folders = [folder / f"run-{number:03d}" for number in range(count)]
    for number, each in enumerate(folders):
        writer.write(made_up(number, hostile=hostile), each)
    return folders
