"""report.html: the run on one self-contained page. Reads without JavaScript, fetches nothing.

Whatever a model, a judge or a data set wrote is text on it: escaped by jinja2, hidden characters shown,
and held by a Content-Security-Policy that allows this page's own style and script by their hashes only.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from h3eval.types import Run

from . import _card, _figures, _routers
from ._browse import NAME, Browser, wanted
from ._charts import style as charts_style
from ._page import page, trusted
from ._shared import write
from ._text import marked, visible

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Html:
    """Writes report.html."""

    name: str = "html"

    def write(self, run: Run, folder: Path) -> tuple[Path, ...]:
        """report.html; for a large run samples.html with its files, too. Raise UsageError where it can't be written."""
        if not wanted(run.results):
            return (write(folder, "report.html", [render(run)]),)
        browser = Browser(run, folder)
        main = write(folder, "report.html", [render(run, browser)])
        style, script = page_style(), Markup((HERE / "browse.js").read_text(encoding="utf-8"))
        held = policy(style, script, files=True)
        return (main, *browser.finish(environment(), title=run.model, style=style, script=script, policy=held))

    def card(self, content: Mapping[str, Any]) -> str:
        """A judge card's page, from the content of its card.json."""
        return render_card(content)


def render(run: Run, browser: Browser | None = None) -> str:
    """The page; `browser` is shown all samples, and linked to."""
    script = Markup((HERE / "html.js").read_text(encoding="utf-8"))
    style = page_style()
    return environment().get_template("html.j2").render(
        page=page(run, browser),
        browser=NAME if browser else "",
        run=run,
        trusted=trusted,
        confidence=_card.confidence,
        reliability=_figures.confidence,
        activation=_routers.of_run(run.activation) if run.activation else [],
        by_task=_routers.by_task(run.activation) if run.activation else [],
        making=_routers.costs(run.activation) if run.activation else [],
        style=style,
        script=script,
        policy=policy(style, script),
    )  # fmt: skip


def page_style() -> Markup:
    """The style that all pages share, charts included."""
    return Markup((HERE / "html.css").read_text(encoding="utf-8") + charts_style())


def render_card(content: Mapping[str, Any]) -> str:
    """A judge card's page."""
    style = page_style()
    return environment().get_template("card.j2").render(
        card=content,
        style=style,
        policy=policy(style, Markup()),
        biases=list(_card.biases(content)),
        **{name: getattr(_card, name) for name in CARD},
    )  # fmt: skip


CARD = ("agreement", "amount", "diagram", "forecast", "histogram", "number", "people")
"""What a card's template calls."""


def environment() -> Environment:
    """jinja2 with everything from outside escaped and every hidden character shown."""
    found = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Titles, options and attributes hold no elements, so escapes stand there without a mark.
    found.filters["bare"] = lambda text: escape(visible(text))
    return found


def _finalize(value: Any) -> Any:
    return marked(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def policy(style: str, script: str, files: bool = False) -> str:
    """The Content-Security-Policy for a page with this one style and script, and, with `files`, scripts beside it."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src {_source(style)}",
            f"script-src {_source(script)}" + (" 'self'" if files else ""),
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


REPORT = Html()
