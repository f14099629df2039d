"""The parts of a judge card: what a judge's readings are worth, beside people's of the same answers.

Plain JSON out of each; the numbers are those of `h3eval.stats`.
"""

import math
from array import array
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from h3eval.confidence import SEED, brief
from h3eval.judgeplan import rule
from h3eval.labels import Truth, ends
from h3eval.stats import agreement as agree
from h3eval.stats import raters
from h3eval.stats.arrays import Floats, Ints, midranks
from h3eval.stats.bias import FIRST, SECOND, TIE, length_bias, position
from h3eval.stats.correction import correlation, rates
from h3eval.stats.forecast import Forecast, appraise, recalibrated
from h3eval.stats.recalibration import folds
from h3eval.types import Json, Reading, Sample

MOST_CLASSES = 20
"""Different scores above which a scale is taken as graded: no table of classes, no κ."""
FEWEST_TO_RECALIBRATE = 100
LEAST_LENGTH = 30
"""Characters by which two answers must differ for one to be the longer."""
PLACES = {"first": FIRST, "second": SECOND, "tie": TIE}
TURNED = {"first": SECOND, "second": FIRST, "tie": TIE}
NONE = -1


def compares(scale: str) -> bool:
    """Do scores of this scale compare an answer with a baseline's?"""
    return "baseline" in scale


@dataclass
class Read:
    """What a judge made of the answers, item by item, beside people. Small enough for millions: an item is a few
    numbers, and what is said of it stands once in `said` and `truths`."""

    scale: str = ""
    said: dict[tuple[str, float], int] = field(default_factory=dict)
    """The judge's labels with their scores, numbered."""
    truths: list[Truth] = field(default_factory=list)
    """What people say, each kind once."""
    ids: list[str] = field(default_factory=list)
    shown: list[Json] = field(default_factory=list)
    """What was preferred in each order, where the verdict tells."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why there is no verdict, counted."""
    canaries: list[Json] = field(default_factory=list)
    verdicts: "array[int]" = field(default_factory=lambda: array("q"))
    """Each item's number in `said`, -1 without a verdict."""
    labels: "array[int]" = field(default_factory=lambda: array("q"))
    """Each item's place in `truths`, -1 without a label."""
    probabilities: "array[float]" = field(default_factory=lambda: array("d"))
    lengths: "array[float]" = field(default_factory=lambda: array("d"))
    """Of the answer and of the baseline's, two an item; on scales that compare them alone."""
    kinds: dict[int, int] = field(default_factory=dict)
    """The place in `truths` of each, by identity."""

    def add(self, task: str, sample: Sample, answer: str, reading: Reading | None, truth: Truth | None) -> None:
        """An item: its judge's reading and what people say, None where there is none."""
        self.ids.append(f"{task}|{sample.id}")
        self.labels.append(NONE if truth is None else self._kind(truth))
        if compares(self.scale):
            self.lengths.extend((len(answer), _baseline(sample)))
        if reading is None:
            self.verdicts.append(NONE)
            self.probabilities.append(math.nan)
            return
        said = reading.label, reading.score
        place = self.said.get(said)
        if place is None:
            place = self.said[said] = len(self.said)
        self.verdicts.append(place)
        self.probabilities.append(math.nan if reading.probability is None else reading.probability)
        if "shown" in reading.details:
            self.shown.append(reading.details["shown"])

    def _kind(self, truth: Truth) -> int:
        place = self.kinds.get(id(truth))
        if place is None:
            place = self.kinds[id(truth)] = len(self.truths)
            self.truths.append(truth)
        return place

    def columns(self) -> tuple[Floats, Floats]:
        """The judge's scores and people's, NaN where there is none."""
        judged = [score for _, score in self.said]
        people = [math.nan if each.reading is None else each.reading.score for each in self.truths]
        # The last of each table is what -1 finds.
        return np.array([*judged, math.nan])[self.verdicts], np.array([*people, math.nan])[self.labels]

    def words(self) -> tuple[Ints, Ints, tuple[str, ...]]:
        """The judge's labels and people's as numbers, -1 where there is none, and the labels in order."""
        judged = [label for label, _ in self.said]
        people = [None if each.reading is None else each.reading.label for each in self.truths]
        codes, names = agree.code([*judged, *people, None])
        column = codes[:, 0]
        mine, theirs = np.r_[column[: len(judged)], NONE], np.r_[column[len(judged) :]]
        return mine[self.verdicts], theirs[self.labels], tuple(map(str, names))


def _baseline(sample: Sample) -> float:
    """The length of the other answer; NaN where there is none."""
    turns = sample.metadata.get("baseline")
    if isinstance(turns, list | tuple):
        return len("\n\n".join(map(str, turns)))
    return len(sample.reference) if isinstance(sample.reference, str) else math.nan


@dataclass(frozen=True)
class Pairs:
    """The items that both the judge and people have read: scores, and labels as numbers."""

    mine: Floats
    theirs: Floats
    my_words: Ints
    their_words: Ints
    names: tuple[str, ...]
    places: Ints
    """Of the items among all."""


def pairs_of(read: Read) -> Pairs:
    """The items with a verdict and people's reading."""
    mine, theirs = read.columns()
    places = np.flatnonzero(~np.isnan(mine) & ~np.isnan(theirs))
    my_words, their_words, names = read.words()
    return Pairs(mine[places], theirs[places], my_words[places], their_words[places], names, places)


def scores_agree(pairs: Pairs, scale: str) -> Json:
    """Agreement of the scores, which is what metrics see; None on a graded scale."""
    scores = np.union1d(np.unique(pairs.mine), np.unique(pairs.theirs))
    if len(scores) > MOST_CLASSES:
        return None
    mine, theirs = (np.searchsorted(scores, each) for each in (pairs.mine, pairs.theirs))
    words = {score: word for word, score in ends(scale).items()}
    names = [f"{each:g} {words.get(each, '')}".strip() for each in scores.tolist()]
    found = agreement(mine, theirs, names)
    if len(names) > 2 or rule(scale) == "mean":
        found["kappa_quadratic"] = brief(agree.cohen_kappa(mine, theirs, len(names), "quadratic"))
    elif set(scores) <= {0.0, 1.0}:
        both = 0 < pairs.theirs.sum() < len(pairs.theirs)
        found["rates"] = asdict(rates(pairs.mine, pairs.theirs)) if both else None
    return found


def labels_agree(pairs: Pairs) -> Json:
    """Agreement of the labels, where they tell more than the scores."""
    mine, theirs = np.unique(pairs.my_words), np.unique(pairs.their_words)
    words, shared = np.union1d(mine, theirs), np.intersect1d(mine, theirs)
    if not len(np.union1d(pairs.mine, pairs.theirs)) < len(words) <= MOST_CLASSES or len(shared) < 2:
        return None
    judge, people = (np.searchsorted(words, each) for each in (pairs.my_words, pairs.their_words))
    return agreement(judge, people, [pairs.names[word] for word in words])


def agreement(judge: Ints, people: Ints, names: Sequence[str]) -> dict[str, Json]:
    """Every measure of nominal agreement; `confusion` has people in rows, the judge in columns."""
    q = len(names)
    counts = agree.confusion(people, judge, q)
    precision, recall, f1 = agree.macro_prf(counts)
    codes = np.column_stack([people, judge])
    return {
        "n": len(judge), "classes": list(names),
        "confusion": counts.tolist(),
        "agreement": brief(agree.raw_agreement(people, judge)),
        "kappa": brief(agree.cohen_kappa(people, judge, q)),
        "ac1": brief(raters.gwet_ac1(codes, q)),
        "alpha": brief(raters.krippendorff_alpha(codes, q)),
        "macro": {"precision": precision, "recall": recall, "f1": f1},
    }  # fmt: skip


def graded(pairs: Pairs) -> Json:
    """How graded scores go together; None for zeros and ones."""
    mine, theirs = pairs.mine, pairs.theirs
    if np.isin(mine, (0.0, 1.0)).all() and np.isin(theirs, (0.0, 1.0)).all():
        return None
    return {
        "n": len(mine), "pearson": correlation(mine, theirs), "spearman": correlation(midranks(mine), midranks(theirs)),
        "bias": float(np.mean(mine - theirs)), "mean_absolute_error": float(np.mean(np.abs(mine - theirs))),
    }  # fmt: skip


def people(read: Read) -> Json:
    """How people agree with each other, and the judge with a person, on the items that several of them rated."""
    names = sorted({name for truth in read.truths for name in truth.votes})
    if len(names) < 2:
        return None
    votes = [[truth.votes.get(name) for truth in read.truths] for name in names]
    scores = [[None if vote is None else vote.score for vote in each] for each in votes]
    words = [[None if vote is None else vote.label for vote in each] for each in votes]
    by_score = _rated(read, [score for _, score in read.said], scores)
    by_label = _rated(read, [label for label, _ in read.said], words)
    if by_score[1] > MOST_CLASSES:
        return None
    finer = by_score[1] < by_label[1] <= MOST_CLASSES
    return {
        "annotators": names, **_ceiling(*by_score), "by_label": _ceiling(*by_label) if finer else None,
    }  # fmt: skip


def _rated(read: Read, judged: Sequence[Hashable], votes: Sequence[Sequence[Hashable]]) -> tuple[Ints, int]:
    """Items by judge and people, as numbers, -1 where one said nothing; and how many different things were said."""
    kinds = len(read.truths)
    codes, classes = agree.code([*judged, *(vote for each in votes for vote in each), None])
    of_judge = np.r_[codes[: len(judged), 0], NONE][read.verdicts]
    tables = codes[len(judged) : -1, 0].reshape(len(votes), kinds)
    return np.column_stack([of_judge, *(np.r_[table, NONE][read.labels] for table in tables)]), len(classes)


def _ceiling(codes: Ints, q: int) -> dict[str, Json]:
    found = raters.ceiling(codes[:, 0], codes[:, 1:], q)
    return {
        "people": brief(found.people), "judge": brief(found.judge), "gap": brief(found.gap),
        "kappa_people": found.kappa_people, "kappa_judge": found.kappa_judge,
        "alpha_people": brief(raters.krippendorff_alpha(codes[:, 1:], q)),
        "alpha_with_judge": brief(raters.krippendorff_alpha(codes, q)),
    }  # fmt: skip


def probability(read: Read, pairs: Pairs) -> Json:
    """How good the judge's probability of a score of 1 is; None where it gives none."""
    given = np.frombuffer(read.probabilities)[pairs.places]
    kept = ~np.isnan(given)
    p, y = given[kept], pairs.theirs[kept]
    if not len(p) or y.min() < 0 or y.max() > 1:
        return None
    found = forecast(appraise(p, y, np.random.default_rng(SEED), failed=len(given) - len(p)))
    if len(p) >= FEWEST_TO_RECALIBRATE and set(np.unique(y)) == {0.0, 1.0}:
        better = recalibrated(p, y, folds(read.ids[place] for place in pairs.places[kept].tolist()))
        found["recalibrated"] = {
            "method": "temperature, out of fold",
            "temperatures": [each.value for each in better.maps if hasattr(each, "value")],
            "ece": better.ece_width, "smooth_ece": better.smooth_ece, "brier": brief(better.brier),
        }  # fmt: skip
    return found


def forecast(found: Forecast) -> dict[str, Json]:
    """A forecast's numbers, for JSON."""
    return {
        "n": found.n, "n_failed": found.failed, "base_rate": found.base_rate, "mean_p": found.mean_p,
        "sd_p": found.sd_p, "occupied_bins": found.occupied,
        "ece": found.ece_width, "ece_mass": found.ece_mass, "smooth_ece": found.smooth_ece, "rmsce": found.rmsce,
        "null": {"mean": found.null.mean, "q95": found.null.q95, "p": found.null.p_value},
        "brier": brief(found.brier), "brier_skill": found.brier_skill, "corp": asdict(found.corp),
        "log_loss": brief(found.log_loss), "clipped": found.clipped, "auroc": brief(found.auroc),
        "table": [asdict(each) for each in found.table], "histogram": list(found.histogram),
        "warnings": list(found.warnings),
    }  # fmt: skip


def placed(read: Read) -> Json:
    """Place bias, where verdicts tell what was preferred in each order; needs no labels."""
    both = [pair for pair in read.shown if isinstance(pair, list) and len(pair) == 2 and set(pair) <= PLACES.keys()]
    if not both:
        return None
    # The first request shows the model's answer first, the second shows it second.
    found = position([PLACES[one] for one, _ in both], [TURNED[two] for _, two in both])
    return {
        "n": found.n, "consistency": brief(found.consistency), "first_pick_rate": found.first_pick_rate,
        "flips_to_first": found.flips_to_first, "flips_to_second": found.flips_to_second,
        "bias": brief(found.bias), "p": found.p_value,
    }  # fmt: skip


def lengths(read: Read, pairs: Pairs) -> Json:
    """Length bias of a judge that compares with a baseline's answers, where people prefer one side."""
    own, other = np.frombuffer(read.lengths).reshape(-1, 2)[pairs.places].T
    kept = (pairs.theirs != 0.5) & (pairs.mine >= 0) & (pairs.mine <= 1) & ~np.isnan(other)
    own, other = own[kept], other[kept]
    if not (np.abs(own - other) > LEAST_LENGTH).any():
        return None
    gold = np.where(pairs.theirs[kept] > 0.5, FIRST, SECOND)
    found = length_bias(pairs.mine[kept], gold, (own, other), LEAST_LENGTH)
    return {**asdict(found), "gap": brief(found.gap)}
