"""Which correction of a judged mean is sound: chosen by its assumption, and explained in a sentence.

Random labels of the run itself come first. From 10 of each class they are combined with the verdicts
(below that, simulated intervals cover less than they say), else they stand alone. Other labels only
tell how the judge errs on each class: Lee's interval, for zeros and ones, if judge, prompt and model
family are the same. Where nothing is sound, there is no value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from h3eval.stats.arrays import Floats, places
from h3eval.stats.clustered import clustered_mean
from h3eval.stats.correction import Corrected, Rates, lee, post_stratified, ppi, rates
from h3eval.stats.estimates import UNIT, Direction, mean, nothing, proportion
from h3eval.types import Estimate

LEAST_OF_EACH = 10
"""Labels of each class below which a correction's interval covers less than it says."""
LEAST_YOUDEN = 1.2
"""Sensitivity plus specificity below which a judge's verdicts hold less than its errors cost."""


@dataclass(frozen=True)
class Elsewhere:
    """A judge's rates on another set, and what differs between that set and the run: `unlike`
    names the judge, the prompt or the model family, and anything named there refuses the rates."""

    rates: Rates
    unlike: Sequence[str] = ()


@dataclass(frozen=True)
class Scale:
    """What the estimate is called and how it is read."""

    metric: str
    direction: Direction = "higher"
    span: tuple[float, float] = UNIT
    unit: str = "proportion"
    version: int = 1


@dataclass(frozen=True)
class _Data:
    """One value an item: NaN where the judge failed, or nobody labelled."""

    judged: Floats
    truth: Floats
    clusters: npt.ArrayLike | None

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        return ~np.isnan(self.truth)

    @property
    def scored(self) -> npt.NDArray[np.bool_]:
        return ~np.isnan(self.judged)

    @property
    def labels(self) -> Floats:
        return self.truth[self.known]

    @property
    def binary(self) -> bool:
        return _binary(self.judged[self.scored]) and _binary(self.labels)

    def rates(self) -> Rates | None:
        """The judge's rates on its labelled verdicts; None where a class is missing."""
        both = self.known & self.scored
        f, y = self.judged[both], self.truth[both]
        return rates(f, y) if self.binary and len(np.unique(y)) == 2 else None


def corrected(
    scale: Scale,
    judged: npt.ArrayLike,
    truth: npt.ArrayLike,
    *,
    random: bool = True,
    elsewhere: Elsewhere | None = None,
    clusters: npt.ArrayLike | None = None,
) -> Estimate:
    """The true mean over all items, by the method whose assumption holds; `note` says which and why.

    `judged` and `truth` hold one value an item within `scale.span`: NaN where the judge failed or
    nobody labelled. `random`: the labelled items were drawn at random from these, without a look at
    answers or verdicts. `details` has the uncorrected mean and the counts. An estimate without a
    value says what is missing.
    """
    data = _Data(np.asarray(judged, dtype=float), np.asarray(truth, dtype=float), clusters)
    missing = int((~data.scored).sum())
    # Few labels of the run itself give way to enough of them from elsewhere, where these hold.
    own = None if random or data.rates() is None else Elsewhere(data.rates() or Rates(0, 0, 0, 0))
    source = own or elsewhere
    refused = _refused(data, source)
    if random and len(data.labels) >= 2 and (refused or _enough(data.labels)):
        return _told(_from_sample(scale, data), data, len(data.labels))
    if refused or source is None:
        return nothing(scale.metric, missing, scale.direction, f"not corrected: {refused}", scale.unit)
    whose = "this run's, but not drawn at random" if own else "from elsewhere"
    return _told(_from_rates(scale, data, source.rates, whose), data, source.rates.negatives + source.rates.positives)


def _refused(data: _Data, source: Elsewhere | None) -> str:
    """Why the rates may not be used; empty where they may."""
    if not data.scored.any():
        return "the judge gave no verdict"
    if not data.binary:
        return "labels that are no random sample of the run correct zeros and ones only"
    if source is None:
        return "there are no labels of both classes"
    if source.unlike:
        return f"the labels are of another {', another '.join(source.unlike)}"
    if min(source.rates.negatives, source.rates.positives) < LEAST_OF_EACH:
        return f"fewer than {LEAST_OF_EACH} of each class are labelled"
    if source.rates.youden < LEAST_YOUDEN:
        return _blind(source.rates)
    return ""


def _from_sample(scale: Scale, data: _Data) -> Estimate:
    """From random labels of this run: with the verdicts where these help, else alone."""
    alone = _alone(scale, data)
    reason = _no_help(data)
    if reason:
        return replace(alone, note=f"labels alone, as {reason}")
    # Any fixed reading of a missing verdict will do: labels correct it as they do the judge's others.
    judged = np.where(data.scored, data.judged, np.median(data.judged[data.scored]))
    if data.binary and data.clusters is None and len(np.unique(judged[data.known])) == 2:
        made, method = post_stratified(judged, data.truth), "post-stratified"
    else:
        made, method = ppi(judged, data.truth, clusters=data.clusters, span=scale.span), "PPI++"
    if alone.ci is not None and made.ci[1] - made.ci[0] > alone.ci[1] - alone.ci[0]:
        return replace(alone, note="labels alone, as with the verdicts the interval is wider")
    worth = f"they are worth {made.effective_labels:.0f} labels alone"
    return _estimate(scale, made, method, f"{made.labels} labels are a random sample of this run; {worth}")


def _no_help(data: _Data) -> str:
    """Why the verdicts add nothing to random labels; empty where they do."""
    known = data.rates()
    if data.known.all():
        return "all items are labelled"
    if not (data.known & data.scored).any():
        return "no labelled item has a verdict"
    if not _enough(data.labels):
        return f"fewer than {LEAST_OF_EACH} of each class are labelled"
    return _blind(known) if known is not None and known.youden < LEAST_YOUDEN else ""


def _blind(known: Rates) -> str:
    return f"the judge's sensitivity and specificity sum to {known.youden:.2f}, below {LEAST_YOUDEN}"


def _alone(scale: Scale, data: _Data) -> Estimate:
    labels: list[float] = data.labels.tolist()
    if data.clusters is not None:
        place, _ = places(data.clusters, len(data.truth))
        pairs = list(zip(labels, place[data.known].astype(float).tolist(), strict=True))
        return clustered_mean(scale.metric, pairs, 0, scale.direction, scale.version, scale.unit, scale.span)
    if scale.span == UNIT and _binary(data.labels):
        return replace(proportion(scale.metric, labels, 0, scale.direction, scale.version), unit=scale.unit)
    return mean(scale.metric, labels, 0, scale.direction, scale.version, scale.unit, scale.span)


def _from_rates(scale: Scale, data: _Data, known: Rates, whose: str) -> Estimate:
    f = data.judged[data.scored]
    why = (
        f"{known.negatives} labels of 0 and {known.positives} of 1, {whose}, "
        "tell how the judge errs on each class, not how common the classes are here"
    )
    made = replace(lee(float(f.mean()), len(f), known), items=len(f))
    return replace(_estimate(scale, made, "Rogan-Gladen, Lee 2025", why), n_failed=int((~data.scored).sum()))


def _estimate(scale: Scale, made: Corrected, method: str, why: str) -> Estimate:
    return Estimate(
        scale.metric, made.value, made.items, 0,
        se=made.se, ci=made.ci, unit=scale.unit, direction=scale.direction, version=scale.version,
        method=method, note=f"{method}, as {why}",
    )  # fmt: skip


def _told(estimate: Estimate, data: _Data, labels: int) -> Estimate:
    raw = float(np.nanmean(data.judged)) if data.scored.any() else None
    counts = {"uncorrected": raw, "labels": labels, "verdicts_missing": int((~data.scored).sum())}
    return replace(estimate, details={**estimate.details, **counts})


def _binary(values: Floats) -> bool:
    return bool(np.isin(values, UNIT).all())


def _enough(labels: Floats) -> bool:
    """At least 10 labels of each class; where they are graded, 20 in all."""
    if not _binary(labels):
        return len(labels) >= 2 * LEAST_OF_EACH
    return min(int(labels.sum()), int(len(labels) - labels.sum())) >= LEAST_OF_EACH
