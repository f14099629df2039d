"""Two stored runs side by side: what may be compared, and by how much they differ on the same items."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from h3eval import config
from h3eval.cardfiles import who
from h3eval.columns import Columns, columns, told
from h3eval.judgeplan import JudgePlan, seats
from h3eval.labels import Labels
from h3eval.plan import Plan
from h3eval.questions import Names
from h3eval.scoring import items, measure, outcome, plan_of, value_of
from h3eval.stats.comparison import Difference, corrected_difference, holm, paired, student_difference
from h3eval.stats.composite import DIMENSIONS
from h3eval.stats.estimates import percents
from h3eval.store import Reader
from h3eval.text import canonical, digest
from h3eval.types import Estimate, Item, Json, Metric, Task, TaskResult

WIDEST = {"percent": 100.0, "proportion": 1.0}


@dataclass(frozen=True)
class Scored:
    """One item's score by one metric, where it has one, and the cluster it belongs to."""

    score: float | None
    cluster: str
    label: str
    sample_id: str


@dataclass(frozen=True)
class Flip:
    """An item that is read otherwise in the new run. Ids are the runs' own: the question is the same."""

    sample_id: str
    old_id: str
    old: float
    new: float
    old_label: str
    new_label: str


@dataclass(frozen=True)
class Change:
    """One metric of one task in both runs. `difference` is new - old, in `unit`; None where `note` says why."""

    task: str
    dimension: str
    axis: str
    metric: str
    primary: bool
    unit: str
    direction: str
    old: Estimate
    new: Estimate
    difference: Difference | None = None
    shared: int = 0
    """Items that both runs have."""
    unscored: int = 0
    """Of these, how many one run or both could not score."""
    only_old: int = 0
    only_new: int = 0
    other_questions: int = 0
    """Ids that both runs have, for different questions."""
    renamed: int = 0
    """Questions that both runs have, under different ids."""
    flips: tuple[Flip, ...] = ()
    p_adjusted: float | None = None
    """Holm's, over all primary metrics that were compared."""
    note: str = ""
    correction: str = ""
    """How people's labels corrected the difference, or why they did not; empty without labels."""

    @property
    def name(self) -> str:
        return f"{self.task}: {self.metric}"


@dataclass(frozen=True)
class Comparison:
    """All that two runs share. `refused` names what they don't, with the reason."""

    old: str
    new: str
    changes: tuple[Change, ...]
    refused: Mapping[str, str]

    @property
    def primaries(self) -> list[Change]:
        return [change for change in self.changes if change.primary]

    @property
    def means(self) -> Iterator[tuple[str, int, Difference]]:
        """Each dimension's name, its number of tasks and their mean change, where all of them have one."""
        for name in DIMENSIONS:
            of = [each for each in self.primaries if each.dimension == name and not each.axis]
            if (mean := dimension(of)) is not None:
                yield name, len(of), mean


def compare(old: Path, new: Path, labels: tuple[Labels, Labels] | None = None) -> Comparison:
    """Every metric of every task that both runs have; differences are corrected where `labels` of both runs' answers
    allow it. Raise UsageError where there is no run."""
    with Reader(old) as before, Reader(new) as after:
        plans = plan_of(before), plan_of(after)
        tasks = {task.id: task for task in plans[0].tasks}
        both = [task for task in plans[1].tasks if task.id in tasks]
        refused = dict(_only(plans))
        changes: list[Change] = []
        for task in both:
            found = _Pair(task, (before, after), plans, labels)
            if wrong := found.other_items():
                refused[task.id] = wrong
            else:
                changes += found.changes()
    return Comparison(plans[0].model, plans[1].model, tuple(_adjusted(changes)), refused)


def _only(plans: tuple[Plan, Plan]) -> Iterator[tuple[str, str]]:
    names = [{task.id for task in plan.tasks} for plan in plans]
    for name in sorted(names[0] ^ names[1]):
        run, other = ("old", "new") if name in names[0] else ("new", "old")
        same = sorted(each for each in names[run == "old"] if each.partition("/")[0] == name.partition("/")[0])
        hint = f": the {other} run has the protocol {same[0]}, and protocols are never mixed" if same else ""
        yield name, f"only in the {run} run{hint}"


class _Pair:
    """One task in two runs, its items read once from each."""

    def __init__(
        self,
        task: Task,
        readers: tuple[Reader, Reader],
        plans: tuple[Plan, Plan],
        labels: tuple[Labels, Labels] | None,
    ) -> None:
        self.task = task
        self.plans = plans
        self.results = [measure(reader, plan, task) for reader, plan in zip(readers, plans, strict=True)]
        self.scores = [scores(task, items(reader, plan, task)) for reader, plan in zip(readers, plans, strict=True)]
        self.ids = [_ids(scored) for scored in self.scores]
        sides = zip(self.results, plans, labels or (), strict=False)
        self.people = [told(result, task, plan, mine) for result, plan, mine in sides]

    @cached_property
    def columns(self) -> list[dict[str, Columns]]:
        """Either run's scores beside people's, by metric."""
        judged = [metric for metric in self.task.metrics if metric.roles]
        return [columns(judged, result.items(), found) for result, found in zip(self.results, self.people, strict=True)]

    def other_items(self) -> str:
        """Why the two runs have no item in common; empty where they have some."""
        before, after = self.ids
        if before.keys() & after.keys():
            return ""
        settings = [{**plan.options, "limit": None} for plan in self.plans]
        names = sorted({*settings[0], *settings[1]})
        differ = [name for name in names if settings[0].get(name) != settings[1].get(name)]
        told = "; ".join(f"{name}: {settings[0].get(name)!r} then, {settings[1].get(name)!r} now" for name in differ)
        why = f" (asked with other settings: {told})" if told else ""
        same = self._other_questions()
        named = f": {len(same)} ids name another question ({same[0]})" if same else ""
        return f"the runs share no question{named}{why}"

    def _other_questions(self) -> list[str]:
        """Ids that both runs have, for different questions."""
        before, after = ({name: question for question, name in ids.items()} for ids in self.ids)
        return [name for name in before if name in after and _question(before[name]) != _question(after[name])]

    def changes(self) -> Iterator[Change]:
        for metric in self.task.metrics:
            yield self._change(metric)

    def _change(self, metric: Metric) -> Change:
        before, after = (scored[metric.name] for scored in self.scores)
        old, new = (_estimate(result, metric.name) for result in self.results)
        shared = [name for name in before if name in after]
        kept = [name for name in shared if before[name].score is not None and after[name].score is not None]
        change = Change(
            self.task.id, self.task.dimension, self.task.axis, metric.name, metric.name == self.task.primary,
            new.unit, new.direction, old, new,
            shared=len(shared), unscored=len(shared) - len(kept),
            only_old=len(before) - len(shared), only_new=len(after) - len(shared),
            other_questions=len(self._other_questions()),
            renamed=sum(before[name].sample_id != after[name].sample_id for name in shared),
        )  # fmt: skip
        if note := self._incomparable(metric, len(kept)):
            return replace(change, note=note)
        factor = 100.0 if new.unit == "percent" else 1.0
        judged = [np.array([side[name].score for name in kept], dtype=float) * factor for side in (after, before)]
        clusters = [after[name].cluster for name in kept]
        largest = WIDEST.get(new.unit, float(max(1e-9, np.ptp(np.concatenate(judged)))))
        groups = clusters if len(set(clusters)) < len(clusters) else None
        difference = _paired(judged, groups, largest)
        if self.people and metric.roles and new.direction != "none":
            ids = [[side[name].sample_id for name in kept] for side in (after, before)]
            difference, correction = self._corrected(metric, difference, judged, ids, groups, factor)
            change = replace(change, correction=correction)
        flips = [_flip(before[name], after[name]) for name in kept if _turned(before[name], after[name])]
        flips.sort(key=lambda flip: -abs(flip.new - flip.old))
        return replace(change, difference=difference, flips=tuple(flips))

    def _corrected(
        self,
        metric: Metric,
        raw: Difference,
        judged: Sequence[Any],
        ids: Sequence[Sequence[str]],
        groups: list[str] | None,
        factor: float,
    ) -> tuple[Difference, str]:
        """The difference behind the judged one, by people's labels; else the judged one, and why."""
        sides = [each[metric.name] for each in self.columns]
        if any(side.beyond for side in sides):
            return raw, f"not corrected: {metric.name} is about more of a verdict than labels say"
        if not all(side.random for side in sides):
            return raw, "not corrected: the labels are not said to be of items drawn at random"
        known = [dict(zip(side.ids, side.truth, strict=True)) for side in reversed(sides)]
        truth = [np.array([values[name] for name in names]) * factor for values, names in zip(known, ids, strict=True)]
        try:
            made = corrected_difference(judged[0], judged[1], truth[0], truth[1], groups, raw.largest)
        except ValueError as error:
            return raw, f"not corrected: {error}"
        return made, f"corrected: {made.method}; as judged {raw.value:+.4g}"

    def _incomparable(self, metric: Metric, kept: int) -> str:
        for role in metric.roles:
            sides = [sorted(map(_voice, seats(plan.judges, role))) for plan in self.plans]
            if sides[0] != sides[1]:
                return f"{role} was judged otherwise: {' + '.join(sides[0])} then, {' + '.join(sides[1])} now"
        return "" if kept else "no item was scored in both runs"


def _voice(judge: JudgePlan) -> str:
    """Who judged, and how: judge, version, wording and engine."""
    mark = digest(canonical(who(judge.entry())))[:8]
    return f"{judge.judge_name} on {judge.spec.partition(',')[0] or 'nothing'} ({mark})"


def scores(task: Task, found: Iterator[Item]) -> dict[str, dict[str, Scored]]:
    """By metric and question (`h3eval.questions`), for every item to which the metric applies.

    A value that is no single score has none here: such metrics are not compared item by item.
    """
    table: dict[str, dict[str, Scored]] = {metric.name: {} for metric in task.metrics}
    questions = Names()
    for item in found:
        name = questions.name(item.sample)
        for metric in task.metrics:
            if metric.applies(item):
                table[metric.name][name] = _scored(metric, item)
    return table


def _scored(metric: Metric, item: Item) -> Scored:
    value: Any = value_of(metric, item)
    cluster = item.sample.id
    if metric.clustered and value is not None:
        value, cluster = value[0], str(value[1])
    label = "; ".join(outcome(item.verdicts[role]) for role in metric.roles or ("rule",) if role in item.verdicts)
    return Scored(None if isinstance(value, tuple) else value, cluster, label, item.sample.id)


def _ids(scored: Mapping[str, Mapping[str, Scored]]) -> dict[str, str]:
    """Question to sample id, of every item that some metric applies to."""
    return {name: each.sample_id for table in scored.values() for name, each in table.items()}


def _question(name: str) -> str:
    """The question, whichever time it is asked."""
    return name.partition("#")[0]


def _paired(columns: Sequence[Any], clusters: list[str] | None, largest: float) -> Difference:
    if largest == 100.0 and clusters is None and all(np.isin(column, (0.0, 100.0)).all() for column in columns):
        # A share in percent: tested as the share it is.
        return _hundredfold(paired(columns[0] / 100, columns[1] / 100))
    return paired(columns[0], columns[1], clusters, largest)


def _hundredfold(found: Difference) -> Difference:
    names = ("value", "se", "error", "sd", "unpaired_se", "largest")
    larger = {name: getattr(found, name) * 100 for name in names}
    return replace(found, **larger, ci=(found.ci[0] * 100, found.ci[1] * 100))


def _turned(old: Scored, new: Scored) -> bool:
    """Is the item read otherwise? By its label where there is one: graded scores nearly always differ a little."""
    return old.label != new.label if old.label and new.label else old.score != new.score


def _flip(old: Scored, new: Scored) -> Flip:
    return Flip(new.sample_id, old.sample_id, old.score or 0.0, new.score or 0.0, old.label, new.label)


def _estimate(result: TaskResult, metric: str) -> Estimate:
    return next(each for each in result.estimates if each.metric == metric)


def _adjusted(changes: Sequence[Change]) -> list[Change]:
    """With Holm's p-values for the primary metrics, which are what the comparison is about."""
    tested = {k: change.difference.p for k, change in enumerate(changes) if change.primary and change.difference}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True)) if tested else {}
    return [
        replace(change, p_adjusted=float(adjusted[k]) if k in adjusted else None) for k, change in enumerate(changes)
    ]


def dimension(changes: Sequence[Change]) -> Difference | None:
    """Mean change of several tasks in percent points of the better direction; None where one has no difference.

    Tasks that ask different questions have independent errors: se² = Σ se² / k². The errors of those that ask the
    same are added as if they always went together, as in a composite, which can only widen the interval.
    """
    found = [(_points(change), change.difference) for change in changes]
    if not found or any(each is None or math.isnan(factor) for factor, each in found):
        return None
    parts = [(factor, each) for factor, each in found if each is not None]
    k = len(parts)
    value = math.fsum(factor * each.value for factor, each in parts) / k
    # A score interval's reach gives the error: it is not zero where no item differs.
    errors: dict[frozenset[str], float] = defaultdict(float)
    for change, (factor, each) in zip(changes, parts, strict=True):
        errors[_alike(change)] += abs(factor) * max(each.se, (each.ci[1] - each.ci[0]) / 3.92)
    se = math.hypot(*errors.values()) / k
    n = sum(each.n for _, each in parts)
    freedom = float(min(each.clusters for _, each in parts) - 1)
    spread = Difference(value, n, se, (math.nan, math.nan), math.nan, f"mean of {k} tasks", n, largest=100.0)
    return student_difference(spread, max(1.0, freedom))


def _alike(change: Change) -> frozenset[str]:
    """The tasks that ask this one's questions."""
    name = change.task.partition("/")[0]
    shared = [set(names) for table in config.composites().values() for names in table.get("shared", ())]
    return frozenset({name}.union(*(names for names in shared if name in names)))


def _points(change: Change) -> float:
    """Factor to percent points of the better direction; NaN where the range of its unit is not known."""
    factor, _ = percents(change.new) or (math.nan, 0.0)
    return -factor if change.direction == "lower" else factor


def plain(change: Change, flips: int | None = None) -> dict[str, Json]:
    """A change as JSON."""
    found = change.difference
    return {
        "task": change.task, "dimension": change.dimension, "axis": change.axis or None, "metric": change.metric,
        "primary": change.primary, "unit": change.unit, "direction": change.direction,
        "old": change.old.value, "new": change.new.value,
        "difference": found.value if found else None, "se": _real(found.se) if found else None,
        "ci": [_real(end) for end in found.ci] if found else None, "p": _real(found.p) if found else None,
        "p_adjusted": change.p_adjusted, "method": found.method if found else None, "n": found.n if found else 0,
        "shared": change.shared, "unscored": change.unscored,
        "only_old": change.only_old, "only_new": change.only_new,
        "other_questions": change.other_questions, "renamed": change.renamed, "note": change.note or None,
        "correction": change.correction or None,
        "flips": [
            {
                "id": f.sample_id, "old_id": f.old_id, "old": f.old, "new": f.new,
                "old_label": f.old_label, "new_label": f.new_label,
            }
            for f in change.flips[:flips]
        ],
    }  # fmt: skip


def _real(value: float) -> float | None:
    return None if math.isnan(value) or math.isinf(value) else float(value)
