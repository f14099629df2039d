"""Training rows: files of prompts with answers, worded, tokenised, padded. Nothing is downloaded.

Formats: `alpaca` (instruction, input, output), `beavertails` (prompt, response, is_safe: only safe ones are kept),
`truthfulqa` (the authors' table: one row a correct answer), `pairs` (prompt, response), `preferences` (prompt, chosen,
rejected), `candidates` (prompt, candidates, response).
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from h3eval.errors import ConfigError
from h3eval.fusion.settings import Source
from h3eval.untrusted import templates
from h3eval.untrusted.rows import numbered

PLAIN = "Question: {prompt}\nAnswer:\n"
IGNORED = -100
"""Labels that cross entropy skips."""


@dataclass(frozen=True)
class Row:
    """One prompt and the answer to learn. `expert` is whose row it is, `source` the file it came from."""

    prompt: str
    answer: str
    expert: str = ""
    source: str = ""
    rejected: str = ""
    candidates: tuple[str, ...] = ()


def alpaca(row: dict[str, Any]) -> Iterator[Row]:
    given = row.get("input") or ""
    yield Row(row["instruction"] + (f"\n\n{given}" if given else ""), row["output"])


def beavertails(row: dict[str, Any]) -> Iterator[Row]:
    if row["is_safe"] in (True, "True", "true"):
        yield Row(row["prompt"], row["response"])


def truthfulqa(row: dict[str, Any]) -> Iterator[Row]:
    for answer in row["Correct Answers"].split(";"):
        if answer.strip():
            yield Row(row["Question"], answer.strip())


def pairs(row: dict[str, Any]) -> Iterator[Row]:
    yield Row(row["prompt"], row["response"])


def preferences(row: dict[str, Any]) -> Iterator[Row]:
    yield Row(row["prompt"], row["chosen"], rejected=row["rejected"])


def candidates(row: dict[str, Any]) -> Iterator[Row]:
    yield Row(row["prompt"], row["response"], candidates=tuple(row["candidates"]))


FORMATS: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    "alpaca": alpaca,
    "beavertails": beavertails,
    "truthfulqa": truthfulqa,
    "pairs": pairs,
    "preferences": preferences,
    "candidates": candidates,
}


def rows(source: Source) -> list[Row]:
    """A file's rows. Raise ConfigError naming the file, the line and the key that is missing."""
    if source.format not in FORMATS:
        raise ConfigError(f"data: format = {source.format!r} (allowed: {', '.join(FORMATS)})")
    table = _halved(_table(Path(source.file)), source.half)
    found = []
    for number, line in enumerate(table, 1):
        try:
            made = list(FORMATS[source.format](line))
        except (KeyError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"{source.file}: row {number}: {error} is missing for format {source.format!r}"
            ) from error
        found += [Row(**{**row.__dict__, "expert": source.expert, "source": Path(source.file).name}) for row in made]
    if not found:
        raise ConfigError(f"{source.file}: no rows of format {source.format!r}")
    return found[: source.limit or None]


def _halved(table: list[dict[str, Any]], half: str) -> list[dict[str, Any]]:
    middle = len(table) // 2
    halves = {"": table, "first": table[:middle], "second": table[middle:]}
    if half not in halves:
        raise ConfigError(f"data: half = {half!r} (allowed: 'first', 'second')")
    return halves[half]


def _table(file: Path) -> list[dict[str, Any]]:
    """Rows of a file of JSON lines, of a JSON list, or of a table, plain or gzipped."""
    try:
        return [row for _, row in numbered(file)]
    except ConfigError as error:
        raise ConfigError(f"data: {error}") from error


def split(found: Sequence[Row], heldout: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows to train on, and held-out ones: at least one of each source where any share is asked for.

    All rows of one prompt fall on the same side.
    """
    train: list[Row] = []
    kept: list[Row] = []
    for source in dict.fromkeys((row.expert, row.source) for row in found):
        own = [row for row in found if (row.expert, row.source) == source]
        prompts = sorted({row.prompt for row in own})
        random.Random(f"{seed} {source}").shuffle(prompts)
        out = set(prompts[: max(1, round(heldout * len(prompts)))] if heldout and len(prompts) > 1 else ())
        train += [row for row in own if row.prompt not in out]
        kept += [row for row in own if row.prompt in out]
    return train, kept


def worded(prompt: str, tokenizer: Any, template: str) -> str:
    """The text that a model continues: the user's wording, the tokenizer's chat template, or a plain one."""
    if template:
        return template.replace("{prompt}", prompt)
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": prompt}]
        return templates.rendered(tokenizer, turns, add_generation_prompt=True)
    return PLAIN.replace("{prompt}", prompt)


@dataclass(frozen=True)
class Encoder:
    """Rows to token ids: the prompt's are not learnt, the answer's and the end of the sequence are."""

    tokenizer: Any
    template: str
    max_length: int
    experts: Sequence[str] = ()

    def __call__(self, row: Row) -> dict[str, Any]:
        """`input_ids`, `labels` and, for fused models, the place of the row's `expert`."""
        special = bool(self.template or not self.tokenizer.chat_template)
        prompt = self.tokenizer(worded(row.prompt, self.tokenizer, self.template), add_special_tokens=special)[
            "input_ids"
        ]
        if prompt and prompt[-1] == self.tokenizer.eos_token_id:
            prompt = prompt[:-1]
        answer = self.tokenizer(row.answer, add_special_tokens=False)["input_ids"] + [self.tokenizer.eos_token_id]
        ids = (prompt + answer)[: self.max_length]
        labels = ([IGNORED] * len(prompt) + answer)[: self.max_length]
        made = {"input_ids": ids, "labels": labels}
        return made | ({"expert": self.experts.index(row.expert)} if self.experts else {})


def encoded(found: Sequence[Row], encoder: Encoder) -> list[dict[str, Any]]:
    """All rows that have something to learn within the length. Raise ConfigError where none has."""
    made = [encoder(row) for row in found]
    kept = [each for each in made if any(label != IGNORED for label in each["labels"])]
    if found and not kept:
        raise ConfigError(
            f"training.max_length = {encoder.max_length}: every prompt fills it; nothing is left to learn"
        )
    return kept


@dataclass(frozen=True)
class Padding:
    """Batches of rows, padded on the right."""

    pad: int

    def __call__(self, batch: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        longest = max(len(each["input_ids"]) for each in batch)
        made = {
            "input_ids": torch.tensor([_filled(each["input_ids"], longest, self.pad) for each in batch]),
            "labels": torch.tensor([_filled(each["labels"], longest, IGNORED) for each in batch]),
            "attention_mask": torch.tensor([_filled([1] * len(each["input_ids"]), longest, 0) for each in batch]),
        }
        if "expert" in batch[0]:
            made["expert"] = torch.tensor([each["expert"] for each in batch])
        return made


def _filled(values: list[int], length: int, filler: int) -> list[int]:
    return values + [filler] * (length - len(values))
