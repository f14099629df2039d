"""Ranks of many runs over the items they share, from each item's score.

Scores are read from the runs' stores, which takes a moment each, and kept in a folder under the digest of the
run's results, so that a site of hundreds of runs is made anew in seconds.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from h3eval.errors import H3evalError
from h3eval.pairing import scores
from h3eval.plan import Plan
from h3eval.scoring import items, plan_of
from h3eval.stats.ranking import rank_means
from h3eval.store import Reader
from h3eval.terminal import say
from h3eval.text import digest
from h3eval.types import Json, Task

DRAWS, FEW_DRAWS, MANY = 2000, 400, 100
"""Bootstrap draws, and how many of them among more than MANY runs."""
SEED = 20_261_121
COVERED = 0.98
"""The share of a column's items that a run must have to be ranked in it."""
STORE = "run.db"
NAMED = "questions"
"""How items are named in what is kept: by their questions, not by their ids as once."""
Table = Mapping[str, Mapping[str, Any]]
"""`task: metric` to `items`, `scores` and `clusters`, in the items' order."""


class Run(Protocol):
    @property
    def folder(self) -> Path: ...
    @property
    def digest(self) -> str: ...


class Ranked(Protocol):
    title: str
    metric: str
    direction: str
    cells: dict[str, dict[str, Json]]
    ranks: dict[str, Json]

    @property
    def comparable(self) -> bool: ...


def ranked(columns: Iterable[Any], runs: Mapping[str, Run], cache: Path | None) -> None:
    """Give each column's cells `rank`, `rank_low`, `rank_high` and `p_best`, where its runs share their items."""
    wanted = [each for each in columns if each.kind == "task" and each.comparable and len(each.cells) > 1]
    tables = {slug: table(runs[slug], cache) for slug in {slug for column in wanted for slug in column.cells}}
    if absent := sum(not each for each in tables.values()):
        say(f"{absent} of {len(tables)} runs have no store beside their results: they have values, and no ranks")
    for column in wanted:
        _rank(column, {slug: tables[slug].get(f"{column.title}: {column.metric}") for slug in sorted(column.cells)})


def _rank(column: Ranked, found: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Rank the runs that share their items; the others have no place in the column's order, and say so."""
    there = {slug: each for slug, each in found.items() if each}
    if len(there) < 2:
        return
    usual, kept = _alike({slug: each["items"] for slug, each in there.items()})
    for slug in there.keys() - set(kept):
        shared = len(set(usual) & set(there[slug]["items"]))
        column.cells[slug].pop("place", None)
        why = (
            f"shares {shared} of {len(usual)} with the runs that are ranked"
            if kept
            else "no two runs here share theirs"
        )
        column.cells[slug]["apart"] = f"items of its own: {why}"
    known = {slug: there[slug] for slug in kept if _is_mean(column.cells[slug], there[slug])}
    kept = list(known)
    place = {item: k for k, item in enumerate(usual)}
    if len(kept) < 2:
        return
    sheet = np.full((len(usual), len(kept)), np.nan)
    for k, slug in enumerate(kept):
        values = [np.nan if score is None else score for score in known[slug]["scores"]]
        sheet[[place[item] for item in known[slug]["items"]], k] = values
    clusters = next(
        (each["clusters"] for each in known.values() if list(each["items"]) == list(usual) and each["clusters"]), None
    )
    draws = FEW_DRAWS if len(kept) > MANY else DRAWS
    sign = -1.0 if column.direction == "lower" else 1.0
    made = rank_means(kept, sign * sheet, np.random.default_rng(SEED), clusters, draws)
    for k, slug in enumerate(kept):
        column.cells[slug] |= {
            "rank": int(made.rank[k]), "rank_low": int(made.low[k]), "rank_high": int(made.high[k]),
            "p_best": float(made.best[k]),
        }  # fmt: skip
    column.ranks = {"items": len(usual), "runs": len(kept), "draws": made.draws, "method": made.method}


def _alike(items: Mapping[str, Sequence[str]]) -> tuple[Sequence[str], list[str]]:
    """The items that most runs have, and those runs; nobody where each has items of its own."""
    # Runs of the same data have the very same items: only what differs is looked at pair by pair.
    alike: dict[tuple[str, ...], list[str]] = {}
    for slug, names in items.items():
        alike.setdefault(tuple(names), []).append(slug)
    best: tuple[Sequence[str], list[str]] = ((), [])
    for names in sorted(alike, key=len, reverse=True):
        place = {item: k for k, item in enumerate(names)}
        covering = [slug for other, slugs in alike.items() if _covers(other, place) for slug in slugs]
        if len(covering) > len(best[1]):
            best = names, covering
    usual, kept = best
    return usual, kept if len(kept) > 1 else []


def _is_mean(cell: Mapping[str, Json], found: Mapping[str, Any]) -> bool:
    """Is the number the mean of these scores? Ranks of anything else need other resampling."""
    known = [score for score in found["scores"] if score is not None]
    if not known or cell["value"] is None:
        return False
    return any(abs(scale * float(np.mean(known)) - cell["value"]) < 1e-6 * scale for scale in (1.0, 100.0))


def _covers(names: Sequence[str], place: Mapping[str, int]) -> bool:
    return len(names) >= COVERED * len(place) and all(name in place for name in names)


def table(run: Run, cache: Path | None) -> Table:
    """A run's scores by item; empty where its store is not there or can't be read."""
    if not (run.folder / STORE).is_file():
        return {}
    file = cache / f"{run.digest[:32]}.{NAMED}.json" if cache else None
    if file and file.exists():
        kept: Table = json.loads(file.read_text(encoding="utf-8"))
        return kept
    try:
        with Reader(run.folder) as reader:
            plan = plan_of(reader)
            made = {name: each for task in plan.tasks for name, each in _scored(reader, plan, task)}
    except H3evalError as error:
        say(f"{run.folder}: not ranked: {error}")
        return {}
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(made, separators=(",", ":")), encoding="utf-8")
    return made


def _scored(reader: Reader, plan: Plan, task: Task) -> Iterable[tuple[str, dict[str, Json]]]:
    """The primary metric's scores, an item being named after its question."""
    found = scores(task, items(reader, plan, task))[task.primary]
    clusters = {name: k for k, name in enumerate(dict.fromkeys(each.cluster for each in found.values()))}
    numbers = [clusters[each.cluster] for each in found.values()]
    yield (
        f"{task.id}: {task.primary}",
        {
            "items": [digest(name)[:10] for name in found],
            "scores": [each.score for each in found.values()],
            "clusters": numbers if len(clusters) < len(found) else None,
        },
    )
