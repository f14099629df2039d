"""AlpacaEval 2: which of two answers is better, by the probability of the first token.

The judge names the better answer, `m` (shown first) or `M`; the verdict is P(m) / (P(m) + P(M))
among the five most likely first tokens, where a token that is not among them counts as 0. One
judgment a pair, in the order AlpacaEval's seed gives. The wording is the official one where the
package `alpaca_eval` is installed. Our own, used otherwise, reads the twenty most likely tokens, with
or without a space before them, and needs both letters to have a probability of 0.1 together.
Source: tatsu-lab/alpaca_eval, evaluator `weighted_alpaca_eval_gpt4_turbo`; published numbers are by
gpt-4-1106-preview.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from h3eval.errors import Unreadable
from h3eval.types import Generation, Reading, Reply, Request, Sample

from . import _alpaca_eval as pair
from ._shared import first_tokens, only, own, published, said

OFFICIAL = "evaluators_configs/alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt"
FIRST, SECOND = "m", "M"
LEAST = 0.1


@dataclass(frozen=True)
class Weighted(pair.Pairwise):
    """Implements `types.Judge`."""

    name: str = "alpaca_eval_v2"
    version: int = 1
    calls: int = 1
    complete_reply: bool = False

    def ask(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Sequence[Request]:
        if replies or pair.identical(sample, generation):
            return ()
        asked = pair.messages(self.prompt, sample, generation)
        once = Request("complete", asked, max_tokens=1, temperature=1.0, top_logprobs=5)
        if self.wording == "official":
            return (once,)
        return (replace(once, top_logprobs=20, nonce=pair.mark(self.prompt, sample, generation)),)

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading:
        if pair.identical(sample, generation):
            return pair.settled(1.5, identical=True)
        found = first_tokens(only(replies))
        if self.wording == "official":
            first, second, least = found.get(FIRST, 0.0), found.get(SECOND, 0.0), 0.0
        else:
            first, second, least = said(found, FIRST), said(found, SECOND), LEAST
        if first + second <= least:
            raise Unreadable(f"{FIRST} and {SECOND} are too unlikely among the first tokens {sorted(found)}")
        return pair.reading(sample, 2.0 - first / (first + second))


JUDGE = Weighted(published("alpaca_eval", OFFICIAL) or own("alpaca_eval_v2"))
