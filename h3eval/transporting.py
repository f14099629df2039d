"""A judge's errors, measured on other answers, carried over to this run's scores.

A card tells how often its judge is right on each class. Where that holds here too, it says what a judged share is
worth, however common the classes are (Rogan and Gladen 1978, with Lee's interval). Nothing in a run can show that it
holds: whoever asks for it assumes it, and every number made so says it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from h3eval.cardfiles import Card, voice
from h3eval.columns import Columns, columns
from h3eval.correcting import correctable, corrected
from h3eval.errors import ConfigError
from h3eval.importers.labelled import SET
from h3eval.plan import Plan
from h3eval.stats.corrected import Elsewhere
from h3eval.stats.correction import Rates
from h3eval.stats.estimates import nothing
from h3eval.types import Estimate, Item, Json, Metric, Run, Score, Task, TaskResult, Verdict

SCORE = "score of "


def with_cards(run: Run, plan: Plan, cards: Sequence[Card]) -> Run:
    """The run with a corrected estimate after each that a card's judge alone decides. Raise ConfigError without any."""
    tasks = {task.id: task for task in plan.tasks}
    results, used = [], set[str]()
    for result in run.results:
        found = _cards_of(result.judges, cards)
        results.append(_beside(result, tasks[f"{result.task}/{result.protocol}"], found))
        used |= {_whence(card) for card in found.values()}
    if not used:
        raise ConfigError("--transport: none of the cards is of a judge of this run: name its card with --card")
    assumed = (
        f"Corrected scores assume that the judge errs on each class of this run's answers as it did on {each}: nothing "
        "here can show that. Labels of this run's own answers (--labels) need no such assumption."
        for each in sorted(used)
    )
    return replace(run, results=tuple(results), warnings=(*run.warnings, *assumed))


def _cards_of(judges: Mapping[str, Mapping[str, Json]], cards: Sequence[Card]) -> dict[str, Card]:
    """By role, the last card that is of its judge."""
    found = {}
    for role in judges:
        mine = voice(role, judges)
        for card in cards:
            if card["voice"] == mine:
                found[role] = card
    return found


def _whence(card: Card) -> str:
    return f"{card['model']} ({', '.join(card['tasks'])})"


def _beside(result: TaskResult, task: Task, cards: Mapping[str, Card]) -> TaskResult:
    """The result with its corrected estimates; without a value where their note says why."""
    raws = {each.metric: each for each in result.estimates}
    metrics = [
        each
        for each in task.metrics
        if len(each.roles) == 1 and each.roles[0] in cards and correctable(each, raws[each.name], cards)
    ]
    cols = columns([*metrics, *map(_score_of, metrics)], result.items(), {}) if metrics else {}
    estimates = []
    for raw in result.estimates:
        estimates.append(raw)
        for metric in metrics:
            if metric.name == raw.metric:
                card = cards[metric.roles[0]]
                estimates.append(_moved(metric, raw, cols[raw.metric], cols[SCORE + raw.metric], card, task))
    return replace(result, estimates=tuple(estimates))


def _score_of(metric: Metric) -> Metric:
    """The judge's own score of the metric's items: what a card's rates are about."""
    (role,) = metric.roles

    def value(item: Item) -> Score:
        verdict = item.verdicts.get(role)
        return verdict.reading.score if isinstance(verdict, Verdict) else None

    return Metric(SCORE + metric.name, value, metric.aggregate, metric.roles, metric.applies)


def _moved(metric: Metric, raw: Estimate, judged: Columns, said: Columns, card: Card, task: Task) -> Estimate:
    known = _rates(card, judged, said)
    refused = known if isinstance(known, str) else _unlike(card, task)
    if metric.clustered:
        refused = "its items come in clusters, and Lee's interval is of single ones"
    if refused or isinstance(known, str):
        name = f"{metric.name} (corrected)"
        note = f"not corrected by the card: {refused}"
        return replace(nothing(name, raw.n_failed, raw.direction, note, raw.unit), judge=raw.judge)
    made = corrected(metric, raw, judged, Elsewhere(known))
    told = (
        f"{made.note}; assumes that the judge errs here as on {_whence(card)}" if made.value is not None else made.note
    )
    return replace(made, note=told)


def _rates(card: Card, judged: Columns, said: Columns) -> Rates | str:
    """How often the judge is right on each class of the metric, or why the card can't tell."""
    found: dict[str, Any] | None = (card.get("agreement") or {}).get("rates")
    if not found:
        return "the card has no sensitivity and specificity: its labels are graded, or of one class"
    rates = Rates(**found)
    if judged.ids == said.ids and np.array_equal(judged.judged, said.judged, equal_nan=True):
        return rates
    if judged.ids == said.ids and np.array_equal(judged.judged, 1 - said.judged, equal_nan=True):
        return Rates(rates.sensitivity, rates.specificity, rates.positives, rates.negatives)
    return "it reads more of a verdict than the score that the card is about"


def _unlike(card: Card, task: Task) -> str:
    """What is known to be another thing there; empty where it may be the same."""
    # A labelled set's questions are whatever its author has put there.
    if task.id in card["tasks"] or all(each.startswith(f"{SET}/") for each in card["tasks"]):
        return ""
    return f"its answers are to other prompts: {', '.join(card['tasks'])}"
