"""What importers share: rows with the fields they need, and a source that never asks the hub, the run's beginning."""

from collections.abc import Collection
from pathlib import Path

from h3eval import nonces, written
from h3eval.datasets import DataSource, Row, read_rows
from h3eval.errors import ConfigError, DataMissing
from h3eval.plan import Plan, check_same
from h3eval.store import Store


class Local(DataSource):
    """A source of local copies only: for data that is welcome, not needed."""

    def _hub(self, hub: str, config: str | None, split: str, cure: str) -> tuple[list[Row], str]:
        raise DataMissing(f"{hub}: not in the data folder")


def rows(path: Path, fields: Collection[str]) -> list[Row]:
    """The file's rows, at least one. Raise ConfigError naming the row that lacks a field."""
    found = read_rows(path)
    for number, row in enumerate(found, 1):
        if lacking := sorted(set(fields) - row.keys()):
            raise ConfigError(f"{path}, row {number}: lacks {', '.join(lacking)}")
    if not found:
        raise ConfigError(f"{path}: no rows")
    return found


def only(values: Collection[str], what: str) -> str:
    """The one value. Raise ConfigError naming several of them where there are several."""
    distinct = sorted(set(values))
    if len(distinct) != 1:
        raise ConfigError(f"{what} must be the same in every row, found {', '.join(distinct[:5])}")
    return distinct[0]


def begin(store: Store, plan: Plan, folder: Path) -> None:
    """Write the run's manifest. Raise RunMismatch where the folder holds another run."""
    written.check(plan)
    nonces.begin(store)
    if stored := store.meta("manifest"):
        check_same(stored, plan.manifest(), str(folder))
    store.put_meta("manifest", plan.manifest())
