"""Known truth, simulated: how often a composite's interval covers it where two of its parts ask the same prompts."""

import numpy as np
import pytest

from h3eval.stats.composite import Part, Preset, compose, error_correlation
from h3eval.stats.estimates import mean, proportion
from h3eval.types import Estimate, TaskResult

QUICK, SLOW = 1500, 20_000
LAYERS = [pytest.param(QUICK, id="quick"), pytest.param(SLOW, id="slow", marks=pytest.mark.slow)]
PARTS = (Part("open", "rate"), Part("choice", "share"), Part("other", "rate"))
TRUTH = {"open": 0.4, "choice": 0.5, "other": 0.8}


def preset(shared: bool) -> Preset:
    groups = {"honest": PARTS[:2], "harmless": PARTS[2:]}
    return Preset("3h", "", groups, {"honest": 0.5, "harmless": 0.5}, [["open", "choice"]] if shared else [])


def result(part: Part, estimate: Estimate) -> TaskResult:
    return TaskResult(
        part.task, "p", 1, "honest", part.metric, "", (), (estimate,), estimate.n, {}, {}, lambda: iter(())
    )


def drawn(rng: np.random.Generator, sign: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Zeros and ones, shares that rise or fall with them over the same prompts, and a part of its own prompts."""
    ease = rng.random(n)
    one = (rng.random(n) < np.where(ease < 0.4, 0.85, 0.1)).astype(float)
    share = 0.5 + sign * 0.4 * ((ease < 0.4) - 0.4) + rng.uniform(-0.1, 0.1, n)
    return one, share, (rng.random(n) < TRUTH["other"]).astype(float)


def coverage(repetitions: int, sign: int, shared: bool, known: bool, n: int = 150) -> float:
    rng = np.random.default_rng(20261121)
    truth = 100 * (0.5 * (0.4 + 0.5) / 2 + 0.5 * 0.8)
    hits = 0
    for _ in range(repetitions):
        one, share, other = drawn(rng, sign, n)
        estimates = [proportion("rate", one, 0), mean("share", share, 0), proportion("rate", other, 0)]
        results = [result(part, each) for part, each in zip(PARTS, estimates, strict=True)]
        rho = error_correlation(
            dict(zip(map(str, range(n)), one, strict=True)), dict(zip(map(str, range(n)), share, strict=True))
        )
        assert rho is not None
        together = {frozenset(map(str, PARTS[:2])): rho} if known else {}
        made = compose(preset(shared), results, together)
        assert made.ci is not None
        hits += made.ci[0] <= truth <= made.ci[1]
    return hits / repetitions


def chance(repetitions: int) -> float:
    """Three Monte-Carlo standard errors."""
    return 3 * (0.95 * 0.05 / repetitions) ** 0.5


@pytest.mark.parametrize("repetitions", LAYERS)
@pytest.mark.parametrize("sign", [1, -1])
def test_shared_prompts_are_covered_at_the_level(sign: int, repetitions: int) -> None:
    assert abs(coverage(repetitions, sign, shared=True, known=True) - 0.95) <= chance(repetitions) + 0.005


def test_why_the_correlation_is_needed() -> None:
    """Parts that rise together are missed by an interval that takes them for independent, and parts that go against
    each other get one that is far too wide from the worst case."""
    assert coverage(QUICK, 1, shared=False, known=False) < 0.95 - chance(QUICK)
    assert coverage(QUICK, -1, shared=True, known=False) > 0.97
