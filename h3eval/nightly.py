"""What a night does: which models, which suites, which baseline; and the history of all nights.

The configuration is TOML; paths in it are relative to its own folder:

    runs = "runs"                 # run folders, as runs/NIGHT/MODEL
    site = "site"                 # the leaderboard, with the history of the nights
    history = "history.jsonl"     # one line a night and model; only ever appended to
    policy = "policy.toml"        # what the gate watches; without it nothing is gated
    baseline = "passed"           # the model's last night that passed, or a run folder
    comparisons = true            # false: pages with questions and answers stay in the run folders
    args = ["--judge", "beaver_dam=transformers:PATH"]   # more flags of h3eval run, for all models

    [models.small]
    model = "path/to/model"       # as --model
    suite = "3h"                  # as --suite; or tasks = "gsm8k,beavertails"
    args = ["--limit", "200"]
    baseline = "runs/release-1"   # of this model alone; so with policy
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from h3eval import config
from h3eval.errors import ConfigError, UsageError
from h3eval.leaderboard import board, entries
from h3eval.types import Json
from h3eval.untrusted import files, values

KEYS: dict[str, type] = {
    "runs": str, "site": str, "history": str, "policy": str, "baseline": str, "args": list, "models": dict,
    "comparisons": bool,
}  # fmt: skip
MODEL_KEYS: dict[str, type] = {
    "model": str, "suite": str, "tasks": str, "policy": str, "baseline": str, "args": list,
}  # fmt: skip
PASSED = "passed"
GOOD = ("pass", "first")
"""Outcomes of nights that later ones may be measured against."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
INCOMPLETE = 3
OUTCOMES = {0: "pass", 1: "fail", 3: "inconclusive"}


@dataclass(frozen=True)
class Model:
    """One model to run every night."""

    name: str
    flags: tuple[str, ...]
    """Of `h3eval run`, but for --out."""
    policy: Path | None
    baseline: str
    """`passed`, or a run folder."""


@dataclass(frozen=True)
class Config:
    """What every night does."""

    file: Path
    runs: Path
    site: Path
    history: Path
    comparisons: bool
    """Does the site show what changed, with questions and answers?"""
    models: tuple[Model, ...]


@dataclass(frozen=True)
class Night:
    """What one night found of one model."""

    night: str
    name: str
    model: str
    run: str
    """Its folder, relative to the history file."""
    run_code: int
    outcome: str
    """`pass`, `fail`, `inconclusive`, `first` without a baseline, `ungated` without a policy, or `error`."""
    baseline: str = ""
    failed: tuple[str, ...] = ()
    """Checks of the gate, as `task/protocol: metric`."""
    unsure: tuple[str, ...] = ()
    page: str = ""
    """The comparison with the baseline, relative to the site."""
    numbers: tuple[Mapping[str, Json], ...] = ()
    """The run's primary numbers, each with what tells its column from others."""


def read_config(file: Path) -> Config:
    """A configuration file. Raise ConfigError naming the key that can't be used."""
    table = config.read_toml(file)
    config.check_table(str(file), table, KEYS)
    if not table.get("models"):
        raise ConfigError(f"{file}: models: name what to run, as [models.small] with model = and suite =")
    home = file.resolve().parent
    names = {"runs": "runs", "site": "site", "history": "history.jsonl"}
    places = {key: home / table.get(key, default) for key, default in names.items()}
    models = tuple(_model(file, name, entry, table) for name, entry in table["models"].items())
    return Config(file, places["runs"], places["site"], places["history"], table.get("comparisons", True), models)


def _model(file: Path, name: str, entry: Any, table: Mapping[str, Any]) -> Model:
    where = f"{file}: models.{name}"
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}: a name is letters, digits, dots, - and _, for it names a folder")
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} = {entry!r}: expected a table")
    config.check_table(where, entry, MODEL_KEYS)
    if not entry.get("model") or not (entry.get("suite") or entry.get("tasks")):
        raise ConfigError(f"{where}: needs model, and suite or tasks")
    flags = ["--model", entry["model"]]
    for key in ("suite", "tasks"):
        flags += [f"--{key}", entry[key]] if key in entry else []
    more = [*table.get("args", []), *entry.get("args", [])]
    if wrong := [each for each in more if not isinstance(each, str) or each.partition("=")[0] == "--out"]:
        raise ConfigError(f"{where}: args: {wrong[0]!r}: expected flags of h3eval run, as strings, and never --out")
    home = file.resolve().parent
    policy = entry.get("policy", table.get("policy"))
    baseline = entry.get("baseline", table.get("baseline", PASSED))
    return Model(
        name, (*flags, *more), home / policy if policy else None,
        baseline if baseline == PASSED else str(home / baseline),
    )  # fmt: skip


def tonight(name: str | None) -> str:
    """The night's name. Raise UsageError for one that can't name a folder."""
    found = name or datetime.now(UTC).strftime("%Y-%m-%d")
    if not NAME.fullmatch(found):
        raise UsageError(f"--night {found}: letters, digits, dots, - and _ only, for it names a folder")
    return found


def read_history(file: Path) -> list[Night]:
    """All nights in order; of several tries of one night the last. Raise UsageError for a line that is none."""
    if not file.exists():
        return []
    found: dict[tuple[str, str], Night] = {}
    for number, line in enumerate(files.lines(file), 1):
        try:
            table = values.parsed(line)
            night = Night(**{**table, **{key: tuple(table.get(key, ())) for key in ("failed", "unsure", "numbers")}})
        except (ValueError, TypeError) as error:
            raise UsageError(f"{file}: line {number} is not a night of h3eval's ({error}); remove it") from error
        found[night.night, night.name] = night
    return sorted(found.values(), key=lambda night: (night.night, night.name))


def append(file: Path, night: Night) -> None:
    """Add a night, in one durable write."""
    file.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(plain(night), ensure_ascii=False, allow_nan=False) + "\n"
    place = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(place, line.encode())
        os.fsync(place)
    finally:
        os.close(place)


def plain(night: Night) -> dict[str, Json]:
    """A night as JSON."""
    return {name: getattr(night, name) for name in Night.__dataclass_fields__}


def baseline_of(model: Model, night: str, history: Sequence[Night], home: Path) -> Path | None:
    """The run to measure against: the named one, or the model's last good one before tonight; None where there is none.

    Raise ConfigError where the named one is not there.
    """
    if model.baseline != PASSED:
        folder = Path(model.baseline)
        if not folder.is_dir():
            raise ConfigError(f"models.{model.name}: baseline = {folder}: no such run folder")
        return folder
    good = [each for each in history if each.name == model.name and each.night < night and each.outcome in GOOD]
    there = [home / each.run for each in good if (home / each.run).is_dir()]
    return there[-1] if there else None


def numbers(run: Path) -> Iterator[dict[str, Json]]:
    """A run's primary numbers and composites. Raise UsageError where it has no results."""
    found = board(entries([run]))
    for column in found["columns"]:
        cell = found["runs"][0]["cells"][column["id"]]
        names = ("id", "kind", "title", "dimension", "axis", "metric", "unit", "direction", "judge")
        yield {**{name: column[name] for name in names}, "value": cell["value"], "ci": cell.get("ci"), "n": column["n"]}


def checks(gate: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the checks in gate.json that failed, and of those that could not be decided."""
    found = json.loads(gate.read_text(encoding="utf-8"))["checks"]
    failed, unsure = (
        tuple(check["name"] for check in found if check["outcome"] == outcome) for outcome in ("fail", "inconclusive")
    )
    return failed, unsure


def exit_code(nights: Sequence[Night], codes: Sequence[int]) -> int:
    """1 where a gate failed, else what stopped a run or a gate, else 3 where one is inconclusive or incomplete."""
    if any(night.outcome == "fail" for night in nights):
        return 1
    broken = [code for code in codes if code not in (0, 1, INCOMPLETE)]
    return broken[0] if broken else max((code for code in codes if code == INCOMPLETE), default=0)
