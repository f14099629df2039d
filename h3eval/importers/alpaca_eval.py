"""AlpacaEval's outputs and annotations become a run folder.

Scoring such a run needs no model: its judge only reads back the stored preferences.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from h3eval import registry
from h3eval.datasets import DataSource, Row
from h3eval.errors import ConfigError, DataMissing
from h3eval.importers._files import Local, begin, only, rows
from h3eval.judgeplan import JudgePlan
from h3eval.plan import Plan
from h3eval.store import Store, call_key
from h3eval.text import canonical, digest
from h3eval.types import Generation, Judge, Reply, Sample, Task
from h3eval.untrusted.files import sha256
from h3eval.untrusted.messages import shown

ROLE = "alpaca_eval"
JUDGE = "alpaca_eval_imported"
PROTOCOLS = {"gpt4_1106_preview": "v2", "text_davinci_003": "v1"}
"""AlpacaEval's version by the baseline."""
ANNOTATION = {"instruction": str, "output_1": str | None, "output_2": str | None, "preference": Any}


@dataclass(frozen=True)
class Annotated:
    """One annotation with the answer it is about."""

    sample: Sample
    text: str
    preference: float | None
    mismatch: str = ""
    """How the annotation's parts contradict each other or the outputs file."""


def import_alpaca_eval(outputs: Path, annotations: Path, out: Path, data_dir: Path | None = None) -> None:
    """Write the run folder `out` from AlpacaEval's `model_outputs.json` and `annotations.json`.

    `data_dir` may hold AlpacaEval's files for the length-controlled win rate. Raise ConfigError for
    files that are not AlpacaEval's, or don't belong together; RunMismatch where `out` is another run.
    """
    judged = rows(annotations, ANNOTATION, constants="missing")
    texts = _texts(outputs)
    annotator, generator, baseline = (
        only([str(row.get(field, "")) for row in judged], f"{annotations}: {field}")
        for field in ("annotator", "generator_2", "generator_1")
    )
    if baseline not in PROTOCOLS:
        raise ConfigError(f"{annotations}: generator_1 is {baseline!r}; known baselines: {', '.join(PROTOCOLS)}")
    task = registry.task(f"alpaca_eval/{PROTOCOLS[baseline]}")
    source = Local(data_dir)
    found = list(_annotated(judged, texts, _known(task, source), annotator))
    files = {str(path.name): sha256(path) for path in (outputs, annotations)}
    plan = _plan(task, generator, annotator, files | source.used)
    with Store.open(out) as store:
        begin(store, plan, out)
        _write(store, plan, task, found)


def _texts(outputs: Path) -> dict[str, str]:
    """The outputs file's answers by instruction. Raise ConfigError for two different ones."""
    found: dict[str, str] = {}
    for row in rows(outputs, {"instruction": str, "output": str | None}):
        text = row["output"] or ""
        if found.setdefault(row["instruction"], text) != text:
            raise ConfigError(f"{outputs}: two different outputs for {shown(row['instruction'])}")
    return found


def _known(task: Task, source: DataSource) -> dict[str, Sample]:
    """The evaluation set's samples by instruction, where the data folder has it."""
    try:
        return {_instruction(sample): sample for sample in task.samples(source)}
    except DataMissing:
        return {}


def _instruction(sample: Sample) -> str:
    return sample.prompt if isinstance(sample.prompt, str) else sample.prompt[-1]["content"]


def _annotated(
    judged: list[Row], texts: Mapping[str, Any], known: Mapping[str, Sample], annotator: str
) -> Iterator[Annotated]:
    judge = registry.judge("alpaca_eval_v2")
    seen: set[str] = set()
    for row in judged:
        instruction, text = row["instruction"], str(row["output_2"] or "")
        if instruction in seen:
            continue
        seen.add(instruction)
        base = known.get(instruction) or Sample(digest(instruction)[:16])
        sample = replace(
            base,
            prompt=({"role": "user", "content": instruction},),
            reference=str(row["output_1"] or ""),
            metadata={"dataset": row.get("dataset", ""), **base.metadata, "annotator": annotator},
        )
        # A preference that was not found is NaN in AlpacaEval's files: None here, and a Failure when it is read.
        preference = row["preference"]
        yield Annotated(sample, text, preference, _mismatch(judge, row, texts.get(instruction, text), sample))


def _mismatch(judge: Judge, row: Row, text: str, sample: Sample) -> str:
    """Where the parts of an annotation disagree; empty where they don't."""
    if text != str(row["output_2"] or ""):
        return "the outputs file has another answer"
    first = _first_token(row)
    generation = Generation(sample.id, (Reply(str(row["output_2"] or "")),))
    if not {"m", "M"} & first.keys() or not judge.ask(sample, generation, ()):
        return ""
    expected = judge.read(sample, generation, (Reply(first_token=first),)).score + 1.0
    close = isinstance(row["preference"], int | float) and abs(expected - row["preference"]) < 1e-6
    return "" if close else f"its log-probabilities give {expected:.6f}, it says {row['preference']}"


def _first_token(row: Row) -> dict[str, float]:
    """The log-probabilities of the annotator's first token; none where the file has another form."""
    try:
        logprobs = row["raw_completion"]["logprobs"]["content"][0]["top_logprobs"]
        return {str(entry["token"]): float(entry["logprob"]) for entry in logprobs}
    except (KeyError, IndexError, TypeError, ValueError):
        return {}


def _plan(task: Task, generator: str, annotator: str, files: Mapping[str, str]) -> Plan:
    judge = registry.judge(JUDGE)
    of_judge = {"imported": annotator, "files": sorted(files.values())}
    judges = {ROLE: JudgePlan(ROLE, judge, JUDGE, f"imported:{annotator}", of_judge)}
    identity = {"imported": generator, "files": sorted(files.values())}
    return Plan((task,), f"imported:{generator}", identity, judges, data=dict(files))


def _write(store: Store, plan: Plan, task: Task, found: list[Annotated]) -> None:
    """Samples, answers and judgments, under the keys by which scoring looks for them."""
    store.put_samples(task.id, task.version, [each.sample for each in found])
    role = plan.judges[ROLE]
    for each in found:
        answer = Reply(each.text, model=str(plan.identity["imported"]))
        generation = Generation(each.sample.id, (answer,))
        for request in task.ask(each.sample, ()):
            store.put("gen", call_key("gen", plan.identity, request), answer)
        told = Reply(canonical({"preference": each.preference}), model=role.spec.partition(":")[2])
        for request in role.judge.ask(each.sample, generation, ()):
            store.put("judge", call_key("judge", role.identity or {}, request), told)
    wrong = [each for each in found if each.mismatch]
    if wrong:
        text = f"{len(wrong)} of {len(found)} annotations: {wrong[0].mismatch} (first, {wrong[0].sample.id})"
        store.event("warning", "annotation_mismatch", text)
    store.flush()
