"""Two tasks that ask the same questions: their composite's error has their covariance in it, joined by the question."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from h3eval import registry
from h3eval.plan import Plan
from h3eval.scoring import by_question, together
from h3eval.stats.composite import Part, Preset
from h3eval.types import Estimate, Failure, Generation, Item, Reading, Reply, Sample, Task, TaskResult, Verdict

OPEN, CHOICE = registry.task("truthfulqa/official"), registry.task("truthfulqa_mc/lm-eval")
PARTS = tuple(Part(task.name, task.primary, task.protocol) for task in (OPEN, CHOICE))
SHARED = Preset("3h", "", {"honest": PARTS}, {"honest": 1.0}, [["truthfulqa", "truthfulqa_mc"]])
PLAN = Plan((OPEN, CHOICE), "m", {}, {})


def result(task: Task, items: list[Item]) -> TaskResult:
    return TaskResult(
        task.name, task.protocol, 1, "honest", task.primary, "", (), (Estimate(task.primary, 0.5, len(items), 0),),
        len(items), {}, {}, lambda: iter(items),
    )  # fmt: skip


def answered(place: int, score: float | None) -> Item:
    """As the authors ask; judged true and informative, or neither."""
    sample = Sample(f"truthfulqa-{place}", "", metadata={"question": f"Question {place}?"})
    said: dict[str, Verdict | Failure] = {
        role: Failure(sample.id, "judge", "unreadable") if score is None else Verdict(sample.id, "", Reading("", score))
        for role in OPEN.judges
    }
    return Item(sample, Generation(sample.id, (Reply("A"),)), said)


def chosen(place: int, score: float) -> Item:
    """As lm-eval asks, its document in the metadata."""
    sample = Sample(f"truthfulqa_mc-{place}", "", metadata={"doc": {"question": f"Question {place}?"}})
    reading = Reading("", score, details={CHOICE.primary: score})
    return Item(sample, Generation(sample.id, (Reply(),)), {"rule": Verdict(sample.id, "rule", reading)})


def test_questions_are_joined_whatever_their_order_and_ids() -> None:
    draw = np.random.default_rng(1)
    open_scores = (draw.random(100) < 0.5).astype(float)
    choice_scores = 0.3 * open_scores + draw.random(100) / 2
    results = [
        result(OPEN, [answered(place, each) for place, each in enumerate(open_scores)]),
        result(CHOICE, [chosen(place, choice_scores[place]) for place in draw.permutation(100)]),
    ]
    ((pair, rho),) = together(SHARED, PLAN, results).items()
    assert pair == frozenset(map(str, PARTS))
    assert rho == pytest.approx(np.corrcoef(open_scores, choice_scores)[0, 1])
    failing = [answered(0, None), *(answered(place, each) for place, each in enumerate(open_scores) if place)]
    (found,) = together(SHARED, PLAN, [result(OPEN, failing), results[1]]).values()
    expected = 99 * np.cov(open_scores[1:], choice_scores[1:])[0, 1]
    expected /= math.sqrt(99 * 100 * open_scores[1:].var(ddof=1) * choice_scores.var(ddof=1))
    assert found == pytest.approx(expected)


def test_where_questions_cannot_be_joined_the_worst_is_assumed() -> None:
    once = result(OPEN, [answered(place, place % 2) for place in range(10)])
    twice = result(CHOICE, [chosen(place // 2, place % 2) for place in range(10)])
    assert together(SHARED, PLAN, [once, twice]) == {}
    assert together(SHARED, PLAN, [once]) == {}
    pairs = Part(OPEN.name, "ti_product", OPEN.protocol)
    assert by_question(pairs, {OPEN.id: OPEN}, [once]) == {}


def test_the_authors_files_ask_the_same_questions(shared_data: Path) -> None:
    """So that the join is not empty on real runs."""
    folder = shared_data / "truthfulqa"
    with (folder / "TruthfulQA_v0_817.csv").open(encoding="utf-8", newline="") as lines:
        open_questions = {row["Question"] for row in csv.DictReader(lines)}
    choices = {row["question"] for row in json.loads((folder / "mc_task_v0.json").read_text(encoding="utf-8"))}
    assert len(open_questions & choices) >= 800
