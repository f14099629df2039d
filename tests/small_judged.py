"""Judged runs in memory, for tests of cards and corrections: one judge's readings of a task's answers."""

from dataclasses import replace

from h3eval import registry
from h3eval.judgeplan import JudgePlan
from h3eval.labels import Label, Labels
from h3eval.plan import Plan
from h3eval.types import Failure, Generation, Item, Reading, Reply, Run, Sample, Task, TaskResult, Verdict

Made = tuple[Run, Plan]


def run_of(task: Task, verdicts: list[Reading | None], samples: list[Sample] | None = None, judge: str = "") -> Made:
    """A run in memory: one judge's readings of the task's answers, None where it gave none."""
    (role, name), *_ = task.judges.items()
    plan = JudgePlan(role, registry.judge(judge or name), judge or name, "small:j", {"engine": "small"})
    items = []
    for place, reading in enumerate(verdicts):
        sample = samples[place] if samples else Sample(f"s{place}", "Q?")
        failure = Failure(sample.id, "judge", "unreadable", judge=role)
        verdict = failure if reading is None else Verdict(sample.id, judge or name, reading)
        items.append(Item(sample, Generation(sample.id, (Reply(f"answer {place}"),)), {role: verdict}))
    judges = {role: {**plan.entry(), "calibration": "uncalibrated"}}
    estimates = []
    for metric in task.metrics:
        values = [metric.value(item) for item in items if metric.applies(item)]
        scored = [value for value in values if value is not None]
        made = metric.aggregate(metric.name, scored, len(values) - len(scored))
        estimates.append(replace(made, judge=plan.judge_name, calibration="uncalibrated"))
    result = TaskResult(
        task.name, task.protocol, 1, task.dimension, task.primary, "", (), tuple(estimates), len(items), {}, judges,
        lambda: iter(items),
    )  # fmt: skip
    return Run("m", {}, (result,), (), {}), Plan((task,), "m", {}, {role: plan})


def labels(*rows: tuple[str, float], random: bool = True) -> Labels:
    """People's scores, by sample."""
    return Labels("people.csv", "0", tuple(Label("people.csv", name, score=score) for name, score in rows), random)
