"""`sweep`: merge at every point of a grid, evaluate each, and keep those that no other beats."""

import json
import math
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from h3eval.commands import modelpages
from h3eval.config import read_json
from h3eval.errors import ConfigError, H3evalError
from h3eval.folder import RunLock
from h3eval.merge.front import front
from h3eval.merge.grid import Point, read
from h3eval.terminal import output, say

AXES = ("helpful", "honest", "harmless", "over_refusal")
UNITS = {"proportion": 100.0, "percent": 1.0}
INCOMPLETE = 3
Z = 1.96
SWEEP = "sweep.json"
Scores = dict[str, float | None]


def sweep(args: Namespace) -> int:
    """Merge and evaluate every point that has no results yet; then the front. 3 where a point has gaps."""
    points = read(Path(args.config))
    if not (args.suite or args.tasks):
        raise ConfigError("name what to evaluate: --suite 3h, or --tasks NAME,NAME")
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
    done = subprocess.run([sys.executable, "-m", "h3eval.cli", *arguments], check=False)
    if done.returncode not in allowed:
        raise Stopped(f"h3eval {arguments[0]} ended with exit code {done.returncode}; repeat the sweep to go on", done)


class Stopped(H3evalError):
    """A merge or a run of the sweep has failed; the sweep ends as it did."""

    def __init__(self, message: str, done: "subprocess.CompletedProcess[bytes]") -> None:
        super().__init__(message)
        self.exit_code = done.returncode if done.returncode > 0 else 130


def dimensions(results: Mapping[str, Any]) -> Scores:
    """Mean of the primary metrics of each dimension, in percent with higher better; None where one is missing.

    Tasks that measure over-refusal are an axis of their own.
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
            wide = Z * math.sqrt(sum((UNITS[each["unit"]] * each["se"]) ** 2 for each in held)) / len(held)
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
    if estimate["value"] is None or estimate["unit"] not in UNITS:
        return None
    value = float(estimate["value"]) * UNITS[estimate["unit"]]
    return 100 - value if estimate["direction"] == "lower" else value


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
    content = {"schema": 1, "evaluated": {**what, "flags": args.run_flags or ""}, "axes": axes, "points": held}
    (folder / SWEEP).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
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
