"""Judged scores beside what people's labels make of them: `stats.corrected` says what both columns together tell."""

import math
from collections.abc import Container, Iterator
from dataclasses import replace

import numpy as np

from h3eval.columns import Columns, Told, columns, told
from h3eval.errors import ConfigError
from h3eval.labels import Labels
from h3eval.plan import Plan
from h3eval.stats import corrected as choice
from h3eval.stats.arrays import Floats
from h3eval.stats.estimates import UNIT, nothing
from h3eval.types import Estimate, Item, Metric, Run, Task, TaskResult


def correctable(metric: Metric, raw: Estimate, found: Container[str]) -> bool:
    """Is this a judged rate or score, of a role about whose judge people have told? Categories of another metric have
    too few labels, and what is neither better nor worse tells of the judge, not of the answers."""
    labelled = any(role in found for role in metric.roles)
    return labelled and raw.direction != "none" and not metric.name.endswith("]")


def corrected(metric: Metric, raw: Estimate, cols: Columns, elsewhere: choice.Elsewhere | None = None) -> Estimate:
    """The raw estimate's corrected form, `NAME (corrected)`; without a value where `note` says why.

    `elsewhere`: the judge's rates on another set, for a run without labels of its own.
    """
    name = f"{metric.name} (corrected)"
    wrong = _wrong(raw, cols, elsewhere is not None)
    made = nothing(name, raw.n_failed, raw.direction, f"not corrected: {wrong}", raw.unit)
    if not wrong:
        scale = choice.Scale(name, raw.direction, span(metric, cols.judged), raw.unit, raw.version)
        found = choice.corrected(
            scale, cols.judged, cols.truth, random=cols.random, elsewhere=elsewhere, clusters=cols.clusters
        )
        made = replace(found, n_failed=found.n_failed + cols.silent)
    made = _hundredfold(made) if raw.unit == "percent" else made
    return replace(made, judge=raw.judge, calibration=raw.calibration)


def _wrong(raw: Estimate, cols: Columns, elsewhere: bool) -> str:
    """Why this metric has no corrected form; empty where it has one."""
    scored = cols.judged[~np.isnan(cols.judged)]
    factor = 100.0 if raw.unit == "percent" else 1.0
    if not elsewhere and np.isnan(cols.truth).all():
        return "no item has a label for each of its judges"
    if cols.beyond:
        return "it is about more of a verdict than people's labels say"
    if raw.value is None or not math.isclose(float(scored.mean()) * factor, raw.value, abs_tol=1e-9):
        return "it is no mean of its items' scores"
    return ""


def span(metric: Metric, judged: Floats) -> tuple[float, float]:
    """The ends of the metric's scale, as its own bounds tell for one scored and one failed item."""
    stated = stated_span(metric, float(judged[~np.isnan(judged)][0]))
    if stated is None:
        return UNIT if ((judged >= 0) & (judged <= 1) | np.isnan(judged)).all() else (-math.inf, math.inf)
    return stated


def stated_span(metric: Metric, value: float) -> tuple[float, float] | None:
    """The same, for one item's score; None where the metric's scale has no ends."""
    found = metric.aggregate(metric.name, [(value, 0.0) if metric.clustered else value], 1)
    if found.bounds is None:
        return None
    factor = 100.0 if found.unit == "percent" else 1.0
    low, high = (2 * end / factor - value for end in found.bounds)
    return low, high


def _hundredfold(found: Estimate) -> Estimate:
    def larger(pair: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if pair is None else (100 * pair[0], 100 * pair[1])

    raw = found.details.get("uncorrected")
    return replace(
        found,
        value=None if found.value is None else 100 * found.value,
        se=None if found.se is None else 100 * found.se,
        ci=larger(found.ci), bounds=larger(found.bounds),
        details={**found.details, **({} if raw is None else {"uncorrected": 100 * raw})},
    )  # fmt: skip


def with_labels(run: Run, plan: Plan, labels: Labels) -> Run:
    """The run with a corrected estimate after each that labels can correct. Raise ConfigError where none fits."""
    tasks = {task.id: task for task in plan.tasks}
    results, known = [], 0
    for result in run.results:
        task = tasks[f"{result.task}/{result.protocol}"]
        found = told(result, task, plan, labels)
        made, count = _beside(result, task, found, labels) if found else (result, 0)
        known += count
        results.append(made)
    people = {(row.task, row.id, row.role) for row in labels.rows}
    if not known:
        raise ConfigError(f"{labels.file}: none of its {len(people)} labelled items is in this run")
    used = f"{known:,} verdicts have people's labels ({labels.file}): corrected scores stand beside the raw ones."
    return replace(run, results=tuple(results), warnings=(*run.warnings, used))


def _beside(result: TaskResult, task: Task, found: Told, labels: Labels) -> tuple[TaskResult, int]:
    """The result with its corrected estimates, and how many of its verdicts have labels."""
    raws = {each.metric: each for each in result.estimates}
    metrics = [metric for metric in task.metrics if correctable(metric, raws[metric.name], found)]
    labelled: list[int] = []
    cols = columns(metrics, _counted(result.items(), found, labelled), found)
    better = {metric.name: corrected(metric, raws[metric.name], cols[metric.name]) for metric in metrics}
    estimates = []
    for raw in result.estimates:
        estimates.append(raw)
        if made := better.get(raw.metric):
            estimates.append(replace(made, details={**made.details, "labels_sha256": labels.sha256}))
    return replace(result, estimates=tuple(estimates)), sum(labelled)


def _counted(items: Iterator[Item], found: Told, labelled: list[int]) -> Iterator[Item]:
    for item in items:
        labelled.append(sum(item.sample.id in said for said in found.values()))
        yield item
