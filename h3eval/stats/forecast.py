"""All that is said of one set of probabilities and their outcomes, with what a reader must know first.

For a judge's P(unsafe) against people's labels, for a model's confidence in its choice (`top_label`'s
pair), for a router's probability of a dimension.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from h3eval.stats.arrays import Floats, Ints, probabilities
from h3eval.stats.calibration import Null, null, placed, rmsce, smooth_ece
from h3eval.stats.calibration import ece as _ece
from h3eval.stats.decomposition import Corp, corp
from h3eval.stats.estimates import nothing
from h3eval.stats.recalibration import Map, Method, log_odds, out_of_fold
from h3eval.stats.reliability import Bin, histogram, reliability
from h3eval.stats.scores import auroc, brier_skill, log_losses, mean_loss
from h3eval.types import Estimate

FEWEST = 300
"""Items below which an ECE over ten bins or more says little."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """How good probabilities are, by every measure that is reported."""

    n: int
    failed: int
    base_rate: float
    mean_p: float
    sd_p: float
    """Spread of the probabilities: none, and an ECE of zero is no news."""
    occupied: int
    """Bins of the equally wide ones that hold anything."""
    ece_width: float
    """15 equally wide bins."""
    ece_mass: float
    """15 equally full bins, ties kept together."""
    smooth_ece: float
    rmsce: float
    """Debiased, in equally full bins; zero is 'not detectable'."""
    null: Null
    """Of `ece_width`."""
    brier: Estimate
    brier_skill: float | None
    corp: Corp
    log_loss: Estimate
    clipped: int
    """Probabilities of 0 or 1 that were wrong, and cost ln(1e12) each instead of infinity."""
    auroc: Estimate
    table: tuple[Bin, ...]
    histogram: tuple[int, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """What recalibration by these labels would give, measured on items it was not fitted to."""

    method: Method
    maps: tuple[Map, ...]
    """One a fold."""
    ece_width: float
    ece_mass: float
    smooth_ece: float
    brier: Estimate
    log_loss: Estimate


def appraise(
    p: npt.ArrayLike,
    y: npt.ArrayLike,
    rng: np.random.Generator,
    failed: int = 0,
    clusters: npt.ArrayLike | None = None,
    bins: int = 15,
) -> Forecast:
    """Everything but recalibration. Soft outcomes are allowed, and have no AUROC."""
    forecasts, outcomes = probabilities(p, y)
    chance = null(forecasts, outcomes, rng, bins)
    losses = log_losses(forecasts, outcomes)
    spread = float(forecasts.std())
    return Forecast(
        n=len(forecasts),
        failed=failed,
        base_rate=float(outcomes.mean()),
        mean_p=float(forecasts.mean()),
        sd_p=spread,
        occupied=len(np.unique(placed(forecasts, bins))),
        ece_width=chance.observed,
        ece_mass=_ece(forecasts, outcomes, bins, "mass"),
        smooth_ece=smooth_ece(forecasts, outcomes),
        rmsce=rmsce(forecasts, outcomes, bins),
        null=chance,
        brier=mean_loss("brier", (forecasts - outcomes) ** 2, failed, clusters),
        brier_skill=brier_skill(forecasts, outcomes),
        corp=corp(forecasts, outcomes),
        log_loss=mean_loss("log_loss", losses.values, failed, clusters, unit="nats", most=None),
        clipped=losses.clipped,
        auroc=_ranking(forecasts, outcomes, failed, clusters),
        table=reliability(forecasts, outcomes, rng, bins, clusters=clusters),
        histogram=histogram(forecasts),
        warnings=tuple(_warnings(forecasts, outcomes, spread, chance, losses.clipped)),
    )


def recalibrated(
    p: npt.ArrayLike,
    y: npt.ArrayLike,
    fold: Ints,
    method: Method = "temperature",
    clusters: npt.ArrayLike | None = None,
    bins: int = 15,
) -> Recalibrated:
    """The same labels through `out_of_fold`, with folds from `recalibration.folds`. Raises as it does."""
    forecasts, outcomes = probabilities(p, y)
    better, maps = out_of_fold(log_odds(forecasts), outcomes, fold, method)
    return Recalibrated(
        method, maps,
        _ece(better, outcomes, bins), _ece(better, outcomes, bins, "mass"), smooth_ece(better, outcomes),
        mean_loss("brier", (better - outcomes) ** 2, 0, clusters),
        mean_loss("log_loss", log_losses(better, outcomes).values, 0, clusters, unit="nats", most=None),
    )  # fmt: skip


def _ranking(p: Floats, y: Floats, failed: int, clusters: npt.ArrayLike | None) -> Estimate:
    if not np.isin(y, (0.0, 1.0)).all():
        return nothing("auroc", failed, "higher", "outcomes are shares, which have no ranking of two classes")
    return auroc(p, y, failed, clusters)


def _warnings(p: Floats, y: Floats, spread: float, chance: Null, clipped: int) -> Iterable[str]:
    n = len(p)
    if n < FEWEST:
        yield f"ECE is not resolvable below {chance.q95:.3f} with {n} items: perfect calibration shows that by chance"
    if spread == 0:
        yield "the probability is the same for every item: an ECE near zero then says nothing, it cannot rank"
    if y.min() == y.max():
        yield "all outcomes are the same: nothing can be said of discrimination"
    if clipped:
        yield f"{clipped} probabilities of 0 or 1 were wrong: log loss counts them at 1e-12"
