"""AlpacaEval's metrics: win rates as its leaderboard prints them, and the length-controlled one."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from h3eval.datasets import read_rows
from h3eval.errors import ConfigError
from h3eval.stats.estimates import mean, nothing
from h3eval.stats.length_control import length_controlled
from h3eval.types import Estimate, Generation, Item, Json, Metric, Score

from ._shared import percent, score

ROLE = "alpaca_eval"
NEEDED = (
    "needs AlpacaEval's own file df_gamed.csv (data set tatsu-lab/alpaca_eval on the hub, revision "
    "2edc6fad) under --data-dir, in alpaca_eval/ or at the top"
)
FULL = 805


def gamed_rows(file: str) -> dict[int, dict[str, Json]]:
    """What the length-controlled fit needs, by the instruction's place in the evaluation set.

    `difficulty` of the instruction, and `gamed`: the two rows of the baseline judged against its own
    verbose and concise variants, as (line in the file, preference, standardised difference in length).
    Raise ConfigError for a file that is not AlpacaEval's.
    """
    found: dict[int, dict[str, Json]] = {}
    try:
        for line, row in enumerate(read_rows(Path(file))):
            entry = found.setdefault(
                int(row["index"]), {"difficulty": float(row["instruction_difficulty"]), "gamed": []}
            )
            preference, delta = row["preference"], float(row["std_delta_len"])
            if preference:
                entry["gamed"].append([line, float(preference), delta])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{file}: not AlpacaEval's df_gamed.csv: {error!r}") from error
    return found


def win(item: Item) -> Score:
    """How much the judge prefers the model's answer to the baseline's, 0 to 1."""
    return score(item, ROLE)


def whole_win(item: Item) -> Score:
    """The same, rounded to a vote; a tie is exactly one half."""
    value = score(item, ROLE)
    return value if value in (None, 0.5) else float(value > 0.5)


def characters(item: Item) -> Score:
    """Length of the model's answer."""
    return float(len(item.generation.text)) if isinstance(item.generation, Generation) else None


def win_rate(metric: str, scores: Sequence[Score], failed: int) -> Estimate:
    """Mean preference in percent, with the leaderboard's counts; its standard error is ddof 1."""
    values = np.asarray(scores, dtype=float)
    counts = {
        "n_wins": int((values > 0.5).sum()),
        "n_wins_base": int((values < 0.5).sum()),
        "n_draws": int((values == 0.5).sum()),
    }
    return percent(replace(mean(metric, scores, failed), details=counts))


def average_length(metric: str, scores: Sequence[Score], failed: int) -> Estimate:
    """Mean length in characters; the leaderboard prints its whole part."""
    values = np.asarray(scores, dtype=float)
    if not len(values):
        return nothing(metric, failed, "none", "nothing was answered", "characters")
    se = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    value = float(values.mean())
    return Estimate(metric, value, len(values), failed, se=se, unit="characters", direction="none", method="t")


def lengths_and_difficulty(item: Item) -> Score:
    """One row of the length-controlled fit, its instruction's two gamed rows behind it."""
    preference = score(item, ROLE)
    if preference is None or not isinstance(item.generation, Generation):
        return None
    sample = item.sample
    delta = float(len(str(sample.reference)) - len(item.generation.text))
    gamed = [number for row in sample.metadata["gamed"] for number in row]
    return (preference, delta, float(sample.metadata["difficulty"]), *gamed)


def length_controlled_rate(metric: str, scores: Sequence[Score], failed: int) -> Estimate:
    """AlpacaEval's `length_controlled_v1`, fitted with scikit-learn; refused without its file."""
    rows = [row for row in scores if isinstance(row, tuple)]
    if not rows:
        return nothing(metric, failed, "higher", "nothing was scored" if failed else NEEDED, "percent")
    own = [(row[0], row[1], row[2]) for row in rows]
    # In the file's own order: it decides which rows share a fold of the cross-validation.
    gamed = sorted((row[i], row[i + 1], row[i + 2], row[2]) for row in rows for i in range(3, len(row), 3))
    try:
        fit = length_controlled(own, [row[1:] for row in gamed])
    except ValueError as error:
        return nothing(metric, failed, "higher", str(error), "percent")
    part = "" if len(rows) == FULL else f"fitted on {len(rows)} of {FULL} instructions"
    names = ("tanh(length)", "difficulty", "own")
    return Estimate(
        metric, fit.value * 100, len(rows), failed,
        se=fit.se * 100, unit="percent", note=part,
        method="logistic regression; se is the spread of its predictions only, as AlpacaEval's",
        details={"C": fit.strength, **dict(zip(names, fit.coefficients, strict=True))},
    )  # fmt: skip


RATES = (
    Metric("win_rate", win, win_rate, (ROLE,)),
    Metric("discrete_win_rate", whole_win, win_rate, (ROLE,)),
    Metric("avg_length", characters, average_length),
)
LENGTH_CONTROLLED = Metric(
    "length_controlled_winrate",
    lengths_and_difficulty,
    length_controlled_rate,
    (ROLE,),
    applies=lambda item: "difficulty" in item.sample.metadata,
)
