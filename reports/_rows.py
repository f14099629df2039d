"""A run as flat rows, for the exports: one a sample and verdict, one an estimate. Values are JSON's.

A sample that several roles judged has as many rows; one without a verdict, because its answer never came, has one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from h3eval.types import Failure, Generation, Item, Json, Prompt, Run, Sample, TaskResult, Verdict

from ._shared import line, plain
from .results import content

Kind = Literal["text", "flag", "integer", "real", "texts", "reals", "json"]
Row = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name and what stands in it. Every value may be null."""

    name: str
    kind: Kind


def columns(**kinds: Kind) -> tuple[Column, ...]:
    """Columns in the order given."""
    return tuple(Column(name, kind) for name, kind in kinds.items())


SAMPLES = columns(
    model="text", task="text", protocol="text", task_version="integer", dimension="text",
    position="integer", sample_id="text", question="text", messages="json", choices="texts", reference="text",
    metadata="json", answer="text", answers="texts", logprobs="reals", finish_reason="text", answered_by="text",
    tokens_in="integer", tokens_out="integer", role="text", judge="text", label="text", score="real",
    probability="real", details="json", raw="text", failed_stage="text", failure="text", failure_detail="text",
    billed="text",
)  # fmt: skip
ESTIMATES = columns(
    model="text", task="text", protocol="text", task_version="integer", dimension="text", primary="flag",
    metric="text", metric_version="integer", value="real", n="integer", n_failed="integer", se="real", ci_low="real",
    ci_high="real", bounds_low="real", bounds_high="real", unit="text", direction="text", judge="text",
    calibration="text", method="text", note="text", details="json",
)  # fmt: skip
ASKED = ("question", "messages", "choices", "reference", "metadata")
ANSWERED = ("answer", "answers", "logprobs", "finish_reason", "answered_by", "tokens_in", "tokens_out")
READ = ("role", "judge", "label", "score", "probability", "details", "raw")
FAILED = ("failed_stage", "failure", "failure_detail", "billed")


def samples(run: Run) -> Iterator[Row]:
    """Every sample of every task, in stored order, once for each of its verdicts; keys as in SAMPLES."""
    for result in run.results:
        for position, item in enumerate(result.items()):
            known = {**_place(run, result, position), **_item(item)}
            for more in list(_verdicts(item)) or [{}]:
                row = {**known, **more}
                yield {column.name: row.get(column.name) for column in SAMPLES}


def _place(run: Run, result: TaskResult, position: int) -> Row:
    return {
        "model": run.model,
        "task": result.task,
        "protocol": result.protocol,
        "task_version": result.version,
        "dimension": result.dimension,
        "position": position,
    }


def _item(item: Item) -> Row:
    sample, generation = item.sample, item.generation
    answered = _failure(generation) if isinstance(generation, Failure) else _generation(generation)
    return {"sample_id": sample.id, **dict(zip(ASKED, _asked(sample), strict=True)), **answered}


def _asked(sample: Sample) -> tuple[Json, ...]:
    """Values of ASKED. lm-eval's own document stands in the metadata, and its rendered requests with it."""
    reference = sample.reference
    text = reference if reference is None or isinstance(reference, str) else line(reference)
    metadata = plain(sample.metadata) if sample.metadata else None
    return _question(sample.prompt), _messages(sample.prompt), list(sample.choices) or None, text, metadata


def _question(prompt: Prompt) -> str:
    """The prompt, or the last message of a conversation."""
    if isinstance(prompt, str):
        return prompt
    return prompt[-1].get("content", "") if prompt else ""


def _messages(prompt: Prompt) -> list[dict[str, str]] | None:
    return None if isinstance(prompt, str) else [dict(message) for message in prompt]


def _generation(generation: Generation) -> Row:
    """Values of ANSWERED: `answers` where there are several; null for token counts that the engine did not give."""
    replies = generation.replies
    logprobs = [reply.logprob for reply in replies]
    values = (
        generation.text,
        [reply.text for reply in replies] if len(replies) > 1 else None,
        plain(logprobs) if any(each is not None for each in logprobs) else None,
        replies[-1].finish_reason if replies else None,
        replies[-1].model or None if replies else None,
        sum(reply.tokens_in for reply in replies) or None,
        sum(reply.tokens_out for reply in replies) or None,
    )
    return dict(zip(ANSWERED, values, strict=True))


def _verdicts(item: Item) -> Iterator[Row]:
    for role, found in item.verdicts.items():
        if isinstance(found, Failure):
            yield {"role": role, "judge": found.judge or None, **_failure(found)}
        else:
            yield dict(zip(READ, _read(role, found), strict=True))


def _read(role: str, found: Verdict) -> tuple[Json, ...]:
    reading = found.reading
    details = plain(reading.details) if reading.details else None
    return role, found.judge, reading.label, plain(reading.score), plain(reading.probability), details, found.raw


def _failure(found: Failure) -> Row:
    return dict(zip(FAILED, (found.stage, found.reason, found.detail, found.billed), strict=True))


def estimates(run: Run) -> list[Row]:
    """The estimates of results.json, pairs taken apart; keys as in ESTIMATES."""
    return [_flat(found) for found in plain(content(run)["estimates"])]


def _flat(found: Mapping[str, Json]) -> Row:
    (ci_low, ci_high), (bounds_low, bounds_high) = (found[key] or (None, None) for key in ("ci", "bounds"))
    ends = {"ci_low": ci_low, "ci_high": ci_high, "bounds_low": bounds_low, "bounds_high": bounds_high}
    row = {**found, **ends, "details": found["details"] or None}
    return {column.name: row[column.name] for column in ESTIMATES}


def encodable(value: Json) -> Json:
    """The same value, lone surrogates as the six characters of their escape: where a format wants UTF-8."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {encodable(str(key)): encodable(each) for key, each in value.items()}
    return [encodable(each) for each in value] if isinstance(value, list | tuple) else value
