"""From a stored run to its results: a pure function of the folder. Calls no model."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, islice
from typing import Any

from h3eval import answered, cardfiles, config, registry
from h3eval.answered import Answered
from h3eval.cardfiles import Card
from h3eval.caveats import warnings
from h3eval.confidence import Choices
from h3eval.conversation import CHUNK, Conversation, replay
from h3eval.errors import H3evalError, Unreadable
from h3eval.judgeplan import JudgePlan, decided, disagreement, rule, seats
from h3eval.nonces import secret_of
from h3eval.otherwise import Otherwise
from h3eval.plan import Plan, from_manifest
from h3eval.stats.composite import Part, Preset, compose, error_correlation, preset
from h3eval.stats.estimates import nothing, proportion
from h3eval.store import Reader, call_key
from h3eval.subsets import cut_short
from h3eval.types import (
    Composite,
    Estimate,
    Failure,
    Fault,
    Generation,
    Item,
    Json,
    Metric,
    Reply,
    Request,
    Run,
    Sample,
    Score,
    Task,
    TaskResult,
    Verdict,
)

KEPT = 10_000
"""Up to so many items of a task are kept for the reports; of a larger one they are read again."""
UNREAD = ("unreadable", "truncated", "filtered", "panel undecided")
NOT_ASKED = Fault("not asked yet", "the run is incomplete: resume it")


def key_for(stage: str, identity: Mapping[str, Any]) -> Callable[[Request], bytes]:
    """The function from a request to the address of its reply."""
    return partial(call_key, stage, identity)


def generation_talk(plan: Plan, task: Task, sample: Sample) -> Conversation:
    """What the model under test is asked about a sample."""
    # Two samples may ask the same and be answered differently, in a file of answers made elsewhere.
    tag = {"task": task.name, "sample": sample.id} if plan.identity.get("by_sample") else None
    return Conversation(task, sample, partial(task.ask, sample), key_for("gen", plan.identity), tag)


def judge_talk(
    role: JudgePlan, task: Task, sample: Sample, generation: Generation, secret: bytes | None
) -> Conversation:
    """What a judge is asked about a generation, with nonces from the run's secret."""
    ask = partial(role.judge.ask, sample, generation)
    return Conversation(task, sample, ask, key_for("judge", role.identity or {}), secret=secret)


def generations(
    reader: Reader, plan: Plan, task: Task, named: Answered | None = None
) -> Iterator[tuple[Sample, Generation | Failure]]:
    """Every sample of a task with what the model answered, in stored order; `named` counts who did."""
    talks = (generation_talk(plan, task, sample) for sample in reader.samples(task.id, task.version))
    for talk in replay(talks, reader.get_many):
        if named is not None:
            named.add(answered.SUBJECT, (*talk.replies, *talk.answers.values()))
        yield talk.sample, generation_of(talk)


def generation_of(talk: Conversation) -> Generation | Failure:
    """What a conversation with the model under test has given."""
    if fault := _fault(talk):
        return Failure(talk.sample.id, "generate", fault.reason, fault.detail, fault.billed)
    return Generation(talk.sample.id, talk.replies)


def _fault(talk: Conversation) -> Fault | None:
    return talk.fault or (NOT_ASKED if talk.pending else None)


def items(reader: Reader, plan: Plan, task: Task, named: Answered | None = None) -> Iterator[Item]:
    """Every sample with its generation and verdicts; `named` counts which models the replies name."""
    generated = generations(reader, plan, task, named)
    while chunk := list(islice(generated, CHUNK)):
        found = {seat.role: _verdicts(reader, task, seat, chunk, named) for seat in _seated(plan, task)}
        for sample, generation in chunk:
            kept: dict[str, Verdict | Failure] = {}
            if isinstance(generation, Generation):
                kept = {seat: next(verdicts) for seat, verdicts in found.items()}
                kept |= {role: _of_panel(plan, role, sample.id, kept) for role in _panels(plan, task)}
                if task.rule:
                    kept["rule"] = Verdict(sample.id, "rule", task.rule(sample, generation))
            yield Item(sample, generation, kept)


def _seated(plan: Plan, task: Task) -> list[JudgePlan]:
    """Every judge of the task, a panel's members one by one."""
    return [seat for role in task.judges for seat in seats(plan.judges, role)]


def _panels(plan: Plan, task: Task) -> list[str]:
    """The task's roles that are filled by several judges."""
    return [role for role in task.judges if len(seats(plan.judges, role)) > 1]


def _of_panel(plan: Plan, role: str, sample_id: str, kept: Mapping[str, Verdict | Failure]) -> Verdict | Failure:
    members = seats(plan.judges, role)
    return decided(role, members[0].judge.scale, sample_id, [kept[member.role] for member in members])


def _verdicts(
    reader: Reader,
    task: Task,
    judge: JudgePlan,
    chunk: Sequence[tuple[Sample, Generation | Failure]],
    named: Answered | None = None,
) -> Iterator[Verdict | Failure]:
    """One judge's verdict on each generation of the chunk, in order."""
    judged = [(sample, each) for sample, each in chunk if isinstance(each, Generation)]
    lookup = reader.get_many if judge.identity is not None else _nothing_known
    secret = secret_of(reader)
    talks = replay((judge_talk(judge, task, *pair, secret) for pair in judged), lookup)
    for (sample, generation), talk in zip(judged, talks, strict=True):
        if named is not None:
            named.add(judge.role, (*talk.replies, *talk.answers.values()))
        yield read(judge, sample, generation, talk)


def _nothing_known(keys: Sequence[bytes]) -> dict[bytes, Reply | Fault]:
    return {}


def read(role: JudgePlan, sample: Sample, generation: Generation, talk: Conversation) -> Verdict | Failure:
    """The judge's verdict, or why there is none. An unreadable reply is never a score."""
    failed = partial(Failure, sample.id, "judge", judge=role.role)
    raw = "\n\n".join(reply.text for reply in talk.replies)
    if role.identity is None:
        return failed("no judge", f"pass --judge {role.task_role}=BACKEND:MODEL")
    if fault := _fault(talk):
        return failed(fault.reason, fault.detail, fault.billed)
    if broken := _broken(role, talk.replies):
        return failed(broken, raw, "yes")
    try:
        reading = role.judge.read(sample, generation, talk.replies)
    except Unreadable as error:
        return failed("unreadable", f"{error}; the reply: {raw}", "yes", details=error.details)
    return Verdict(sample.id, role.judge_name, reading, raw)


def _broken(role: JudgePlan, replies: Sequence[Reply]) -> str:
    for reply in replies:
        if reply.finish_reason == "content_filter":
            return "filtered"
        if reply.finish_reason == "length" and role.judge.complete_reply:
            return "truncated"
    return ""


def measure(
    reader: Reader, plan: Plan, task: Task, cards: Sequence[Card] = (), named: Answered | None = None
) -> TaskResult:
    """All metrics of one task, over one reading of its items. `cards` are known beside the folder's own."""
    measured = (*task.metrics, *(_panel_metric(plan, role) for role in _panels(plan, task)))
    scores: dict[str, list[Score]] = {metric.name: [] for metric in measured}
    failed: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    words: dict[str, str] = {}
    outcomes: dict[str, Counter[str]] = {}
    count = 0
    kept: list[Item] = []
    choices = Choices()
    otherwise = Otherwise()
    for item in items(reader, plan, task, named):
        count += 1
        if count <= KEPT:
            kept.append(item)
        elif kept:
            kept.clear()
        for step, said in _failures(item):
            failures[step] += 1
            words.setdefault(step, said)
        choices.add(item)
        otherwise.add(item)
        for role, verdict in item.verdicts.items():
            outcomes.setdefault(role, Counter()).update([outcome(verdict)])
        for metric in measured:
            if metric.applies(item):
                value = value_of(metric, item)
                scores[metric.name].append(value) if value is not None else failed.update([metric.name])
    judges = _judges(plan, task, [*cardfiles.of_folder(reader.folder), *cards])
    return TaskResult(
        task.name, task.protocol, task.version, task.dimension, task.primary, task.about, task.notes,
        tuple(_estimate(plan, m, scores[m.name], failed[m.name], judges) for m in measured),
        count, dict(sorted(failures.items())), judges,
        partial(iter, kept) if count <= KEPT else partial(items, reader, plan, task),
        task.axis, {role: dict(sorted(counts.items())) for role, counts in sorted(outcomes.items())},
        choices.blocks(), words, otherwise.blocks(),
    )  # fmt: skip


def outcome(verdict: Verdict | Failure) -> str:
    """The verdict's label; `unreadable` for a reply without one, `error` where there was no reply."""
    if isinstance(verdict, Verdict):
        return verdict.reading.label
    return "unreadable" if verdict.reason in UNREAD else "error"


def _judges(plan: Plan, task: Task, cards: Sequence[Card]) -> dict[str, dict[str, Json]]:
    """What is known of the task's judges, by role and seat."""
    entries = {seat.role: {**seat.entry(), "by_definition": seat.by_definition} for seat in _seated(plan, task)}
    for role in _panels(plan, task):
        members = seats(plan.judges, role)
        wordings = {member.judge.wording for member in members}
        entries[role] = {
            "judge": "panel",
            "version": 1,
            "rule": rule(members[0].judge.scale),
            "members": [member.role for member in members],
            "wording": "official" if wordings == {"official"} else "own",
            "scale": members[0].judge.scale,
            "self_judged": any(member.self_judged for member in members),
            **({"demonstration": True} if any(member.demonstration for member in members) else {}),
        }
    for role, entry in entries.items():
        entry["calibration"] = cardfiles.line_for(role, entries, cards)
    return dict(sorted(entries.items()))


def _panel_metric(plan: Plan, role: str) -> Metric:
    """How often a panel's members disagree, among the items that at least two of them have read."""
    names = [member.role for member in seats(plan.judges, role)]

    def value(item: Item) -> Score:
        return disagreement([item.verdicts[name] for name in names if name in item.verdicts])

    return Metric(f"panel_disagreement[{role}]", value, partial(proportion, direction="none"))


def value_of(metric: Metric, item: Item) -> Score:
    """The metric's value of an item; None where the item was not answered or not judged."""
    if isinstance(item.generation, Failure):
        return None
    if any(isinstance(item.verdicts.get(role), Failure) for role in metric.roles):
        return None
    return metric.value(item)


def _failures(item: Item) -> list[tuple[str, str]]:
    """The item's failures: step and reason, and what each says for itself."""
    if isinstance(item.generation, Failure):
        return [(f"generate: {item.generation.reason}", item.generation.detail)]
    return [(f"{role}: {v.reason}", v.detail) for role, v in item.verdicts.items() if isinstance(v, Failure)]


def _estimate(
    plan: Plan, metric: Metric, scores: list[Score], failed: int, known: Mapping[str, Mapping[str, Json]]
) -> Estimate:
    seated = [seat for role in metric.roles for seat in seats(plan.judges, role)]
    judges = ", ".join(seat.judge_name for seat in seated)
    without = [seat.role for seat in seated if seat.identity is None]
    if without:
        cure = " ".join(f"--judge {role}=BACKEND:MODEL" for role in without)
        empty = metric.aggregate(metric.name, [], failed)
        note = f"no judge was given: h3eval judge RUN {cure}"
        return nothing(metric.name, failed, empty.direction, note, empty.unit)
    lines = dict.fromkeys(str(known[role]["calibration"]) for role in metric.roles if role in known)
    told = "; ".join(filter(None, lines))
    return replace(metric.aggregate(metric.name, scores, failed), judge=judges, calibration=told)


def score(reader: Reader, cards: Sequence[Card] = ()) -> Run:
    """The whole run's results, from what its folder holds, and judge cards that lie elsewhere."""
    stored = reader.meta("manifest")
    plan = plan_of(reader)
    named = Answered()
    results = tuple(measure(reader, plan, task, cards, named) for task in plan.tasks)
    manifest = {**(stored or {}), "environment": reader.meta("environment") or {}}
    by = named.table(_identities(plan))
    # Judges by their seats; the model under test has the empty name, which no role can have.
    manifest |= {"answered_by": {seat or "model under test": entry for seat, entry in by.items()}} if by else {}
    missing = reader.meta("missing") or {}
    absent = (f"{task} was not run, for want of data: {why}" for task, why in missing.items())
    return Run(
        plan.model, manifest, results, _composites(plan, results), reader.totals(),
        (*answered.warnings(by), *warnings(plan, results, secret_of(reader) is None), *absent),
        missing,
    )  # fmt: skip


def _identities(plan: Plan) -> dict[str, Mapping[str, Json]]:
    """The engine in each seat: of the model under test, and of every judge that has one."""
    judges = {seat: judge.identity for seat, judge in plan.judges.items() if judge.identity is not None}
    return {answered.SUBJECT: plan.identity, **judges}


def plan_of(reader: Reader) -> Plan:
    """The plan a folder was made with. Raise H3evalError where the folder has none."""
    manifest = reader.meta("manifest")
    if manifest is None:
        raise H3evalError("the run folder has no manifest: it was stopped before it began; run it again")
    return from_manifest(manifest)


def _composites(plan: Plan, results: Sequence[TaskResult]) -> tuple[Composite, ...]:
    primaries: dict[str, list[Part]] = {"helpful": [], "honest": [], "harmless": [], "over_refusal": []}
    for task in (*plan.tasks, *map(registry.task, plan.missing)):
        primaries[task.axis or task.dimension].append(Part(task.name, task.primary, task.protocol))
    tables = config.composites()
    wanted = [preset(name, tables[name], primaries) for name in plan.composites]
    return tuple(_marked(compose(each, results, together(each, plan, results)), each, results) for each in wanted)


def _marked(found: Composite, wanted: Preset, results: Sequence[TaskResult]) -> Composite:
    """The composite, named for what keeps its number from being the real one: a demo judge, answers cut short."""
    parts = {(part.task, part.metric) for group in wanted.groups.values() for part in group}
    used = [(result, each) for result in results for each in result.estimates if (result.task, each.metric) in parts]
    marks = []
    if any(cardfiles.DEMONSTRATION in each.calibration for _, each in used):
        marks.append("demonstration")
    if any(cut_short(result.protocol) for result, _ in used):
        marks.append("answers cut short")
    return replace(found, name=f"{found.name} ({', '.join(marks)})") if marks else found


def together(wanted: Preset, plan: Plan, results: Sequence[TaskResult]) -> dict[frozenset[str], float]:
    """How the errors of parts that ask the same questions go together, where their metrics are means over questions."""
    tasks = {task.id: task for task in plan.tasks}
    parts = {part.task: part for group in wanted.groups.values() for part in group}
    found = {}
    for names in wanted.shared:
        known = [(parts[name], by_question(parts[name], tasks, results)) for name in names if name in parts]
        for (one, first), (other, second) in combinations(known, 2):
            rho = error_correlation(first, second)
            if rho is not None:
                found[frozenset((str(one), str(other)))] = rho
    return found


def by_question(part: Part, tasks: Mapping[str, Task], results: Sequence[TaskResult]) -> dict[str, float]:
    """The part's score of each question; empty where it has several of one, or is no single number."""
    values: list[tuple[str, float]] = []
    for result in results:
        if result.task != part.task or part.protocol not in ("", result.protocol):
            continue
        metrics = tasks[f"{result.task}/{result.protocol}"].metrics
        metric = next((each for each in metrics if each.name == part.metric), None)
        for item in result.items() if metric else ():
            value = value_of(metric, item) if metric and metric.applies(item) else None
            if isinstance(value, tuple):
                return {}
            if value is not None:
                values.append((_question(item.sample), float(value)))
    found = dict(values)
    return found if len(found) == len(values) else {}


def _question(sample: Sample) -> str:
    doc = sample.metadata.get("doc")
    return str(
        sample.metadata.get("question") or (doc.get("question") if isinstance(doc, Mapping) else "") or sample.id
    )
