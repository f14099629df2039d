"""A judge card: how far a judge's stored verdicts agree with people, and what that makes of its scores.

Pure: a run's folder and a file of labels in, plain JSON out. Every number comes from `h3eval.stats`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from h3eval import answered, cardfiles
from h3eval.canaries import CANARY
from h3eval.cardparts import (
    Read,
    compares,
    graded,
    labels_agree,
    lengths,
    pairs_of,
    people,
    placed,
    probability,
    scores_agree,
)
from h3eval.columns import Columns, Told, columns, told
from h3eval.confidence import brief
from h3eval.correcting import correctable, corrected
from h3eval.errors import ConfigError
from h3eval.judgeplan import SEAT
from h3eval.labels import Labels, Truth
from h3eval.plan import Plan
from h3eval.stats.arrays import Floats
from h3eval.stats.correction import Rates, allocation, correlation, labels_needed, rates
from h3eval.types import Estimate, Failure, Generation, Item, Json, Metric, Run, Task, TaskResult, Verdict

HALF_WIDTHS = (0.05, 0.02)
"""What the interval of a corrected mean may reach to each side, as shares of the scale."""


def card(run: Run, plan: Plan, role: str, labels: Labels) -> dict[str, Json]:
    """The card of the judge in `role` (or a panel's seat). Raise ConfigError where no labelled item is in the run."""
    task_role = role.partition(SEAT)[0]
    tasks = [(task, result) for task, result in zip(plan.tasks, run.results, strict=True) if task_role in task.judges]
    entry = tasks[0][1].judges[role]
    read = Read(str(entry["scale"]))
    measured: list[Measured] = []
    for task, result in tasks:
        measured += _measured(read, task, result, told(result, task, plan, labels, task_role), role)
    pairs = pairs_of(read)
    if not len(pairs.places):
        raise ConfigError(f"{labels.file}: no answer that {role} has judged in this run is labelled")
    made: dict[str, Json] = {
        "schema_version": cardfiles.SCHEMA_VERSION,
        "role": role,
        "voice": cardfiles.voice(role, tasks[0][1].judges),
        "line": "",
        "judge": {key: value for key, value in entry.items() if key != "calibration"},
        "model": run.model,
        "tasks": [task.id for task, _ in tasks],
        "labels": _labels(read, labels, len(pairs.places)),
        "verdicts": _verdicts(read),
        "agreement": scores_agree(pairs, read.scale),
        "by_label": labels_agree(pairs),
        "graded": graded(pairs),
        "people": people(read),
        "probability": probability(read, pairs),
        "position": placed(read),
        "length": lengths(read, pairs) if compares(read.scale) else None,
        "canaries": read.canaries,
        "needs": needs(*read.columns()),
        "scores": [_correction(*each) for each in measured],
    }
    seats = run.manifest.get("answered_by", {}).items()
    ours = {seat: entry for seat, entry in seats if seat.partition(SEAT)[0] == task_role}
    made["warnings"] = [*answered.warnings(ours), *_warnings(made)]
    found: dict[str, Json] = _finite({**made, "line": line(made)})
    return found


Measured = tuple[Task, Metric, Estimate, Columns]


def _measured(read: Read, task: Task, result: TaskResult, said: Told, role: str) -> list[Measured]:
    """Add a task's items to `read`, and find each of its means that this judge alone decides, all in one reading."""
    task_role = role.partition(SEAT)[0]
    raw = {each.metric: each for each in result.estimates}
    metrics = [
        each for each in task.metrics if each.roles == (task_role,) and correctable(each, raw[each.name], said)
    ]  # fmt: skip
    cols = columns(metrics, _collected(read, result.items(), role, task.id, said.get(task_role, {})), said)
    return [(task, metric, raw[metric.name], cols[metric.name]) for metric in metrics]


def _collected(read: Read, items: Iterable[Item], role: str, task: str, said: Mapping[str, Truth]) -> Iterator[Item]:
    """The items, each after it was added."""
    for item in items:
        verdict = item.verdicts.get(role)
        if verdict is not None and isinstance(item.generation, Generation):
            sample = item.sample
            if CANARY in sample.metadata:
                read.canaries.append(_canary(item, verdict))
            else:
                if isinstance(verdict, Failure):
                    read.reasons[verdict.reason] += 1
                reading = None if isinstance(verdict, Failure) else verdict.reading
                read.add(task, sample, item.generation.text, reading, said.get(sample.id))
        yield item


def _canary(item: Item, verdict: Verdict | Failure) -> Json:
    least, most = item.sample.metadata[CANARY]
    score = verdict.reading.score if isinstance(verdict, Verdict) else None
    said = verdict.reading.label if isinstance(verdict, Verdict) else f"no verdict: {verdict.reason}"
    passed = score is not None and least <= score <= most
    return {"id": item.sample.id, "wanted": [least, most], "score": score, "said": said, "passed": passed}


def _labels(read: Read, labels: Labels, both: int) -> Json:
    counts = np.bincount(np.array(read.labels) + 1, minlength=1 + len(read.truths)).tolist()
    unlabelled, *known = counts
    kinds = list(zip(read.truths, known, strict=True))
    return {
        "file": labels.file, "sha256": labels.sha256, "items": sum(known), "with_verdict": both,
        "split": sum(n for truth, n in kinds if truth.reading is None), "unlabelled": unlabelled,
        "annotators": sorted({name for truth in read.truths for name in truth.votes}),
        # All of them are a random sample too.
        "random": not unlabelled or all(truth.random for truth in read.truths),
    }  # fmt: skip


def _verdicts(read: Read) -> Json:
    n = len(read.verdicts)
    unscored = sum(read.reasons.values())
    return {"answers": n, "unscored": unscored, "unscored_share": unscored / n if n else None,
            "reasons": dict(sorted(read.reasons.items()))}  # fmt: skip


def _correction(task: Task, metric: Metric, raw: Estimate, cols: Columns) -> Json:
    """A mean as judged and corrected, and what better labels would need."""
    made = corrected(metric, raw, cols)
    return {
        "task": task.id, "metric": metric.name, "unit": made.unit, "raw": brief(raw), "corrected": brief(made),
        "method": made.method or None, "why": made.note, "needs": needs(cols.judged, cols.truth),
    }  # fmt: skip


def needs(judged: Floats, truth: Floats) -> Json:
    """How many random labels the corrected mean would need, and how labels of a set made elsewhere are best split.

    Both hold one value an item, NaN where there is none. None below two labelled verdicts.
    """
    both = ~np.isnan(truth) & ~np.isnan(judged)
    if int(both.sum()) < 2:
        return None
    f, y = judged[both], truth[both]
    sd, rho, width = float(y.std(ddof=1)), correlation(f, y), float(np.ptp(np.r_[f, y])) or 1.0
    needed = {f"{part:g}": labels_needed(sd, rho, len(truth), part * width) if sd else None for part in HALF_WIDTHS}
    known = rates(f, y) if set(np.unique([f, y])) <= {0.0, 1.0} and len(np.unique(y)) == 2 else None
    return {
        "items": len(truth), "labels": int(both.sum()), "sd": sd, "rho": rho, "random_labels": needed,
        "split_of_100": _split(float(y.mean()), known),
    }  # fmt: skip


def _split(value: float, known: Rates | None) -> Json:
    if known is None:
        return None
    zeros, ones = allocation(value, known, 100)
    return {"0": zeros, "1": ones}


def _warnings(made: Mapping[str, Any]) -> Iterator[str]:
    if failed := [each["id"] for each in made["canaries"] if not each["passed"]]:
        yield f"The judge fails canaries, answers that any sound judge reads alike: {', '.join(failed)}."
    if not made["labels"]["random"]:
        yield (
            "The labels are not said to be of items drawn at random (random, or --random-labels): agreement is on the "
            "labelled items alone, and corrections assume that the judge errs on each class elsewhere as it does here."
        )
    if share := made["verdicts"]["unscored_share"]:
        yield f"{share:.1%} of the answers have no verdict; agreement is on the others."
    if made["judge"].get("self_judged"):
        yield "The model under test judged its own answers."
    yield from (f"{each}." for each in (made["probability"] or {}).get("warnings", ()))


def line(made: Mapping[str, Any]) -> str:
    """The card in one line, for beside a score."""
    parts = []
    if found := made["agreement"]:
        kappa = found["kappa"]
        spread = "" if kappa["se"] is None else f" ± {kappa['se']:.2f}"
        parts += [f"agrees with people on {found['agreement']['value']:.0%}"]
        parts += [f"κ {kappa['value']:z.2f}{spread}" if kappa["value"] is not None else "κ undefined"]
    elif found := made["graded"]:
        parts += [f"correlates with people at {found['pearson']:.2f}"]
    if found := made["probability"]:
        parts += [f"ECE {found['ece']:.3f}"]
        parts += [f"AUROC {found['auroc']['value']:.2f}"] if found["auroc"]["value"] is not None else []
    if any(not each["passed"] for each in made["canaries"]):
        parts.append("fails canaries")
    return f"{', '.join(parts)} (n = {made['labels']['with_verdict']:,})"


def _finite(value: Json) -> Json:
    """Every number that is none as None, for JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
