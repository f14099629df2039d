"""The folder that a fusion or an alignment works in: one process at a time, one set of settings, finished or not."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from h3eval.config import read_json
from h3eval.errors import ConfigError
from h3eval.folder import RunLock
from h3eval.fusion.checkpoints import INDEX, write_json

SETTINGS = "fusion_settings.json"
REPORT = "fusion_report.json"


@contextmanager
def working(out: Path, settings: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    """Hold the folder; the report where all was done before, else None.

    Raise ConfigError where it holds work of other settings, or other files; RunLocked where another process holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = RunLock(out / "lock")
    try:
        _claim(out, json.loads(json.dumps(settings)))
        yield read_json(out / REPORT) if (out / REPORT).is_file() else None
    finally:
        lock.release()


def _claim(out: Path, settings: dict[str, Any]) -> None:
    if (out / SETTINGS).is_file():
        before = read_json(out / SETTINGS)
        other = [key for key in settings if before.get(key) != settings[key]]
        if other:
            raise ConfigError(f"{out}: holds a model made with other {', '.join(other)}; choose another --out")
    elif any(file.name != "lock" for file in out.iterdir()):
        raise ConfigError(f"{out}: holds other files; choose an empty folder for --out")
    else:
        write_json(out / SETTINGS, settings)


def moved_in(waiting: Path, out: Path) -> None:
    """Take a checked export into the folder that it is for, its configuration last: without it, nothing loads."""
    for old in (*out.glob("*.safetensors"), out / INDEX):
        old.unlink(missing_ok=True)
    shutil.rmtree(out / "adapters", ignore_errors=True)
    for file in sorted(waiting.iterdir(), key=lambda file: file.name == "config.json"):
        file.rename(out / file.name)
    waiting.rmdir()
