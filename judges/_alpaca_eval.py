"""AlpacaEval's pairing: which answer is shown first, and whose preference a verdict is.

A preference is 1 where the first of two answers is better, 2 where the second is, 1.5 for a tie.
Stored preferences have the baseline first and the model under test second.
"""

import random
from dataclasses import dataclass

from h3eval.types import Generation, Message, Reading, Sample

from ._shared import Wording, nonce, question

SEED = "0"
PREFERENCE = "preferred to the baseline, from 0 never to 1 always"


def switched(instruction: str) -> bool:
    """Is the model's answer shown before the baseline's? AlpacaEval's rule, its seed 0."""
    draw = random.Random(f"is_switched_outputs{instruction}{SEED}")
    return draw.choices([False, True], k=1)[0]


def shown(sample: Sample, generation: Generation) -> tuple[str, str]:
    """The two answers in the order in which the judge sees them."""
    pair = (str(sample.reference), generation.text)
    return pair[::-1] if switched(question(sample)) else pair


def identical(sample: Sample, generation: Generation) -> bool:
    """The same answer as the baseline's is a tie, and is not judged."""
    return bool(generation.text == sample.reference)


def mark(wording: Wording, sample: Sample, generation: Generation) -> str:
    """The placeholder of this comparison's nonce."""
    return nonce(wording.text, question(sample), *shown(sample, generation))


def messages(wording: Wording, sample: Sample, generation: Generation) -> tuple[Message, ...]:
    """The comparison as the judge gets it."""
    first, second = shown(sample, generation)
    sign = mark(wording, sample, generation)
    return wording.filled(instruction=question(sample), output_1=first, output_2=second, nonce=sign)


def reading(sample: Sample, preference: float) -> Reading:
    """The verdict on answers as they were shown."""
    turned = switched(question(sample))
    return settled(3.0 - preference if turned else preference, switched=turned)


def settled(preference: float, **details: bool | str) -> Reading:
    """The verdict on the model under test; `score` is how much it is preferred, 0 to 1."""
    label = "win" if preference > 1.5 else "loss" if preference < 1.5 else "draw"
    score = preference - 1.0
    return Reading(label, score, score, {"preference": preference, **details})


@dataclass(frozen=True)
class Pairwise:
    """What judges of pairs share: the wording they ask in."""

    prompt: Wording
    scale: str = PREFERENCE

    @property
    def wording(self) -> str:
        return self.prompt.source

    @property
    def template(self) -> str:
        return self.prompt.text
