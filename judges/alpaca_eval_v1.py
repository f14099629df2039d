"""AlpacaEval 1: which of two answers is better, as a ranking that the judge writes out.

With the package `alpaca_eval` installed the wording is the official one (tatsu-lab/alpaca_eval,
evaluator `alpaca_eval_gpt4`), and the reply must be a Python list that ranks `model_1` and
`model_2`. Unlike the official parser, a list that contradicts itself (both ranked first) is not
read. Else the wording is our own, and the verdict is one last line with a nonce.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from h3eval.errors import Unreadable
from h3eval.types import Generation, Reading, Reply, Request, Sample

from . import _alpaca_eval as pair
from ._concluded import concluded
from ._marks import copied
from ._shared import only, own, published, sent

OFFICIAL = "evaluators_configs/alpaca_eval_gpt4/alpaca_eval.txt"
MODELS = ("model_1", "model_2")
LONGEST = 10_000
"""Characters of a reply that are parsed: a hundred tokens never reach it."""


def ranked(text: str) -> float:
    """Preference of a reply in the official form. Raise Unreadable."""
    if len(text) > LONGEST:
        raise Unreadable("the reply is too long to be a ranking")
    try:
        rows: Any = ast.literal_eval(text.strip())
        ranks = {row["model"]: row["rank"] for row in rows}
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise Unreadable(f"not a list of models and ranks: {text[-80:]!r}") from error
    values = [ranks.get(model) for model in MODELS]
    if len(rows) != 2 or any(type(value) is not int for value in values) or set(values) != {1, 2}:
        raise Unreadable(f"{MODELS[0]} and {MODELS[1]} don't have ranks 1 and 2: {text[-80:]!r}")
    return float(ranks[MODELS[0]])


@dataclass(frozen=True)
class Ranking(pair.Pairwise):
    """Implements `types.Judge`."""

    name: str = "alpaca_eval_v1"
    version: int = 1
    calls: int = 1
    complete_reply: bool = True

    def ask(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Sequence[Request]:
        if replies or pair.identical(sample, generation):
            return ()
        asked = pair.messages(self.prompt, sample, generation)
        if self.wording == "official":
            return (Request("complete", asked, max_tokens=100),)
        return (Request("complete", asked, max_tokens=400, nonce=pair.mark(self.prompt, sample, generation)),)

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading:
        if pair.identical(sample, generation):
            return pair.settled(1.5, identical=True)
        reply = only(replies)
        if self.wording == "official":
            if copied(reply.text, *pair.shown(sample, generation)):
                raise Unreadable(f"the reply repeats an answer: {reply.text[-80:]!r}")
            return pair.reading(sample, ranked(reply.text))
        better = concluded(reply.text, sent(reply, pair.mark(self.prompt, sample, generation)), "first|second")
        return pair.reading(sample, 1.0 if better == "first" else 2.0)


JUDGE = Ranking(published("alpaca_eval", OFFICIAL) or own("alpaca_eval_v1"))
