"""What makes an item of one run the same item in another: the question that was asked, never its id.

Ids are names for people. Two data files may give one id to different questions (their rows' numbers), and one question
different ids; both are found by the question's own digest.
"""

from collections import Counter

from h3eval.text import canonical, digest
from h3eval.types import Json, Sample

ASKED_TOO = ("questions", "requests")
"""Metadata that is asked as well: a conversation's later turns, contexts that differ from choice to choice."""


def identity(sample: Sample) -> str:
    """Digest of what was asked: messages or prompt, choices and reference."""
    prompt: Json = sample.prompt if isinstance(sample.prompt, str) else [dict(turn) for turn in sample.prompt]
    asked = {"prompt": prompt, "choices": list(sample.choices), "reference": sample.reference}
    also = {key: sample.metadata[key] for key in ASKED_TOO if key in sample.metadata}
    return digest(canonical({**asked, **also}))


class Names:
    """Names the samples of one task after their questions, in stored order: a question that comes again has a number
    too, `DIGEST#2`."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    def name(self, sample: Sample) -> str:
        """The sample's question, and which time it is asked."""
        question = identity(sample)
        self._asked[question] += 1
        times = self._asked[question]
        return question if times == 1 else f"{question}#{times}"
