"""What a `Metric` aggregates with: scored values and a count of failures in, an `Estimate` out.

Intervals are 95 %. Bounds say what the value could have been, had the failed items been scored.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy import special

from h3eval.errors import ConfigError
from h3eval.types import Estimate, Score

Direction = Literal["higher", "lower", "none"]
Z95 = float(special.ndtri(0.975))
UNIT = (0.0, 1.0)


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927, JASA 22:209), 95 %.

    Raise ValueError for n = 0 or successes outside [0, n].
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    p, z2 = successes / n, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At p = 0 and 1 the bound is exact; rounding must not push it past the end.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, 1.0 if successes == n else min(1.0, centre + half)


def bounds(total: float, n: int, failed: int, low: float, high: float) -> tuple[float, float]:
    """Lowest and highest mean, had the failed items scored `low` or `high`."""
    everything = n + failed
    return (total + failed * low) / everything, (total + failed * high) / everything


def nothing(metric: str, failed: int, direction: Direction, note: str, unit: str = "proportion") -> Estimate:
    """An estimate over nothing: no value, and the reason."""
    return Estimate(metric, None, 0, failed, unit=unit, direction=direction, note=note)


def proportion(
    metric: str, scores: Sequence[Score], failed: int, direction: Direction = "higher", version: int = 1
) -> Estimate:
    """Mean of zeros and ones with Wilson's interval; se is sqrt(p(1-p)/n)."""
    values = np.asarray(scores, dtype=float)
    n = len(values)
    if n == 0:
        return nothing(metric, failed, direction, "nothing was scored")
    if not np.isin(values, UNIT).all():
        raise ConfigError(
            f"{metric}: a share is counted over scores of 0 and 1: use a judge or rubric that gives no others"
        )
    total = math.fsum(values)
    p = total / n
    return Estimate(
        metric, p, n, failed,
        se=math.sqrt(p * (1 - p) / n),
        ci=wilson(total, n),
        bounds=bounds(total, n, failed, *UNIT),
        direction=direction, version=version, method="wilson",
    )  # fmt: skip


def mean(
    metric: str,
    scores: Sequence[Score],
    failed: int,
    direction: Direction = "higher",
    version: int = 1,
    unit: str = "proportion",
    span: tuple[float, float] = UNIT,
) -> Estimate:
    """Mean of graded scores within `span`; se is sd/sqrt(n) (ddof 1), the interval Student's t."""
    values = np.asarray(scores, dtype=float)
    n = len(values)
    if n == 0:
        return nothing(metric, failed, direction, "nothing was scored", unit)
    total = math.fsum(values)
    value = total / n
    se = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else None
    return Estimate(
        metric, value, n, failed,
        se=se,
        ci=_student(value, se, n, span),
        bounds=bounds(total, n, failed, *span),
        unit=unit, direction=direction, version=version, method="t", details=spanned(unit, span),
    )  # fmt: skip


def spanned(unit: str, span: tuple[float, float]) -> dict[str, list[float]]:
    """What an estimate in points says of their range, which composites need."""
    return {"span": list(span)} if unit == "points" else {}


def percents(estimate: Estimate) -> tuple[float, float] | None:
    """Factor and zero that make percent of the estimate's values: percent = factor (value - zero).

    Points are percent of the way through their range: 1 of 1 to 10 is 0 %. None where no range is known.
    """
    if estimate.unit == "points" and "span" in estimate.details:
        low, high = estimate.details["span"]
        return 100.0 / (high - low), low
    factor = {"proportion": 100.0, "percent": 1.0}.get(estimate.unit)
    return None if factor is None else (factor, 0.0)


def product_of_means(
    metric: str, scores: Sequence[Score], failed: int, direction: Direction = "higher", version: int = 1
) -> Estimate:
    """Product of the means of two zero-one columns over the same items.

    se by the delta method with the columns' covariance:
    Var(ab) ≈ (b² Var a + a² Var b + 2ab Cov(a, b)) / n, ddof 1. Where a column is constant, that
    method sees no error in it: the interval is then the product of the two Wilson intervals.
    """
    if not scores:
        return nothing(metric, failed, direction, "nothing was scored")
    values = np.asarray(scores, dtype=float).reshape(-1, 2)
    n = len(values)
    a, b = (math.fsum(column) / n for column in values.T)
    se = None
    if n > 1:
        gradient = np.array([b, a])
        se = math.sqrt(max(0.0, float(gradient @ np.cov(values.T, ddof=1) @ gradient)) / n)
    ends = [bounds(math.fsum(column), n, failed, *UNIT) for column in values.T]
    constant = a in UNIT or b in UNIT
    low, high = (math.prod(pair) for pair in zip(*(wilson(math.fsum(column), n) for column in values.T), strict=True))
    return Estimate(
        metric, a * b, n, failed,
        se=se,
        ci=(low, high) if constant else _student(a * b, se, n, UNIT),
        bounds=(ends[0][0] * ends[1][0], ends[0][1] * ends[1][1]),
        direction=direction, version=version, method="wilson product" if constant else "delta",
    )  # fmt: skip


def lower(aggregate: Callable[..., Estimate]) -> Callable[..., Estimate]:
    """The same aggregate for a metric that is better when lower."""
    return functools.partial(aggregate, direction="lower")


def _student(value: float, se: float | None, n: int, span: tuple[float, float]) -> tuple[float, float] | None:
    if se is None:
        return None
    half = float(special.stdtrit(n - 1, 0.975)) * se
    return max(span[0], value - half), min(span[1], value + half)
