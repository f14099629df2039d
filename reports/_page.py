"""What the HTML page says, worked out before any markup: cards, tables, shelves of samples."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from h3eval.types import Composite, Dimension, Estimate, Json, Run, TaskResult

from . import _numbers
from ._browse import Browser
from ._figures import Figure, categories, plane
from ._numbers import ARROWS, Number, Shown
from ._samples import Shelf, shelf
from ._shared import failure_rows, identity, is_breakdown, line, pretty, sample_file, task_keys

DIMENSIONS: tuple[Dimension, ...] = ("helpful", "honest", "harmless")
PAGE = 4_000_000
"""About how many characters of samples a page may hold."""
LONGEST_FACT = 400
METHODS = {"wilson": "Wilson", "t": "Student's\u00a0t", "delta": "delta method"}


@dataclass(frozen=True)
class Row:
    """One estimate of a table."""

    found: Estimate
    shown: Shown
    primary: bool
    arrow: str
    method: str


@dataclass(frozen=True)
class Table:
    """All estimates of one task, its judges and what failed."""

    result: TaskResult
    name: str
    rows: tuple[Row, ...]
    categories: tuple[Row, ...]
    """The rows that are one category of another metric."""
    figures: tuple[Figure, ...]
    doubted: bool
    """Is one of its judges not to be trusted?"""
    failures: tuple[tuple[str, str, int], ...]
    judges: tuple[tuple[str, Mapping[str, Json], str], ...]
    """Role, entry, and the model behind it."""
    outcomes: tuple[tuple[str, str], ...]
    """Role, and how often each label was read, the most frequent first."""

    @property
    def primary(self) -> Row | None:
        """The task's primary estimate."""
        return next((row for row in self.rows if row.primary), None)


@dataclass(frozen=True)
class Card:
    """One dimension's headline."""

    dimension: Dimension
    score: Number | None
    score_of: str
    """The composite the score is a part of; empty where no composite has this dimension."""
    tables: tuple[Table, ...]
    missing: tuple[str, ...]

    @property
    def scored(self) -> int:
        """How many tasks have a primary number."""
        return sum(1 for table in self.tables if table.primary and table.primary.shown.value)

    @property
    def beside(self) -> int:
        """How many of its tasks are read beside its number and are not in it."""
        return sum(1 for table in self.tables if table.result.axis)

    @property
    def absent(self) -> tuple[tuple[Table, str], ...]:
        """The tasks without one, and why."""
        return tuple((table, _why(table)) for table in self.tables if table.primary and not table.primary.shown.value)

    @property
    def demonstration(self) -> bool:
        """Is one of its numbers a demo judge's?"""
        return any(entry.get("demonstration") for table in self.tables for entry in table.result.judges.values())


def _why(table: Table) -> str:
    """Why a task has no number, in a few words: above all, which judge it wants."""
    wanted = [role for role, entry in table.result.judges.items() if not entry.get("identity", True)]
    if wanted:
        return f"wants a judge: {', '.join(wanted)}"
    if table.failures:
        _, reason, count = max(table.failures, key=lambda row: row[2])
        return f"{reason} ({count:,})"
    return (table.primary and table.primary.found.note) or "nothing was scored"


@dataclass(frozen=True)
class Whole:
    """A composite with its parts."""

    found: Composite
    shown: Shown
    parts: tuple[tuple[str, Number | None], ...]


@dataclass(frozen=True)
class Page:
    """Everything on the page."""

    run: Run
    cards: tuple[Card, ...]
    wholes: tuple[Whole, ...]
    plane: Figure | None
    """Harm against over-refusal."""
    shelves: tuple[Shelf, ...]
    costs: tuple[tuple[str, Mapping[str, str]], ...]
    facts: tuple[tuple[str, str], ...]
    manifest: str

    @property
    def samples(self) -> int:
        """How many samples the run has."""
        return sum(shelf.total for shelf in self.shelves)

    @property
    def failures(self) -> int:
        """How many steps gave nothing."""
        return sum(count for result in self.run.results for count in result.failures.values())


def _shelves(run: Run, budget: int, browser: Browser | None) -> Iterator[Shelf]:
    for place, (key, result) in enumerate(zip(task_keys(run), run.results, strict=True)):
        yield shelf(result, sample_file(key), budget, partial(browser.add, place) if browser else None)


def page(run: Run, browser: Browser | None = None) -> Page:
    """The whole page; reads each task's items once, and shows all of them to `browser`."""
    budget = PAGE // max(1, len(run.results))
    return Page(
        run,
        tuple(card(run, dimension) for dimension in DIMENSIONS),
        wholes(run),
        plane(run),
        tuple(_shelves(run, budget, browser)),
        costs(run),
        tuple(facts(run.manifest)),
        pretty(run.manifest),
    )


def card(run: Run, dimension: Dimension) -> Card:
    """The dimension's part of the first composite that has one, and its tasks."""
    tables = tuple(table(result) for result in run.results if result.dimension == dimension)
    whole = next((each for each in run.composites if dimension in each.parts), None)
    if whole is None:
        return Card(dimension, None, "", tables, ())
    # Tasks that were not run at all stand among the warnings.
    here = {result.task for result in run.results if result.dimension == dimension}
    missing = tuple(each for each in whole.missing if _task_of(each) in here)
    score = _numbers.part(whole.parts[dimension], whole.unit)
    return Card(dimension, score, whole.name, tables, () if score else missing)


def _task_of(part: str) -> str:
    return part.partition(":")[0].partition("/")[0]


def table(result: TaskResult) -> Table:
    """The primary metric first, the others as the task lists them."""
    estimates = sorted(result.estimates, key=lambda each: each.metric != result.primary)
    rows = tuple(_row(each, result) for each in estimates)
    judges = tuple((role, entry, _model(entry)) for role, entry in result.judges.items())
    doubted = not all(map(trusted, result.judges.values()))
    return Table(
        result, identity(result),
        tuple(row for row in rows if row.primary or not is_breakdown(row.found.metric)),
        tuple(row for row in rows if not row.primary and is_breakdown(row.found.metric)),
        categories(identity(result), result.dimension, (each for each in estimates if is_breakdown(each.metric))),
        doubted, tuple(failure_rows(result)), judges,
        tuple((role, _counted(counts)) for role, counts in result.outcomes.items() if role in result.judges),
    )  # fmt: skip


def _counted(counts: Mapping[str, int]) -> str:
    return " · ".join(f"{label} {count:,}" for label, count in sorted(counts.items(), key=lambda pair: -pair[1]))


def _row(found: Estimate, result: TaskResult) -> Row:
    method = METHODS.get(found.method, found.method)
    primary = found.metric == result.primary
    return Row(found, _numbers.estimate(found), primary, ARROWS[found.direction], method)


def _model(entry: Mapping[str, Json]) -> str:
    """What stands behind a judge."""
    if entry.get("members"):
        return f"a panel, by {entry['rule']}: {', '.join(entry['members'])}"
    if entry.get("identity") and not entry.get("spec"):
        return "no model: a rule"
    return str(entry.get("model") or entry.get("spec") or "nobody: no model was given")


def trusted(entry: Mapping[str, Json]) -> bool:
    """Is there no known reason to distrust this judge?"""
    return bool(entry.get("trusted", True)) and not entry.get("self_judged") and not entry.get("demonstration")


def wholes(run: Run) -> tuple[Whole, ...]:
    """The composites, their parts in the composite's own unit."""
    return tuple(
        Whole(
            each,
            _numbers.composite(each),
            tuple((name, _numbers.part(value, each.unit)) for name, value in each.parts.items()),
        )
        for each in run.composites
    )


def costs(run: Run) -> tuple[tuple[str, Mapping[str, str]], ...]:
    """By stage, in words."""
    return tuple((stage, _cost(spent)) for stage, spent in run.costs.items())


def _cost(spent: Mapping[str, Json]) -> dict[str, str]:
    seconds = spent.get("seconds")
    counts = {key: spent.get(key) for key in ("calls", "answers", "tokens_in", "tokens_out")}
    return {
        **{key: "—" if count is None else f"{count:,}" for key, count in counts.items()},
        "cost": _dollars(spent),
        "time": "—" if seconds is None else f"{seconds:,.1f} s",
    }


def _dollars(spent: Mapping[str, Json]) -> str:
    """What a stage cost; that some of it is unknown is never left out."""
    if "cost_micro" not in spent:
        return "—"
    if spent["cost_micro"] is not None:
        return f"${spent['cost_micro'] / 1e6:,.4f}"
    known, unknown = spent["cost_known_micro"] / 1e6, spent["unknown"]
    words = {"unpriced": "without a known price", "lost": "whose answers were lost"}
    why = "; ".join(f"calls {words[key]}: {unknown[key]:,}" for key in words if unknown[key])
    return f"{f'${known:,.4f} and an unknown sum' if known else 'unknown'} ({why})"


def facts(value: Json, path: str = "") -> Iterator[tuple[str, str]]:
    """The manifest as pairs of a dotted path and a short text."""
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from facts(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value:
        yield path, " · ".join(map(_fact, value))[:LONGEST_FACT]
    else:
        yield path, _fact(value)[:LONGEST_FACT]


def _fact(value: Json) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_fact(each)}" for key, each in value.items()) or "—"
    if value in (None, "", [], ()):
        return "—"
    return value if isinstance(value, str) else line(value)
