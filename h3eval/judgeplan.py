"""Who judges: the roles of the tasks, the judges that fill them, and panels of several.

A role given to several judges is a panel: its members sit in the seats `ROLE#1`, `ROLE#2`, and the
role's verdict is made of theirs.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Literal

from h3eval import registry
from h3eval.config import DEMO_MODELS, JudgeSpec, ModelSpec
from h3eval.errors import ConfigError, RunMismatch
from h3eval.text import digest
from h3eval.types import Backend, Failure, Json, Judge, Reading, Task, Verdict

SEAT = "#"
MOST_ORDERED = 7
"""Keys of a table whose order is searched for: 5,040 orders."""
DEMONSTRATION = {
    "alpaca_eval": "preferred_yes_no",
    "beaver_dam": "unsafe_yes_no",
    "md_judge": "unsafe_yes_no",
    "or_bench": "refusal_keywords",
    "xstest": "refusal_keywords",
    "truthfulqa_truth": "truthful_yes_no",
    "truthfulqa_info": "informative_yes_no",
    "halueval_wild": "no_hallucination_yes_no",
    "honeset_honesty": "honest_yes_no",
    "honeset_h2": "good_1_to_10",
    "mt_bench": "good_points",
}
"""Who fills a role when the demo model is to judge in it: the role's own judge wants a classifier, or long replies."""
Rule = Literal["majority", "mean"]


@dataclass(frozen=True)
class JudgePlan:
    """A judge in its seat: its role's name, with `#` and a number on a panel.

    Without `identity` nobody fills the role yet.
    """

    role: str
    judge: Judge
    judge_name: str
    spec: str = ""
    identity: Mapping[str, Json] | None = None
    self_judged: bool = False
    parameters: Mapping[str, Json] = field(default_factory=dict)

    @property
    def task_role(self) -> str:
        """The role as tasks name it."""
        return self.role.partition(SEAT)[0]

    @property
    def on_panel(self) -> bool:
        return SEAT in self.role

    @property
    def needs_model(self) -> bool:
        return self.judge.calls > 0

    @property
    def demonstration(self) -> bool:
        """Is the model behind it a demo model? It shows what a judged run looks like, and can't judge."""
        return self.needs_model and self.spec.partition(":")[2].partition(",")[0] in DEMO_MODELS

    @property
    def by_definition(self) -> bool:
        """Is its verdict what the score means, and no opinion?"""
        return bool(getattr(self.judge, "by_definition", False))

    def entry(self) -> dict[str, Json]:
        """The judge's part of the manifest."""
        entry = {
            "judge": self.judge_name,
            "version": self.judge.version,
            "wording": self.judge.wording,
            "template_sha256": digest(self.judge.template),
            "scale": self.judge.scale,
            "spec": self.spec,
            "identity": self.identity,
            "self_judged": self.self_judged,
        }
        entry |= {"demonstration": True} if self.demonstration else {}
        return entry | ({"parameters": dict(self.parameters)} if self.parameters else {})


def from_entry(role: str, entry: Mapping[str, Any]) -> JudgePlan:
    """The judge that a stored run was made with. Raise RunMismatch where its wording has changed."""
    parameters = entry.get("parameters", {})
    judge = registry.judge(entry["judge"], parameters)
    wanted = entry["template_sha256"] if entry.get("identity") is not None else digest(judge.template)
    if wanted != digest(judge.template) and (found := _ordered_as(wanted, entry["judge"], parameters)):
        judge, parameters = found
    if wanted != digest(judge.template):
        if parameters:
            raise RunMismatch(
                f"judge {judge.name} was asked in another wording than this h3eval makes of the same file: score it "
                "with the h3eval that made it, or judge anew with h3eval judge"
            )
        raise RunMismatch(
            f"judge {entry['judge']} asked in its {entry['wording']} wording, here it has the {judge.wording} one "
            "(h3eval[official] installed or removed since?): restore that, or judge anew with h3eval judge"
        )
    return JudgePlan(
        role, judge, entry["judge"], entry.get("spec", ""), entry.get("identity"),
        bool(entry.get("self_judged")), parameters,
    )  # fmt: skip


def _ordered_as(wanted: str, name: str, parameters: Mapping[str, Any]) -> tuple[Judge, Mapping[str, Any]] | None:
    """The judge whose wording has the digest, with some table of its parameters in another order; None without one.

    Runs that were stored before the order of keys was have them sorted.
    """
    tables = [key for key, value in parameters.items() if isinstance(value, Mapping) and len(value) <= MOST_ORDERED]
    for key in tables:
        for order in permutations(parameters[key].items()):
            tried = {**parameters, key: dict(order)}
            judge = registry.judge(name, tried)
            if digest(judge.template) == wanted:
                return judge, tried
    return None


def roles(tasks: Sequence[Task]) -> dict[str, str]:
    """Every judge's role that the tasks need, with the judge plug-in that fills it by default."""
    return {role: name for task in tasks for role, name in task.judges.items()}


def plan_judges(
    tasks: Sequence[Task], specs: Sequence[JudgeSpec], engines: Mapping[str, Backend], model: ModelSpec
) -> dict[str, JudgePlan]:
    """One plan a seat. `engines` holds a backend for each model that is named in `specs`.

    Raise ConfigError for a role that no task has, and for a judge whose scale is not the role's.
    """
    wanted = roles(tasks)
    if unknown := [spec.role for spec in specs if spec.role not in wanted]:
        known = ", ".join(sorted(wanted)) or "none: these tasks need no judge"
        raise ConfigError(f"--judge {unknown[0]}: no task here has that role (roles: {known})")
    plans: dict[str, JudgePlan] = {}
    for role, default in wanted.items():
        given = [spec for spec in specs if spec.role == role]
        for number, spec in enumerate(given, 1):
            seat = f"{role}{SEAT}{number}" if len(given) > 1 else role
            plans[seat] = _filled(seat, default, spec, engines, model)
        if not given:
            plans[role] = _by_default(role, default)
    _all_different(plans)
    return plans


def _by_default(role: str, name: str) -> JudgePlan:
    """The task's own judge; it fills its role only if it needs no model."""
    judge = registry.judge(name)
    return JudgePlan(role, judge, name, identity=None if judge.calls else alone(name, judge))


def alone(name: str, judge: Judge) -> dict[str, Json]:
    """Identity of a judge that needs no model."""
    return {"judge": name, "version": judge.version}


def _filled(seat: str, default: str, spec: JudgeSpec, engines: Mapping[str, Backend], model: ModelSpec) -> JudgePlan:
    name = spec.judge or _default(default, spec)
    judge = registry.judge(name, spec.parameters)
    expected = registry.judge(default).scale
    if judge.scale != expected:
        raise ConfigError(
            f"--judge {spec.role}: {name} can't fill this role: its score says {judge.scale!r}, the role's {expected!r}"
        )
    if not judge.calls:
        return JudgePlan(seat, judge, name, identity=alone(name, judge), parameters=spec.parameters)
    if spec.model is None and not spec.by_itself:
        raise ConfigError(
            f"--judge {spec.role}: {name} needs a model: {spec.role}={name}@BACKEND:MODEL, or @self; "
            f"without a judge's name, {spec.role}=BACKEND:MODEL"
        )
    engine = str(spec.model or model)
    itself = engine == str(model)
    return JudgePlan(seat, judge, name, engine, dict(engines[engine].identity), itself, spec.parameters)


def _default(name: str, spec: JudgeSpec) -> str:
    """The judge plug-in where `--judge` names none: the role's own, or one that the demo model can be."""
    demo = spec.model is not None and spec.model.model in DEMO_MODELS
    return DEMONSTRATION.get(spec.role, name) if demo else name


def _all_different(plans: Mapping[str, JudgePlan]) -> None:
    """Raise ConfigError where a panel would hear the same judge twice."""
    seen: dict[str, str] = {}
    for seat, plan in plans.items():
        voice = f"{plan.task_role}={plan.judge_name}@{plan.spec} {digest(plan.judge.template)}"
        if voice in seen:
            raise ConfigError(f"--judge {plan.task_role}: the same judge twice ({plan.judge_name} on {plan.spec})")
        seen[voice] = seat


def seats(plans: Mapping[str, JudgePlan], role: str) -> list[JudgePlan]:
    """Who fills the role: one judge, or a panel's members."""
    return [plan for plan in plans.values() if plan.task_role == role]


def rule(scale: str) -> Rule:
    """How a panel decides: scores of zero and one by majority, graded ones by their mean."""
    return "majority" if re.fullmatch(r"1 .*, 0 .*", scale) else "mean"


def decided(role: str, scale: str, sample_id: str, votes: Sequence[Verdict | Failure]) -> Verdict | Failure:
    """A panel's verdict, or why there is none.

    A majority is more than half of all members, so that no member who gave nothing could have
    turned it. A mean needs every member.
    """
    heard = [vote.reading for vote in votes if isinstance(vote, Verdict)]
    labels = Counter(reading.label for reading in heard)
    details: dict[str, Json] = {"votes": dict(sorted(labels.items())), "members": len(votes)}
    if rule(scale) == "mean":
        if len(heard) < len(votes):
            return Failure(sample_id, "judge", "panel incomplete", _told(labels, votes), judge=role)
        return Verdict(sample_id, "panel", _mean([reading.score for reading in heard], details))
    score = _majority([reading.score for reading in heard], len(votes))
    if score is None:
        return Failure(sample_id, "judge", "panel undecided", _told(labels, votes), judge=role)
    # Judges of one scale may name the same score differently: the most frequent name stands for it.
    named = Counter(reading.label for reading in heard if reading.score == score)
    label = min(named, key=lambda each: (-named[each], each))
    if any("loose" in reading.details for reading in heard):
        details["loose"] = _majority([reading.details.get("loose", reading.score) for reading in heard], len(votes))
    return Verdict(sample_id, "panel", Reading(label, score, _probability(heard), details))


def disagreement(votes: Sequence[Verdict | Failure]) -> float | None:
    """Do the members differ in their scores? None where fewer than two gave a verdict."""
    heard = [vote.reading.score for vote in votes if isinstance(vote, Verdict)]
    return float(len(set(heard)) > 1) if len(heard) > 1 else None


def _mean(scores: Sequence[float], details: Mapping[str, Json]) -> Reading:
    value = math.fsum(scores) / len(scores)
    return Reading(f"{value:g}", value, None, {**details, "spread": max(scores) - min(scores)})


def _majority(scores: Sequence[float], members: int) -> float | None:
    """The score that more than half of the members give."""
    return next((score for score, count in Counter(scores).items() if 2 * count > members), None)


def _probability(heard: Sequence[Reading]) -> float | None:
    given = [reading.probability for reading in heard if reading.probability is not None]
    return math.fsum(given) / len(given) if len(given) == len(heard) else None


def _told(labels: Mapping[str, int], votes: Sequence[Verdict | Failure]) -> str:
    told = ", ".join(f"{label} {count}" for label, count in sorted(labels.items())) or "no vote"
    silent = len(votes) - sum(labels.values())
    return f"{told}; {silent} of {len(votes)} gave nothing" if silent else told
