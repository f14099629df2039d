"""`sweep`: merge at every point of a grid, evaluate each, and keep those that no other beats."""

import argparse
import json
import math
import shlex
import shutil
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from h3eval import registry
from h3eval.commands import children, modelpages
from h3eval.config import read_json
from h3eval.correcting import stated_span
from h3eval.errors import ConfigError, H3evalError, UnknownPlugin
from h3eval.folder import RunLock
from h3eval.merge.front import front
from h3eval.merge.grid import Point, read
from h3eval.terminal import output, say

AXES = ("helpful", "honest", "harmless", "over_refusal")
SPANS = {"proportion": (0.0, 1.0), "percent": (0.0, 100.0)}
"""The ends of these units; metrics of another say theirs."""
INCOMPLETE = 3
Z = 1.96
SWEEP = "sweep.json"
Scores = dict[str, float | None]


def sweep(args: Namespace) -> int:
    """Merge and evaluate every point that has no results yet; then the front. 3 where a point has gaps."""
    points = read(Path(args.config))
    if not (args.suite or args.tasks):
        raise ConfigError("name what to evaluate: --suite 3h, or --tasks NAME,NAME")
    for place in included(shlex.split(args.run_flags or "")):
        registry.include(place)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    lock = RunLock(folder / "sweep.lock")
    try:
        found = []
        for at, point in enumerate(points, 1):
            say(f"point {at} of {len(points)}, {point.name}: {shown(point.varied)}")
            found.append(evaluated(point, folder / point.name, args))
        return finish(points, found, folder, args)
    finally:
        lock.release()


def included(flags: Sequence[str]) -> list[Path]:
    """Folders with tasks that the runs are told of: the scales of their metrics are wanted here."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--include-path", "--include_path", action="append", type=Path, default=[])
    return list(known.parse_known_args(flags)[0].include_path)


def evaluated(point: Point, folder: Path, args: Namespace) -> Mapping[str, Any]:
    """A point's results.json; what an earlier session has done is not done again."""
    results = folder / "run" / "results.json"
    if not results.is_file():
        folder.mkdir(exist_ok=True)
        model = folder / "model"
        if not (model / "config.json").is_file():
            recipe = folder / "recipe.yaml"
            recipe.write_text(yaml.safe_dump(dict(point.content), sort_keys=False), encoding="utf-8")
            called("merge", str(recipe), "--out", str(model), "--no-page")
        what = ["--suite", args.suite] if args.suite else ["--tasks", args.tasks]
        flags = shlex.split(args.run_flags or "")
        called("run", "--model", str(model), *what, "--out", str(folder / "run"), *flags, allowed=(0, INCOMPLETE))
    return read_json(results)


def called(*arguments: str, allowed: Sequence[int] = (0,)) -> None:
    """One command of h3eval in a process of its own: its memory is free again when it ends."""
    code = children.h3eval(*arguments)
    if code not in allowed:
        raise Stopped(f"h3eval {arguments[0]} ended with exit code {code}; repeat the sweep to go on", code)


class Stopped(H3evalError):
    """A merge or a run of the sweep has failed; the sweep ends as it did."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


def dimensions(results: Mapping[str, Any]) -> Scores:
    """Mean of the primary metrics of each dimension, in percent with higher better; None where one is missing.

    Points, as of MT-Bench, are percent of the way from the lowest to the highest of their metric. Tasks that measure
    over-refusal are an axis of their own.
    """
    found: Scores = {}
    for name, held in _primary(results).items():
        whole = [number for number in map(_percent, held) if number is not None]
        found[name] = sum(whole) / len(whole) if len(whole) == len(held) else None
    return found


def intervals(results: Mapping[str, Any]) -> dict[str, list[float]]:
    """95 % intervals of the same means: a single task's own; of several by the normal distribution."""
    found: dict[str, list[float]] = {}
    for name, held in _primary(results).items():
        numbers = [_percent(each) for each in held]
        if len(held) == 1 and numbers[0] is not None and held[0].get("ci"):
            found[name] = sorted(float(_percent({**held[0], "value": end}) or 0.0) for end in held[0]["ci"])
        elif len(held) > 1 and None not in numbers and all(each.get("se") is not None for each in held):
            mean = sum(number for number in numbers if number is not None) / len(held)
            wide = Z * math.hypot(*(_factor(each) * each["se"] for each in held)) / len(held)
            found[name] = [max(0.0, mean - wide), min(100.0, mean + wide)]
    return found


def _primary(results: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The primary estimates by axis."""
    axis = {(task["task"], task["protocol"]): task["axis"] or task["dimension"] for task in results["tasks"]}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for each in results["estimates"]:
        if each["primary"]:
            found.setdefault(axis[each["task"], each["protocol"]], []).append(each)
    return found


def _percent(estimate: Mapping[str, Any]) -> float | None:
    ends = span(estimate)
    if estimate["value"] is None or ends is None:
        return None
    value = _factor(estimate) * (float(estimate["value"]) - ends[0])
    return 100 - value if estimate["direction"] == "lower" else value


def _factor(estimate: Mapping[str, Any]) -> float:
    """Percent of the way from a metric's lowest value to its highest that one of its units is."""
    low, high = span(estimate) or (0.0, math.inf)
    return 100 / (high - low)


def span(estimate: Mapping[str, Any]) -> tuple[float, float] | None:
    """The lowest and the highest value there can be, as the task's own metric says; None where it has no ends."""
    if estimate["unit"] in SPANS or estimate["value"] is None:
        return SPANS.get(estimate["unit"])
    try:
        task = registry.task(f"{estimate['task']}/{estimate['protocol']}")
    except UnknownPlugin:
        return None
    metric = next((each for each in task.metrics if each.name == estimate["metric"]), None)
    stated = stated_span(metric, float(estimate["value"])) if metric else None
    if stated is None or not all(map(math.isfinite, stated)):
        return None
    return round(stated[0], 9), round(stated[1], 9)


def endless(results: Mapping[str, Any]) -> list[str]:
    """Primary metrics that have a value and no lowest or highest one, so that they are on no axis."""
    return [
        f"{each['task']}/{each['protocol']}: {each['metric']} ({each['unit']})"
        for held in _primary(results).values()
        for each in held
        if each["value"] is not None and span(each) is None
    ]


def rescaled(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which metrics are not shares, and what stands for 0 and for 100 %; for the page."""
    told = set[str]()
    for each in (each for results in found for held in _primary(results).values() for each in held):
        if each["unit"] not in SPANS and (ends := span(each)):
            told.add(f"{each['task']}/{each['protocol']}: {each['metric']}, {ends[0]:g} to {ends[1]:g} {each['unit']}")
    return sorted(told)


def finish(points: Sequence[Point], found: Sequence[Mapping[str, Any]], folder: Path, args: Namespace) -> int:
    """Write sweep.json and sweep.html, print the table, and remove the models that others beat."""
    scores = [dimensions(results) for results in found]
    axes = [axis for axis in AXES if any(axis in each for each in scores)]
    best = front(scores, axes)
    held: list[dict[str, Any]] = [
        {
            "point": point.name, "varied": dict(point.varied), "recipe": dict(point.content), "scores": each,
            "intervals": intervals(results), "front": at in best,
        }
        for at, (point, each, results) in enumerate(zip(points, scores, found, strict=True))
    ]  # fmt: skip
    what = {"suite": args.suite} if args.suite else {"tasks": args.tasks}
    content = {
        "schema": 1, "evaluated": {**what, "flags": args.run_flags or ""}, "axes": axes, "rescaled": rescaled(found),
        "points": held,
    }  # fmt: skip
    (folder / SWEEP).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for name in sorted({name for results in found for name in endless(results)}):
        say(f"{name} has no lowest and highest value that is known: its axis has a gap")
    for each in held if not args.keep_all else []:
        if not each["front"]:
            shutil.rmtree(folder / each["point"] / "model", ignore_errors=True)
    show(held, axes, pages(held, folder))
    return INCOMPLETE if any(each.get(axis) is None for each in scores for axis in axes) else 0


def pages(held: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """The pages of the merges that are kept, then the sweep's, which leads to them."""
    for each in held:
        model = folder / each["point"] / "model"
        if modelpages.kind_of(model) == "merge":
            modelpages.write(model, "merge")
    return modelpages.write(folder, "sweep")


def show(held: Sequence[Mapping[str, Any]], axes: Sequence[str], page: Path) -> None:
    """The table, those that no other beats first."""
    console = output()
    for each in sorted(held, key=lambda each: not each["front"]):
        numbers = "  ".join(f"{axis} {_number(each['scores'].get(axis))}" for axis in axes)
        console.print(
            f"{'*' if each['front'] else ' '} {each['point']}  {numbers}  {shown(each['varied'])}", markup=False
        )
    console.print(f"* not beaten on every axis. Plot: {page}", markup=False)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def shown(varied: Mapping[str, Any]) -> str:
    """What a point differs in."""
    return ", ".join(f"{key} {value}" for key, value in varied.items()) or "the recipe as it is"
