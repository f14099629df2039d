"""Find plug-ins by name: a file of this package, or an entry point of another one.

A built-in task is the file `tasks/<name>.py` with a module constant `TASK`; nothing is imported
until its name is asked for, so a plug-in may import what it needs at its top.
"""

import ast
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from h3eval.errors import ConfigError, UnknownPlugin
from h3eval.subsets import cut_short, parted, shortened, subset
from h3eval.types import Json, Judge, Task

EXPORTS = {"tasks": "TASK", "judges": "JUDGE", "reports": "REPORT", "backends": "BACKEND"}
_folders: dict[str, list[Path]] = {}


def include(folder: Path) -> None:
    """Add the task and judge files of a folder (`--include-path`): `DIR/*.py` or `DIR/tasks/*.py`."""
    if not folder.is_dir():
        raise ConfigError(f"--include-path {folder}: no such folder")
    for kind in ("tasks", "judges", "reports"):
        if (folder / kind).is_dir():
            _folders.setdefault(kind, []).append(folder / kind)
    if not any((folder / kind).is_dir() for kind in EXPORTS):
        _folders.setdefault("tasks", []).append(folder)


def names(kind: str) -> list[str]:
    """Names of all plug-ins of this kind, sorted, without importing them."""
    return sorted(_places(kind))


def about(kind: str, name: str) -> str:
    """First line of the plug-in's module docstring, read without importing it."""
    place = _places(kind)[name]
    if isinstance(place, EntryPoint):
        return f"from {place.dist.name if place.dist else place.value}"
    docstring = ast.get_docstring(ast.parse(place.read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]


def load(kind: str, name: str) -> Any:
    """The plug-in object itself. Raise UnknownPlugin with near names."""
    places = _places(kind)
    if name not in places:
        raise UnknownPlugin(unknown(kind.removesuffix("s"), name, sorted(places)))
    place = places[name]
    if isinstance(place, EntryPoint):
        found = place.load()
        return getattr(found, EXPORTS[kind], found)
    if place.parent in _folders.get(kind, ()):
        return getattr(_from_file(kind, name, place), EXPORTS[kind])
    return getattr(importlib.import_module(f"h3eval.{kind}.{name}"), EXPORTS[kind])


def tasks(name: str) -> tuple[Task, ...]:
    """All protocols of a task, the default first."""
    found = load("tasks", name)
    if callable(found):
        raise UnknownPlugin(f"{name} is a family of tasks: name one, as in {name}/NAME")
    return found if isinstance(found, tuple) else (found,)


def task(spec: str) -> Task:
    """The task of `name` or `name/protocol`; `lm_eval/NAME` is a task of lm-eval's. `-subsetN-seedS` at the end
    takes N of its samples, and `-shortN` cuts its answers at N tokens."""
    if mark := cut_short(spec):
        return shortened(task(mark[0]), mark[1])
    if part := parted(spec):
        whole, size, seed = part
        return subset(task(whole), size, seed)
    name, _, protocol = spec.partition("/")
    found = load("tasks", name)
    if protocol and callable(found):
        made: Task = found(protocol)
        return made
    variants = tasks(name)
    if not protocol:
        return variants[0]
    for variant in variants:
        if variant.protocol == protocol:
            return variant
    raise UnknownPlugin(unknown(f"protocol of {name}", protocol, [each.protocol for each in variants]))


def judge(name: str, parameters: Mapping[str, Json] | None = None) -> Judge:
    """The judge of that name; `parameters` are what a family of judges makes one of its own from.

    Raise ConfigError where a family gets none, or a single judge gets some.
    """
    found = load("judges", name)
    family = callable(found)
    if family != bool(parameters):
        raise ConfigError(f"judge {name}: {'needs parameters, from a .toml file' if family else 'takes no parameters'}")
    made: Judge = found(parameters) if family else found
    return made


def unknown(what: str, name: str, known: list[str]) -> str:
    """One line that says what is not known, what is near, and what there is."""
    near = difflib.get_close_matches(name, known, 3, 0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"no {what} named {name!r}{hint} (known: {', '.join(known)})"


def _places(kind: str) -> dict[str, Path | EntryPoint]:
    package = importlib.import_module(f"h3eval.{kind}")
    found: list[tuple[str, Path | EntryPoint]] = [
        (file.stem, file)
        for folder in [*map(Path, package.__path__), *_folders.get(kind, ())]
        for file in folder.glob("*.py")
        if not file.stem.startswith("_")
    ]
    found += [(entry.name, entry) for entry in entry_points(group=f"h3eval.{kind}")]
    seen = [name for name, _ in found]
    if twice := sorted({name for name in seen if seen.count(name) > 1}):
        where = "; ".join(f"{name}: {place}" for name, place in found if name in twice)
        raise UnknownPlugin(f"{kind} defined more than once: {where}")
    return dict(found)


def _from_file(kind: str, name: str, file: Path) -> Any:
    full = f"h3eval.{kind}.{name}"
    spec = importlib.util.spec_from_file_location(full, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file}: can't be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    return module
