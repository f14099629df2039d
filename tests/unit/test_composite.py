"""Composites: arithmetic, direction, and missing parts."""

import math
from dataclasses import replace

import numpy as np
import pytest

from h3eval import config
from h3eval.stats.composite import Part, Preset, _scaled, compose, error_correlation, preset
from h3eval.stats.estimates import mean, percents
from h3eval.types import Estimate, TaskResult


def result(task: str, metric: str, value: float | None, protocol: str = "p", **more: object) -> TaskResult:
    estimate = Estimate(metric, value, 100, 0, se=0.01, **more)  # type: ignore[arg-type]
    return TaskResult(task, protocol, 1, "helpful", metric, "", (), (estimate,), 100, {}, {}, lambda: iter(()))


def test_seed002_is_win_rate_plus_ti_minus_unsafe() -> None:
    results = [
        result("alpaca_eval", "win_rate", 66.52, unit="percent"),
        result("truthfulqa", "ti_product", 0.5),
        result("beavertails", "unsafe_rate", 0.3, "h3fusion-500", direction="lower"),
    ]
    made = compose(preset("seed002", config.composites()["seed002"], {}), results)
    assert made.value == pytest.approx((66.52 + 50 - 30) / 3)
    assert made.se == pytest.approx(math.sqrt(0.01**2 + 1 + 1) / 3)


def test_a_missing_part_makes_the_composite_missing() -> None:
    table = config.composites()["seed002"]
    results = [
        result("alpaca_eval", "win_rate", 66.52, unit="percent"),
        result("truthfulqa", "ti_product", None),
        result("beavertails", "unsafe_rate", 0.3, "pku-700", direction="lower"),
    ]
    made = compose(preset("seed002", table, {}), results)
    assert made.value is None
    assert made.missing == ("truthfulqa: ti_product", "beavertails/h3fusion-500: unsafe_rate")


def test_seed001_means_groups_with_mt_bench_raw() -> None:
    values = {
        "math": 0.1, "gsm8k": 0.2, "arc_easy": 0.3, "arc_challenge": 0.4, "mmlu": 0.5, "mbpp_plus": 0.6,
        "humaneval_plus": 0.7, "halueval_wild": 0.8, "saladbench": 0.9, "or_bench": 0.5,
    }  # fmt: skip
    table = config.composites()["seed001"]
    metrics = {part["task"]: part["metric"] for parts in table["groups"].values() for part in parts}
    protocols = {part["task"]: part.get("protocol", "p") for parts in table["groups"].values() for part in parts}
    results = [replace(result(task, metrics[task], value), protocol=protocols[task]) for task, value in values.items()]
    results.append(result("mt_bench", "score", 8.0, unit="rating"))
    made = compose(preset("seed001", table, {}), results)
    assert made.parts["helpful"] == pytest.approx((10 + 20 + 30 + 40 + 50 + 60 + 70 + 8) / 8)
    assert made.value == pytest.approx(((288 / 8) + 80 + 70) / 3)


def test_lower_is_turned_round_in_percent() -> None:
    one = Preset("x", "", {"harmless": (Part("beavertails", "unsafe_rate"),)}, {"harmless": 1.0})
    made = compose(one, [result("beavertails", "unsafe_rate", 0.25, direction="lower")])
    assert made.value == 75.0


def test_shared_prompts_widen_the_error() -> None:
    parts = {"honest": (Part("truthfulqa", "t"), Part("truthfulqa_mc", "m"))}
    results = [result("truthfulqa", "t", 0.5), result("truthfulqa_mc", "m", 0.5)]
    apart = compose(Preset("x", "", parts, {"honest": 1.0}), results)
    shared = compose(Preset("x", "", parts, {"honest": 1.0}, [["truthfulqa", "truthfulqa_mc"]]), results)
    assert shared.se == pytest.approx(1.0)
    assert apart.se == pytest.approx(math.sqrt(0.5))


def test_a_part_at_the_edge_keeps_its_width() -> None:
    none = Estimate("a", 0.0, 4, 0, se=0.0, ci=(0.0, 0.49))
    edge = TaskResult("x", "p", 1, "helpful", "a", "", (), (none,), 4, {}, {}, lambda: iter(()))
    made = compose(Preset("c", "", {"helpful": (Part("x", "a"),)}, {"helpful": 1.0}), [edge])
    assert made.se == 0.0
    assert made.ci == (0.0, pytest.approx(49.0))
    turned = compose(Preset("c", "", {"ss": (Part("x", "a"),)}, {"ss": -1.0}), [edge])
    assert turned.ci == (pytest.approx(-49.0), 0.0)


@pytest.mark.parametrize(("failed", "value"), [(2, 50.0), (3, None)])
def test_too_much_unscored_is_missing(failed: int, value: float | None) -> None:
    partly = Estimate("a", 0.5, 100 - failed, failed, se=0.05, ci=(0.4, 0.6))
    given = TaskResult("x", "p", 1, "helpful", "a", "", (), (partly,), 100, {}, {}, lambda: iter(()))
    made = compose(Preset("c", "", {"helpful": (Part("x", "a"),)}, {"helpful": 1.0}), [given])
    assert made.value == value
    assert made.missing == (() if value else ("x: a (3 of 100 not scored)",))


def test_parts_of_shared_prompts_carry_their_correlation() -> None:
    parts = {"honest": (Part("truthfulqa", "t"), Part("truthfulqa_mc", "m", "p"))}
    shared = Preset("x", "", parts, {"honest": 1.0}, [["truthfulqa", "truthfulqa_mc"]])
    pair = frozenset(("truthfulqa: t", "truthfulqa_mc/p: m"))
    results = [result("truthfulqa", "t", 0.5, ci=(0.4, 0.6)), result("truthfulqa_mc", "m", 0.5, ci=(0.4, 0.7))]
    for rho in (-1.0, -0.5, 0.0, 0.5, 1.0):
        made = compose(shared, results, {pair: rho})
        assert made.se == pytest.approx(math.sqrt(0.5 + 0.5 * rho))
        assert made.ci is not None
        assert made.ci[0] == pytest.approx(50 - 5 * math.sqrt(2 + 2 * rho))
        assert made.ci[1] == pytest.approx(50 + 5 * math.sqrt(1 + 4 + 4 * rho))
    # A part that is turned round, or weighs below zero, turns the correlation.
    turned = [results[0], result("truthfulqa_mc", "m", 0.5, direction="lower")]
    assert compose(shared, turned, {pair: 1.0}).se == pytest.approx(0)
    against = {"honest": parts["honest"][:1], "ss": parts["honest"][1:]}
    weights = {"honest": 0.5, "ss": -0.5}
    assert compose(Preset("x", "", against, weights, shared.shared), results, {pair: 1.0}).se == pytest.approx(0)
    assert compose(Preset("x", "", against, weights, shared.shared), turned, {pair: 1.0}).se == pytest.approx(1)


def test_the_errors_of_two_means_go_together_as_their_prompts_do() -> None:
    draw = np.random.default_rng(1)
    x, noise = draw.normal(size=(2, 300))
    one = {f"q{k}": each for k, each in enumerate(x.tolist())}
    other = {f"q{k}": each for k, each in enumerate((x + noise).tolist())}
    assert error_correlation(one, one) == pytest.approx(1)
    assert error_correlation(one, {name: -each for name, each in one.items()}) == pytest.approx(-1)
    assert error_correlation(one, other) == pytest.approx(np.corrcoef(x, x + noise)[0, 1])
    # Half of the prompts in one of them alone: the means move together half as much, over the root of two.
    half = dict(list(one.items())[:150])
    assert error_correlation(one, half) == pytest.approx(1 / math.sqrt(2), abs=0.1)
    assert error_correlation(one, {f"other {k}": each for k, each in enumerate(x)}) is None
    assert error_correlation(one, dict.fromkeys(one, 1.0)) is None


def test_points_are_percent_of_their_range() -> None:
    """MT-Bench's 1 to 10: a mean of percentages would else take 10 of 10 points for 10 %."""
    for value, percent in ((1.0, 0.0), (5.5, 50.0), (10.0, 100.0)):
        points = mean("score", [value, value], 0, unit="points", span=(1.0, 10.0))
        assert _scaled(Part("mt_bench", "score"), points, value).value == pytest.approx(percent)
        assert _scaled(Part("mt_bench", "score", scale="raw"), points, value).value == value
    assert percents(mean("length", [3.0, 4.0], 0, unit="tokens", span=(0.0, 9.0))) is None
