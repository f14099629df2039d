"""What a judge card's page says: its numbers in words, its probabilities drawn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from h3eval.types import Json

from . import _charts
from ._numbers import MISSING

SIDE = 360
"""Pixels of the reliability diagram."""


@dataclass(frozen=True)
class Line:
    """One number of a card: its name, value and interval in words, and what it says."""

    name: str
    value: str
    interval: str
    about: str


def number(value: Json, places: int = 3) -> str:
    """A number in words, or a dash."""
    if value is None:
        return MISSING
    return f"{value:,}" if isinstance(value, int) else f"{value:z.{places}f}"


def share(value: Json) -> str:
    """A share in percent, or a dash."""
    return MISSING if value is None else f"{100 * value:z.1f}%"


def amount(value: Json, unit: str) -> str:
    """A value in its unit."""
    if value is None:
        return MISSING
    return share(value) if unit == "proportion" else f"{value:.1f}%" if unit == "percent" else number(value, 2)


def _of(name: str, found: Mapping[str, Any], about: str, in_percent: bool = False) -> Line:
    words = share if in_percent else number
    ends = found.get("ci")
    told = MISSING if ends is None else f"{words(ends[0])} – {words(ends[1])}"
    return Line(name, words(found["value"]), told, found.get("note") or about)


def agreement(found: Mapping[str, Any]) -> list[Line]:
    """Measures of agreement beyond the table of counts."""
    lines = [
        _of("raw agreement", found["agreement"], "share of answers read alike", in_percent=True),
        _of("Cohen's κ", found["kappa"], "agreement beyond chance; rare classes push it down"),
        _of("Gwet's AC1", found["ac1"], "agreement beyond chance that rare classes do not distort"),
        _of("Krippendorff's α", found["alpha"], "agreement beyond chance, as if both gave each class as often"),
    ]
    if "kappa_quadratic" in found:
        lines.append(_of("κ, quadratic", found["kappa_quadratic"], "weighted by how far apart two scores are"))
    if known := found.get("rates"):
        for name, n in (("sensitivity", "positives"), ("specificity", "negatives")):
            truth = "1" if name == "sensitivity" else "0"
            lines.append(
                Line(name, share(known[name]), MISSING, f"right on {known[n]:,} answers whose truth is {truth}")
            )
    return lines


def people(found: Mapping[str, Any]) -> list[Line]:
    """What people themselves agree on: no judge can be asked for more."""
    return [
        _of("two people", found["people"], "how often they agree", in_percent=True),
        _of("judge and a person", found["judge"], "how often they agree, on the same answers", in_percent=True),
        _of("judge - people", found["gap"], "at zero the judge is one more person", in_percent=True),
        Line("κ of people", number(found["kappa_people"]), MISSING, "mean over pairs"),
        Line("κ with the judge", number(found["kappa_judge"]), MISSING, "mean over people"),
    ]


def forecast(found: Mapping[str, Any]) -> list[Line]:
    """What the probabilities are worth."""
    null = f"{number(found['null']['q95'])} is still chance in a calibrated judge (p = {found['null']['p']:.4f})"
    corp = found["corp"]
    split = " - ".join(number(corp[key]) for key in ("miscalibration", "discrimination"))
    lines = [
        Line("ECE", number(found["ece"]), MISSING, f"15 bins of one width; {null}"),
        Line("ECE, equal mass", number(found["ece_mass"]), MISSING, "15 bins of as many answers"),
        Line("smooth ECE", number(found["smooth_ece"]), MISSING, "no bins"),
        _of("Brier", found["brier"], "mean squared error, 0 to 1"),
        Line("Brier skill", number(found["brier_skill"]), MISSING, "1 is perfect, 0 no better than the base rate"),
        Line("CORP", split, MISSING, f"miscalibration - discrimination; uncertainty {number(corp['uncertainty'])}"),
        _of("AUROC", found["auroc"], "how well they rank; calibration apart"),
        _of("log loss", found["log_loss"], "in nats"),
    ]
    if better := found.get("recalibrated"):
        brier = number(better["brier"]["value"])
        lines.append(Line("ECE with a temperature", number(better["ece"]), MISSING, f"out of fold; Brier {brier}"))
    return lines


def confidence(found: Mapping[str, Any]) -> list[Line]:
    """How sure the model under test is of its choices, and how rightly."""
    null = f"{number(found['ece_null_q95'])} is still chance in a calibrated model (p = {found['ece_p']:.4f})"
    options = " or ".join(map(str, found["options"]))
    uniform = f"over all options, 0 to 2; {number(found['brier_sum_uniform'])} for knowing nothing"
    return [
        Line(
            "confidence", share(found["confidence"]), MISSING, f"mean probability of its choice among {options} options"
        ),
        Line("accuracy", share(found["accuracy"]), MISSING, f"of {found['n']:,} choices; ties share the credit"),
        Line("ECE", number(found["ece"]), MISSING, f"15 bins of one width; {null}"),
        Line("ECE, equal mass", number(found["ece_mass"]), MISSING, "15 bins of as many choices"),
        Line("smooth ECE", number(found["smooth_ece"]), MISSING, "no bins"),
        _of("Brier", found["brier"], "of its choice being right, 0 to 1"),
        _of("Brier sum", found["brier_sum"], uniform),
        _of("AUROC", found["auroc"], "is it surer of right choices than of wrong ones?"),
        _of("log loss", found["log_loss"], "of the right option, in nats"),
    ]


def biases(card: Mapping[str, Any]) -> Iterator[Line]:
    """What moves the judge besides quality."""
    if found := card["position"]:
        flips = f"{found['flips_to_first']} flips to the first place, {found['flips_to_second']} to the second"
        yield _of("same in both orders", found["consistency"], f"of {found['n']:,} pairs", in_percent=True)
        yield _of("leaning to the first", found["bias"], f"{flips} (p = {found['p']:.4f})", in_percent=True)
    if found := card["length"]:
        right = f"{share(found['accuracy_longer'])} right where people prefer the longer answer"
        other = f"{share(found['accuracy_shorter'])} where the shorter"
        yield _of("length gap", found["gap"], f"{right}, {other}", in_percent=True)


def diagram(found: Mapping[str, Any]) -> Markup:
    """Reliability: in each bin, how often it came true, with its interval and what chance allows."""
    titles = ("the judge's probability", "share that people label so")
    return _charts.reliability(
        found["table"], titles, "Reliability diagram; its numbers stand in the table below", SIDE
    )


def histogram(counts: Sequence[int]) -> Markup:
    """How the probabilities are spread."""
    step = 1 / len(counts)
    data = _charts.rows({"from": place * step, "to": (place + 1) * step, "n": n} for place, n in enumerate(counts))
    mark = {"type": "rect", "color": _charts.COLOURS["soft"]}
    x = _charts.axis("from", "the judge's probability", (0, 1))
    # A square root, so that a handful beside thousands is seen.
    y = _charts.axis("n", "answers", tickCount=3) | {"scale": {"type": "sqrt", "zero": True}, "stack": None}
    encoding = {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"datum": 0}}
    spec = {"width": SIDE, "height": 70, "data": data, "mark": mark, "encoding": encoding}
    return _charts.picture(spec, "Histogram of the probabilities")
