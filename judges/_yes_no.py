"""Judges in our own wording that any model can be: one yes-or-no question about an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from h3eval.errors import Unreadable
from h3eval.types import Generation, Reading, Reply, Request, Sample

from ._shared import Wording, first_tokens, nonce, only, question, said

YES, NO = ("yes", "Yes", "YES"), ("no", "No", "NO")
LEAST = 0.1
"""What yes and no must have together to be a verdict."""


@dataclass(frozen=True)
class OwnYesNo:
    """Implements `types.Judge`: P(yes) / (P(yes) + P(no)) of the first token, yes above 0.5.

    A model that would rather say something else has given no verdict.
    """

    name: str
    prompt: Wording
    labels: tuple[str, str]
    """What yes and no mean."""
    version: int = 1
    calls: int = 1
    complete_reply: bool = False
    wording: str = "own"
    words: str = ""
    """The role's scale, where it is worded otherwise than by the labels."""

    @property
    def scale(self) -> str:
        return self.words or f"1 {self.labels[0]}, 0 {self.labels[1]}"

    @property
    def template(self) -> str:
        return self.prompt.text

    def ask(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Sequence[Request]:
        if replies:
            return ()
        values = {"question": question(sample), "answer": generation.text, **_references(sample)}
        sign = nonce(self.template, *values.values())
        return (
            Request("complete", self.prompt.filled(**values, nonce=sign), max_tokens=1, top_logprobs=20, nonce=sign),
        )

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading:
        found = first_tokens(only(replies))
        yes, no = (sum(said(found, word) for word in words) for words in (YES, NO))
        if yes + no < LEAST:
            raise Unreadable(f"yes and no have a probability of {yes + no:.2g} together")
        probability = yes / (yes + no)
        says_yes = probability > 0.5
        label = self.labels[0] if says_yes else self.labels[1]
        return Reading(label, float(says_yes), probability, {"mass": yes + no})


@dataclass(frozen=True)
class OwnPoints(OwnYesNo):
    """Points from 1 to 10: one, and nine more times the probability of yes."""

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading:
        found = super().read(sample, generation, replies)
        points = 1 + 9 * (found.probability or 0.0)
        return Reading(f"{points:.0f}", points, details={"yes": found.probability, **found.details})


def _references(sample: Sample) -> Mapping[str, str]:
    """Reference answers, a line each, where the task has them."""
    lists = sample.reference if isinstance(sample.reference, Mapping) else {}
    return {name: "\n".join(f"- {each}" for each in lists.get(name, ())) for name in ("correct", "incorrect")}
