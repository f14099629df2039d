"""What the pages of a leaderboard say, worked out from its JSON before any markup."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from h3eval.types import Composite, Estimate, Json

from . import _numbers, _panels
from ._numbers import ARROWS, Shown
from ._page import DIMENSIONS, METHODS, Row, facts
from ._shared import is_breakdown

Board = Mapping[str, Any]
GROUPS = {"": "Composites", "helpful": "Helpful", "honest": "Honest", "harmless": "Harmless"}


@dataclass(frozen=True)
class Cell:
    """One run's number in a column."""

    shown: Shown
    sort: str
    """The number for sorting; empty where there is none."""
    place: int
    """1 for the best of its column, 2 for the second, else 0."""
    rank: str
    """`3` or `2 – 5`; empty where it is not known."""
    n: str
    """How many items, where that is not what the column's other runs have."""
    failed: int
    why: str
    """Why there is no number."""
    apart: str
    """Why it is not in the column's order, where it answered other items than the others."""


@dataclass(frozen=True)
class Head:
    """A column's heading."""

    id: str
    title: str
    metric: str
    group: str
    dimension: str
    arrow: str
    judge: str
    ranked: str
    """How its ranks were made; empty where there are none."""
    lower: bool


@dataclass(frozen=True)
class Line:
    """One run's row; a cell is None where the run has no such task."""

    slug: str
    name: str
    cells: tuple[Cell | None, ...]

    @property
    def complete(self) -> bool:
        return all(cell is not None and cell.shown.value is not None for cell in self.cells)


def heads(board: Board) -> tuple[Head, ...]:
    """The columns in order."""
    return tuple(
        Head(
            each["id"], each["title"], "" if each["kind"] == "composite" else each["metric"],
            GROUPS.get(each["dimension"], each["dimension"]), each["dimension"], ARROWS[each["direction"]],
            each["judge"],
            f"{each['ranks']['method']}, {each['ranks']['draws']} draws" if each["ranks"] else "",
            each["direction"] == "lower",
        )
        for each in board["columns"]
    )  # fmt: skip


def lines(board: Board) -> tuple[Line, ...]:
    """The rows in order."""
    return tuple(Line(run["slug"], run["name"], tuple(_cells(board, run))) for run in board["runs"])


def _cells(board: Board, run: Mapping[str, Any]) -> Iterator[Cell | None]:
    for column in board["columns"]:
        found = run["cells"].get(column["id"])
        yield cell(column, found) if found else None


def cell(column: Mapping[str, Any], found: Mapping[str, Any]) -> Cell:
    """A number as shown."""
    value, total = found["value"], int(found.get("n") or 0) + int(found.get("n_failed") or 0)
    why = found.get("note") or ("missing: " + "; ".join(found["missing"]) if found.get("missing") else "")
    return Cell(
        shown(column, found), "" if value is None else repr(float(value)), found.get("place", 0), rank(found),
        f"{total:,}" if column["kind"] == "task" and total != column["n"] else "", int(found.get("n_failed") or 0),
        "" if value is not None else why or "nothing was scored", found.get("apart", ""),
    )  # fmt: skip


def shown(column: Mapping[str, Any], found: Mapping[str, Any]) -> Shown:
    """The cell's number with its interval."""
    ci = tuple(found["ci"]) if found.get("ci") else None
    return _numbers.estimate(
        Estimate(column["metric"], found["value"], 0, 0, found.get("se"), ci, None, column["unit"], column["direction"])
    )


def rank(found: Mapping[str, Any]) -> str:
    """The interval of the run's rank."""
    if "rank" not in found:
        return ""
    low, high = found["rank_low"], found["rank_high"]
    return str(low) if low == high else f"{low} – {high}"


def groups(columns: Sequence[Head]) -> list[tuple[str, str, int]]:
    """Neighbouring columns of one dimension: heading, dimension, how many."""
    found: list[tuple[str, str, int]] = []
    for each in columns:
        if found and found[-1][0] == each.group:
            found[-1] = (each.group, each.dimension, found[-1][2] + 1)
        else:
            found.append((each.group, each.dimension, 1))
    return found


@dataclass(frozen=True)
class Sheet:
    """All estimates of one task of one run."""

    name: str
    rows: tuple[Row, ...]
    categories: tuple[Row, ...]
    about: str
    notes: tuple[str, ...]


def sheets(results: Mapping[str, Any], dimension: str) -> Iterator[Sheet]:
    """The tasks of a dimension, the primary metric first."""
    for task in results["tasks"]:
        if task["dimension"] != dimension:
            continue
        found = [
            _row(each) for each in results["estimates"]
            if (each["task"], each["protocol"]) == (task["task"], task["protocol"])
        ]  # fmt: skip
        found.sort(key=lambda row: not row.primary)
        yield Sheet(
            f"{task['task']}/{task['protocol']}",
            tuple(row for row in found if row.primary or not is_breakdown(row.found.metric)),
            tuple(row for row in found if not row.primary and is_breakdown(row.found.metric)),
            task.get("about") or "", tuple(task.get("notes") or ()),
        )  # fmt: skip


def _row(found: Mapping[str, Any]) -> Row:
    method = found.get("method") or ""
    estimate = Estimate(
        found["metric"], found["value"], found["n"], found["n_failed"], found["se"], _pair(found["ci"]),
        _pair(found["bounds"]), found["unit"], found["direction"], found["metric_version"], method,
        found.get("note") or "", found.get("judge") or "",
    )  # fmt: skip
    direction = ARROWS[found["direction"]]
    return Row(estimate, _numbers.estimate(estimate), found["primary"], direction, METHODS.get(method, method))


def _pair(ends: Sequence[float] | None) -> tuple[float, float] | None:
    return (ends[0], ends[1]) if ends else None


def wholes(results: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Shown]]:
    """The run's composites."""
    for each in results["composites"]:
        found = Composite(each["name"], each["about"], each["value"], each["unit"], each["se"], _pair(each["ci"]))
        yield each, _numbers.composite(found)


def manifest(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What identifies the run."""
    return list(facts(results.get("manifest") or {}))


def dimensions(results: Mapping[str, Any]) -> list[tuple[str, list[Sheet]]]:
    """Each dimension that the run has tasks of, with them."""
    found = [(name, list(sheets(results, name))) for name in DIMENSIONS]
    return [(name, each) for name, each in found if each]


def made(run: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the run's model was made of, with settings in words; None where that is not known."""
    found = run.get("made")
    if not found:
        return None
    parents = [{**each, "settings": _panels.told(each["settings"])} for each in found["parents"]]
    return {**found, "settings": _panels.told(found["settings"]), "parents": parents}


def plain(board: Board) -> dict[str, Json]:
    """The board without each run's whole results: what leaderboard.json holds."""
    return {
        **board,
        "runs": [{key: value for key, value in run.items() if key != "results"} for run in board["runs"]],
    }
