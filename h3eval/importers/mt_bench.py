"""FastChat's file of single-answer judgments (`gpt-4_single.jsonl`) becomes a run folder.

Every row of the file is a sample of its own, for FastChat averages every row in: the second row of a
question and turn is `81-1#2`. The judgments are read again by `mt_bench_imported`; where that gives
another score than the file has, an event of the run says so.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from h3eval import registry
from h3eval.datasets import Row
from h3eval.errors import ConfigError, DataMissing, Unreadable
from h3eval.importers._fastchat import Asked, shown
from h3eval.importers._files import Local, begin, only, rows
from h3eval.judgeplan import JudgePlan
from h3eval.plan import Plan
from h3eval.store import Store, call_key
from h3eval.types import Generation, Judge, Reply, Sample, Task
from h3eval.untrusted.files import sha256

ROLE = "mt_bench"
JUDGE = "mt_bench_imported"
TASK = "mt_bench/single-imported"
FIELDS = {"question_id": Any, "model": str, "judge": Any, "judgment": Any, "turn": Any}
CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
FIRST = 81
"""MT-Bench's questions are numbered from 81, ten a category."""


@dataclass(frozen=True)
class Judged:
    """One row of the file: its sample, the model's answers, the judgment."""

    sample: Sample
    answers: tuple[str, ...]
    judgment: str


def import_mt_bench(judgments: Path, out: Path, model: str = "", data_dir: Path | None = None) -> None:
    """Write the run folder `out` from the rows of one model.

    `model` may be empty where the file has one only. `data_dir` may hold MT-Bench's questions. Raise
    ConfigError for a file that is not FastChat's; RunMismatch where `out` is another run.
    """
    found = rows(judgments, FIELDS)
    model = _model([str(row["model"]) for row in found], model, judgments)
    mine = [(number, row) for number, row in enumerate(found, 1) if row["model"] == model]
    name = only([_judge_of(row, judgments) for _, row in mine], f"{judgments}: judge")
    task = registry.task(TASK)
    source = Local(data_dir)
    judged = list(_judged(mine, _known(task, source), name, judgments))
    plan = _plan(task, model, name, {judgments.name: sha256(judgments)} | source.used)
    with Store.open(out) as store:
        begin(store, plan, out)
        _write(store, plan, task, judged)


def _model(found: list[str], wanted: str, path: Path) -> str:
    names = sorted(set(found))
    if wanted not in names and (wanted or len(names) > 1):
        has = f"has no rows of {wanted!r}" if wanted else "holds several models"
        raise ConfigError(f"{path} {has}; pass --model with one of: {', '.join(names)}")
    return wanted or names[0]


def _judge_of(row: Row, path: Path) -> str:
    """The judge's model; FastChat writes it with the name of the template."""
    given = row["judge"]
    if isinstance(given, list) and given:
        return str(given[0])
    raise ConfigError(f"{path}: judge is {given!r}, expected the judge's model and the template's name")


def _known(task: Task, source: Local) -> dict[str, Sample]:
    """MT-Bench's samples by id, where the data folder has them."""
    try:
        return {sample.id: sample for sample in task.samples(source)}
    except DataMissing:
        return {}


def _judged(numbered: list[tuple[int, Row]], known: Mapping[str, Sample], judge: str, path: Path) -> Iterator[Judged]:
    places = [_place(row, f"{path}, row {number}") for number, row in numbered]
    last = {place: index for index, place in enumerate(places)}
    seen: Counter[str] = Counter()
    for index, (place, (number, row)) in enumerate(zip(places, numbered, strict=True)):
        seen[place] += 1
        asked = shown(str(row.get("user_prompt", "")), int(row["turn"]))
        again = f"#{seen[place]}" if seen[place] > 1 else ""
        facts = {
            "judge": judge,
            "filed_score": row.get("score"),
            # Each row is a draw of its own, so that no row's answer can stand for another's.
            "repeat": number,
            **({"superseded": True} if last[place] != index else {}),
            **({"asked_otherwise": True} if _otherwise(known.get(place), asked) else {}),
        }
        base = known.get(place) or _sample(row, asked.questions)
        reference = list(asked.references) or base.reference
        sample = replace(base, id=place + again, reference=reference, metadata={**base.metadata, **facts})
        yield Judged(sample, asked.answers, row["judgment"])


def _place(row: Row, where: str) -> str:
    """Question and turn, as the id of a sample. Raise ConfigError for a row that is not FastChat's."""
    if (
        type(row["question_id"]) is not int
        or type(row["turn"]) is not int
        or row["turn"] not in (1, 2)
        or not isinstance(row["judgment"], str)
    ):
        raise ConfigError(f"{where}: expected a whole question_id, turn 1 or 2, and judgment as text")
    return f"{row['question_id']}-{row['turn']}"


def _otherwise(known: Sample | None, asked: Asked) -> bool:
    return known is not None and any(asked.questions) and tuple(known.metadata["questions"]) != asked.questions


def _sample(row: Row, questions: tuple[str, ...]) -> Sample:
    place = (row["question_id"] - FIRST) // 10
    category = CATEGORIES[place] if 0 <= place < len(CATEGORIES) else ""
    return Sample(
        "",
        tuple({"role": "user", "content": question} for question in questions),
        metadata={
            "question": questions[-1],
            "questions": list(questions),
            "question_id": row["question_id"],
            "category": category,
            "turn": row["turn"],
        },
    )


def _plan(task: Task, model: str, judge: str, files: Mapping[str, str]) -> Plan:
    of_judge = {"imported": judge, "files": sorted(files.values())}
    judges = {ROLE: JudgePlan(ROLE, registry.judge(JUDGE), JUDGE, f"imported:{judge}", of_judge)}
    identity = {"imported": model, "files": sorted(files.values())}
    return Plan((task,), f"imported:{model}", identity, judges, data=dict(files))


def _write(store: Store, plan: Plan, task: Task, judged: list[Judged]) -> None:
    """Samples, answers and judgments, under the keys by which scoring looks for them."""
    store.put_samples(task.id, task.version, [each.sample for each in judged])
    role = plan.judges[ROLE]
    for each in judged:
        replies: tuple[Reply, ...] = ()
        for answer in each.answers:
            reply = Reply(answer, model=str(plan.identity["imported"]))
            for request in task.ask(each.sample, replies):
                store.put("gen", call_key("gen", plan.identity, request), reply)
            replies += (reply,)
        for request in role.judge.ask(each.sample, Generation(each.sample.id, replies), ()):
            told = Reply(each.judgment, model=role.spec.partition(":")[2])
            store.put("judge", call_key("judge", role.identity or {}, request), told)
    for code, text, wrong in _doubts(role.judge, judged):
        if wrong:
            store.event("warning", code, f"{len(wrong)} of {len(judged)} rows {text} (first, {wrong[0].sample.id})")
    store.flush()


def _doubts(judge: Judge, judged: list[Judged]) -> Iterator[tuple[str, str, list[Judged]]]:
    """What is wrong with which rows."""
    scored = [each for each in judged if each.sample.metadata["filed_score"] is not None]
    wrong = [each for each in scored if _rating(judge, each) != each.sample.metadata["filed_score"]]
    yield "judgment_mismatch", "have another score than FastChat's rule reads in their judgment", wrong
    yield "no_answer", "don't show the answer that was judged", [each for each in judged if not any(each.answers)]
    otherwise = [each for each in judged if each.sample.metadata.get("asked_otherwise")]
    yield "other_question", "ask something else than MT-Bench's question of that number", otherwise


def _rating(judge: Judge, row: Judged) -> float:
    """Our reading of a row's judgment, -1 where there is none, as FastChat has it."""
    try:
        return judge.read(row.sample, Generation(row.sample.id, ()), (Reply(row.judgment),)).score
    except Unreadable:
        return -1.0
