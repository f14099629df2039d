"""A run's primary estimates as the YAML files that a model repository on the Hugging Face Hub keeps in .eval_results/.

The form is that of https://huggingface.co/docs/hub/eval-results. The Hub shows a result where the data set is a
registered Benchmark; which that is, and by what name of a task, is known of few: of others the file says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import yaml

from h3eval.errors import UsageError
from h3eval.types import Estimate, Json, Run, TaskResult

from . import _numbers
from ._hub import dataset, on_demo_data, revision
from ._rows import encodable
from ._shared import identity, safe_name, write
from ._text import one_line

FOLDER = ".eval_results"
BENCHMARKS = {("openai/gsm8k", "lm-eval"): "gsm8k"}
"""Registered data sets and our protocol, and what their eval.yaml calls that task."""
UNREGISTERED = (
    "# {dataset} was not known as a registered Benchmark. Where it has become one, give `task_id` the name\n"
    "# of the task in its eval.yaml; where it has not, the Hub does not show this result.\n"
)
LONGEST = 1000


@dataclass(frozen=True)
class HfEvalResults:
    """Writes .eval_results/TASK_PROTOCOL.yaml, one for each task with a value and a data set on the Hub."""

    name: str = "hf_eval_results"
    on_request: bool = True

    def write(self, run: Run, folder: Path) -> tuple[Path, ...]:
        """All files. Raise UsageError where there is nothing to write, or it can't be written."""
        if on_demo_data(run):
            raise UsageError("the run was made on the demo's samples: its numbers are not the benchmarks'")
        found = list(entries(run))
        if not found:
            raise UsageError("no task of this run has both a value and a data set on the Hugging Face Hub")
        return tuple(write(folder / FOLDER, f"{name}.yaml", [text(entry)]) for name, entry in found)


def entries(run: Run) -> Iterator[tuple[str, dict[str, Json]]]:
    """A file's name and its one entry, for each task."""
    for result in run.results:
        repository = dataset(run, result)
        primary = next((each for each in result.estimates if each.metric == result.primary), None)
        if repository and primary and primary.value is not None and isfinite(primary.value):
            name = safe_name(f"{result.task}_{result.protocol}")
            yield name, _entry(run, result, primary, repository)


def _entry(run: Run, result: TaskResult, found: Estimate, repository: str) -> dict[str, Json]:
    limit = _limit(run)
    # Some of its samples are not the benchmark: no name of a task that the Hub shows beside whole ones.
    part = f"{result.protocol}-first{limit}" if limit is not None else result.protocol
    place = {"id": repository, "task_id": BENCHMARKS.get((repository, part), part)}
    if commit := revision(run, repository):
        place["revision"] = commit
    return {"dataset": place, "value": value_of(found), "notes": encodable(_notes(run, result, found))}


def _limit(run: Run) -> Json:
    return (run.manifest.get("options") or {}).get("limit")


def value_of(found: Estimate) -> float:
    """The value, proportions in percent, as the Hub's leaderboards have them; at most twelve digits."""
    return float(f"{(100 if found.unit == 'proportion' else 1) * (found.value or 0.0):.12g}")


def _notes(run: Run, result: TaskResult, found: Estimate) -> str:
    """How the number came about, on one line."""
    shown = _numbers.estimate(found)
    version = (run.manifest.get("environment") or {}).get("h3eval", "")
    limit = _limit(run)
    parts = [
        f"h3eval {version} {identity(result)}: {found.metric}, "
        f"{'percent' if found.unit in ('proportion', 'percent') else found.unit}",
        f"95 % interval {shown.interval}" if found.ci else "",
        f"n {found.n}",
        f"the first {limit} samples only" if limit is not None else "",
        f"{found.n_failed} not scored: between {shown.bounds}" if found.n_failed else "",
        "lower is better" if found.direction == "lower" else "",
        f"judged by {found.judge}{f' ({found.calibration})' if found.calibration else ''}" if found.judge else "",
        "the model judged itself" if any(entry.get("self_judged") for entry in result.judges.values()) else "",
    ]
    return one_line("; ".join(part for part in parts if part), LONGEST)


def text(entry: dict[str, Json]) -> str:
    """The file's text."""
    place = entry["dataset"]
    known = (place["id"], place["task_id"]) in {(repository, name) for (repository, _), name in BENCHMARKS.items()}
    note = "" if known else UNREGISTERED.format(dataset=place["id"])
    return note + yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=120)


REPORT = HfEvalResults()
