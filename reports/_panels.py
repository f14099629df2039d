"""Numbers as shown, and charts of many things at once: lines over layers or steps, heat maps."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from math import isfinite

from markupsafe import Markup

from h3eval.types import Json

from . import _charts
from ._charts import COLOURS, layer, picture, rows
from ._numbers import Number

SERIES = ("helpful", "honest", "harmless", "warn", "bad", "soft")
"""Colours of things side by side; dashes tell them apart as well."""
DIMENSIONS = SERIES[:3]
DASHES = ([1, 0], [6, 3], [2, 3], [8, 3, 2, 3], [12, 4], [1, 4])
WHOLE = "merged"
DOTTED = 40
"""Up to so many points on a line, each is marked."""
MOST_TICKS = 6


def number(value: Json, form: str = ".4g") -> Number | None:
    """A number as shown and as it stands in the report's JSON; None where there is none."""
    if value is None or not isfinite(value):
        return None
    return Number(f"{value:{form}}", repr(value))


def share(value: Json, places: int = 1) -> Number | None:
    """A share in percent."""
    return number(value, f".{places}%")


def size(value: Json) -> Number | None:
    """Bytes, in the largest unit that leaves a number above one."""
    if value is None:
        return None
    powers = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
    unit, sign = next(((unit, sign) for unit, sign in powers if value >= unit), (1, "bytes"))
    return Number(f"{value / unit:.{1 if unit > 1 else 0}f} {sign}", repr(value))


def told(settings: Mapping[str, Json]) -> str:
    """Settings in one line; those without a value are left out."""
    return ", ".join(f"{key} {_said(value)}" for key, value in settings.items() if value not in (None, "", [], {}))


def _said(value: Json) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return f"[{', '.join(map(_said, value))}]"
    if isinstance(value, dict):
        return f"{{{told(value)}}}"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def series(names: Sequence[str]) -> dict[str, Json]:
    """The channels that tell named lines apart: colour and dashes, with one legend; the field is `of`.

    What is named as a dimension has the dimension's colour.
    """
    same = {"field": "of", "type": "nominal", "title": None, "legend": {"symbolType": "stroke", "labelLimit": 220}}
    own = {name: name for name in names if name in DIMENSIONS} | {WHOLE: "ink"}
    free = cycle([each for each in SERIES if each not in own.values()])
    colours = [COLOURS[own.get(name) or next(free)] for name in names]
    dashes = [DASHES[k % len(DASHES)] for k in range(len(names))]
    return {
        "color": {**same, "scale": {"domain": list(names), "range": colours}},
        "strokeDash": {**same, "scale": {"domain": list(names), "range": dashes}},
    }


def panels(
    data: Iterable[Mapping[str, Json]], label: str, names: Sequence[str] = (), *,
    form: str = "", domain: tuple[float, float] | None = None, columns: int = 4, size: tuple[int, int] = (165, 96),
) -> Markup:  # fmt: skip
    """Small charts side by side, one for each `panel`: lines of `y` over `x`, one for each `of` in `names`.

    What `x` is, the caption must say.
    `domain` fixes the vertical scale; without one each panel has its own.
    """
    held = list(data)
    order = list(dict.fromkeys(str(row["panel"]) for row in held))
    places = sorted({row["x"] for row in held})
    ticks = {"values": places} if len(places) <= MOST_TICKS else {"tickCount": 4}
    x = {**_charts.axis("x", "", None, grid=False, format="~r", **ticks), "title": None}
    y = {**_charts.axis("y", "", domain, tickCount=3, format=form), "title": None}
    telling = series(names) if len(names) > 1 else {}
    layers = [layer("line", {"x": x, "y": y, **telling}, "helpful", strokeWidth=1.6)]
    if len(places) <= DOTTED:
        # Few points may not make a line.
        dots = {key: value for key, value in telling.items() if key == "color"}
        layers.append(layer("point", {"x": x, "y": y, **dots}, "helpful", size=14))
    head = {"field": "panel", "type": "nominal", "title": None, "sort": order, "header": {"labelLimit": size[0] + 30}}
    spec = {
        "data": rows(held), "facet": head, "columns": columns,
        "spec": {"width": size[0], "height": size[1], "layer": layers},
        # Plots in a grid, whatever room their axes' labels take.
        "bounds": "flush", "spacing": {"row": 58, "column": 52},
        "resolve": {"scale": {} if domain else {"y": "independent"}, "axis": {"x": "independent"}},
    }  # fmt: skip
    return picture(spec, label)


def shades(
    data: Iterable[Mapping[str, Json]], label: str, titles: tuple[str, str], *, step: tuple[int, int] = (104, 34),
    words: bool = True, panel: str = "",
) -> Markup:  # fmt: skip
    """A heat map: the darker a field, the greater its share `v` of 0 to 1; `t` is written in it.

    Rows are named by `y`, columns by `x`, in the order they come; `panel` names the field of maps side by side.
    """
    held = list(data)
    kinds = {
        name: {
            "field": name, "type": "nominal", "title": title or None,
            "sort": list(dict.fromkeys(str(row[name]) for row in held)),
            "axis": {"domain": False, "ticks": False, "labelAngle": 0, "labelLimit": 200, "orient": side},
            "scale": {"padding": 0.05},
        }
        for name, title, side in (("x", titles[0], "top"), ("y", titles[1], "left"))
    }  # fmt: skip
    # Never so dark that words in it can't be read, in either theme.
    dark = {"field": "v", "type": "quantitative", "legend": None, "scale": {"domain": [0, 1], "range": [0.04, 0.46]}}
    layers = [layer("rect", {**kinds, "opacity": dark}, "helpful", cornerRadius=3)]
    if words:
        layers.append(layer("text", {**kinds, "text": {"field": "t"}}, "ink", fontSize=12))
    inner = {"width": {"step": step[0]}, "height": {"step": step[1]}, "layer": layers}
    if not panel:
        return picture({"data": rows(held), **inner}, label)
    order = list(dict.fromkeys(str(row[panel]) for row in held))
    facet = {"field": panel, "type": "nominal", "title": None, "sort": order, "header": {"labelOrient": "top"}}
    return picture({"data": rows(held), "facet": facet, "columns": 3, "spec": inner}, label)
