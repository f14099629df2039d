"""Many runs side by side: which of their numbers may stand in one column, and in which order.

A column is one metric of one task on one protocol, of one version, read by one judge: what differs in any of these
stands in a column of its own. The result is plain JSON, which the `leaderboard` report turns into pages.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from h3eval import config
from h3eval.cardfiles import who
from h3eval.errors import ConfigError, UsageError
from h3eval.itemscores import COVERED, ranked
from h3eval.text import canonical, digest
from h3eval.types import Json
from h3eval.untrusted import tables, values

SCHEMA_VERSION = 1
RESULTS = "results.json"
SELF = "the model itself"
DIMENSIONS = ("helpful", "honest", "harmless")
FOLDER = re.compile(r'(?:(?<=[:=])|^)(?:~|\.{1,2})?/(?!/)[^,]*|(?<=[:=]")(?:~|\.{1,2})?/(?!/)(?:[^"]|"")*')
"""A local folder in a model's name, adapters' among them."""
NOTHING = ("", "-", "—")
"""How published tables write that there is no number."""


@dataclass(frozen=True)
class Entry:
    """One run: its folder, its place's name on the site, and its results."""

    folder: Path
    slug: str
    name: str
    results: Mapping[str, Any]
    digest: str
    """Of results.json."""


@dataclass
class Column:
    """What may be compared, with each run's number."""

    id: str
    kind: str
    """`task` or `composite`."""
    title: str
    dimension: str
    axis: str
    metric: str
    unit: str
    direction: str
    judge: str
    cells: dict[str, dict[str, Json]] = field(default_factory=dict)
    """By slug."""
    ranks: dict[str, Json] = field(default_factory=dict)

    @property
    def what(self) -> tuple[str, str, str]:
        """Kind, task and metric: what is measured, whoever judges."""
        return self.kind, self.title, self.metric

    @property
    def comparable(self) -> bool:
        """May its numbers be put in an order?"""
        return self.direction != "none" and self.judge != SELF


def entries(folders: Sequence[Path]) -> list[Entry]:
    """The runs with names and slugs of their own. Raise UsageError for a folder without results."""
    found = [(folder, *_read(folder)) for folder in folders]
    models = [str(results["run"]["model"]) for _, results, _ in found]
    counts, short = Counter(models), short_names(models)
    slugs: set[str] = set()
    made = []
    for (folder, results, sha), model in zip(found, models, strict=True):
        name = short[model] if counts[model] == 1 else f"{short[model]} ({folder.resolve().name})"
        slug = _slug(folder.resolve().name, slugs)
        made.append(Entry(folder, slug, name, results, sha))
    return made


def short_names(models: Sequence[str]) -> dict[str, str]:
    """Each model's name with local folders cut to as much of their ends as tells the models apart: where on a machine a
    model lies is too long for a table, and nobody's business. Hub names stay."""
    named: dict[str, str] = {}
    for parts in range(1, 2 + max((model.count("/") for model in models), default=0)):
        left = set(models) - named.keys()
        shorter = {model: FOLDER.sub(partial(_end, parts), model) for model in left}
        counts = Counter([*shorter.values(), *named.values()])
        named |= {model: name for model, name in shorter.items() if counts[name] == 1}
    return {model: named.get(model, model) for model in models}


def _end(parts: int, folder: re.Match[str]) -> str:
    found = Path(folder[0]).parts
    return folder[0] if parts >= len(found) else "/".join(found[-parts:])


def _read(folder: Path) -> tuple[Mapping[str, Any], str]:
    file = folder / RESULTS
    try:
        text = file.read_bytes()
        found = values.parsed(text)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}: make it with h3eval score {folder}") from error
    except ValueError as error:
        raise UsageError(f"{file}: not JSON ({error}): make it again with h3eval score {folder}") from error
    if not isinstance(found, dict) or not isinstance(found.get("run"), dict) or "estimates" not in found:
        raise UsageError(f"{file}: not a results.json of h3eval's")
    if found.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(
            f"{file}: schema_version {found.get('schema_version')}, and this h3eval reads {SCHEMA_VERSION}"
        )
    return found, digest(text)


def _slug(name: str, taken: set[str]) -> str:
    words = "".join(each if each.isascii() and (each.isalnum() or each in "-_") else "-" for each in name)[:60]
    stem = words.strip("-") or "run"
    slug, count = stem, 1
    while slug.casefold() in taken:
        count += 1
        slug = f"{stem}-{count}"
    taken.add(slug.casefold())
    return slug


def board(runs: Sequence[Entry], cache: Path | None = None, published: Sequence[Json] = ()) -> dict[str, Json]:
    """All that the site shows. `cache` keeps the items' scores, which ranks are made of, from one time to the next."""
    columns = _columns(runs)
    for column in columns:
        _marks(column)
    by_slug = {run.slug: run for run in runs}
    ranked(columns, by_slug, cache)
    order = _order(columns, [run.slug for run in runs])
    return {
        "schema_version": SCHEMA_VERSION,
        "columns": [_column(column) for column in columns],
        "runs": [_run(by_slug[slug], columns) for slug in order],
        "fronts": [_front(columns, *pair) for pair in _pairs(columns)],
        "published": list(published),
    }


def _column(column: Column) -> dict[str, Json]:
    names = ("id", "kind", "title", "dimension", "axis", "metric", "unit", "direction", "judge")
    return {**{name: getattr(column, name) for name in names}, "ranks": column.ranks, "n": _usual(column)}


def _usual(column: Column) -> int:
    """How many items most of the column's runs have."""
    return Counter(_total(cell) for cell in column.cells.values()).most_common(1)[0][0]


def _total(cell: Mapping[str, Json]) -> int:
    return int(cell.get("n") or 0) + int(cell.get("n_failed") or 0)


def _run(run: Entry, columns: Sequence[Column]) -> dict[str, Json]:
    cells = {column.id: column.cells[run.slug] for column in columns if run.slug in column.cells}
    return {"slug": run.slug, "name": run.name, "cells": cells, "results": dict(run.results)}


def _columns(runs: Sequence[Entry]) -> list[Column]:
    """Composites first, then the tasks by dimension; each run's number in the column it belongs to."""
    numbers = [(run, number, column) for run in runs for number, column in _numbers(run)]
    found: dict[str, Column] = {}
    for run, number, column in numbers:
        if number["value"] is not None:
            found.setdefault(column.id, column).cells[run.slug] = _cell(number)
    for run, number, column in numbers:
        if number["value"] is None:
            # Nobody knows who would have judged: it is missing from every column of its metric.
            same = [each for each in found.values() if each.what == column.what]
            for each in same or [found.setdefault(column.id, column)]:
                each.cells[run.slug] = _cell(number)
    places = {name: place for place, name in enumerate(DIMENSIONS)}
    return sorted(found.values(), key=lambda c: (c.kind != "composite", places.get(c.dimension, 9), bool(c.axis)))


def _numbers(run: Entry) -> Iterator[tuple[Mapping[str, Any], Column]]:
    """A run's primary numbers and composites, each with an empty column of its kind."""
    for estimate in run.results["estimates"]:
        if estimate["primary"]:
            yield estimate, _task_column(run, estimate)
    for composite in run.results["composites"]:
        yield composite, _composite_column(run, composite)


def _cell(found: Mapping[str, Any]) -> dict[str, Json]:
    names = ("value", "se", "ci", "n", "n_failed", "bounds", "note", "missing", "parts")
    return {name: found[name] for name in names if name in found}


def _task_column(run: Entry, estimate: Mapping[str, Any]) -> Column:
    task = next(
        each for each in run.results["tasks"]
        if (each["task"], each["protocol"]) == (estimate["task"], estimate["protocol"])
    )  # fmt: skip
    title = f"{estimate['task']}/{estimate['protocol']}"
    voice, shown = _voice(task.get("judges") or {}, estimate["judge"])
    identity = [title, task["version"], estimate["metric"], estimate["metric_version"], estimate["unit"], voice]
    return Column(
        digest(canonical(identity))[:12], "task", title, estimate["dimension"], task.get("axis") or "",
        estimate["metric"], estimate["unit"], estimate["direction"], shown,
    )  # fmt: skip


def _voice(judges: Mapping[str, Any], names: str | None) -> tuple[Json, str]:
    """Who judged, and how: for telling columns apart, and for people."""
    if not names:
        return None, ""
    wanted = {name.strip() for name in names.split(",")}
    used = [each for each in judges.values() if each["judge"] in wanted]
    if any(each.get("self_judged") for each in used):
        return SELF, SELF
    voices = sorted({canonical(who(each)): _spoken(each) for each in used}.items())
    return [voice for voice, _ in voices], ", ".join(spoken for _, spoken in voices)


def _spoken(entry: Mapping[str, Any]) -> str:
    spec = str(entry.get("spec") or "").partition(",")[0]
    shown = " (demonstration)" if entry.get("demonstration") else ""
    return f"{entry['judge']} on {spec}{shown}" if spec else str(entry["judge"])


def _composite_column(run: Entry, composite: Mapping[str, Any]) -> Column:
    """A composite is comparable with one of the same name that was made of the same columns."""
    tasks = _tasks_of(composite["name"])
    parts = sorted(
        _task_column(run, each).id
        for each in run.results["estimates"]
        if each["primary"] and each["value"] is not None and (tasks is None or each["task"] in tasks)
    )
    whole = [composite["name"], composite["unit"], parts if composite["value"] is not None else "missing"]
    return Column(
        digest(canonical(whole))[:12], "composite", composite["name"], "", "", composite["name"], composite["unit"],
        "higher", "",
    )  # fmt: skip


def _tasks_of(name: str) -> set[str] | None:
    """The tasks that a composite names; None where it takes all there are."""
    groups = config.composites().get(name.partition(" (")[0], {}).get("groups", "primary")
    return None if isinstance(groups, str) else {part["task"] for parts in groups.values() for part in parts}


def _marks(column: Column) -> None:
    """Best and second best by value; equal values share a mark. A run of fewer items than the others has none."""
    usual = _usual(column)
    marked = [cell for cell in column.cells.values() if cell["value"] is not None and _total(cell) >= COVERED * usual]
    if not column.comparable or len(marked) < 2:
        return
    values = sorted({round(cell["value"], 12) for cell in marked}, reverse=column.direction == "higher")
    for cell in marked:
        if (place := values.index(round(cell["value"], 12))) < 2:
            cell["place"] = place + 1


def _order(columns: Sequence[Column], slugs: Sequence[str]) -> list[str]:
    """By the composite that most runs have, else by such a task, the best first and the missing last."""
    usable = [column for column in columns if column.comparable and _known(column)]
    if not usable:
        return list(slugs)
    lead = max(usable, key=lambda column: (_known(column) > 1, column.kind == "composite", _known(column)))
    sign = -1.0 if lead.direction == "higher" else 1.0

    def key(slug: str) -> tuple[bool, float, str]:
        value = lead.cells.get(slug, {}).get("value")
        return value is None, 0.0 if value is None else sign * value, slug

    return sorted(slugs, key=key)


def _known(column: Column) -> int:
    return sum(cell["value"] is not None for cell in column.cells.values())


def _pairs(columns: Sequence[Column]) -> Iterator[tuple[Column, Column]]:
    """For each two of helpful, honest, harmless and over-refusal, the columns that most runs have."""
    lead: dict[str, Column] = {}
    for column in columns:
        name = column.axis or column.dimension
        if column.kind == "task" and column.comparable and _known(column) > 1:
            lead[name] = max(lead.get(name, column), column, key=_known)
    for x, y in (("helpful", "harmless"), ("helpful", "honest"), ("honest", "harmless"), ("over_refusal", "harmless")):
        if x in lead and y in lead:
            yield lead[x], lead[y]


def _front(columns: Sequence[Column], x: Column, y: Column) -> dict[str, Json]:
    """Runs that no other run beats in one of two columns without losing in the other."""
    points = {
        slug: (_good(x, slug), _good(y, slug))
        for slug in x.cells
        if slug in y.cells and x.cells[slug]["value"] is not None and y.cells[slug]["value"] is not None
    }
    front, best = [], -math.inf
    for slug, (_, height) in sorted(points.items(), key=lambda each: (-each[1][0], -each[1][1], each[0])):
        if height > best:
            front.append(slug)
            best = height
    return {"x": x.id, "y": y.id, "runs": sorted(points), "front": front}


def _good(column: Column, slug: str) -> float:
    value = float(column.cells[slug]["value"])
    return value if column.direction == "higher" else -value


def published(file: Path, lower: Iterable[str] = ()) -> dict[str, Json]:
    """A table of numbers that others have published: leading columns without numbers name the method.

    `lower` are the columns whose lower values are better. Raise ConfigError for a cell that is no number; `-` and
    nothing are missing.
    """
    head, *body = _table(file)
    names = max(1, next((k for k in range(len(head)) if any(_is_number(row[k]) for row in body)), 1))
    turned = set(lower)
    columns: list[dict[str, Any]] = [
        {"title": name, "direction": "lower" if name in turned else "higher"} for name in head[names:]
    ]
    rows: list[dict[str, Any]] = [
        {"name": " · ".join(row[:names]), "values": [_number(file, cell) for cell in row[names:]]} for row in body
    ]
    for place, column in enumerate(columns):
        values = {row["values"][place] for row in rows} - {None}
        column["best"] = sorted(values, reverse=column["direction"] == "higher")[:2]
    return {"title": file.stem, "columns": columns, "rows": rows}


def _table(file: Path) -> list[list[str]]:
    found = list(tables.cells(file))
    if not found or len(found[0]) < 2 or any(len(row) != len(found[0]) for row in found):
        raise ConfigError(f"{file}: expected a heading, and rows of a name and as many numbers")
    return found


def _number(file: Path, cell: str) -> float | None:
    if cell.strip() in NOTHING:
        return None
    if not _is_number(cell):
        raise ConfigError(f"{file}: {cell!r} is not a number")
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
