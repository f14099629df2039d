"""What judges and people say of a task's answers, item by item, in one reading of them.

A label takes the verdict's place in the item, and the metric reads the item again: so every metric that reads no
more of a verdict than label and score has a true value wherever its roles are labelled.
"""

import functools
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from h3eval.errors import ConfigError, RunMismatch
from h3eval.judgeplan import SEAT, JudgePlan, seats
from h3eval.labels import Label, Labels, Scale, Truth, truths
from h3eval.plan import Plan
from h3eval.stats.arrays import Floats
from h3eval.types import Failure, Item, Metric, Reading, Score, Task, TaskResult, Verdict

PEOPLE = "people"
Told = Mapping[str, Mapping[str, Truth]]
"""Role to sample to what people say of its answer."""
NOBODY: Mapping[str, Truth] = {}


@dataclass(frozen=True)
class Columns:
    """One metric's items: as judged and as people say, NaN where there is no verdict or no label."""

    ids: list[str]
    judged: Floats
    truth: Floats
    clusters: npt.NDArray[Any] | None
    random: bool
    """The labelled items were drawn at random, or are all there are."""
    silent: int
    """Items without an answer: they are not among the columns."""
    beyond: bool
    """The metric reads more of a verdict than people can say: its details."""


def told(result: TaskResult, task: Task, plan: Plan, labels: Labels, default: str = "") -> Told:
    """What people say of the task's answers, for each role that has labels.

    `default` is the role of rows that name none; empty: the task's only one. Raise ConfigError for a word that
    is not on the judge's scale, or a row without a role that could be for several; RunMismatch for an answer that is
    not the run's.
    """
    task_roles = list(task.judges)
    default = default or (task_roles[0] if len(task_roles) == 1 else "")
    names = ("", task.name, task.id)
    rows = [row for row in labels.rows if row.task in names and row.role in ("", *task_roles)]
    unclear = next((row for row in rows if not row.role), None)
    if unclear and not default and task_roles:
        raise ConfigError(f"{unclear.place}: names no role, and {task.id} has several: {', '.join(task_roles)}")
    scales = {role: filled[0].judge.scale for role in task_roles if (filled := seats(plan.judges, role))}
    seen = _looked(result, scales, rows) if rows else {}
    found = {}
    for role, scale in scales.items():
        words = {**_declared(seats(plan.judges, role)), **seen.get(role, {})}
        if made := truths(labels, task, role, Scale(scale, words, labels.words or {}), role == default):
            found[role] = made
    return found


def _declared(filled: Sequence[JudgePlan]) -> dict[str, float]:
    """The labels that the judges' own rubrics declare, whether or not a verdict has used them."""
    return {
        label: float(score) for judge in filled for label, score in dict(judge.parameters.get("labels") or {}).items()
    }


def _looked(result: TaskResult, scales: Mapping[str, str], rows: Sequence[Label]) -> dict[str, dict[str, float]]:
    """What must be known of the items before the labels can be read: each role's words, with their scores.

    Items are read only where a label has a word that the scale's own two don't settle, or names its answer. Raise
    RunMismatch for an answer that is not the run's.
    """
    words = {word.casefold() for word in {row.word for row in rows}}
    open_roles = [role for role, scale in scales.items() if not Scale(scale, {}, {}).settles(words)]
    answers: dict[str, list[Label]] = {}
    for row in rows:
        if row.answer is not None:
            answers.setdefault(row.id, []).append(row)
    if not open_roles and not answers:
        return {}
    scores: dict[str, dict[str, set[float]]] = {role: {} for role in open_roles}
    for item in result.items():
        _same_answer(item, answers)
        for name, verdict in item.verdicts.items() if open_roles else ():
            known = scores.get(name.partition(SEAT)[0])
            if known is not None and isinstance(verdict, Verdict):
                known.setdefault(verdict.reading.label, set()).add(verdict.reading.score)
    # A label that came with several scores has none.
    return {
        role: {label: values.pop() for label, values in sorted(known.items()) if len(values) == 1}
        for role, known in scores.items()
    }


def _same_answer(item: Item, answers: Mapping[str, Sequence[Label]]) -> None:
    if item.sample.id not in answers or isinstance(item.generation, Failure):
        return
    for row in answers[item.sample.id]:
        if row.answer != item.generation.text:
            raise RunMismatch(f"{row.place}: the label is of another answer than this run's to {item.sample.id}")


def columns(metrics: Sequence[Metric], items: Iterable[Item], found: Told) -> dict[str, Columns]:
    """Each metric's items with people's labels, in stored order, from one reading of the items."""
    made = {metric.name: _Column(metric) for metric in metrics}
    groups: dict[tuple[str, ...], list[_Column]] = {}
    for column in made.values():
        groups.setdefault(column.metric.roles, []).append(column)
    for item in items:
        for roles, together in groups.items():
            if isinstance(item.generation, Failure):
                for column in together:
                    column.silent += column.metric.applies(item)
                continue
            forms = _forms(item, roles, found)
            for column in together:
                column.add(forms)
    return {name: column.made() for name, column in made.items()}


_Forms = tuple[Item, bool, Item, Item | None, bool]
"""An item; whether one of its judges gave no verdict; the item with label and score alone of each verdict; as people
say, None without all of their labels; and whether these were drawn at random. What is no other item is the same
object."""


def _forms(item: Item, roles: Sequence[str], found: Told) -> _Forms:
    bare: dict[str, Verdict] = {}
    people: dict[str, Verdict] = {}
    same = drawn = True
    failed = False
    for role in roles:
        verdict = item.verdicts.get(role)
        heard = verdict.reading if isinstance(verdict, Verdict) else None
        if heard is None:
            failed = failed or verdict is not None
        elif heard.details or heard.probability is not None:
            bare[role] = _said(heard.label, heard.score)
        truth = found.get(role, NOBODY).get(item.sample.id)
        if truth is not None and (reading := truth.reading) is not None:
            people[role] = _said(reading.label, reading.score)
            same = same and heard is not None and heard.score == reading.score and heard.label == reading.label
            drawn = drawn and truth.random
    plain = _with(item, bare) if bare else item
    if len(people) < len(roles):
        return item, failed, plain, None, drawn
    return item, failed, plain, plain if same else _with(item, people), drawn


@functools.lru_cache(4096)
def _said(label: str, score: float) -> Verdict:
    """Label and score, and nothing else: one object for all items that are read so."""
    return Verdict("", PEOPLE, Reading(label, score))


def _with(item: Item, verdicts: Mapping[str, Verdict]) -> Item:
    return Item(item.sample, item.generation, {**item.verdicts, **verdicts})


@dataclass
class _Column:
    """One metric's values, as they are read."""

    metric: Metric
    ids: list[str] = field(default_factory=list)
    judged: "array[float]" = field(default_factory=lambda: array("d"))
    truth: "array[float]" = field(default_factory=lambda: array("d"))
    clusters: list[str] = field(default_factory=list)
    random: bool = True
    silent: int = 0
    beyond: bool = False

    def add(self, forms: _Forms) -> None:
        """Read an item and its forms by the metric, if it applies."""
        metric = self.metric
        item, failed, bare, labelled, drawn = forms
        if not metric.applies(item):
            return
        found = None if failed else metric.value(item)
        value = self._number(found)
        plain = found
        # Once a metric is known to read more, only what people say is still wanted.
        if bare is not item and (labelled is bare or not self.beyond):
            plain = self._read(bare)
            # NaN is no judge's value, and differs from itself.
            self.beyond = self.beyond or (value == value and self._number(plain) != value)
        number = math.nan
        true: Score = None
        if labelled is not None and (labelled is item or metric.applies(labelled)):
            true = plain if labelled is bare else self._read(labelled)
            number = self._number(true)
            self.random = self.random and (drawn or math.isnan(number))
        self.ids.append(item.sample.id)
        self.judged.append(value)
        self.truth.append(number)
        if metric.clustered:
            pair = true if math.isnan(value) else found
            self.clusters.append(str(pair[1]) if isinstance(pair, tuple) else item.sample.id)

    def _read(self, other: Item) -> Score:
        """The metric of a form that has no details; a metric that must have them reads more than people say."""
        try:
            return self.metric.value(other)
        except KeyError:
            self.beyond = True
            return None

    def _number(self, value: Any) -> float:
        """NaN where there is no score, or several."""
        if type(value) is float:
            return value
        if isinstance(value, tuple):
            return float(value[0]) if self.metric.clustered else math.nan
        return math.nan if value is None else float(value)

    def made(self) -> Columns:
        judged, truth = (np.frombuffer(each) if each else np.empty(0) for each in (self.judged, self.truth))
        everyone = len(truth) > 0 and not np.isnan(truth).any()
        groups = np.array(self.clusters) if self.clusters else None
        return Columns(self.ids, judged, truth, groups, self.random or everyone, self.silent, self.beyond)
