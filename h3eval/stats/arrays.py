"""What the statistics take: arrays of floats, checked once, and clusters as small integers."""

import math

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def floats(values: npt.ArrayLike, name: str = "values") -> Floats:
    """A one-dimensional array of finite floats. Raise ValueError otherwise."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{name}: finite numbers in one dimension are needed")
    return array


def probabilities(p: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Forecasts and outcomes, both in [0, 1] and of one length n > 0. Soft outcomes are allowed.

    Raise ValueError otherwise.
    """
    forecasts, outcomes = floats(p, "probabilities"), floats(y, "outcomes")
    if len(forecasts) != len(outcomes) or len(forecasts) == 0:
        raise ValueError(f"{len(forecasts)} probabilities for {len(outcomes)} outcomes")
    for name, array in (("probabilities", forecasts), ("outcomes", outcomes)):
        if array.min() < 0 or array.max() > 1:
            raise ValueError(f"{name} lie outside [0, 1]")
    return forecasts, outcomes


def hard(y: Floats) -> Bools:
    """Outcomes as truth values. Raise ValueError where one is neither 0 nor 1."""
    positive: Bools = y == 1
    if not (positive | (y == 0)).all():
        raise ValueError("outcomes of zero and one are needed")
    return positive


def places(clusters: npt.ArrayLike, n: int) -> tuple[Ints, int]:
    """The cluster of each of n items as 0..C-1, and C. Raise ValueError for another length."""
    names, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    if inverse.shape != (n,):
        raise ValueError(f"{inverse.size} clusters for {n} items")
    return inverse.astype(np.int64), len(names)


def midranks(values: Floats) -> Floats:
    """Ranks from 1 to n; equal values share their mean rank."""
    order = np.argsort(values)
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(values)]
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return ranks


def normal_quantile(level: float) -> float:
    """z of a two-sided interval. Raise ValueError for a level outside (0, 1)."""
    return float(special.ndtri(_upper(level)))


def student_quantile(level: float, freedom: float) -> float:
    """t of a two-sided interval. Raise ValueError for a level outside (0, 1)."""
    return float(special.stdtrit(freedom, _upper(level)))


def root(variance: float) -> float:
    """Square root of a variance that rounding may have pushed below zero."""
    return math.sqrt(max(0.0, variance))


def _upper(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, not {level}")
    return 0.5 + level / 2
