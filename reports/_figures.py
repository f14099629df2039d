"""The figures of the run report: harm against over-refusal, one dot a category, the model's own confidence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from h3eval.types import Estimate, Json, Run

from . import _numbers
from ._charts import axis, layer, picture, reliability, rows, spans
from ._shared import identity

FEWEST, MOST = 3, 60
"""How many categories make a figure."""
BETTER = {
    "higher": "Further right is better",
    "lower": "Further left is better",
    "none": "Neither way is better",
}
CORNERS = (
    (0.01, 0.02, "harmless, and answers what is harmless", "left"),
    (0.01, 0.98, "answers everything", "left"),
    (0.99, 0.02, "refuses everything", "right"),
)


@dataclass(frozen=True)
class Figure:
    """A drawn chart, one sentence that says what it means, and what its numbered marks stand for."""

    svg: Markup
    caption: str
    key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Span:
    """A share with its interval, from 0 to 1, and what it is called."""

    name: str
    value: float
    low: float
    high: float


def plane(run: Run) -> Figure | None:
    """Every harm rate against every over-refusal rate; None where the run lacks one of them."""
    found = [(bool(result.axis), span) for result in run.results for each in result.estimates
             if result.dimension == "harmless" and each.metric == result.primary
             and (span := share_of_bad(identity(result), each))]  # fmt: skip
    pairs = [(harm, refused) for away, refused in found if away for other, harm in found if not other]
    if not pairs:
        return None
    data = [
        {"x": refused.value, "xl": refused.low, "xh": refused.high, "y": harm.value, "yl": harm.low, "yh": harm.high,
         "n": str(place)}
        for place, (harm, refused) in enumerate(pairs, 1)
    ]  # fmt: skip
    key = tuple(f"{harm.name} {_percent(harm)} · {refused.name} {_percent(refused)}" for harm, refused in pairs)
    return Figure(
        picture(_plane(data), f"Harm against over-refusal: {'; '.join(key)}"),
        "The lower a mark, the fewer harmful answers; the further left, the fewer harmless questions refused. Safety "
        "bought by refusing everything lies at the lower right. Lines are 95 % intervals.",
        key,
    )  # fmt: skip


def share_of_bad(name: str, found: Estimate) -> Span | None:
    """The estimate as a share of bad outcomes: a metric whose higher values are better is turned round."""
    if found.value is None or found.unit not in ("proportion", "percent") or found.direction == "none":
        return None
    scale = 100.0 if found.unit == "percent" else 1.0
    low, high = found.ci or (found.value, found.value)
    values = [each / scale for each in (found.value, low, high)]
    if found.direction == "lower":
        return Span(f"{name} {found.metric}", *values)
    return Span(f"{name} 1 − {found.metric}", 1 - values[0], 1 - values[2], 1 - values[1])


def _percent(span: Span) -> str:
    return f"{100 * span.value:.1f} % [{100 * span.low:.1f}, {100 * span.high:.1f}]"


def _plane(data: list[dict[str, Json]]) -> dict[str, Json]:
    x = axis("x", "harmless questions refused", (0, 1), format="%", tickCount=5)
    y = axis("y", "harmful answers", (0, 1), format="%", tickCount=5)
    corners = [
        {
            "data": rows([{"x": left, "y": bottom, "t": words}]),
            **layer("text", {"x": x, "y": y, "text": {"field": "t"}}, align=align, fontSize=11, baseline="middle"),
        }
        for left, bottom, words, align in CORNERS
    ]
    numbers = layer("text", {"x": x, "y": y, "text": {"field": "n"}}, "ink", dx=9, dy=-9, align="left")
    marks = spans(data, x, y, "harmless", opacity=0.6)
    return {"width": 440, "height": 320, "data": rows(data), "layer": [*corners, *marks, numbers]}


def categories(name: str, dimension: str, found: Iterable[Estimate]) -> tuple[Figure, ...]:
    """For each metric with a few categories, `metric[category]`, a dot with its interval for each of them."""
    groups: dict[str, list[Estimate]] = {}
    for each in found:
        if each.value is not None:
            groups.setdefault(each.metric.partition("[")[0], []).append(each)
    return tuple(
        _dots(f"{name}: {metric}", dimension, group) for metric, group in groups.items() if FEWEST <= len(group) <= MOST
    )


def _dots(title: str, dimension: str, group: Sequence[Estimate]) -> Figure:
    unit, metric = group[0].unit, group[0].metric.partition("[")[0]
    data = [
        {"y": each.metric.partition("[")[2].removesuffix("]"), "x": each.value, "xl": low, "xh": high}
        for each in group
        for low, high in [each.ci or (each.value, each.value)]
    ]
    form = {"format": "%"} if unit == "proportion" else {}
    title_x = metric if unit in ("proportion", "percent") else f"{metric} ({unit})"
    x = axis("x", title_x, _numbers.scale_of(unit), tickCount=6, **form)
    order = {"field": "x", "order": "descending"}
    y = {"field": "y", "type": "nominal", "title": None, "sort": order, "axis": {"domain": False, "ticks": False}}
    spec = {
        "width": 420, "height": {"step": 22}, "data": rows(data),
        "layer": spans(data, x, y, dimension, opacity=0.5, size=5),
    }  # fmt: skip
    return Figure(
        picture(spec, f"{title} by category; the numbers stand in the table of categories"),
        f"{metric} by category, the bands 95 % intervals. {BETTER[group[0].direction]}; few samples make wide bands.",
    )


def confidence(metric: str, found: Mapping[str, Json]) -> Figure | None:
    """Reliability of the model's probability of its own choices; None where there were too few for bins."""
    if not found["table"]:
        return None
    titles = ("the model's probability of its choice", "share of choices that are right")
    return Figure(
        reliability(found["table"], titles, f"Reliability of the confidence behind {metric}"),
        "On the dashed line the model is as often right as it is sure; below it, it is too sure. Lines are 95 % "
        "intervals, grey is what chance allows.",
    )
