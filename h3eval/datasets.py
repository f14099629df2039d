"""Rows of data sets: from a local copy, from the Hugging Face hub, or from the demo samples.

Knows files and rows, not benchmarks: which files a benchmark may lie in is the task's to say.
"""

import importlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from h3eval.errors import DataMissing
from h3eval.hub import SILENT, why
from h3eval.untrusted import files as outside
from h3eval.untrusted.rows import Row, numbered

__all__ = ["DataSource", "Row", "read_rows"]
UNDEFINED = re.compile(r"^'([^']+)' is undefined|has no attribute '([^']+)'")
FIRST = 50
"""Rows whose columns are looked at: all have the same, but in files made by hand."""
LONGEST = 300


def read_rows(path: Path) -> list[Row]:
    """Rows of a file of JSON lines, of a JSON list, or of a table, gzipped or not; what it is, its content says.

    Raise ConfigError naming file and line for anything that can't be read, or in two ways.
    """
    return [row for _, row in numbered(path)]


class HubOff(DataMissing):
    """Whether the hub has it can't be told here: it is switched off, or does not answer."""


@dataclass(frozen=True)
class Origin:
    """Where the rows of one split came from, for messages and for `h3eval doctor --data`."""

    hub: str
    config: str | None
    split: str
    place: str
    """The file, or `the hub at REVISION`, or `the demo samples`."""
    revision: str = ""
    """The hub's; empty elsewhere."""
    rows: int = 0
    columns: tuple[str, ...] = ()
    cure: str = ""

    def __str__(self) -> str:
        return f"{named(self.hub, self.config, self.split)} ({self.place})"

    def lacks(self, column: object, number: int = 0, there: Sequence[str] | None = None) -> DataMissing:
        """The error that says that these rows, or the row of that number, have no such column."""
        known = ", ".join(self.columns if there is None else there) or "none"
        which = f", row {number}" if number else ""
        return DataMissing(f"{self}{which}: no column {column!r} (there are: {known}); {self.cure}")


def named(hub: str, config: str | None, split: str) -> str:
    """A split's whole name, in words."""
    return f"{hub}{f', configuration {config}' if config else ''}, split {split}"


class KnownRow(dict[str, Any]):
    """A row that says where it came from when a column is asked for that it has not. Raise DataMissing."""

    def __init__(self, row: Row, origin: Origin, number: int) -> None:
        super().__init__(row)
        self.origin = origin
        self.number = number

    def __missing__(self, column: str) -> Any:
        raise self.origin.lacks(column, self.number, list(self))


@dataclass
class DataSource:
    """Implements `types.Source`. Every file or data set used is noted in `used`, for manifests.

    `revisions` fixes the hub's data sets, by name: those that a stored run has read, and then those that were read
    first. A data set that moves on the hub between two readings is read at the same revision.
    """

    data_dir: Path | None = None
    demo: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    origins: list[Origin] = field(default_factory=list)

    def file(self, *names: str) -> str | None:
        """The first of these files, or of their gzipped forms, under the data folder."""
        for name in names if self.data_dir else ():
            for form in (name, f"{name}.gz"):
                path = Path(self.data_dir or "", form)
                if path.is_file():
                    self.used[form] = outside.sha256(path)
                    return str(path)
        return None

    def rows(
        self,
        hub: str,
        config: str | None = None,
        split: str = "test",
        files: tuple[str, ...] = (),
        demo: str = "",
    ) -> list[Row]:
        """Rows of one split.

        `files` are names under the data folder, `demo` is the name of the sample file shipped
        beside the task. Raise DataMissing with the places looked at; a row raises it for a column that it has not.
        """
        cure = f"put {' or '.join(files)} under --data-dir" if files else "pass --data-dir"
        revision = ""
        if self.demo:
            read, place = list(enumerate(self._demo(demo, split), 1)), "the demo samples"
        elif found := self.file(*files):
            read, place = list(numbered(Path(found))), found
        else:
            rows, revision = self._hub(hub, config, split, cure)
            read, place = list(enumerate(rows, 1)), f"the hub at {revision}"
        columns = tuple(dict.fromkeys(key for _, row in read[:FIRST] for key in row))
        origin = Origin(hub, config, split, place, revision, len(read), columns, cure)
        if not read and not self.demo:
            raise DataMissing(f"{origin}: no rows; {cure}")
        self.origins.append(origin)
        return [KnownRow(row, origin, number) for number, row in read]

    def _demo(self, demo: str, split: str) -> list[Row]:
        name = f"{demo}.demo.jsonl"
        path = Path(str(package_files("h3eval.tasks").joinpath(name)))
        if not demo or not path.is_file():
            raise DataMissing(f"no demo samples ship for {demo or 'this task'}; use --data-dir DIR")
        self.used[name] = outside.sha256(path)
        rows = read_rows(path)
        return [row for row in rows if row.pop("split", "test") == split]

    def _hub(self, hub: str, config: str | None, split: str, cure: str) -> tuple[list[Row], str]:
        """The rows, and the revision they were read at."""
        if not hub_allowed():
            raise HubOff(
                f"{named(hub, config, split)}: no copy here, and the hub is switched off (HF_HUB_OFFLINE); {cure}"
            )
        library = importlib.import_module("datasets")
        hub_api = importlib.import_module("huggingface_hub")
        try:
            # The revision is fixed before anything is read, so that the manifest can name it.
            revision = self.revisions.get(hub) or str(hub_api.HfApi().dataset_info(hub, timeout=20).sha)
            builder = library.load_dataset_builder(hub, config, revision=revision)
            if builder.hash != revision:
                # The library takes what an earlier day has left in its cache, with no more than a line in its log. Why
                # it did, it doesn't say: most often because the data set is gated.
                hub_api.HfApi().auth_check(hub, repo_type="dataset")
                raise RuntimeError(f"only another revision is in the cache here: {builder.hash}, not {revision}")
            builder.download_and_prepare()
            read = [dict(row) for row in builder.as_dataset(split=split)]
        except Exception as error:  # the libraries below raise each its own, and none is a fault of ours
            told = why(error)
            kind = HubOff if told.startswith(SILENT) else DataMissing
            raise kind(f"{named(hub, config, split)}: {told}; {cure}") from error
        self.revisions[hub] = revision
        self.used[f"hub:{hub}:{config or ''}:{split}"] = revision
        return read, revision


def misfit(what: str, error: BaseException, origins: Sequence[Origin]) -> DataMissing:
    """The error that says that what was read is not in the form that a task expects, as its own error has it."""
    column = error.args[0] if isinstance(error, KeyError) and error.args else None
    if undefined := UNDEFINED.search(str(error)):
        column = undefined[1] or undefined[2]
    # The first split that lacks it, else the last that was read.
    guilty = next((each for each in origins if column is not None and column not in each.columns), None)
    if guilty:
        return DataMissing(f"{what}: {guilty.lacks(column)}")
    if not origins:
        return DataMissing(f"{what}: {type(error).__name__}: {error}")
    last, first = origins[-1], next(iter(str(error).splitlines()), "")
    return DataMissing(
        f"{what}: {last}: not in the form expected: {type(error).__name__}: {first[:LONGEST]} "
        f"(columns: {', '.join(last.columns)}); {last.cure}"
    )


def pinned(used: Mapping[str, str]) -> dict[str, str]:
    """The hub's data sets of a manifest's `data`, each with the revision that was read."""
    parts = {name: name.split(":") for name in used}
    return {part[1]: used[name] for name, part in parts.items() if part[0] == "hub" and len(part) == 4}


def hub_allowed() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").lower() not in {"1", "true", "yes", "on"}
