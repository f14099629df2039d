"""results.json: every number of a run for programs to read. The schema stands in docs/results.md.

What a run cost depends on how often it was interrupted, its numbers must not: money, tokens and time
stand in costs.json.
"""

from dataclasses import dataclass
from pathlib import Path

from h3eval.types import Composite, Estimate, Json, Run, TaskResult

from ._shared import failure_rows, pretty, write

SCHEMA_VERSION = 1
REPEATABLE = ("answers",)


@dataclass(frozen=True)
class Results:
    """Writes results.json and costs.json."""

    name: str = "results"

    def write(self, run: Run, folder: Path) -> tuple[Path, ...]:
        """Both files. Raise UsageError where they can't be written."""
        costs = {"schema_version": SCHEMA_VERSION, "costs": dict(run.costs)}
        return (
            write(folder, "results.json", [pretty(content(run))]),
            write(folder, "costs.json", [pretty(costs)]),
        )


def content(run: Run) -> dict[str, Json]:
    """The whole of results.json as one value."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run": {"model": run.model, "suite": run.manifest.get("suite") or None},
        "warnings": list(run.warnings),
        "missing": dict(run.missing),
        "estimates": [
            _estimate(run, result, estimate) for result in run.results for estimate in result.estimates
        ],
        "composites": [_composite(run, composite) for composite in run.composites],
        "tasks": [_task(result) for result in run.results],
        "failures": [
            {**_identity(run, result), "stage": stage, "reason": reason, "count": count}
            | _first(result, stage, reason)
            for result in run.results
            for stage, reason, count in failure_rows(result)
        ],
        "costs": {
            stage: {key: value for key, value in spent.items() if key in REPEATABLE}
            for stage, spent in run.costs.items()
        },
        "manifest": dict(run.manifest),
    }  # fmt: skip


def _first(result: TaskResult, stage: str, reason: str) -> dict[str, Json]:
    """What the first failure of this kind said for itself, where it said anything."""
    said = result.words.get(f"{stage}: {reason}")
    return {"first": said[:300]} if said else {}


def _identity(run: Run, result: TaskResult) -> dict[str, Json]:
    return {"model": run.model, "task": result.task, "protocol": result.protocol}


def _estimate(run: Run, result: TaskResult, found: Estimate) -> dict[str, Json]:
    return {
        **_identity(run, result),
        "task_version": result.version,
        "dimension": result.dimension,
        "primary": found.metric == result.primary,
        "metric": found.metric,
        "metric_version": found.version,
        "value": _real(found.value),
        "n": found.n,
        "n_failed": found.n_failed,
        "se": _real(found.se),
        "ci": _pair(found.ci),
        "bounds": _pair(found.bounds),
        "unit": found.unit,
        "direction": found.direction,
        "judge": found.judge or None,
        "calibration": found.calibration or None,
        "method": found.method or None,
        "note": found.note or None,
        "details": dict(found.details),
    }


def _composite(run: Run, found: Composite) -> dict[str, Json]:
    return {
        "model": run.model,
        "name": found.name,
        "about": found.about,
        "value": _real(found.value),
        "se": _real(found.se),
        "ci": _pair(found.ci),
        "unit": found.unit,
        "missing": list(found.missing),
        "parts": {name: _real(value) for name, value in found.parts.items()},
    }


def _task(result: TaskResult) -> dict[str, Json]:
    return {
        "task": result.task,
        "protocol": result.protocol,
        "version": result.version,
        "dimension": result.dimension,
        "primary": result.primary,
        "n_samples": result.n_samples,
        "about": result.about,
        "notes": list(result.notes),
        "judges": {role: dict(entry) for role, entry in result.judges.items()},
        "axis": result.axis or None,
        "outcomes": {role: dict(counts) for role, counts in result.outcomes.items()},
        "calibration": dict(result.calibration),
        **({"otherwise": {role: dict(block) for role, block in result.otherwise.items()}} if result.otherwise else {}),
    }


def _real(value: float | None) -> float | None:
    return None if value is None else float(value)


def _pair(ends: tuple[float, float] | None) -> list[float] | None:
    return None if ends is None else [float(end) for end in ends]


REPORT = Results()
