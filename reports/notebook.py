"""headline.html: composites and primary estimates as a piece of HTML, for a notebook's cell or a wiki.

No style, no script, nothing fetched; what others wrote is escaped and its hidden characters shown, as in report.html.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from h3eval.types import Run

from . import _numbers
from ._page import DIMENSIONS
from ._shared import identity, write
from .html import environment

NAME = "headline.html"


@dataclass(frozen=True)
class Row:
    """One line of the table; `part` says of what it is the headline."""

    part: str
    name: str
    shown: _numbers.Shown
    arrow: str
    n: int | None
    n_failed: int | None
    note: str


@dataclass(frozen=True)
class Notebook:
    """Writes headline.html; `fragment` gives the same as text."""

    name: str = "notebook"
    on_request: bool = True

    def fragment(self, run: Run) -> str:
        """The piece of HTML."""
        return environment().get_template("notebook.j2").render(run=run, rows=list(rows(run)))

    def write(self, run: Run, folder: Path) -> tuple[Path, ...]:
        """One file. Raise UsageError where it can't be written."""
        return (write(folder, NAME, [self.fragment(run)]),)


def rows(run: Run) -> Iterator[Row]:
    """Composites, then the primary estimate of every task."""
    for whole in run.composites:
        note = f"missing: {'; '.join(whole.missing)}" if whole.missing else ""
        yield Row("composite", whole.name, _numbers.composite(whole), "", None, None, note)
    for dimension in DIMENSIONS:
        for result in (each for each in run.results if each.dimension == dimension):
            part = "over-refusal" if result.axis else dimension
            for found in (each for each in result.estimates if each.metric == result.primary):
                name = f"{identity(result)}: {found.metric}"
                arrow = _numbers.ARROWS[found.direction][:1]
                yield Row(part, name, _numbers.estimate(found), arrow, found.n, found.n_failed, found.note)


REPORT = Notebook()
