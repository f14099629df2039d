"""Charts as inline SVG, drawn when a report is written: Vega-Lite says what, vl-convert draws it.

A chart is a Vega-Lite specification with its data inside. What comes back is rebuilt from a short list of elements and
attributes, so that no name in the data can be more than text, and carries colours that the page's style turns
into its own, light or dark. Nothing is fetched; the page needs no script for it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.etree import ElementTree

import vl_convert
from markupsafe import Markup

from h3eval.types import Json

from ._text import visible

COLOURS = {
    "ink": "#1c1d20", "soft": "#595e66", "line": "#deded8", "panel": "#ffffff", "helpful": "#1a5fc8",
    "honest": "#7a3bbd", "harmless": "#08745a", "bad": "#a91f17", "warn": "#7a5200",
}  # fmt: skip
"""The only colours a specification may name: those of html.css's light theme, by their variables."""
CONFIG: Mapping[str, Json] = {
    "background": None,
    "font": "sans-serif",
    "padding": 4,
    "view": {"stroke": None},
    "axis": {
        "labelColor": COLOURS["soft"], "titleColor": COLOURS["soft"], "domainColor": COLOURS["line"],
        "tickColor": COLOURS["line"], "gridColor": COLOURS["line"], "labelFontSize": 12, "titleFontSize": 12,
        "titleFontWeight": "normal", "titlePadding": 8, "labelLimit": 260,
    },
    "text": {"color": COLOURS["ink"], "fontSize": 12},
    "rule": {"color": COLOURS["soft"]},
    "legend": {
        "labelColor": COLOURS["soft"], "titleColor": COLOURS["soft"], "labelFontSize": 12, "titleFontSize": 12,
        "titleFontWeight": "normal", "orient": "top",
    },
    "header": {"labelColor": COLOURS["soft"], "titleColor": COLOURS["soft"], "labelFontSize": 12},
}  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
BASE = "https://vega.github.io/vega-datasets/"
"""What Vega sets before an address that is relative to the page."""
KEPT = {"g", "path", "line", "rect", "circle", "text", "tspan", "a"}
ATTRIBUTES = {
    "transform", "d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "rx", "ry", "fill",
    "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity", "fill-opacity",
    "stroke-opacity", "font-size", "font-weight", "font-style", "text-anchor",
}  # fmt: skip
LOCAL = ("http:", "https:", "javascript:", "data:", "//", "/")


def picture(spec: Mapping[str, Json], label: str) -> Markup:
    """The specification drawn as an `svg` element of class `chart`, as wide as it says and never wider than the page.

    `label` is read aloud in its place. Marks may carry `href`, an address relative to the page, with `description` as
    the link's words. Raise ValueError where the specification can't be drawn.
    """
    # An empty list of addresses would allow all of them.
    drawn = vl_convert.vegalite_to_svg(
        _shown({**spec, "config": CONFIG}), allowed_base_urls=["https://invalid.invalid/"]
    )
    root = ElementTree.fromstring(drawn)
    made = ElementTree.Element("svg", {"class": "chart", "viewBox": root.get("viewBox", "")})
    made.attrib |= {side: root.get(side, "") for side in ("width", "height")}
    made.extend(each for child in root for each in _kept(child))
    made.attrib |= {"role": "group" if made.find(".//a") is not None else "img", "aria-label": visible(label)}
    return Markup(ElementTree.tostring(made, encoding="unicode"))


def _shown(value: Json) -> Json:
    """The same with every hidden character of a text shown: XML has no place for most of them."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {key: _shown(each) for key, each in value.items()}
    return [_shown(each) for each in value] if isinstance(value, Sequence) else value


def _kept(found: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """This element with what may stay of it; nothing where it draws nothing."""
    tag = found.tag.removeprefix(SVG)
    if tag not in KEPT or found.get("display") == "none" or (tag == "path" and found.get("d") in ("", "M0,0h0v0h0Z")):
        return
    made = ElementTree.Element(tag, {key: value for key, value in found.items() if key in ATTRIBUTES})
    made.text = found.text
    made.extend(each for child in found for each in _kept(child))
    if tag == "a":
        address = found.get(HREF, "").removeprefix(BASE)
        words = next((child.get("aria-label", "") for child in found), "")
        if address.startswith(LOCAL) or not address:
            yield from made
            return
        made.attrib |= {"href": address, "aria-label": words}
        ElementTree.SubElement(made, "title").text = words
    if tag != "g" or len(made):
        yield made


def style() -> str:
    """What a page's style needs for charts: their colours become the page's variables."""
    rules = [
        f'.chart [{of}="{colour}"]{{{of}:var(--{name})}}'
        for name, colour in COLOURS.items()
        for of in ("fill", "stroke")
    ]
    frame = ".chart{display:block;max-width:100%;height:auto;overflow:visible}.chart text{font-family:inherit}"
    return frame + "".join(rules)


def rows(found: Iterable[Mapping[str, Json]]) -> dict[str, Json]:
    """Data that stands in the specification."""
    return {"values": [dict(row) for row in found]}


def axis(field: str, title: str, domain: tuple[float, float] | None = None, **keys: Json) -> dict[str, Json]:
    """A quantitative channel: `domain` fixes its scale; `keys` are the axis's own (`format`, `tickCount`, `grid`)."""
    scale: dict[str, Json] = {"nice": False, "domain": list(domain)} if domain else {"zero": False}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": keys}


def layer(mark: str, encoding: Mapping[str, Json], colour: str = "soft", **look: Json) -> dict[str, Json]:
    """One kind of mark (`point`, `rule`, `text`, `line`, ...) in one of `COLOURS`; empty channels are left out."""
    look = {"filled": True, "opacity": 1, **look} if mark == "point" else look
    # Vega words a label for each mark by an expression in which a title's backslashes are read as escapes.
    return {
        "mark": {"type": mark, "color": COLOURS[colour], "aria": "description" in encoding, **look},
        "encoding": {channel: value for channel, value in encoding.items() if value is not None},
    }


def spans(
    data: Sequence[Mapping[str, Json]], x: dict[str, Json], y: dict[str, Json], colour: str, **look: Json
) -> list[dict[str, Json]]:
    """Points with their intervals, which stand in the data as `xl`, `xh`, `yl`, `yh`, as far as it has any."""
    names = {key for row in data for key in row}
    found = []
    if "xl" in names:
        found.append(layer("rule", {"x": {**x, "field": "xl"}, "x2": {"field": "xh"}, "y": y}, colour, **look))
    if "yl" in names:
        found.append(layer("rule", {"x": x, "y": {**y, "field": "yl"}, "y2": {"field": "yh"}}, colour, **look))
    return [*found, layer("point", {"x": x, "y": y}, colour, size=70)]


def reliability(table: Iterable[Mapping[str, Json]], titles: tuple[str, str], label: str, side: int = 320) -> Markup:
    """In each bin of a probability, how often it came true, with its interval and what chance allows.

    `table` has `mean_p`, `mean_y`, and as pairs `ci` and `band`; `titles` are of the probability and of the share.
    """
    data = [
        {"x": row["mean_p"], "y": row["mean_y"], "yl": row["ci"][0], "yh": row["ci"][1],
         "from": row["band"][0], "to": row["band"][1]}
        for row in table
    ]  # fmt: skip
    x, y = axis("x", titles[0], (0, 1), tickCount=5), axis("y", titles[1], (0, 1), tickCount=5)
    even = layer("line", {"x": x, "y": y}, strokeDash=[4, 4], strokeWidth=1)
    band = layer("rule", {"x": x, "y": {**y, "field": "from"}, "y2": {"field": "to"}}, "line", strokeWidth=10)
    layers = [{"data": rows([{"x": 0, "y": 0}, {"x": 1, "y": 1}]), **even}, band, *spans(data, x, y, "helpful")]
    return picture({"width": side, "height": side, "data": rows(data), "layer": layers}, label)
