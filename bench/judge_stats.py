"""A judge card of 1,000,000 verdicts, every one labelled: its statistics alone, and all of it; seconds and peak memory.

python bench/judge_stats.py [N]     (the target: all of a card in 10 s and 1 GB)

The run's items are made up as they are read, which takes about as long as the least that a store could do: that is
measured apart, and taken off. What `h3eval calibrate` takes to read a real run comes on top (bench/harness.py).
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _measure import measure, table

from h3eval import registry
from h3eval.cards import card
from h3eval.judgeplan import JudgePlan
from h3eval.labels import Label, Labels
from h3eval.plan import Plan
from h3eval.stats.agreement import code, cohen_kappa, raw_agreement
from h3eval.stats.bias import accuracy, length_bias, position, self_preference
from h3eval.stats.forecast import appraise, recalibrated
from h3eval.stats.raters import ceiling, fleiss_kappa, gwet_ac1, krippendorff_alpha
from h3eval.stats.recalibration import folds
from h3eval.stats.repeats import repeat_noise
from h3eval.types import Generation, Item, Reading, Reply, Run, Sample, TaskResult, Verdict

N = 1_000_000
PROMPTS = 5
"""Answers that share a prompt."""
ROLE = "beaver_dam"
ITEMS = "making up the items (no part of a card)"


def main() -> None:
    """Print what each step takes, then the whole processes' memory, from processes of their own."""
    n = next((int(each) for each in sys.argv[1:] if each.isdigit()), N)
    for name, steps in (("statistics", statistics), ("card", whole)):
        if f"--{name}" in sys.argv:
            rows = steps(n)
            total = sum(float(row[1]) for row in rows if row[0] != ITEMS)
            table([["step", "s"], *rows, ["all", f"{total:.2f}"]])
            return
    rows = [["verdicts", "process, s", "peak, MB", "target, MB"]]
    with TemporaryDirectory() as folder:
        for name in ("statistics", "card"):
            log = Path(folder) / name
            cost = measure([sys.executable, __file__, str(n), f"--{name}"], log)
            print(log.read_text(encoding="utf-8"))
            rows.append([f"{n:,}, {name}", f"{cost.wall_s:.1f}", f"{cost.peak_mb:.0f}", "1000"])
    table(rows)


def drawn(n: int) -> tuple[Any, Any, Any]:
    """A generator, probabilities that are too sure, and outcomes."""
    draw = np.random.default_rng(1)
    z = draw.normal(size=n) * 2
    return draw, 1 / (1 + np.exp(-z)), (draw.random(n) < 1 / (1 + np.exp(-z / 1.5))).astype(float)


def whole(n: int) -> list[list[str]]:
    """A card from a run's verdicts and as many labels."""
    _, p, y = drawn(n)
    task = registry.task("beavertails/pku-700")
    # Categories of a metric are not on a card.
    task = replace(task, metrics=tuple(metric for metric in task.metrics if not metric.name.endswith("]")))
    plan = JudgePlan(ROLE, registry.judge(ROLE), ROLE, "made:up", {"engine": "none"})

    def items() -> Iterator[Item]:
        for k, each in enumerate(p.tolist()):
            name = f"s{k}"
            reading = Reading("unsafe" if each > 0.5 else "safe", float(each > 0.5), each)
            answer = Generation(name, (Reply("An answer."),))
            yield Item(Sample(name, "A question?"), answer, {ROLE: Verdict(name, ROLE, reading)})

    # Scoring comes before a card: what stands in results.json.
    estimates = tuple(
        metric.aggregate(metric.name, [metric.value(item) for item in items() if metric.applies(item)], 0)
        for metric in task.metrics
    )
    began = time.perf_counter()
    for _ in items():
        pass
    made_up = time.perf_counter() - began
    judges = {ROLE: {**plan.entry(), "calibration": "uncalibrated"}}
    result = TaskResult(
        task.name, task.protocol, task.version, task.dimension, task.primary, "", (), estimates, n, {}, judges, items
    )
    rows = [Label("labels", f"s{k}", score=each, random=True) for k, each in enumerate(y.tolist())]
    run, labels = Run("made up", {}, (result,), (), {}), Labels("labels", "", tuple(rows))
    began = time.perf_counter()
    card(run, Plan((task,), "made up", {}, {ROLE: plan}), ROLE, labels)
    seconds = time.perf_counter() - began
    return [[ITEMS, f"{made_up:.2f}"], ["the card", f"{seconds - made_up:.2f}"]]


def statistics(n: int) -> list[list[str]]:
    """Each step of a judge card on made-up verdicts, and its seconds."""
    draw, p, y = drawn(n)
    prompts = np.arange(n) // PROMPTS
    names = np.array(["safe", "unsafe", None], dtype=object)
    said = [list(names[draw.choice(3, n, p=[0.6, 0.38, 0.02])]) for _ in range(3)]
    one, two, gold = draw.integers(1, 3, (3, n))
    lengths = (draw.integers(0, 900, n), draw.integers(0, 900, n))
    rows: list[list[str]] = []

    def step(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        rows.append([name, f"{time.perf_counter() - began:.2f}"])
        return result

    step("calibration, scores, null test, reliability", lambda: appraise(p, y, draw))
    step("the same, clustered", lambda: appraise(p, y, draw, clusters=prompts))
    fold = step("folds by sha256", lambda: folds(map(str, range(n))))
    step("temperature, out of fold", lambda: recalibrated(p, y, fold))
    step("isotonic, out of fold", lambda: recalibrated(p, y, fold, "isotonic"))
    ratings, _ = step("coding three raters", lambda: code(*said))
    a, b = ratings[:, 0], ratings[:, 1]
    step("agreement, κ", lambda: (raw_agreement(a, b), cohen_kappa(a, b, 2), cohen_kappa(a, b, 2, clusters=prompts)))
    step("AC1, Fleiss' κ, α", lambda: (gwet_ac1(ratings, 2), fleiss_kappa(ratings, 2), krippendorff_alpha(ratings, 2)))
    step("ceiling", lambda: ceiling(a, ratings[:, 1:], 2))
    step("position, accuracy", lambda: (position(one, two), accuracy(one, two, gold)))
    step(
        "length, self-preference", lambda: (length_bias(one == 1, gold, lengths), self_preference(one == 1, gold == 1))
    )
    step("repeat noise", lambda: repeat_noise(np.column_stack([one, two, one])))
    return rows


if __name__ == "__main__":
    main()
