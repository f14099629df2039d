"""Tables of methods, best and second best marked, as Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _board
from ._numbers import MISSING
from ._text import visible

ARROWS = {"higher": "↑", "lower": "↓", "none": ""}
TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "↑": r"$\uparrow$",
       "↓": r"$\downarrow$", "—": "---", "−": "$-$", **{sign: f"\\{sign}" for sign in "&%$#_{}"}}  # fmt: skip
# Full-width signs and digits are folded to the usual ones by spreadsheets; spaces before a sign are skipped.
FORMULA = re.compile(r"^\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b\u2212\u207a\u207b\u207c]")


@dataclass(frozen=True)
class SheetRow:
    """A method and its numbers as shown, each with its place: 1, 2, or 0 for no mark."""

    name: str
    cells: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Sheet:
    """A table of methods by columns."""

    title: str
    published: bool
    columns: tuple[tuple[str, str], ...]
    """Heading and arrow."""
    rows: tuple[SheetRow, ...]


def sheets(board: Mapping[str, Any]) -> list[Sheet]:
    """What was measured, then what others have published: never in one table."""
    return [_measured(board), *map(_published, board["published"])]


def _measured(board: Mapping[str, Any]) -> Sheet:
    columns = tuple((_title(each), ARROWS[each["direction"]]) for each in board["columns"])
    rows = tuple(
        SheetRow(line.name, tuple((_text(cell), cell.place if cell else 0) for cell in line.cells))
        for line in _board.lines(board)
    )
    return Sheet("Measured", False, columns, rows)


def _title(column: Mapping[str, Any]) -> str:
    return column["title"] if column["kind"] == "composite" else f"{column['title']} {column['metric']}"


def _text(cell: _board.Cell | None) -> str:
    return cell.shown.value.text if cell and cell.shown.value else MISSING


def _published(found: Mapping[str, Any]) -> Sheet:
    columns = tuple((each["title"], ARROWS[each["direction"]]) for each in found["columns"])
    rows = tuple(SheetRow(row["name"], tuple(map(_cited, row["values"], found["columns"]))) for row in found["rows"])
    return Sheet(found["title"], True, columns, rows)


def _cited(value: float | None, column: Mapping[str, Any]) -> tuple[str, int]:
    if value is None:
        return MISSING, 0
    return f"{value:.2f}", column["best"].index(value) + 1 if value in column["best"] else 0


def markdown(found: Sequence[Sheet]) -> Iterator[str]:
    """All tables, a chunk each."""
    for sheet in found:
        yield f"## {_md(_heading(sheet))}\n\n"
        yield (
            f"| {'Method' if sheet.published else 'Run'} | "
            + " | ".join(_md(" ".join(c)) for c in sheet.columns)
            + " |\n"
        )
        yield "|---|" + "---:|" * len(sheet.columns) + "\n"
        for row in sheet.rows:
            yield (
                f"| {_md(row.name)} | "
                + " | ".join(_marked(cell, "**{}**", "<u>{}</u>") for cell in row.cells)
                + " |\n"
            )
        yield "\n"


def _heading(sheet: Sheet) -> str:
    return f"{sheet.title} (published, not measured)" if sheet.published else sheet.title


def _md(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", " ".join(visible(text).split()))


def _marked(cell: tuple[str, int], best: str, second: str) -> str:
    text, place = cell
    return (text, best.format(text), second.format(text))[place]


def latex(found: Sequence[Sheet]) -> Iterator[str]:
    """All tables for `booktabs`, best in bold, second best underlined."""
    yield "% Needs \\usepackage{booktabs}. Bold: best; underlined: second best.\n"
    for sheet in found:
        yield f"\\begin{{table}}\n\\centering\n\\caption{{{_tex(_heading(sheet))}}}\n"
        yield f"\\begin{{tabular}}{{l{'r' * len(sheet.columns)}}}\n\\toprule\n"
        head = ["Method" if sheet.published else "Run", *(" ".join(each) for each in sheet.columns)]
        yield " & ".join(map(_tex, head)) + " \\\\\n\\midrule\n"
        for row in sheet.rows:
            cells = (_marked((_tex(text), place), "\\textbf{{{}}}", "\\underline{{{}}}") for text, place in row.cells)
            yield " & ".join([_tex(row.name), *cells]) + " \\\\\n"
        yield "\\bottomrule\n\\end{tabular}\n\\end{table}\n\n"


def _tex(text: str) -> str:
    return "".join(TEX.get(each, each) for each in " ".join(visible(text).split()))


def spreadsheet(board: Mapping[str, Any]) -> str:
    """One line a run and column, every number whole; a name that a spreadsheet would run gets a quote before it."""
    out = io.StringIO()
    names = ("value", "se", "low", "high", "n", "n_failed", "rank", "rank_low", "rank_high", "p_best")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "kind", "column", "metric", "unit", "direction", "judge", *names])
    for run in board["runs"]:
        for column in board["columns"]:
            if column["id"] not in run["cells"]:
                continue
            cell = run["cells"][column["id"]]
            low, high = cell.get("ci") or (None, None)
            facts = {**cell, "low": low, "high": high}
            words = [run["name"], *(column[key] for key in ("kind", "title", "metric", "unit", "direction", "judge"))]
            writer.writerow([*map(_harmless, words), *(facts.get(name) for name in names)])
    return out.getvalue()


def _harmless(text: str) -> str:
    return FORMULA.sub(lambda match: f"'{match[0]}", visible(text))
