"""The regression gate: a policy file, two runs, and for each thing it watches pass, fail or inconclusive.

The policy is TOML:

    alpha = 0.05                  # chance of a false alarm, and of a false pass
    strict = false                # true: any sure loss fails, not only one beyond the margin
    margin = 1.0                  # for every task without one, in percent points (or the metric's own)
    max_unscored = 0.02           # more than this share without a score is inconclusive
    shared_only = false           # true: items that one run lacks are left out, else they are refused
    tolerance = 0.01              # how far a judge may move on the anchors (--anchors), as a share

    [tasks."beavertails/pku-700"] # what to watch: a task with its protocol
    metric = "unsafe_rate"        # the task's primary metric where it is left out
    margin = 2.0
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from h3eval import config
from h3eval.errors import ConfigError, RunMismatch
from h3eval.pairing import Change, Comparison
from h3eval.stats.drift import Drift, drift_of, without_drift
from h3eval.stats.gate import Check, Gate, gate, non_inferiority
from h3eval.types import Estimate, Json

NUMBERS, SWITCHES = ("alpha", "margin", "max_unscored", "tolerance"), ("strict", "shared_only")
KEYS: dict[str, type] = {**dict.fromkeys(NUMBERS, float), **dict.fromkeys(SWITCHES, bool), "tasks": dict}
TASK_KEYS: dict[str, type] = {"metric": str, "margin": float}
DEFAULT_ALPHA = 0.05
TOLERANCE = 0.01
"""How far a judge may move on the anchors and still be the same judge, as a share."""
MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
MAX_UNSCORED = 0.02
"""Share of a task's items that may lack a score in either run: more is inconclusive."""


@dataclass(frozen=True)
class Watch:
    """One metric of one task, and how much of it may be lost, in its points (percent, or the metric's own)."""

    task: str
    metric: str
    margin: float


@dataclass(frozen=True)
class Policy:
    """What is watched, and how strictly."""

    file: str
    watched: tuple[Watch, ...]
    alpha: float
    strict: bool
    max_unscored: float
    tolerance: float
    shared_only: bool


@dataclass(frozen=True)
class Gated:
    """The outcome of a policy on two runs, with the changes it is about, in the order of the checks."""

    policy: Policy
    gate: Gate
    changes: tuple[Change, ...]
    drifts: Mapping[str, Drift] = field(default_factory=dict)
    """By check: how its judge has moved on the anchors."""


def read_policy(file: Path) -> Policy:
    """A policy file. Raise ConfigError naming the key that can't be used."""
    table = config.read_toml(file)
    _check(str(file), table, KEYS)
    alpha = float(table.get("alpha", DEFAULT_ALPHA))
    if not 0 < alpha < 0.5:
        raise ConfigError(f"{file}: alpha = {alpha}: expected a number between 0 and 0.5")
    unscored = float(table.get("max_unscored", MAX_UNSCORED))
    if not 0 <= unscored < 1:
        raise ConfigError(f"{file}: max_unscored = {unscored}: expected a share from 0 to below 1")
    tolerance = float(table.get("tolerance", TOLERANCE))
    if not 0 < tolerance < 1:
        raise ConfigError(f"{file}: tolerance = {tolerance}: expected a share between 0 and 1")
    if not table.get("tasks"):
        raise ConfigError(f'{file}: tasks: name what to watch, as [tasks."beavertails/pku-700"]')
    watched = tuple(_watch(file, task, entry, table.get("margin")) for task, entry in table["tasks"].items())
    return Policy(
        str(file),
        watched,
        alpha,
        bool(table.get("strict", False)),
        unscored,
        tolerance,
        bool(table.get("shared_only", False)),
    )


def _watch(file: Path, task: str, entry: Any, margin: float | None) -> Watch:
    where = f"{file}: tasks.{task}"
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} = {entry!r}: expected a table")
    _check(where, entry, TASK_KEYS)
    given = entry.get("margin", margin)
    if given is None or given < 0:
        raise ConfigError(f"{where}: margin = {given}: expected points from 0 up, here or at the top of the file")
    return Watch(task, entry.get("metric", ""), float(given))


def _check(where: str, table: Mapping[str, Any], allowed: Mapping[str, type]) -> None:
    whole = {
        key: float(value) if type(value) is int and allowed.get(key) is float else value
        for key, value in table.items()
    }  # fmt: skip
    config.check_table(where, whole, allowed)


def decide(policy: Policy, comparison: Comparison, anchors: Comparison | None = None) -> Gated:
    """The gate's outcome. `anchors` compares one set of answers, judged at the time of either run.

    Raise RunMismatch for what the runs don't share, with the reason.
    """
    found = [_change(policy, watch, comparison) for watch in policy.watched]
    drifts = {change.name: moved for change in found if (moved := _drift(change, anchors, policy)) is not None}
    checks = [_judged(policy, watch, change, drifts) for watch, change in zip(policy.watched, found, strict=True)]
    made = gate(checks, policy.alpha)
    told = tuple(_told(check, change, policy, drifts) for check, change in zip(made.checks, found, strict=True))
    return Gated(policy, replace(made, checks=told), tuple(found), drifts)


def _change(policy: Policy, watch: Watch, comparison: Comparison) -> Change:
    where = f"{policy.file}: {watch.task}"
    of_task = [change for change in comparison.changes if change.task == watch.task]
    if not of_task:
        why = comparison.refused.get(watch.task, "in neither run (name it with its protocol, as task/protocol)")
        raise RunMismatch(f"{where}: can't be gated: {why}")
    found = [change for change in of_task if change.metric == watch.metric or (change.primary and not watch.metric)]
    if not found:
        raise ConfigError(f"{where}: no metric {watch.metric!r} (metrics: {', '.join(c.metric for c in of_task)})")
    change = found[0]
    if (change.only_old or change.only_new) and not policy.shared_only:
        others = f"; {change.other_questions} ids name another question" if change.other_questions else ""
        raise RunMismatch(
            f"{where}: the runs are of different items ({change.only_old} only in the baseline, {change.only_new} only "
            f"in the new run{others}): run both on the same data and with the same --limit, or allow it with "
            "shared_only = true"
        )
    if change.direction == "none":
        raise ConfigError(f"{where}: {change.metric} is neither better when higher nor when lower")
    if change.difference is None:
        raise RunMismatch(f"{where}: {change.metric} can't be compared: {change.note}")
    return change


def _drift(change: Change, anchors: Comparison | None, policy: Policy) -> Drift | None:
    """How the judge's reading of the anchors has moved; None for what no judge reads, or without anchors."""
    if anchors is None or not change.new.judge:
        return None
    for each in anchors.changes:
        if each.name == change.name and each.difference is not None:
            return drift_of(each.difference, policy.tolerance * (100 if each.unit == "percent" else 1))
    raise RunMismatch(f"the anchors have no {change.name}: judge them on the same task, at both times")


def _judged(policy: Policy, watch: Watch, change: Change, drifts: Mapping[str, Drift]) -> Check:
    assert change.difference is not None  # `_change` has seen to it
    margin = watch.margin / 100 if change.unit == "proportion" else watch.margin
    difference = change.difference
    # People's labels correct each run's judge as it was then: its drift is in them.
    if change.name in drifts and drifts[change.name].verdict != "steady" and not difference.labels:
        difference = without_drift(difference, drifts[change.name])
    lower: Literal["higher", "lower"] = "lower" if change.direction == "lower" else "higher"
    check = non_inferiority(change.name, difference, margin, lower, policy.alpha, policy.strict)
    # What could not be scored might tell either way.
    return replace(check, p_pass=1.0, p_fail=1.0) if _incomplete(policy, change) else check


def _incomplete(policy: Policy, change: Change) -> bool:
    return change.unscored > policy.max_unscored * max(1, change.shared)


def _told(check: Check, change: Change, policy: Policy, drifts: Mapping[str, Drift]) -> Check:
    notes = [check.note]
    if _incomplete(policy, change):
        notes = [f"{change.unscored} of {change.shared} items lack a score in one run or both: {check.note}"]
    if check.name in drifts:
        notes.append(drifts[check.name].note)
    if change.correction:
        notes.append(change.correction)
    return replace(check, note="; ".join(notes))


def plain(gated: Gated) -> dict[str, Json]:
    """The outcome as JSON."""
    return {
        "outcome": gated.gate.outcome,
        "note": gated.gate.note,
        "policy": gated.policy.file,
        "alpha": gated.policy.alpha,
        "strict": gated.policy.strict,
        "checks": [
            {
                "name": check.name, "outcome": check.outcome, "margin": check.margin, "worst": check.worst,
                "best": check.best, "p_pass": check.p_pass, "p_fail": check.p_fail, "note": check.note,
            }
            for check in gated.gate.checks
        ],
    }  # fmt: skip


def junit(gated: Gated, old: str, new: str) -> bytes:
    """A JUnit file: a test case a check; inconclusive ones are errors, for they are not passed either."""
    counted = Counter(check.outcome for check in gated.gate.checks)
    suite = ElementTree.Element(
        "testsuite", name="h3eval gate", tests=str(len(gated.gate.checks)), failures=str(counted["fail"]),
        errors=str(counted["inconclusive"]),
    )  # fmt: skip
    for check in gated.gate.checks:
        case = ElementTree.SubElement(suite, "testcase", classname="h3eval.gate", name=check.name)
        if check.outcome != "pass":
            kind = "failure" if check.outcome == "fail" else "error"
            ElementTree.SubElement(case, kind, message=check.note, type=check.outcome).text = f"{old} -> {new}"
    whole = ElementTree.Element("testsuites")
    whole.append(suite)
    ElementTree.indent(whole)
    made: bytes = ElementTree.tostring(whole, encoding="utf-8", xml_declaration=True)
    return made


def markdown(gated: Gated, old: str, new: str) -> str:
    """A summary for people who read it in CI."""
    rows = [
        f"| {MARKS[check.outcome]} {check.outcome} | {check.name} | {_value(change.old)} | {_value(change.new)} | "
        f"{check.worst:+.4g} … {check.best:+.4g} | {check.margin:g} | {check.difference.n} |"
        for check, change in zip(gated.gate.checks, gated.changes, strict=True)
    ]
    head = [
        f"## h3eval gate: {gated.gate.outcome}",
        "",
        f"{gated.gate.note}. Baseline `{old}`, new `{new}`, α = {gated.policy.alpha:g}.",
        "",
        "| | what | baseline | new | change lies within (above zero is better) | margin | items |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def _value(estimate: Estimate) -> str:
    return "—" if estimate.value is None else f"{estimate.value:.4g} {estimate.unit}"


def annotations(gated: Gated) -> list[str]:
    """GitHub's workflow commands, a line each for what did not pass."""
    kinds = {"fail": "error", "inconclusive": "warning"}
    return [
        f"::{kinds[check.outcome]} title=h3eval gate: {_escaped(check.name)}::{_escaped(check.note)}"
        for check in gated.gate.checks
        if check.outcome in kinds
    ]


def _escaped(text: str) -> str:
    for character, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"), (":", "%3A"), (",", "%2C")):
        text = text.replace(character, code)
    return text
