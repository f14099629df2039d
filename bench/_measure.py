"""Whole-process time and peak memory of a command, for the benchmarks."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Cost:
    """One finished process: wall and processor seconds, peak resident memory in MB, exit code."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    code: int


def measure(command: Sequence[str], log: Path | None = None, env: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end, by the operating system's own accounting of it."""
    output = log.open("wb") if log else subprocess.DEVNULL
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode)


def bytecode(folder: Path) -> dict[str, str]:
    """An environment in which Python keeps the bytecode of what it imports in a folder, as if it were installed."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def repeated(command: Sequence[str], runs: int) -> list[Cost]:
    """The command's costs after one warm-up."""
    measure(command)
    return [measure(command) for _ in range(runs)]


def wall(costs: Sequence[Cost]) -> float:
    """Median wall seconds."""
    return median(cost.wall_s for cost in costs)


def h3eval(*arguments: str) -> list[str]:
    """The command line of h3eval in this environment."""
    return [sys.executable, "-m", "h3eval.cli", *arguments]


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as a Markdown table, the first as its head."""
    head, *body = rows
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in body:
        print("| " + " | ".join(row) + " |")
