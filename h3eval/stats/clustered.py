"""Means over items that share a prompt, a conversation or an author: clustered standard errors."""

import math
from collections.abc import Sequence

import numpy as np

from h3eval.stats.arrays import student_quantile
from h3eval.stats.estimates import UNIT, Direction, bounds, nothing, spanned
from h3eval.stats.intervals import cluster_se
from h3eval.types import Estimate, Score


def clustered_mean(
    metric: str,
    scores: Sequence[Score],
    failed: int,
    direction: Direction = "higher",
    version: int = 1,
    unit: str = "proportion",
    span: tuple[float, float] = UNIT,
) -> Estimate:
    """Mean of (score, cluster) pairs within `span`, its standard error robust to clusters.

    se² = C/(C-1) · Σ_c (Σ_{i in c} (x_i - x̄))² / n² over C clusters: the CR1 estimator (Cameron and
    Miller 2015, J. Human Resources 50:317) of a regression on a constant, which without the factor is
    Miller 2024, arXiv:2411.00640. The interval is Student's t with C-1 degrees of freedom. With one
    item a cluster it is `estimates.mean`; with one cluster there is no standard error.
    """
    if not scores:
        return nothing(metric, failed, direction, "nothing was scored", unit)
    values, clusters = np.asarray(scores, dtype=float).reshape(-1, 2).T
    n, total = len(values), math.fsum(values)
    value = total / n
    count = len(np.unique(clusters))
    se = cluster_se(values, clusters) if count > 1 else None
    half = None if se is None else student_quantile(0.95, count - 1) * se
    return Estimate(
        metric, value, n, failed,
        se=se,
        ci=None if half is None else (max(span[0], value - half), min(span[1], value + half)),
        bounds=bounds(total, n, failed, *span),
        unit=unit, direction=direction, version=version,
        method=f"t, clustered ({count} clusters)", details=spanned(unit, span),
    )  # fmt: skip
