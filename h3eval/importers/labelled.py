"""A file of answers with people's labels becomes a run folder, for a judge to read.

Rows are as in `h3eval.labels`, with `question` and `answer`, and `reference` and `metadata` where the judge wants
them. Without `id` a row is known by its question and answer. Rows of the same answer are labels of several people. A
row with `canary` instead of a label (a score, or the least and the highest that pass) tests the judge.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from h3eval import registry
from h3eval.canaries import CANARY, canaries
from h3eval.config import RUBRIC
from h3eval.errors import ConfigError
from h3eval.importers._files import begin
from h3eval.judgeplan import JudgePlan
from h3eval.labels import KEYS, Label, Labels, check_keys, label_of
from h3eval.plan import Plan
from h3eval.scoring import generation_talk
from h3eval.store import Store
from h3eval.text import canonical, digest
from h3eval.types import Reply, Sample
from h3eval.untrusted.files import sha256
from h3eval.untrusted.messages import shown
from h3eval.untrusted.rows import numbered

SET = "calibration"
"""The task of labelled sets; its protocol is the judge's name."""
OWN = ("question", "reference", "metadata", CANARY)


@dataclass(frozen=True)
class Answered:
    """One labelled answer."""

    sample: Sample
    answer: str


@dataclass(frozen=True)
class LabelledSet:
    """The file's answers, each once, and its labels."""

    answers: tuple[Answered, ...]
    labels: Labels

    @property
    def sha256(self) -> str:
        """Of questions and answers: other labels of them make no other run."""
        return digest(canonical([[each.sample.id, _told(each)] for each in self.answers]))


def _told(each: Answered) -> list[Any]:
    sample = each.sample
    return [sample.prompt, each.answer, sample.reference, dict(sample.metadata)]


def read_set(path: Path, all_random: bool = False, words: Mapping[str, float] | None = None) -> LabelledSet:
    """The file, checked row by row. Raise ConfigError naming the row."""
    if not path.is_file():
        raise ConfigError(f"--labels {path}: no such file")
    found: dict[str, Answered] = {}
    labels: dict[tuple[str, str], Label] = {}
    for number, row in numbered(path):
        place = f"{path}, row {number}"
        each = _answered(row, place)
        name = each.sample.id
        if _told(found.setdefault(name, each)) != _told(each):
            raise ConfigError(f"{place}: another question or answer under the id {name}")
        if CANARY in each.sample.metadata:
            continue
        label = label_of({**{key: row[key] for key in KEYS if key in row}, "id": name}, place, KEYS)
        if (name, label.annotator) in labels:
            raise ConfigError(f"{place}: a second label of {name} (the first: {labels[name, label.annotator].place})")
        labels[name, label.annotator] = replace(label, task="", role="")
    if not labels:
        raise ConfigError(f"{path}: holds no labels")
    return LabelledSet(
        tuple(found.values()), Labels(path.name, sha256(path), tuple(labels.values()), all_random, words)
    )


def _answered(row: Mapping[str, Any], place: str) -> Answered:
    allowed = (*KEYS, *OWN)
    check_keys(row, place, allowed)
    question, answer = row.get("question"), row.get("answer")
    if not isinstance(question, str) or not question or not isinstance(answer, str):
        raise ConfigError(f"{place}: a labelled set needs question and answer, as texts, in every row")
    metadata = row.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ConfigError(f"{place}: metadata must be an object")
    if row.get(CANARY) not in (None, ""):
        metadata = {**metadata, CANARY: _wanted(row[CANARY], place)}
    name = str(row.get("id") or digest(canonical([question, answer]))[:16])
    prompt = ({"role": "user", "content": question},)
    return Answered(Sample(name, prompt, reference=row.get("reference"), metadata=metadata), answer)


def _wanted(value: Any, place: str) -> list[float]:
    ends = value if isinstance(value, list) else [value, value]
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{place}: canary = {shown(value)}: expected a score, or the least and the highest"
        ) from error
    return [low, high]


def plan_for(answers: LabelledSet, judge: JudgePlan) -> Plan:
    """The plan of the run: one task, whose only role has the judge's name."""
    task = registry.task(f"{SET}/{judge.judge_name}")
    identity = {"labelled": answers.sha256, "by_sample": True}
    return Plan((task,), f"labelled:{answers.labels.file}", identity, {judge.role: judge})


def import_labelled(store: Store, plan: Plan, answers: LabelledSet, out: Path) -> None:
    """Write samples and answers as if they had been generated, canaries first. Raise RunMismatch."""
    begin(store, plan, out)
    (task,), (judge,) = plan.tasks, plan.judges.values()
    every = [*_canaries(judge), *answers.answers]
    store.put_samples(task.id, task.version, [each.sample for each in every])
    for each in every:
        for call in generation_talk(plan, task, each.sample).ask_next():
            store.put("gen", call.key, Reply(each.answer, model=plan.model))
    store.flush()


def _canaries(judge: JudgePlan) -> Iterator[Answered]:
    for each in canaries(judge.judge.scale, judge.judge_name == RUBRIC):
        prompt = ({"role": "user", "content": each.question},)
        metadata = {CANARY: list(each.wanted)}
        yield Answered(Sample(f"canary: {each.name}", prompt, reference=each.reference, metadata=metadata), each.answer)
