"""The same numbers for a terminal, and as plain text in summary.txt.

Words from outside are `rich` texts, never markup, with their control characters shown.
"""

import io
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from h3eval.types import Estimate, Run, TaskResult

from . import _numbers
from ._page import DIMENSIONS, trusted
from ._shared import failure_rows, identity, is_breakdown, write
from ._text import one_line, visible

COLOURS = {"helpful": "blue", "honest": "magenta", "harmless": "green"}
UNCALIBRATED = "uncalibrated"
WIDTH = 100


@dataclass(frozen=True)
class Terminal:
    """Writes summary.txt; `render` gives the same for a live console."""

    name: str = "terminal"

    def render(self, run: Run) -> Group:
        """Warnings, a table of all estimates, the composites and the failures."""
        parts: list[RenderableType] = [Text(one_line(run.model), style="bold")]
        if run.warnings:
            parts.append(_warnings(run))
        parts.append(_estimates(run))
        if judges := _judges(run):
            parts.append(judges)
        if absent := _absent(run):
            parts.append(absent)
        if run.composites:
            parts.append(_composites(run))
        if any(result.failures for result in run.results):
            parts.append(_failures(run))
        return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts))

    def line(self, result: TaskResult) -> str:
        """A task's primary metric in one line, as soon as it is known."""
        found = next(each for each in result.estimates if each.metric == result.primary)
        shown = _numbers.estimate(found)
        name = f"{result.dimension:<8} {identity(result)}: {found.metric}"
        if shown.value is None:
            return one_line(f"{name} {_numbers.MISSING} {found.note or 'nothing was scored'}", 400)
        interval = f" {shown.interval}" if found.ci else ""
        lost = f", {found.n_failed:,} not scored" if found.n_failed else ""
        judge = f" ({found.calibration})" if found.calibration else ""
        return one_line(f"{name} {_value(shown)}{interval}, n {found.n:,}{lost}{judge}", 400)

    def write(self, run: Run, folder: Path) -> tuple[Path, ...]:
        """One file. Raise UsageError where it can't be written."""
        out = io.StringIO()
        console = Console(
            file=out, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False, _environ={}
        )
        console.print(self.render(run))
        lines = [line.rstrip() for line in out.getvalue().splitlines()]
        return (write(folder, "summary.txt", ["\n".join(lines).strip("\n") + "\n"]),)


def _warnings(run: Run) -> Panel:
    lines = Text("\n").join(Text(f"• {visible(warning)}") for warning in run.warnings)
    return Panel(lines, title="Read this first", title_align="left", border_style="yellow", box=box.ROUNDED)


def _table(title: str, *columns: tuple[str, bool]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, is_number in columns:
        table.add_column(name, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    return table


def _estimates(run: Run) -> Table:
    table = _table(
        "Estimates (* primary, ! judge not to be trusted, ? judge uncalibrated, ↑ ↓ which way is better)",
        ("metric", False), ("value", True), ("95 % interval\nworst … best", True), ("n", True),
        ("not\nscored", True),
    )  # fmt: skip
    for dimension in DIMENSIONS:
        for result in (each for each in run.results if each.dimension == dimension):
            table.add_row(_word(identity(result), COLOURS[dimension]))
            for found in result.estimates:
                if not is_breakdown(found.metric):
                    table.add_row(*_cells(result, found))
            if hidden := sum(is_breakdown(each.metric) for each in result.estimates):
                table.add_row(_word(f"… {hidden} categories: see report.html", "dim"))
            table.add_section()
    return table


def _cells(result: TaskResult, found: Estimate) -> list[Text]:
    shown = _numbers.estimate(found)
    doubted = found.judge and not all(trusted(entry) for entry in result.judges.values())
    unknown = UNCALIBRATED in found.calibration
    signs = f"{'*' if found.metric == result.primary else ''}{'!' if doubted else ''}{'?' if unknown else ''}"
    interval = Text(shown.interval)
    if found.n_failed and shown.worst:
        interval.append(f"\n{shown.bounds}", "dim")
    return [
        _word(f"· {found.metric}{signs}"),
        _word(f"{_value(shown)} {_numbers.ARROWS[found.direction][:1]}", "bold"),
        interval,
        _word(f"{found.n:,}"),
        _word(f"{found.n_failed:,}", "red" if found.n_failed else ""),
    ]


def _value(shown: _numbers.Shown) -> str:
    if shown.value is None:
        return _numbers.MISSING
    return f"{shown.value.text} {shown.unit}".rstrip()


def _judges(run: Run) -> Text:
    """How far each judge may be believed, one line each; empty where no score is a judge's opinion."""
    lines = {
        f"{one_line(found.judge)}: {found.calibration}": None
        for result in run.results
        for found in result.estimates
        if found.judge and found.calibration and found.value is not None
    }
    return Text("\n").join(Text(one_line(line, 400)) for line in lines)


def _absent(run: Run) -> Text:
    """Why primary values are missing, one line each; empty where none is."""
    lines = [
        f"{identity(result)} {found.metric}: {found.note or 'nothing was scored'}"
        for result in run.results
        for found in result.estimates
        if found.metric == result.primary and found.value is None
    ]
    return Text("\n").join(Text(f"{_numbers.MISSING} {one_line(line, 400)}") for line in lines)


def _composites(run: Run) -> Table:
    table = _table("Composites", ("composite", False), ("value", True), ("95 % interval", True), ("missing", False))
    for found in run.composites:
        shown = _numbers.composite(found)
        missing = "; ".join(found.missing)
        table.add_row(_word(found.name), _word(_value(shown), "bold"), _word(shown.interval), _word(missing))
    return table


def _failures(run: Run) -> Table:
    columns = (("task", False), ("step", False), ("reason", False), ("count", True), ("the first one says", False))
    table = _table("Not scored", *columns)
    for result in run.results:
        for stage, reason, count in failure_rows(result):
            first = Text(one_line(result.words.get(f"{stage}: {reason}", ""), 200))
            table.add_row(_word(identity(result)), _word(stage), _word(reason), _word(f"{count:,}", "red"), first)
    return table


def _word(text: str, style: str = "") -> Text:
    return Text(one_line(text, 400), style=style)


REPORT = Terminal()
