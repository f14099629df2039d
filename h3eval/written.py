"""Before anything is paid for: is the run, read again from what is written of it, the same run?

A plan goes into the store as its manifest, and every later command makes its plan from that. Whatever does not come
back as it was (an order, a number's kind, a key that is no text) is found here, and refused.
"""

from collections.abc import Mapping

from h3eval import journal
from h3eval.errors import ConfigError, H3evalError
from h3eval.judgeplan import JudgePlan
from h3eval.plan import Plan, from_manifest
from h3eval.scoring import generation_talk, judge_talk
from h3eval.types import Generation, Json, Reply, Sample

STANDS_IN = "An answer.\n\nOf two parts."
"""What the judges' first requests are compared on."""


def check(plan: Plan, samples: Mapping[str, Sample | None] | None = None) -> None:
    """Raise ConfigError, in one line, for a plan that can't be written down and read back as it is.

    `samples`, one a task by its id, have all first requests compared as well.
    """
    manifest = plan.manifest()
    try:
        written = journal.ordered(manifest)
        again = from_manifest(journal.parsed(written))
        read = journal.ordered(again.manifest())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the run can't be written down ({error}): {_parts(manifest)}") from error
    except H3evalError as error:
        raise ConfigError(f"the run could not be read again, and nothing was asked: {error}") from error
    if read != written:
        raise ConfigError(f"the run would be another one when it is read again: {_difference(manifest, again)}")
    for seat, judge in plan.judges.items():
        _same_judge(judge, again.judges[seat])
    for task in plan.tasks:
        sample = (samples or {}).get(task.id)
        if sample is not None and _asked(plan, task.id, sample) != _asked(again, task.id, sample):
            raise ConfigError(f"{task.id}: its first requests would differ when the run is read again")


def _same_judge(judge: JudgePlan, again: JudgePlan) -> None:
    """Raise ConfigError for a judge that the store turns into another."""
    for name in ("name", "version", "wording", "scale", "template", "calls", "complete_reply"):
        if getattr(judge.judge, name) != getattr(again.judge, name):
            raise ConfigError(f"judge {judge.judge.name}: its {name} would be another one when the run is read again")


def _asked(plan: Plan, task_id: str, sample: Sample) -> dict[str, list[bytes]]:
    """Addresses of the first requests about a sample, by seat."""
    task = next(task for task in plan.tasks if task.id == task_id)
    talks = {"": generation_talk(plan, task, sample)}
    answer = Generation(sample.id, (Reply(STANDS_IN),) * max(1, task.turns))
    for seat, judge in plan.judges.items():
        if judge.task_role in task.judges and judge.identity is not None:
            talks[seat] = judge_talk(judge, task, sample, answer, None)
    return {seat: [call.key for call in talk.ask_next()] for seat, talk in talks.items()}


def _difference(manifest: Mapping[str, Json], again: Plan) -> str:
    other = again.manifest()
    return ", ".join(name for name in manifest if journal.ordered(manifest[name]) != journal.ordered(other[name]))


def _parts(manifest: Mapping[str, Json]) -> str:
    """Which parts of it are no JSON."""
    odd = []
    for name, value in manifest.items():
        try:
            journal.ordered(value)
        except (TypeError, ValueError):
            odd.append(name)
    return ", ".join(odd)
