"""How sure the model under test is of its choices, and how far it may be believed.

Multiple-choice tasks leave each option's probability in their rule's details, softmaxed from the very scores
whose largest is the model's answer: sums of log-probabilities for `acc`, sums by length for `acc_norm`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from h3eval.stats.arrays import Floats
from h3eval.stats.classes import Classes, appraise_classes
from h3eval.types import Estimate, Failure, Item, Json, Verdict

SCORES = {"acc": "probability", "acc_norm": "probability_norm"}
"""A metric's name to the probabilities made from the scores it compares."""
SEED = 20261121
BY_LENGTH = "scores are divided by the options' lengths in characters: their scale is free, and so is this confidence's"


@dataclass
class Choices:
    """One task's choices, taken item by item."""

    rows: dict[str, list[list[float]]] = field(default_factory=dict)
    """By metric: the options' probabilities."""
    gold: dict[str, list[int]] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    """Metrics that are not about the likeliest option."""

    def add(self, item: Item) -> None:
        """Note what the rule found of this item, if it is a choice."""
        verdict = item.verdicts.get("rule")
        if not isinstance(verdict, Verdict) or isinstance(item.generation, Failure):
            return
        for metric, value in verdict.reading.details.items():
            plain = metric.partition(",")[0]
            part, _, name = plain.rpartition("_") if plain.endswith("_acc") else ("", "", plain)
            if name in SCORES and metric not in self.refused:
                self._add(metric, value, f"{part}_" if part else "", SCORES[name], verdict.reading.details)

    def _add(self, metric: str, value: Json, part: str, key: str, details: Mapping[str, Json]) -> None:
        if f"{part}{key}" not in details:
            return
        given, gold = details[f"{part}{key}"], details.get(f"{part}gold")
        if given is None:
            self.failed[metric] = self.failed.get(metric, 0) + 1
            return
        top = [place for place, each in enumerate(given) if each == max(given)]
        # Several right options, or a score that is no choice of the likeliest, are no confidence in one.
        if type(gold) is not int or not 0 <= gold < len(given) or (len(top) == 1 and value != float(top[0] == gold)):
            self.refused.add(metric)
            return
        self.rows.setdefault(metric, []).append(given)
        self.gold.setdefault(metric, []).append(gold)

    def blocks(self) -> dict[str, Json]:
        """By metric: how good the probabilities are, or a note that says why that can't be told."""
        return {
            metric: _block(metric, rows, self.gold[metric], self.failed.get(metric, 0))
            for metric, rows in self.rows.items()
            if metric not in self.refused
        }


def _block(metric: str, rows: Sequence[Sequence[float]], gold: Sequence[int], failed: int) -> Json:
    # A column that no item has: options are not classes, for their order tells nothing of them.
    widest = 1 + max(map(len, rows))
    table: Floats = np.full((len(rows), widest), np.nan)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return _told(appraise_classes(table, gold, np.random.default_rng(SEED), failed), "norm" in metric)


def _told(found: Classes, by_length: bool) -> Json:
    top = found.top
    ece = {
        "ece": top.ece_width, "ece_mass": top.ece_mass, "smooth_ece": top.smooth_ece, "rmsce": top.rmsce,
        "ece_null_q95": top.null.q95, "ece_p": top.null.p_value,
    }  # fmt: skip
    scores = {
        "brier": brief(top.brier), "brier_skill": top.brier_skill, "brier_sum": brief(found.brier_sum),
        "brier_sum_uniform": found.uniform, "brier_sum_skill": found.skill, "auroc": brief(top.auroc),
        "log_loss": brief(found.log_loss),
    }  # fmt: skip
    return {
        "n": found.n, "n_failed": top.failed, "options": list(found.sizes), "confidence": top.mean_p,
        "accuracy": top.base_rate, **ece, **scores, "table": [asdict(each) for each in top.table],
        "warnings": [*([BY_LENGTH] if by_length else []), *top.warnings],
    }  # fmt: skip


def brief(found: Estimate) -> dict[str, Any]:
    """An estimate's numbers, for JSON."""
    return {
        "value": found.value, "n": found.n, "se": found.se, "ci": None if found.ci is None else list(found.ci),
        **({"note": found.note} if found.note else {}),
    }  # fmt: skip
