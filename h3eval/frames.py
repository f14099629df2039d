"""A stored run as pandas tables, for notebooks: `h3eval.load(RUN)`. Calls no model, writes nothing."""

import weakref
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from h3eval import registry
from h3eval.scoring import score
from h3eval.store import Reader
from h3eval.types import Json, Run

DTYPES = {"text": "string", "flag": "boolean", "integer": "Int64", "real": "float64"}
"""Kinds of columns to pandas types with missing values; the others hold Python's own lists and dictionaries."""


class Frames:
    """One run: `samples` has a row for each verdict of each sample, `estimates` one for each estimate.

    The columns stand in docs/results.md. What a model, a judge or a data set wrote is text: nothing of it is run.
    """

    def __init__(self, folder: Path) -> None:
        """Raise UsageError where there is no run, or one this h3eval can't read."""
        reader = Reader(folder)
        # Samples of a large run are read when they are asked for, so the run stays open as long as this lives.
        self._close = weakref.finalize(self, reader.close)
        self.folder = folder
        self.run: Run = score(reader)
        self._rows = registry.load("reports", "jsonl")

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Every sample with its answer, its verdicts or why there is none; all of them are held in memory."""
        return frame(self._rows.sample_columns, self._rows.samples(self.run))

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """The estimates of results.json, intervals and bounds in two columns each."""
        return frame(self._rows.estimate_columns, self._rows.estimates(self.run))

    @property
    def manifest(self) -> Mapping[str, Json]:
        """What identifies the run, and under `environment` the versions it ran on."""
        return self.run.manifest

    def __repr__(self) -> str:
        return f"<h3eval run {str(self.folder)!r} of {self.run.model!r}: {len(self.run.results)} tasks>"

    def _repr_html_(self) -> str:
        """The headline, for a notebook's cell."""
        html: str = registry.load("reports", "notebook").fragment(self.run)
        return html


def frame(columns: Iterable[Any], rows: Iterable[Mapping[str, Json]]) -> pd.DataFrame:
    """The rows as a table; columns that hold nothing but nulls keep their type, too."""
    kinds = {column.name: DTYPES.get(column.kind, "object") for column in columns}
    cells: dict[str, list[Json]] = {name: [] for name in kinds}
    for row in rows:
        for name, values in cells.items():
            values.append(row[name])
    return pd.DataFrame({name: pd.array(cells.pop(name), dtype=kind) for name, kind in kinds.items()})


def load(run: str | Path, include_path: str | Path | None = None) -> Frames:
    """The stored run in this folder, scored. Raise UsageError where there is none, or no folder to include."""
    if include_path is not None:
        registry.include(Path(include_path))
    return Frames(Path(run))
