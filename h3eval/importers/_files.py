"""What importers share: rows with the fields they need, and a source that never asks the hub, the run's beginning."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, get_args

from h3eval import nonces, written
from h3eval.datasets import DataSource, Row
from h3eval.errors import ConfigError, DataMissing
from h3eval.plan import Plan, check_same
from h3eval.store import Store
from h3eval.untrusted.messages import shown
from h3eval.untrusted.rows import numbered

NAMES = {str: "text", int: "a whole number", float: "a number", list: "a list", type(None): "nothing"}


class Local(DataSource):
    """A source of local copies only: for data that is welcome, not needed."""

    def _hub(self, hub: str, config: str | None, split: str, cure: str) -> tuple[list[Row], str]:
        raise DataMissing(f"{hub}: not in the data folder")


def rows(path: Path, fields: Mapping[str, Any], constants: str = "refuse") -> list[Row]:
    """The file's rows, at least one. Raise ConfigError naming the row that lacks a field, or has another kind in it.

    `constants` says what NaN means in it (see `untrusted.values`).
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    found = []
    for number, row in numbered(path, constants):
        if lacking := sorted(set(fields) - row.keys()):
            raise ConfigError(f"{path}, row {number}: lacks {', '.join(lacking)}")
        for key, kind in fields.items():
            check(row[key], kind, f"{path}, row {number}", key)
        found.append(row)
    if not found:
        raise ConfigError(f"{path}: no rows")
    return found


def check(value: Any, kind: Any, where: str, key: str) -> None:
    """Raise ConfigError naming the key where a row's value is of another kind."""
    if kind is Any or (isinstance(value, kind) and not isinstance(value, bool)):
        return
    names = " or ".join(NAMES[each] for each in get_args(kind) or (kind,))
    raise ConfigError(f"{where}: {key} = {shown(value)}: expected {names}")


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
