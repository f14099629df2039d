"""Is the answer better than the baseline's? Yes or no from any model, in our own wording, for AlpacaEval.

A general judge, quick and crude. The two answers are shown in AlpacaEval's order. Not comparable with published ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from h3eval.types import Generation, Reading, Reply, Request, Sample

from . import _alpaca_eval as pair
from ._shared import nonce, own, question
from ._yes_no import OwnYesNo


@dataclass(frozen=True)
class Preferred(OwnYesNo):
    """Implements `types.Judge`."""

    def ask(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Sequence[Request]:
        if replies or pair.identical(sample, generation):
            return ()
        first, second = pair.shown(sample, generation)
        values = {"question": question(sample), "first": first, "second": second}
        sign = nonce(self.template, *values.values())
        return (
            Request("complete", self.prompt.filled(**values, nonce=sign), max_tokens=1, top_logprobs=20, nonce=sign),
        )

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading:
        if pair.identical(sample, generation):
            return pair.settled(1.5, identical=True)
        found = super().read(sample, generation, replies)
        return pair.reading(sample, 1.0 + (found.probability or 0.0))


JUDGE = Preferred("preferred_yes_no", own("preferred_yes_no"), ("second", "first"), words=pair.PREFERENCE)
