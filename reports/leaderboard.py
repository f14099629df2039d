"""A leaderboard: a static site of many runs, from the JSON that `h3eval leaderboard` gathers.

Any host can serve it, or none: the pages work from a folder, read without JavaScript and fetch nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from . import _board, _tables
from ._history import MARKS, pasts
from ._shared import pretty, write
from ._tradeoffs import tradeoffs
from .html import HERE, environment, page_style, policy

TITLE = "How helpful, honest and harmless?"
SERVED = 0o644
"""A site is for others to read, unlike a run's own reports."""
Board = Mapping[str, Any]


@dataclass(frozen=True)
class Leaderboard:
    """Writes a site of many runs. `of` keeps it from the reports of a single one."""

    name: str = "leaderboard"
    of: str = "runs"

    def write(self, board: Board, folder: Path) -> tuple[Path, ...]:
        """All files, index.html first. Raise UsageError where they can't be written."""
        site = Site()
        publish = partial(write, mode=SERVED)
        heads, lines = _board.heads(board), _board.lines(board)
        sheets = _tables.sheets(board)
        index = site.page(
            "leaderboard.j2", script="leaderboard.js", title=TITLE, heads=heads, lines=lines,
            groups=_board.groups(heads), figures=tradeoffs(board), nights=board.get("nights"),
        )  # fmt: skip
        return (
            publish(folder, "index.html", [index]),
            *(publish(folder / "models", f"{slug}.html", [page]) for slug, page in site.models(board, lines)),
            *site.history(board, folder),
            publish(folder, "methods.html", [site.page("leaderboard_methods.j2", sheets=sheets)]),
            publish(folder, "leaderboard.csv", [_tables.spreadsheet(board)]),
            publish(folder, "leaderboard.md", _tables.markdown(sheets)),
            publish(folder, "leaderboard.tex", _tables.latex(sheets)),
            publish(folder, "leaderboard.json", [pretty(_board.plain(board))]),
        )


class Site:
    """The pages' templates, with the style that all of them carry."""

    def __init__(self) -> None:
        self.templates: Environment = environment()
        self.style = page_style() + Markup((HERE / "leaderboard.css").read_text(encoding="utf-8"))

    def page(self, template: str, script: str = "", **facts: Any) -> str:
        """One page."""
        code = Markup((HERE / script).read_text(encoding="utf-8")) if script else Markup("")
        return self.templates.get_template(template).render(
            style=self.style, script=code, policy=policy(self.style, code), **facts
        )

    def history(self, board: Board, folder: Path) -> Iterator[Path]:
        """The nights, where there are any."""
        if board.get("nights"):
            found = pasts(board["nights"])
            page = self.page("leaderboard_history.j2", pasts=found, marks=MARKS)
            yield write(folder, "history.html", [page], mode=SERVED)

    def models(self, board: Board, lines: tuple[_board.Line, ...]) -> Iterator[tuple[str, str]]:
        """Each run's slug and page."""
        columns = board["columns"]
        for line, run in zip(lines, board["runs"], strict=True):
            places = [
                (column, cell, run["cells"][column["id"]])
                for column, cell in zip(columns, line.cells, strict=True)
                if cell
            ]
            results = run["results"]
            yield line.slug, self.page(
                "leaderboard_model.j2", line=line, results=results, places=places, manifest=_board.manifest(results),
                dimensions=_board.dimensions(results), wholes=list(_board.wholes(results)),
                made=_board.made(run),
            )  # fmt: skip


REPORT = Leaderboard()
