"""ARC with its options shown: which questions, what is asked, and who is right."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from h3eval import registry
from h3eval.datasets import DataSource
from h3eval.types import Generation, Reply, Sample, Task

COUNTS = {"arc_challenge": 295, "arc_easy": 567}
TASKS = [registry.task(f"{name}/letters-dev") for name in COUNTS]


def samples(task: Task, **options: Any) -> list[Sample]:
    return list(task.samples(DataSource(demo=True, options=options)))


def score(task: Task, sample: Sample, logprobs: Sequence[float | None]) -> tuple[str, float]:
    assert task.rule
    found = task.rule(sample, Generation(sample.id, tuple(Reply(logprob=each) for each in logprobs)))
    return found.label, found.score


def test_lm_evals_protocol_stays_the_default() -> None:
    for name in COUNTS:
        assert [task.protocol for task in registry.tasks(name)] == ["lm-eval", "letters-dev"]


def test_prompt_and_letters_are_these_bytes() -> None:
    first = samples(TASKS[0])[0]
    assert first.prompt == (
        "Question: A metal spoon left in a cup of hot tea soon feels hot at its dry end. What carried the heat there?\n"
        "A. conduction along the spoon\nB. light from the tea\nC. steam inside the metal\nD. the weight of the tea\n"
        "Answer:"
    )
    assert (first.choices, first.reference) == ((" A", " B", " C", " D"), 0)
    asked = TASKS[0].ask(first, ())
    assert [(each.kind, each.continuation) for each in asked] == [("loglikelihood", f" {x}") for x in "ABCD"]
    chat = samples(TASKS[0], apply_chat_template=True, system_instruction="Hm.")[0]
    assert chat.prompt == ({"role": "system", "content": "Hm."}, {"role": "user", "content": first.prompt})
    assert chat.choices == ("A", "B", "C", "D")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_gold_answers_score_full_marks_and_others_none(task: Task) -> None:
    for sample in samples(task):
        for letter in range(4):
            logprobs = [-1.0 if place == letter else -2.0 for place in range(4)]
            right = letter == sample.reference
            assert score(task, sample, logprobs) == ("correct" if right else "wrong", float(right))
        assert score(task, sample, [None] * 4) == ("undefined", 0.0)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_questions_of_four_options_are_taken(task: Task, shared_data: Path) -> None:
    found = list(task.samples(DataSource(shared_data)))
    assert len(found) == len({sample.id for sample in found}) == COUNTS[task.name]
    assert {sample.reference for sample in found} == {0, 1, 2, 3}
    assert str(COUNTS[task.name]) in task.about
    assert all(len(samples(each)) < len(samples(registry.task(each.name))) for each in TASKS), (
        "the demo has one of three"
    )
