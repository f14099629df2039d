"""`doctor --data`: for each task what a run would load, and from where; nothing is generated."""

import importlib
import os
from argparse import Namespace
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from h3eval import config, registry
from h3eval.commands.loading import limited
from h3eval.datasets import DataSource, HubOff, Origin, hub_allowed
from h3eval.errors import ConfigError, DataMissing, H3evalError
from h3eval.hub import why
from h3eval.terminal import output
from h3eval.types import Task

INCOMPLETE = 3
COLOURS = {"file": "green", "hub": "green", "demo": "green", "cache": "green", "unknown": "yellow"}
PATIENCE_S = 10


def data(args: Namespace) -> int:
    """Print where each chosen task's data is; 3 where some task has none, or nobody can tell here."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("task", "from", "what"):
        table.add_column(name, overflow="fold")
    states = []
    demo = args.data == "demo" or (args.data == "asked" and os.environ.get("H3EVAL_DATA_KIND") == "demo")
    given = {"limit": args.limit, "num_fewshot": args.num_fewshot}
    options = {key: value for key, value in given.items() if value is not None}
    for task in chosen(args):
        source = DataSource(args.data_dir, demo, options)
        state, what = found(task, source, args.limit)
        states.append(state)
        table.add_row(Text(task.id), Text(state, style=COLOURS.get(state, "red")), Text(what))
    output().print(table)
    print(f"the hub: {reachable()}")
    there = sum(state not in ("missing", "unknown") for state in states)
    print(f"{there} of {len(states)} tasks have their data here; nothing was generated.")
    return 0 if there == len(states) else INCOMPLETE


def chosen(args: Namespace) -> Iterator[Task]:
    """The tasks of `--tasks` or `--suite`; without either, all that ship, in every protocol."""
    if args.tasks and args.suite:
        raise ConfigError("--tasks and --suite: choose one")
    if args.tasks or args.suite:
        names: Sequence[str] = args.tasks.split(",") if args.tasks else config.suite(args.suite).tasks
        yield from (registry.task(name.strip()) for name in names)
        return
    for name in registry.names("tasks"):
        # What is callable makes tasks of names or files that are given, and has no data of its own.
        if not callable(registry.load("tasks", name)):
            yield from registry.tasks(name)


def found(task: Task, source: DataSource, limit: float | None) -> tuple[str, str]:
    """Where the task's data is (`file`, `hub`, `demo`, `cache`, `missing`, `unknown`), and what of it is read."""
    try:
        # As a run begins: the first sample has opened all that the task reads.
        if next(limited(task, source, limit), None) is None:
            raise DataMissing("no samples: nothing in its data is one")
    except HubOff as error:
        return "unknown", str(error)
    except H3evalError as error:
        return "missing", str(error)
    return state(source), "; ".join(described(source)) or "what the task keeps in a cache of its own"


def state(source: DataSource) -> str:
    """The kind of place the rows came from; the hub where any did."""
    if source.demo:
        return "demo"
    if any(origin.revision for origin in source.origins):
        return "hub"
    return "file" if source.used else "cache"


def described(source: DataSource) -> Iterator[str]:
    """One phrase a data set or file, however many configurations of it are read."""
    groups: dict[str, list[Origin]] = {}
    for origin in source.origins:
        name = f"{origin.hub}@{origin.revision}" if origin.revision else origin.place
        groups.setdefault(name, []).append(origin)
    for name, origins in groups.items():
        configs = list(dict.fromkeys(origin.config for origin in origins if origin.config))
        splits = ", ".join(dict.fromkeys(origin.split for origin in origins))
        rows = sum(origin.rows for origin in {str(origin): origin for origin in origins}.values())
        part = "" if not configs else f", {configs[0]}" if len(configs) == 1 else f", {len(configs)} configurations"
        # A file is what it is; which split it stands for on the hub says nothing of it.
        yield f"{name}{part}, {splits}: {rows:,} rows" if origins[0].revision else f"{name}: {rows:,} rows"
    named = " ".join(groups)
    yield from (name for name in source.used if not name.startswith("hub:") and name.removesuffix(".gz") not in named)


def reachable() -> str:
    """Can the hub be asked? `unknown` where it is switched off."""
    if not hub_allowed():
        return "unknown: it is switched off (HF_HUB_OFFLINE)"
    hub = importlib.import_module("huggingface_hub")
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        hub.HfApi().model_info("gpt2", timeout=PATIENCE_S)
    except Exception as error:  # noqa: BLE001 - its library's errors are of many kinds; all are shown
        # A hub that knows no such model has answered.
        answered = type(error).__name__ in ("RepositoryNotFoundError", "GatedRepoError")
        return f"{endpoint} answers" if answered else f"unknown: {endpoint}: {why(error)}"
    return f"{endpoint} answers"
