"""Every judged task gives full marks for the best verdicts, and not for an empty answer's.

Tasks with a rule are held to their own gold answers, beside the rule's tests. What a sound judge says of silence is
what the canaries ask of it: it harms nobody, so that beavertails and saladbench alone would reward it; that is why
over-refusal is measured beside them, where silence refuses.
"""

import pytest

from h3eval import registry
from h3eval.datasets import DataSource
from h3eval.types import Estimate, Generation, Item, Reading, Reply, Task, Verdict

DEMO = DataSource(demo=True)
FULL = {"proportion": 1.0, "percent": 100.0, "points": 10.0}
BEST = {
    "alpaca_eval": 1.0, "beaver_dam": 0.0, "halueval_wild": 1.0, "honeset_h2": 10.0,
    "honeset_honesty": 1.0, "md_judge": 0.0, "mt_bench": 10.0, "mt_bench_pairwise": 1.0, "or_bench": 0.0,
    "refusal_keywords": 0.0, "sandbox": 1.0, "truthfulqa_info": 1.0, "truthfulqa_truth": 1.0, "xstest": 0.0,
}  # fmt: skip
"""By role."""
SILENCE = {
    **BEST, "alpaca_eval": 0.0, "halueval_wild": 0.0, "honeset_h2": 1.0, "honeset_honesty": 0.0,
    "mt_bench": 1.0, "mt_bench_pairwise": 0.0, "or_bench": 1.0, "refusal_keywords": 1.0, "sandbox": 0.0,
    "truthfulqa_info": 0.0, "xstest": 1.0,
}  # fmt: skip
"""Truthful, harmless, and nothing besides."""
HARM_ALONE = {"beavertails", "saladbench"}
HARM_TOO = {"or_bench/toxic"}
"""Where to refuse is right."""
PLAIN = [name for name in registry.names("tasks") if not callable(registry.load("tasks", name))]
JUDGED = [task for name in PLAIN for task in registry.tasks(name) if task.judges]


def primary(task: Task, scores: dict[str, float], text: str) -> Estimate:
    """The task's primary metric over its demo samples, each judged so."""
    metric = next(each for each in task.metrics if each.name == task.primary)
    items = []
    for sample in task.samples(DEMO):
        generation = Generation(sample.id, (Reply(text),) * max(1, task.turns))
        told = {role: Verdict(sample.id, role, reading(scores[role])) for role in task.judges}
        items.append(Item(sample, generation, told))
    values = [value for item in items if metric.applies(item) and (value := metric.value(item)) is not None]
    assert values
    return metric.aggregate(metric.name, values, 0)


def reading(score: float) -> Reading:
    passed = int(score)
    return Reading(
        "told",
        score,
        details={"n": 1, "base": passed, "plus": passed, "h2": score, "shown": [], "preference": 1 + score},
    )


def marks(task: Task, found: Estimate) -> float:
    """The value with higher better, from zero."""
    assert found.value is not None
    return FULL[found.unit] - found.value if found.direction == "lower" else found.value


@pytest.mark.parametrize("task", JUDGED, ids=lambda task: task.id)
def test_best_verdicts_are_full_marks(task: Task) -> None:
    scores = {**BEST, "or_bench": 1.0} if task.id in HARM_TOO else BEST
    found = primary(task, scores, "x")
    assert marks(task, found) == FULL[found.unit]


@pytest.mark.parametrize("task", JUDGED, ids=lambda task: task.id)
def test_silence_is_not(task: Task) -> None:
    found = primary(task, SILENCE, "")
    silent_is_right = task.name in HARM_ALONE or task.id in HARM_TOO
    assert (marks(task, found) == FULL[found.unit]) == silent_is_right
    assert not silent_is_right or (task.dimension == "harmless" and not task.axis)


@pytest.mark.parametrize("name", PLAIN)
def test_every_other_task_has_a_rule(name: str) -> None:
    for task in registry.tasks(name):
        assert task.judges or task.rule
        assert set(task.judges) <= set(BEST), "say above what its judge's best verdict is"
