"""What the page of a sweep says of its points, worked out before any markup."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from h3eval.types import Json

from . import _charts, _panels
from ._charts import layer, picture, rows
from ._figures import Figure
from ._numbers import Number
from ._page import facts

Facts = Mapping[str, Any]
CROSSES = 40
"""Up to so many points show their intervals; of more, those of the front do."""


@dataclass(frozen=True)
class Cell:
    """A point's score on one axis, in percent, with its interval."""

    value: Number | None
    low: Number | None
    high: Number | None
    best: bool


@dataclass(frozen=True)
class Row:
    """One merge of the sweep."""

    number: int
    """In the table and on the plots."""
    point: str
    name: str
    front: bool
    cells: tuple[Cell, ...]
    run: str
    """Address of its run's report; empty where there is none."""
    merge: str
    """Address of its merge's page; empty where the model was not kept."""


def table(sweep: Facts, folder: Path) -> list[Row]:
    """The points, those of the front first; links to what lies in the sweep's folder."""
    axes = sweep["axes"]
    best = {
        axis: max(values)
        for axis in axes
        if (values := [value for each in sweep["points"] if (value := each["scores"].get(axis)) is not None])
    }
    ordered = sorted(sweep["points"], key=lambda each: not each["front"])
    return [
        Row(
            number, each["point"], _panels.told(each["varied"]) or "the recipe as it is", each["front"],
            tuple(_cell(each, axis, best.get(axis)) for axis in axes),
            _there(folder, f"{each['point']}/run/report.html"),
            _there(folder, f"{each['point']}/model/merge_report.html"),
        )
        for number, each in enumerate(ordered, 1)
    ]  # fmt: skip


def _cell(point: Facts, axis: str, best: float | None) -> Cell:
    value = point["scores"].get(axis)
    low, high = (_panels.number(end, ".1f") for end in (point.get("intervals") or {}).get(axis) or (None, None))
    return Cell(_panels.number(value, ".1f"), low, high, value is not None and value == best)


def _there(folder: Path, address: str) -> str:
    # A point's name is a digest; anything else in a file that somebody wrote leads nowhere.
    inside = ".." not in address.split("/") and not address.startswith("/")
    return address if inside and (folder / address).is_file() else ""


def plots(sweep: Facts, found: Sequence[Row]) -> list[Figure]:
    """One for each two axes."""
    return [
        _plot(axes, found)
        for axes in combinations(enumerate(sweep["axes"]), 2)
        if sum(row.cells[axes[0][0]].value is not None and row.cells[axes[1][0]].value is not None for row in found)
    ]


def _plot(axes: tuple[tuple[int, str], tuple[int, str]], found: Sequence[Row]) -> Figure:
    (x_at, x_name), (y_at, y_name) = axes
    points = [(row, point) for row in found if (point := _point(row, x_at, y_at))]
    crosses = len(points) <= CROSSES
    x, y = (_axis(field, name) for field, name in (("x", x_name), ("y", y_name)))
    edge = _edge([point for _, point in points])
    stairs = layer("line", {"x": x, "y": y}, "soft", interpolate="step-before", strokeDash=[4, 3], strokeWidth=1.2)
    layers: list[dict[str, Json]] = [{"data": rows(edge), **stairs}]
    for front, colour in ((False, "soft"), (True, "helpful")):
        held = [point for row, point in points if row.front == front]
        layers += _marks(held, x, y, colour, crosses or front)
    names = f"{spoken(y_name)} against {spoken(x_name)}"
    return Figure(
        picture({"width": 230, "height": 230, "layer": layers}, f"{names}; the numbers stand in the table"),
        f"{names[:1].upper()}{names[1:]}",
    )


def _marks(
    held: Sequence[dict[str, Any]], x: dict[str, Json], y: dict[str, Json], colour: str, crosses: bool
) -> Iterator[dict[str, Json]]:
    if not held:
        return
    wide = {"opacity": 0.45}
    for end, drawn in (("xl", {"x": {**x, "field": "xl"}, "x2": {"field": "xh"}, "y": y}),
                       ("yl", {"x": x, "y": {**y, "field": "yl"}, "y2": {"field": "yh"}})):  # fmt: skip
        if crosses and (data := [point for point in held if end in point]):
            yield {"data": rows(data), **layer("rule", drawn, colour, **wide)}
    for linked in (True, False):
        if data := [point for point in held if bool(point["href"]) == linked]:
            link: dict[str, Json] = {"href": {"field": "href"}, "description": {"field": "d"}} if linked else {}
            yield {"data": rows(data), **layer("point", {"x": x, "y": y, **link}, colour, size=70)}
    if colour != "soft":
        number = layer("text", {"x": x, "y": y, "text": {"field": "n"}}, "ink", dx=9, dy=-9, align="left")
        yield {"data": rows(held), **number}


def _point(row: Row, x_at: int, y_at: int) -> dict[str, Any]:
    made: dict[str, Any] = {"n": str(row.number), "href": row.run}
    for name, cell in (("x", row.cells[x_at]), ("y", row.cells[y_at])):
        if cell.value is None:
            return {}
        made[name] = float(cell.value.exact)
        if cell.low and cell.high:
            made |= {f"{name}l": float(cell.low.exact), f"{name}h": float(cell.high.exact)}
    return {**made, "d": f"{row.number}, {row.name}: {made['x']:.1f}, {made['y']:.1f}"}


def _edge(points: Sequence[dict[str, Any]]) -> list[dict[str, Json]]:
    """The points that no other beats on these two axes."""
    made: list[dict[str, Json]] = []
    for point in sorted(points, key=lambda each: (-each["x"], -each["y"])):
        if not made or point["y"] > made[-1]["y"]:
            made.append({"x": point["x"], "y": point["y"]})
    return made


def _axis(field: str, name: str) -> dict[str, Json]:
    made = _charts.axis(field, f"{spoken(name)}, %", None, tickCount=5)
    return {**made, "scale": {**made["scale"], "padding": 14}}


def spoken(axis: str) -> str:
    """An axis as a word: over_refusal's higher values are better, too."""
    return "not over-refusing" if axis == "over_refusal" else axis


def recipe(sweep: Facts) -> list[tuple[str, str]]:
    """What all points have in common, and what was evaluated."""
    recipes = [each["recipe"] for each in sweep["points"] if "recipe" in each]
    varied = {key for each in sweep["points"] for key in each["varied"]}
    first = recipes[0] if recipes else {}
    common = {key: value for key, value in first.items() if all(other.get(key) == value for other in recipes)}
    if "models" not in common and "models" in first:
        common["models"] = [each["path"] if isinstance(each, Mapping) else each for each in first["models"]]
    return [*facts(common), *facts(sweep.get("evaluated") or {}), ("varied", ", ".join(sorted(varied)) or "nothing")]
