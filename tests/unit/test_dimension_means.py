"""The mean change of a dimension: independent errors are added in squares, those of the same questions as they are."""

import numpy as np
import pytest

from h3eval.pairing import Change, Comparison
from h3eval.stats.comparison import paired
from h3eval.types import Estimate

RNG = np.random.default_rng(7)
FOUND = paired(RNG.normal(0.6, 0.2, 400), RNG.normal(0.5, 0.2, 400))


def change(task: str, direction: str = "higher") -> Change:
    at = Estimate("score", 0.5, 400, 0)
    return Change(task, "honest", "", "score", True, "proportion", direction, at, at, FOUND)


def mean(*changes: Change) -> tuple[float, float]:
    ((name, tasks, found),) = Comparison("a", "b", changes, {}).means
    assert (name, tasks) == ("honest", len(changes))
    return found.value, found.se


def test_errors_of_other_questions_are_independent() -> None:
    value, se = mean(change("truthfulqa/official"), change("honeset/honesty"))
    assert value == pytest.approx(100 * FOUND.value)
    assert se == pytest.approx(mean(change("honeset/honesty"))[1] / np.sqrt(2))


def test_errors_of_the_same_questions_go_together() -> None:
    _, alone = mean(change("truthfulqa/official"))
    _, se = mean(change("truthfulqa/official"), change("truthfulqa_mc/mc1"))
    assert se == pytest.approx(alone)
    _, three = mean(change("truthfulqa/official"), change("honeset/honesty"), change("truthfulqa_mc/mc1"))
    assert three == pytest.approx(alone * np.sqrt(5) / 3)


def test_a_lower_metric_is_turned_round() -> None:
    assert mean(change("honeset/honesty", "lower"))[0] == pytest.approx(-100 * FOUND.value)


def test_a_dimension_without_all_differences_has_no_mean() -> None:
    lost = Change("honeset/h2", "honest", "", "score", True, "points", "higher", *[Estimate("score", 1.0, 4, 0)] * 2)
    assert not list(Comparison("a", "b", (change("truthfulqa/official"), lost), {}).means)
