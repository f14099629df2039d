"""Sweeps: their points, the front, and the scores they are chosen by."""

import re
import tomllib
from pathlib import Path
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


def test_methods_are_varied_with_their_own_parameters() -> None:
    merge = {**MERGE, "parameters": {}, "models": [{"path": "x", "weight": 1}, {"path": "y", "weight": 1}]}
    del merge["method"]
    flat = grid.points(
        {"merge": merge, "grid": {"method": ["ties", "task_arithmetic"], "density": [0.2, 0.5], "lambda": [1]}}
    )
    assert [point.varied for point in flat] == [
        {"density": 0.2, "lambda": 1, "method": "ties"},
        {"density": 0.5, "lambda": 1, "method": "ties"},
        {"lambda": 1, "method": "task_arithmetic"},
    ]
    assert "density" not in flat[2].content["parameters"]
    own = {"breadcrumbs": {"density": [0.9], "gamma": [0.01, 0.02]}, "task_arithmetic": {}}
    made = grid.points({"merge": merge, "grid": {"lambda": [0.5, 1], **own}})
    assert len({point.name for point in made}) == len(made) == 6
    assert [point.varied["method"] for point in made] == ["breadcrumbs"] * 4 + ["task_arithmetic"] * 2
    assert all(("gamma" in point.varied) == (point.varied["method"] == "breadcrumbs") for point in made)
    nearer = grid.points({"merge": merge, "grid": {"density": [0.1], "ties": {"density": [0.7]}, "dare": {}}})
    assert [(p.varied["method"], p.varied["density"]) for p in nearer] == [("ties", 0.7), ("dare", 0.1)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"method": ["ties", "dare"], "gamma": [0.1]}, "gamma: no parameter of ties, dare"),
        ({"method": ["ties"], "dare": {"density": [0.1]}}, "does not list"),
        ({"tise": {"density": [0.1]}}, "no 'tise'"),
        ({"dare": {"density": 0.1}}, "grid.dare: a table of parameters, each with a list"),
        ({"dare": {"density": [0.1]}}, "merge.method: 'ties' is not among"),
        ({"ties": {"gamma": [0.1]}}, "gamma"),
        ({"method": []}, "list of values"),
    ],
)
def test_grids_of_methods_that_make_no_sense_are_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        grid.points({"merge": {**MERGE, "parameters": {"density": 0.5}}, "grid": change})


def points(task: str, metric: str, value: float | None, unit: str = "points", protocol: str = "single") -> Any:
    """A results.json of one task whose metric is no share."""
    held = results(one=("helpful", value, "higher", None))
    held["tasks"][0] |= {"task": task, "protocol": protocol}
    for each in held["estimates"]:
        each |= {"task": task, "protocol": protocol, "metric": metric, "unit": unit, "se": 0.9, "ci": [1.9, 10.0]}
    return held


def test_points_are_percent_of_the_way_through_the_metrics_own_range() -> None:
    assert sweeping.dimensions(points("mt_bench", "score", 5.5)) == {"helpful": pytest.approx(50)}
    assert sweeping.intervals(points("mt_bench", "score", 5.5))["helpful"] == pytest.approx([10, 100])
    assert sweeping.dimensions(points("mt_bench", "score", 1.0)) == {"helpful": pytest.approx(0, abs=1e-9)}
    assert sweeping.dimensions(points("honeset", "h2_score", 10.0, protocol="honesty-h2")) == {"helpful": 100}
    assert sweeping.rescaled([points("mt_bench", "score", 5.5)]) == ["mt_bench/single: score, 1 to 10 points"]
    both = points("mt_bench", "score", 5.5)
    both["tasks"].append({"task": "gsm8k", "protocol": "p", "dimension": "helpful", "axis": None})
    both["estimates"].append(
        {"task": "gsm8k", "protocol": "p", "primary": True, "value": 0.7, "direction": "higher", "unit": "proportion",
         "se": 0.03, "metric": "accuracy"}
    )  # fmt: skip
    assert sweeping.dimensions(both) == {"helpful": pytest.approx(60)}
    half = 1.96 * ((0.9 * 100 / 9) ** 2 + 3.0**2) ** 0.5 / 2
    assert sweeping.intervals(both)["helpful"] == pytest.approx([60 - half, 60 + half])


@pytest.mark.parametrize(
    "held", [points("mt_bench", "score", None), points("nobody_knows", "score", 5.0), points("mt_bench", "glee", 5.0)]
)
def test_a_scale_that_nobody_knows_leaves_a_gap(held: dict[str, Any]) -> None:
    assert sweeping.dimensions(held) == {"helpful": None}
    assert sweeping.intervals(held) == {}
    assert bool(sweeping.endless(held)) == (held["estimates"][0]["value"] is not None)


def test_what_the_docs_show_is_read() -> None:
    text = (Path(__file__).parents[2] / "docs" / "merge.md").read_text()
    found = [tomllib.loads(each) for each in re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    simplex_, methods = ([point.varied for point in grid.points(each)] for each in found)
    assert [each["weights"] for each in simplex_] == ["0/1", "0.25/0.75", "0.5/0.5", "0.75/0.25", "1/0"]
    assert [each["method"] for each in methods] == ["task_arithmetic"] * 2 + ["ties"] * 4 + ["breadcrumbs"] * 4
