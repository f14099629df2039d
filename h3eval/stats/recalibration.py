"""Making a probability say what it means, by people's labels: temperature, Platt, isotonic.

A map is judged only by `out_of_fold`: fitted on the other folds, it is applied to items that it has not
seen. Maps work on log-odds, where a reward model's margin is one already.
"""

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from h3eval.stats.arrays import Floats, Ints, floats
from h3eval.stats.decomposition import isotonic_fit

Method = Literal["temperature", "platt", "isotonic"]
HOTTEST = 1e3
"""Highest temperature, and the inverse of the lowest: where labels ask for more, they have no best one."""
CLIP = 1e-12


@dataclass(frozen=True, slots=True)
class Temperature:
    """p = σ(z / value): above 1 the judge was too sure of itself."""

    value: float

    def __call__(self, log_odds: Floats) -> Floats:
        result: Floats = special.expit(log_odds / self.value)
        return result


@dataclass(frozen=True, slots=True)
class Platt:
    """p = σ(slope z + intercept)."""

    slope: float
    intercept: float

    def __call__(self, log_odds: Floats) -> Floats:
        result: Floats = special.expit(self.slope * log_odds + self.intercept)
        return result


@dataclass(frozen=True, slots=True)
class Isotonic:
    """p rises with z, straight between the points that were seen and level beyond them."""

    at: Floats
    level: Floats

    def __call__(self, log_odds: Floats) -> Floats:
        return np.interp(log_odds, self.at, self.level)


Map = Temperature | Platt | Isotonic


def log_odds(p: npt.ArrayLike) -> Floats:
    """ln(p / (1-p)), p clipped to [1e-12, 1 - 1e-12]."""
    result: Floats = special.logit(np.clip(floats(p, "probabilities"), CLIP, 1 - CLIP))
    return result


def fit(z: npt.ArrayLike, y: npt.ArrayLike, method: Method = "temperature") -> Map:
    """The map that gives log-odds z the least log loss (isotonic: squared) on labels y, soft or hard.

    Use it for new items, and `out_of_fold` for these. Raise ValueError where all labels are the same.
    """
    scores, labels = floats(z, "log-odds"), floats(y, "labels")
    if len(scores) != len(labels) or len(scores) == 0 or labels.min() == labels.max():
        raise ValueError("recalibration needs labels of both kinds, one for each log-odds")
    if method == "temperature":
        return Temperature(_temperature(lambda beta: float((special.expit(beta * scores) - labels) @ scores)))
    if method == "platt":
        return _platt(scores, labels)
    at, level, _ = isotonic_fit(scores, labels)
    return Isotonic(at, level)


def out_of_fold(
    z: npt.ArrayLike, y: npt.ArrayLike, fold: Ints, method: Method = "temperature"
) -> tuple[Floats, tuple[Map, ...]]:
    """Recalibrated probabilities, each by a map fitted without its fold, and the maps of the folds.

    `fold` is from `folds`. Raise ValueError where a fold's others have labels of one kind only, or there
    are fewer than two folds.
    """
    scores, labels = floats(z, "log-odds"), floats(y, "labels")
    result, maps = np.empty(len(scores)), []
    for held, rest in _splits(fold, len(scores)):
        maps.append(fit(scores[rest], labels[rest], method))
        result[held] = maps[-1](scores[held])
    return result, tuple(maps)


def class_temperature(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The T for which softmax(scores / T) has the least log loss; n by K, NaN where an item has no such class."""
    table, right = np.asarray(scores, dtype=float), np.asarray(labels, dtype=np.int64)
    # Against the right class, the largest of each row is the one that matters; NaN has no weight.
    gaps = table - table[np.arange(len(table)), right][:, None]
    gaps = np.where(np.isnan(gaps), -np.inf, gaps)
    finite = np.where(np.isfinite(gaps), gaps, 0.0)
    return _temperature(lambda beta: float(np.sum(special.softmax(beta * gaps, axis=1) * finite)))


def class_probabilities(scores: npt.ArrayLike, temperature: float = 1.0) -> Floats:
    """softmax(scores / T) of each row; NaN, no such class, stays NaN."""
    table = np.asarray(scores, dtype=float)
    weights = special.softmax(np.where(np.isnan(table), -np.inf, table) / temperature, axis=1)
    return np.where(np.isnan(table), np.nan, weights)


def class_out_of_fold(scores: npt.ArrayLike, labels: npt.ArrayLike, fold: Ints) -> tuple[Floats, tuple[float, ...]]:
    """`out_of_fold` for classes: probabilities, n by K, and the folds' temperatures."""
    table, right = np.asarray(scores, dtype=float), np.asarray(labels)
    result, found = np.empty_like(table), []
    for held, rest in _splits(fold, len(table)):
        found.append(class_temperature(table[rest], right[rest]))
        result[held] = class_probabilities(table[held], found[-1])
    return result, tuple(found)


def folds(ids: Iterable[str], k: int = 5, salt: str = "h3eval") -> Ints:
    """The fold of each id, by its sha256: the same in every run and every order.

    Items with one id share a fold: give the prompt's where several answers share a prompt.
    """
    digests = b"".join([hashlib.sha256(f"{salt}|{each}".encode()).digest()[:8] for each in ids])
    return (np.frombuffer(digests, dtype=">u8") % k).astype(np.int64)


def _splits(fold: Ints, n: int) -> list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """Held-out items and the others, for each fold that has any."""
    present = np.unique(fold)
    if len(fold) != n or len(present) < 2:
        raise ValueError(f"{n} items and {len(fold)} ids in {len(present)} folds: two folds are needed")
    return [(fold == each, fold != each) for each in present]


def _temperature(slope: Callable[[float], float]) -> float:
    """1/β where the log loss, convex in β, has slope zero; at the ends where it has none."""
    if slope(1 / HOTTEST) >= 0:
        return HOTTEST
    if slope(HOTTEST) <= 0:
        return 1 / HOTTEST
    end = math.log(HOTTEST)
    return math.exp(-float(optimize.brentq(lambda log_beta: slope(math.exp(log_beta)), -end, end, xtol=1e-12)))


def _platt(z: Floats, y: Floats) -> Platt:
    """Newton's method on labels drawn in a little, so that separable ones have an optimum (Lin et al. 2007)."""
    positive = float(y.sum())
    high, low = (positive + 1) / (positive + 2), 1 / (len(y) - positive + 2)
    target = y * high + (1 - y) * low
    scale = float(z.std()) or 1.0
    columns = np.column_stack([(z - z.mean()) / scale, np.ones(len(z))])
    b = np.array([0.0, float(special.logit(target.mean()))])
    loss = math.inf
    for _ in range(100):
        p = special.expit(columns @ b)
        curvature = (columns * (p * (1 - p))[:, None]).T @ columns
        step = np.linalg.lstsq(curvature, columns.T @ (target - p), rcond=None)[0]
        # Shorter steps where the curvature promised too much.
        while (reached := _loss(columns, target, b + step)) > loss + 1e-12:
            step = step / 2
        b, loss = b + step, reached
        if np.abs(step).max() < 1e-12:
            break
    slope = float(b[0]) / scale
    return Platt(slope, float(b[1]) - slope * float(z.mean()))


def _loss(columns: Floats, target: Floats, b: Floats) -> float:
    z = columns @ b
    return float(np.mean(np.logaddexp(0, z) - target * z))
