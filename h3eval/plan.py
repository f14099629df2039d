"""A run's plan: which tasks, which model, which judges; and the manifest that says so.

The manifest is the identity of a run folder. Two runs with the same manifest would ask the same
questions of the same models.
"""

import difflib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from h3eval import registry
from h3eval.errors import RunMismatch, UnknownPlugin
from h3eval.judgeplan import JudgePlan, from_entry
from h3eval.types import Json, Task

SCHEMA_VERSION = 1
PACKAGES = ("h3eval", "torch", "transformers", "vllm", "lm_eval", "openai", "numpy", "scipy", "datasets")


@dataclass(frozen=True)
class Plan:
    """All that scoring needs: tasks, identities, judges. Engines are not part of it."""

    tasks: tuple[Task, ...]
    model: str
    identity: Mapping[str, Json]
    judges: Mapping[str, JudgePlan]
    suite: str = ""
    composites: tuple[str, ...] = ()
    """The suite's: kept here, so that scoring needs no suite file."""
    options: Mapping[str, Json] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    """Tasks of the suite that were left out, for want of data."""

    def manifest(self) -> dict[str, Json]:
        """What identifies the run."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": {"spec": self.model, "identity": dict(self.identity)},
            "suite": self.suite,
            "composites": list(self.composites),
            "tasks": [{"task": t.name, "protocol": t.protocol, "version": t.version} for t in self.tasks],
            "judges": {role: plan.entry() for role, plan in sorted(self.judges.items())},
            "options": dict(self.options),
            "data": dict(sorted(self.data.items())),
            "missing": list(self.missing),
        }


def from_manifest(manifest: Mapping[str, Any]) -> Plan:
    """The plan that a stored run was made with. Raise RunMismatch where a plug-in has changed."""
    tasks = []
    for entry in manifest["tasks"]:
        task = _task(f"{entry['task']}/{entry['protocol']}")
        _same_version(f"task {task.id}", task.version, entry["version"])
        tasks.append(task)
    judges = {role: from_entry(role, entry) for role, entry in manifest["judges"].items()}
    model = manifest["model"]
    return Plan(
        tuple(tasks), model["spec"], model["identity"], judges,
        manifest["suite"], tuple(manifest["composites"]), manifest["options"], manifest["data"],
        tuple(manifest["missing"]),
    )  # fmt: skip


def _task(name: str) -> Task:
    """A stored run's task. Raise UnknownPlugin, which says what may be missing here."""
    try:
        return registry.task(name)
    except UnknownPlugin as error:
        raise UnknownPlugin(f"{error}: the run has it; a task of your own needs its --include-path here, too") from None


def _same_version(what: str, ours: int, theirs: int) -> None:
    if ours != theirs:
        raise RunMismatch(
            f"the run was made with version {theirs} of {what}, this is version {ours}: "
            f"score it with the h3eval that made it, or run it anew"
        )


def comparable(manifest: Mapping[str, Any]) -> dict[str, Json]:
    """What two runs must share to be one: all but the specs, which say where and how fast."""
    judges = {
        role: {key: value for key, value in entry.items() if key != "spec"}
        for role, entry in manifest["judges"].items()
    }
    return {**manifest, "model": {"identity": manifest["model"]["identity"]}, "judges": judges}


def check_same(stored: Mapping[str, Any], wanted: Mapping[str, Any], folder: str) -> None:
    """Raise RunMismatch with the difference between the two manifests, if there is one."""
    before, after = (json.dumps(comparable(each), indent=1, sort_keys=True).splitlines() for each in (stored, wanted))
    if before == after:
        return
    changes = difflib.unified_diff(before, after, "stored run", "this command", lineterm="", n=1)
    raise RunMismatch(
        f"{folder} holds a run of something else; choose another --out, or repeat the stored run's "
        "command to resume it. The difference:\n" + "\n".join(changes)
    )


def environment() -> dict[str, str]:
    """Versions of what computes; recorded beside the manifest, not part of the run's identity."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
