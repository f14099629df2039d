"""A sweep's file: one recipe, and what is to be varied in it.

Methods take different parameters. Those of `[grid]` are varied for each method that takes them; those of a method's
own table, `[grid.ties]`, for that method.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h3eval.errors import ConfigError
from h3eval.merge import front, recipe
from h3eval.merge.methods import METHODS, method_name
from h3eval.untrusted.messages import shown
from h3eval.untrusted.values import toml_file

KEYS = {"merge", "grid", "preferences"}
MOST = 10_000
OF_RECIPES = ("method", "seed", "dtype")
"""Keys of a recipe itself that a grid may vary; all others are parameters, or methods' tables."""
Axes = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Point:
    """One merge of a sweep."""

    name: str
    """A digest of its settings: the same settings are the same point, in whatever sweep."""
    varied: Mapping[str, Any]
    content: Mapping[str, Any]
    """The recipe's keys."""


def read(file: Path) -> list[Point]:
    """The points of a sweep. Raise ConfigError before anything is merged: every recipe is checked."""
    given = toml_file(file)
    with recipe.named(str(file)):
        return points(given)


def points(given: Mapping[str, Any]) -> list[Point]:
    """The points of a sweep's keys. Raise ConfigError."""
    if unknown := sorted(set(given) - KEYS):
        raise ConfigError(f"{unknown[0]}: unknown; allowed are {', '.join(sorted(KEYS))}")
    start = given.get("merge")
    if not isinstance(start, dict):
        raise ConfigError("merge: a table with a recipe's keys is needed")
    grids = _grids(given.get("grid", {}), start)
    varied = sum(math.prod(len(values) for values in axes.values()) for axes in grids)
    count = varied * _count(given.get("preferences"), start)
    if count > MOST:
        raise ConfigError(f"grid: {shown(count)} points; at most {MOST}")
    weights = _preferences(given.get("preferences"), start)
    made = [_point(start, each, weight) for axes in grids for each in _combinations(axes) for weight in weights]
    return list({point.name: point for point in made}.values())


def _grids(grid: Any, start: Mapping[str, Any]) -> list[Axes]:
    """What to vary, for each method; one grid where the method is not varied."""
    if not isinstance(grid, dict):
        raise ConfigError("grid: a table of parameters, each with a list of values")
    own = {key: _axes(f"grid.{key}", table) for key, table in grid.items() if isinstance(table, dict)}
    common = _axes("grid", {key: values for key, values in grid.items() if key not in own})
    if not own and "method" not in common:
        return [common]
    methods = _methods(common, own, start)
    takes = {method: {*METHODS[method_name(method)].parameters, *OF_RECIPES} for method in methods}
    if unknown := sorted(key for key in common if not any(key in each for each in takes.values())):
        raise ConfigError(f"grid.{unknown[0]}: no parameter of {', '.join(methods)}")
    # A method's own values stand in the place of the common ones.
    return [
        {**{key: values for key, values in common.items() if key in takes[each]}, **own.get(each, {}), "method": [each]}
        for each in methods
    ]


def _methods(common: Axes, own: Mapping[str, Axes], start: Mapping[str, Any]) -> list[str]:
    """The methods to sweep: those of the list, else those that have tables."""
    for name in own:
        method_name(name)
    methods = [str(each) for each in common.get("method", own)]
    if lost := sorted(set(own) - set(methods)):
        raise ConfigError(f"grid.{lost[0]}: a table of a method that grid.method does not list")
    if own and start.get("method") not in (None, *methods):
        raise ConfigError(f"merge.method: {start['method']!r} is not among the grid's methods: {', '.join(methods)}")
    return methods


def _axes(where: str, table: Mapping[str, Any]) -> Axes:
    if not all(isinstance(values, list) and values for values in table.values()):
        raise ConfigError(f"{where}: a table of parameters, each with a list of values")
    return table


def _combinations(axes: Axes) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _count(given: Any, start: Mapping[str, Any]) -> int:
    """How many weights `_preferences` makes of it, before any is made."""
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        models = len(_models(start))
        return math.comb(min(given, MOST) + models - 1, models - 1) if models else 0
    return len(given) if isinstance(given, list) else 1


def _models(start: Mapping[str, Any]) -> Sequence[Any]:
    """The recipe's models. Raise ConfigError where there is no list of them."""
    models = start.get("models", ())
    if not isinstance(models, list | tuple):
        raise ConfigError(f"merge.models: {shown(models)}: a list is needed")
    return models


def _preferences(given: Any, start: Mapping[str, Any]) -> list[tuple[float, ...] | None]:
    """Weights of the models: given ones, or all of a simplex in so many steps; None where there are no preferences."""
    if given is None:
        return [None]
    models = len(_models(start))
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return list(front.simplex(models, given))
    if not isinstance(given, list) or not all(isinstance(each, list) and len(each) == models for each in given):
        raise ConfigError(f"preferences: a number of steps, or lists of {models} weights, one for each model")
    return [tuple(each) for each in given]


def _point(start: Mapping[str, Any], varied: Mapping[str, Any], weights: Sequence[float] | None) -> Point:
    content = {**start, **{key: value for key, value in varied.items() if key in OF_RECIPES}}
    parameters = {key: value for key, value in varied.items() if key not in OF_RECIPES}
    content["parameters"] = {**start.get("parameters", {}), **parameters}
    shown = dict(varied)
    if weights is not None:
        models = [{"path": each} if isinstance(each, str) else dict(each) for each in start["models"]]
        content["models"] = [{**model, "weight": weight} for model, weight in zip(models, weights, strict=True)]
        shown["weights"] = "/".join(f"{weight:g}" for weight in weights)
    checked = recipe.recipe(content)
    settings = {**checked.settings(), "base": checked.base, "paths": checked.paths}
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    return Point(name, shown, content)
