"""Rows of data sets: from a local copy, from the Hugging Face hub, or from the demo samples.

Knows files and rows, not benchmarks: which files a benchmark may lie in is the task's to say.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from h3eval.errors import ConfigError, DataMissing
from h3eval.untrusted import files as outside
from h3eval.untrusted.rows import Row, numbered

__all__ = ["DataSource", "Row", "read_rows"]


def read_rows(path: Path) -> list[Row]:
    """Rows of a file of JSON lines, of a JSON list, or of a table, gzipped or not; what it is, its content says.

    Raise ConfigError naming file and line for anything that can't be read, or in two ways.
    """
    return [row for _, row in numbered(path)]


class Given(dict[str, Any]):
    """A row that says which of its file's columns is missing, where a task wants one that it has not."""

    def __init__(self, row: Row, place: str) -> None:
        super().__init__(row)
        self.place = place

    def __missing__(self, key: str) -> Any:
        raise ConfigError(f"{self.place}: lacks {key} (it has {', '.join(self) or 'nothing'})")


@dataclass
class DataSource:
    """Implements `types.Source`. Every file or data set used is noted in `used`, for manifests."""

    data_dir: Path | None = None
    demo: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)

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
        beside the task. Raise DataMissing with the places looked at.
        """
        if self.demo:
            return self._demo(demo, split)
        if found := self.file(*files):
            return [Given(row, f"{found}, row {number}") for number, row in numbered(Path(found))]
        if self.data_dir and files and not _hub_allowed():
            raise DataMissing(
                f"{hub}: none of {', '.join(files)} in the data folder, and the hub is switched off "
                f"(HF_HUB_OFFLINE); put a copy under --data-dir or unset HF_HUB_OFFLINE"
            )
        return self._hub(hub, config, split, files)

    def _demo(self, demo: str, split: str) -> list[Row]:
        name = f"{demo}.demo.jsonl"
        path = Path(str(package_files("h3eval.tasks").joinpath(name)))
        if not demo or not path.is_file():
            raise DataMissing(f"no demo samples ship for {demo or 'this task'}; use --data-dir DIR")
        self.used[name] = outside.sha256(path)
        rows = read_rows(path)
        return [row for row in rows if row.pop("split", "test") == split]

    def _hub(self, hub: str, config: str | None, split: str, files: tuple[str, ...]) -> list[Row]:
        cure = f"put {' or '.join(files)} under --data-dir" if files else "pass --data-dir"
        if not _hub_allowed():
            raise DataMissing(f"{hub}: the hub is switched off (HF_HUB_OFFLINE); {cure}")
        library = importlib.import_module("datasets")
        hub_api = importlib.import_module("huggingface_hub")
        try:
            # The revision is fixed before anything is read, so that the manifest can name it.
            revision = hub_api.HfApi().dataset_info(hub, timeout=20).sha
            data = library.load_dataset(hub, config, split=split, revision=revision)
        except _hub_errors() as error:
            raise DataMissing(f"{hub}: can't be loaded from the hub ({error}); {cure}") from error
        self.used[f"hub:{hub}:{config or ''}:{split}"] = str(revision)
        return [dict(row) for row in data]


def _hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's libraries raise. Where nothing answers, that is their HTTP library's error: whichever they use."""
    loaded = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return (OSError, ValueError, RuntimeError, *(library.HTTPError for library in loaded))


def _hub_allowed() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").lower() not in {"1", "true", "yes", "on"}
