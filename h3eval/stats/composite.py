"""Composites: several tasks' estimates in one number, missing when a part is missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from h3eval.stats.arrays import Floats, root
from h3eval.stats.estimates import percents
from h3eval.types import Composite, Estimate, TaskResult

MOST_FAILED = 0.02
"""The share of unscored items above which an estimate is too incomplete for a composite."""
LEAST_SHARED = 3
"""Prompts that two parts must share for a correlation to be seen at all."""

DIMENSIONS = ("helpful", "honest", "harmless")


@dataclass(frozen=True)
class Part:
    """One estimate that a composite wants, and how it is to be read."""

    task: str
    metric: str
    protocol: str = ""
    scale: str = "percent"

    def __str__(self) -> str:
        return f"{self.task}{'/' if self.protocol else ''}{self.protocol}: {self.metric}"


@dataclass(frozen=True)
class Preset:
    """Weighted groups of parts; `shared` names tasks that ask the same prompts."""

    name: str
    about: str
    groups: Mapping[str, tuple[Part, ...]]
    weights: Mapping[str, float]
    shared: Sequence[Sequence[str]] = field(default_factory=tuple)


def preset(name: str, table: Mapping[str, Any], primaries: Mapping[str, Sequence[Part]]) -> Preset:
    """A preset from its table. `primaries` are the suite's primary metrics by dimension and axis.

    `groups = "primary"` takes the three dimensions, the name of one takes that one alone.
    """
    if isinstance(table["groups"], str):
        wanted = DIMENSIONS if table["groups"] == "primary" else (table["groups"],)
        groups = {group: tuple(primaries.get(group, ())) for group in wanted}
        weights = {dimension: 1 / len(groups) for dimension in groups}
    else:
        groups = {key: tuple(Part(**part) for part in parts) for key, parts in table["groups"].items()}
        weights = table["weights"]
    return Preset(name, table["about"], groups, weights, table.get("shared", ()))


@dataclass(frozen=True)
class Found:
    """A part's value in its scale, its standard error, how far its interval reaches down and up, and whether it was
    turned round, so that more of the metric is less of the part."""

    value: float
    se: float
    below: float
    above: float
    turned: bool = False


@dataclass(frozen=True)
class _Term:
    """A part with its weight in the composite."""

    part: Part
    weight: float
    found: Found

    @property
    def sign(self) -> int:
        """Does the composite rise with the metric?"""
        return -1 if (self.weight < 0) != self.found.turned else 1


Together = Mapping[frozenset[str], float]
"""Two parts, as texts, to the correlation of their metrics' errors."""


def compose(preset: Preset, results: Sequence[TaskResult], together: Together | None = None) -> Composite:
    """The composite, its standard error, and its interval by variance recovery.

    Errors of different prompt sets are independent: se² = Σ w²se², and the interval reaches down by
    the root of Σ w²(value - lower bound)², up likewise (MOVER: Zou and Donner 2008, Statistics in
    Medicine 27:1693), so that a part at 0 or 1 keeps the width of its Wilson interval. Parts in one
    `shared` set ask the same prompts: se² = Σ Σ w w ρ se se, and MOVER's terms likewise (Zou 2007,
    Psychological Methods 12:399), with ρ from `together`; where that is not known, they are added as if
    they always went together, which can only widen the interval (Cauchy-Schwarz).
    """
    values: dict[str, float | None] = {}
    missing: list[str] = []
    terms: list[_Term] = []
    for group, parts in preset.groups.items():
        found = [(part, _found(part, results)) for part in parts]
        absent = [f"{part}{_unscored(part, results)}" for part, each in found if each is None]
        missing += absent or ([] if parts else [f"{group}: no task"])
        present = [(part, each) for part, each in found if each is not None]
        values[group] = None if absent or not parts else math.fsum(each.value for _, each in present) / len(parts)
        terms += [_Term(part, preset.weights[group] / len(parts), each) for part, each in present]
    if missing:
        return Composite(preset.name, preset.about, None, missing=tuple(missing), parts=values)
    value = math.fsum(preset.weights[group] * (values[group] or 0.0) for group in preset.groups)
    rho = _correlations(terms, preset.shared, together or {})
    se, below, above = (_combined([reach(term) for term in terms], rho) for reach in (_error, _down, _up))
    ci = (value - below, value + above)
    return Composite(preset.name, preset.about, value, se=se, ci=ci, parts=values)


def _error(term: _Term) -> float:
    return abs(term.weight) * term.found.se


def _down(term: _Term) -> float:
    return abs(term.weight) * (term.found.below if term.weight > 0 else term.found.above)


def _up(term: _Term) -> float:
    return abs(term.weight) * (term.found.above if term.weight > 0 else term.found.below)


def _found(part: Part, results: Sequence[TaskResult]) -> Found | None:
    """The part in its scale; None where it was not measured, or too much of it was not scored."""
    estimate = _estimate(part, results)
    if estimate is None or estimate.value is None or _failed(estimate) > MOST_FAILED:
        return None
    if part.scale != "raw" and percents(estimate) is None:
        return None
    return _scaled(part, estimate, estimate.value)


def _estimate(part: Part, results: Sequence[TaskResult]) -> Estimate | None:
    for result in results:
        if result.task == part.task and part.protocol in ("", result.protocol):
            return next((each for each in result.estimates if each.metric == part.metric), None)
    return None


def _failed(estimate: Estimate) -> float:
    return estimate.n_failed / max(1, estimate.n + estimate.n_failed)


def _unscored(part: Part, results: Sequence[TaskResult]) -> str:
    """Why a part is missing though it was measured; empty where it was not."""
    estimate = _estimate(part, results)
    if estimate is None or not estimate.n_failed:
        return ""
    return f" ({estimate.n_failed} of {estimate.n + estimate.n_failed} not scored)"


def _scaled(part: Part, estimate: Estimate, value: float) -> Found:
    """The estimate on the part's scale. Points become percent of the way through the metric's own range: 1 of 1 to 10
    is 0 %, or a mean of percentages and points would count a whole benchmark for next to nothing."""
    factor, zero = (1.0, 0.0) if part.scale == "raw" else percents(estimate) or (1.0, 0.0)
    se = factor * (estimate.se or 0.0)
    # A single item has no interval: its error is then not known, and taken as none.
    ends = estimate.ci or (value, value)
    below, above = factor * (value - ends[0]), factor * (ends[1] - value)
    if part.scale == "percent" and estimate.direction == "lower":
        return Found(100.0 - factor * (value - zero), se, above, below, turned=True)
    return Found(factor * (value - zero), se, below, above)


def _correlations(terms: Sequence[_Term], shared: Sequence[Sequence[str]], together: Together) -> Floats:
    """How the parts' errors go together, as the composite has them: -1 to 1."""
    rho = np.eye(len(terms))
    for i, one in enumerate(terms):
        for j, other in enumerate(terms[:i]):
            if any(one.part.task in tasks and other.part.task in tasks for tasks in shared):
                known = together.get(frozenset((str(one.part), str(other.part))))
                rho[i, j] = rho[j, i] = 1.0 if known is None else one.sign * other.sign * known
    return rho


def _combined(errors: Sequence[float], rho: Floats) -> float:
    column = np.array(errors)
    return root(float(column @ rho @ column))


def error_correlation(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """ρ of the errors of two means whose items are known by prompt: n_both Cov / √(n₁ n₂ Var₁ Var₂).

    None where fewer than three prompts are in both, or a side is constant: its error is then not seen.
    """
    both = [name for name in one if name in other]
    spreads = [float(np.std(list(each.values()), ddof=1)) if len(each) > 1 else 0.0 for each in (one, other)]
    if len(both) < LEAST_SHARED or not all(spreads):
        return None
    pairs = np.array([(one[name], other[name]) for name in both])
    covariance = float(np.cov(pairs.T)[0, 1])
    rho = len(both) * covariance / (math.sqrt(len(one) * len(other)) * spreads[0] * spreads[1])
    return min(1.0, max(-1.0, rho))
