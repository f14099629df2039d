"""What the comparison report shows: differences, the answers behind what changed, the gate's outcome, as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from h3eval import gating, pairing
from h3eval.gating import Gated
from h3eval.pairing import Change, Comparison, Flip
from h3eval.scoring import items, plan_of
from h3eval.store import Reader
from h3eval.types import Failure, Item, Json, Prompt, Verdict

MOST = 100
"""Changed items of a metric whose answers are shown: the widest changes first."""


def content(found: Comparison, old: Path, new: Path, gated: Gated | None = None) -> dict[str, Json]:
    """All that the report needs, with the answers of the primary metrics' changed items."""
    shown = {change.name: change.flips[:MOST] for change in found.primaries}
    ids = [
        {name: [flip.old_id if side == "old" else flip.sample_id for flip in flips] for name, flips in shown.items()}
        for side in ("old", "new")
    ]
    folders = zip((old, new), ids, strict=True)
    sides = [_answers(folder, _wanted(found.primaries, names)) for folder, names in folders]
    return {
        "schema_version": 1,
        "old": found.old,
        "new": found.new,
        "changes": [_change(change, shown.get(change.name, ()), sides) for change in found.changes],
        "means": list(_means(found)),
        "refused": dict(found.refused),
        "gate": gating.plain(gated) if gated else None,
    }


def _wanted(changes: Sequence[Change], shown: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """Task to the items whose answers are shown."""
    wanted: dict[str, set[str]] = {}
    for change in changes:
        wanted.setdefault(change.task, set()).update(shown[change.name])
    return wanted


def _answers(folder: Path, wanted: Mapping[str, set[str]]) -> dict[tuple[str, str], Item]:
    with Reader(folder) as reader:
        plan = plan_of(reader)
        return {
            (task.id, item.sample.id): item
            for task in plan.tasks
            if wanted.get(task.id)
            for item in items(reader, plan, task)
            if item.sample.id in wanted[task.id]
        }


def _change(change: Change, shown: Sequence[Flip], sides: Sequence[Mapping[tuple[str, str], Item]]) -> dict[str, Json]:
    made = pairing.plain(change)
    answers = []
    for flip, told in zip(shown, made["flips"], strict=False):
        before, after = sides[0][change.task, flip.old_id], sides[1][change.task, flip.sample_id]
        answers.append(
            {
                **told,
                "question": _asked(after.sample.prompt),
                "old_answer": _answer(before),
                "new_answer": _answer(after),
            }
        )
    ends = {side: _ends(estimate.ci) for side, estimate in (("old_ci", change.old), ("new_ci", change.new))}
    return {**made, **ends, "flips": answers, "changed": len(change.flips)}


def _ends(ci: tuple[float, float] | None) -> Json:
    return list(ci) if ci else None


def _asked(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0].get("content", ""))
    return "\n\n".join(f"{turn.get('role', '?')}: {turn.get('content', '')}" for turn in prompt)


def _answer(item: Item) -> dict[str, Json]:
    """What was answered, and what its judges made of it."""
    if isinstance(item.generation, Failure):
        return {"text": "", "failure": item.generation.reason, "verdicts": []}
    texts = [reply.text for reply in item.generation.replies if reply.logprob is None]
    verdicts = [
        {"role": role, "label": each.reading.label, "score": each.reading.score, "raw": each.raw}
        for role, each in item.verdicts.items()
        if isinstance(each, Verdict)
    ]
    return {"text": "\n\n".join(texts), "failure": "", "verdicts": verdicts}


def _means(found: Comparison) -> Iterator[dict[str, Any]]:
    """Each dimension's mean change, in percent points of the better direction."""
    for name, tasks, mean in found.means:
        low, high = mean.ci
        yield {"dimension": name, "tasks": tasks, "value": mean.value, "ci": [low, high], "n": mean.n}
