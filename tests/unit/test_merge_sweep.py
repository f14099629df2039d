"""Sweeps: their points, the front, and the scores they are chosen by."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3eval.commands import sweeping
from h3eval.errors import ConfigError
from h3eval.merge import grid
from h3eval.merge.front import beats, front, simplex

MERGE: dict[str, Any] = {"method": "ties", "base": "b", "models": ["x", "y"], "parameters": {"density": 0.5}}


def test_simplex_is_all_of_it_once() -> None:
    assert list(simplex(2, 2)) == [(0, 1), (0.5, 0.5), (1, 0)]
    points = list(simplex(3, 4))
    assert len(points) == len(set(points)) == 15
    assert all(sum(point) == pytest.approx(1) and min(point) >= 0 for point in points)
    assert list(simplex(1, 5)) == [(1.0,)]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(points: list[tuple[int, int, int]]) -> None:
    held = [{"a": float(p[0]), "b": float(p[1]), "c": float(p[2])} for p in points]
    best = front(held, ["a", "b", "c"])
    assert best
    for at, point in enumerate(points):
        assert (at in best) == (not any(beats(other, point) for other in points))


def test_a_point_with_a_gap_is_neither_best_nor_beats() -> None:
    assert front([{"a": 1.0, "b": None}, {"a": 0.0, "b": 0.0}], ["a", "b"]) == [1]


def test_grids_and_preferences_multiply() -> None:
    made = grid.points({"merge": MERGE, "grid": {"density": [0.2, 0.5], "seed": [1, 2]}, "preferences": 2})
    assert len(made) == len({point.name for point in made}) == 12
    assert made[0].varied == {"density": 0.2, "seed": 1, "weights": "0/1"}
    assert [each["weight"] for each in made[0].content["models"]] == [0.0, 1.0]
    again = grid.points({"merge": {**MERGE, "parameters": {}}, "grid": {"density": [0.5]}})
    assert again[0].name == grid.points({"merge": MERGE})[0].name
    shapes = grid.points({"merge": MERGE, "grid": {"density": [0.5, [0.5, 1], [1, 0.5]]}})
    assert len({point.name for point in shapes}) == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gird": {}}, "gird"),
        ({"merge": None}, "merge"),
        ({"grid": {"density": 0.5}}, "list of values"),
        ({"grid": {"density": [0.5, 2]}}, "not a number"),
        ({"grid": {"depth": [1]}}, "depth"),
        ({"preferences": [[1, 2, 3]]}, "2 weights"),
        ({"preferences": 0}, "steps"),
    ],
)
def test_sweeps_that_make_no_sense_are_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        grid.points({"merge": MERGE, **change})


def results(**primary: tuple[str, float | None, str, str | None]) -> dict[str, Any]:
    """A results.json of tasks with one primary metric: dimension, value, direction, axis."""
    tasks = [{"task": n, "protocol": "p", "dimension": d, "axis": axis} for n, (d, _, _, axis) in primary.items()]
    estimates = [
        {"task": n, "protocol": "p", "primary": True, "value": v, "direction": way, "unit": "proportion"}
        for n, (_, v, way, _) in primary.items()
    ]
    return {"tasks": tasks, "estimates": [*estimates, {**estimates[0], "primary": False, "value": 0.0}]}


def test_dimensions_are_means_of_primary_metrics_with_higher_better() -> None:
    made = sweeping.dimensions(
        results(
            one=("helpful", 0.5, "higher", None), two=("helpful", 0.7, "higher", None),
            safe=("harmless", 0.1, "lower", None), refused=("harmless", 0.2, "lower", "over_refusal"),
            truth=("honest", None, "higher", None),
        )
    )  # fmt: skip
    assert made == {
        "helpful": pytest.approx(60), "harmless": pytest.approx(90), "over_refusal": pytest.approx(80), "honest": None
    }  # fmt: skip


def test_intervals_are_a_tasks_own_or_of_the_mean() -> None:
    held = results(one=("helpful", 0.5, "higher", None), two=("helpful", 0.7, "higher", None),
                   safe=("harmless", 0.1, "lower", None), truth=("honest", None, "higher", None))  # fmt: skip
    for each in held["estimates"]:
        each |= {"se": 0.03, "ci": [0.05, 0.2]}
    made = sweeping.intervals(held)
    assert made["harmless"] == pytest.approx([80, 95])
    half = 100 * 1.96 * (2 * 0.03**2) ** 0.5 / 2
    assert made["helpful"] == pytest.approx([60 - half, 60 + half])
    assert "honest" not in made
