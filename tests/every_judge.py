"""Every judge there is, found by name: on stand-ins for packages that are not installed, and on tables for families."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import guard_packages

from h3eval import registry
from h3eval.errors import ConfigError
from h3eval.types import Judge

RUBRIC = {"name": "kind", "criteria": "Is it kind?", "scale": "kindness, 0 to 1"}
FAMILIES: dict[str, list[dict[str, Any]]] = {
    "rubric": [
        {**RUBRIC, "labels": {"kind": 1.0, "unkind": 0.0}},
        {**RUBRIC, "scale": "1 to 10", "rating": {"min": 1, "max": 10}, "needs_reference": True, "system": "Be fair."},
    ],
}
"""What families of judges are made from: a new family needs tables here."""
JUDGES = [(name, place) for name in registry.names("judges") for place in range(len(FAMILIES.get(name, [{}])))]


@cache
def packages() -> Path:
    """Stand-ins for the packages that publish judges' prompts."""
    return guard_packages.write(Path(tempfile.mkdtemp(prefix="h3eval-stand-ins-")))


def on_stand_ins(name: str) -> Judge:
    """The judge with the stand-ins' prompt, whatever is installed."""
    with guard_packages.installed(packages()):
        found: Judge = guard_packages.judge(name)
    return found


def made(name: str, place: int) -> Judge:
    """The judge; a family's from its table of that place."""
    try:
        family = callable(registry.load("judges", name))
    except ConfigError:
        return on_stand_ins(name)
    if not family:
        return registry.judge(name)
    assert name in FAMILIES, f"{name} is a family of judges: add tables for it to FAMILIES"
    return registry.judge(name, FAMILIES[name][place])
