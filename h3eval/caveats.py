"""What a reader must know of a run before its numbers, in sentences."""

from collections.abc import Sequence

from h3eval.judgeplan import JudgePlan
from h3eval.otherwise import sentence
from h3eval.plan import Plan
from h3eval.subsets import cut_short
from h3eval.types import TaskResult


def warnings(plan: Plan, results: Sequence[TaskResult], public_nonces: bool = False) -> tuple[str, ...]:
    """What a reader must know before the numbers."""
    found = _how_made(plan)
    given = {role: judge for role, judge in sorted(plan.judges.items()) if judge.identity is not None}
    if shown := [role for role, judge in given.items() if judge.demonstration]:
        found.append(
            f"A demonstration: the demo model judged ({', '.join(shown)}). It is far too small to judge: these "
            "numbers show what a judged run looks like, not how good the model is."
        )
    if selves := [role for role, judge in given.items() if judge.self_judged and not judge.demonstration]:
        found.append(
            f"The model under test judged its own answers ({', '.join(selves)}). Such a judge is not to be "
            "trusted: these numbers show that the machinery works, not how good the model is."
        )
    if any((judge.identity or {}).get("unsafe") for judge in given.values()):
        found.append("UNSANDBOXED: the model's programs ran with the user's own rights, and may have changed anything.")
    if yours := [f"{role} ({judge.judge.name})" for role, judge in given.items() if judge.parameters]:
        found.append(
            f"These judges ask by rubrics of the user's own, so that their numbers are not comparable with published "
            f"ones: {', '.join(yours)}."
        )
    if own := [
        f"{role} (version {judge.judge.version})"
        for role, judge in given.items()
        if _own(judge) and not judge.parameters
    ]:
        found.append(
            f"These judges ask in h3eval's own wording, so that their numbers are not comparable with "
            f"published ones: {', '.join(own)}."
        )
    if public_nonces and (known := [role for role, judge in given.items() if "{nonce}" in judge.judge.template]):
        found.append(
            f"The run began before nonces had a secret: what marks the judged text for {', '.join(known)} follows from "
            "public text, so that an answer made for it could forge the mark. A new run's can't be known."
        )
    found += [
        sentence(result.task, role, dict(block)) for result in results for role, block in result.otherwise.items()
    ]
    lost = {result.task: sum(result.failures.values()) for result in results if result.failures}
    if lost:
        listed = ", ".join(f"{task} ({count})" for task, count in sorted(lost.items()))
        found.append(f"Some steps gave nothing and were not scored: {listed}. Bounds show what they could change.")
    return tuple(found)


def _how_made(plan: Plan) -> list[str]:
    """What keeps a quick run's numbers from being the benchmarks' own."""
    found = []
    if plan.options.get("data") == "demo":
        found.append("Demo data: the few questions that ship with h3eval, not the benchmarks'.")
    short = [(task.name, mark[1]) for task in plan.tasks if (mark := cut_short(task.protocol))]
    if short:
        names = ", ".join(dict.fromkeys(name for name, _ in short))
        most = " or ".join(map(str, sorted({tokens for _, tokens in short})))
        found.append(f"Answers were cut at {most} tokens ({names}): what would have come later was not scored.")
    return found


def _own(judge: JudgePlan) -> bool:
    return judge.judge.wording == "own"
