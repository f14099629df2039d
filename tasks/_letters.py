"""Questions whose options are shown with letters: the likeliest letter is the model's answer."""

import math
from collections.abc import Sequence

from h3eval.types import Generation, Prompt, Reading, Reply, Request, Sample

from ._lm_eval_requests import choice_probabilities

LETTERS = ("A", "B", "C", "D")


def asked(text: str, system: str | None, chat: bool) -> Prompt:
    """The prompt, with a system instruction where lm-eval places it: before plain text too."""
    if not chat:
        return f"{system}\n\n{text}" if system else text
    instruction = ({"role": "system", "content": system},) if system else ()
    return (*instruction, {"role": "user", "content": text})


def continuations(n: int, chat: bool) -> tuple[str, ...]:
    """The first `n` letters as they go on from a prompt that ends with a colon; a chat's answer begins with one."""
    return LETTERS[:n] if chat else tuple(f" {letter}" for letter in LETTERS[:n])


def ask(sample: Sample, replies: tuple[Reply, ...]) -> Sequence[Request]:
    """The likelihood of each letter."""
    return () if replies else [Request("loglikelihood", sample.prompt, choice) for choice in sample.choices]


def rule(sample: Sample, generation: Generation) -> Reading:
    """`correct` where the letter at the reference's place is the likeliest; `undefined` without likelihoods."""
    logprobs = [-math.inf if reply.logprob is None else reply.logprob for reply in generation.replies]
    if not logprobs or max(logprobs) == -math.inf:
        return Reading("undefined", 0.0)
    chosen = logprobs.index(max(logprobs))
    score = float(chosen == sample.reference)
    details = {"acc": score, "first_position_rate": float(chosen == 0), "gold": sample.reference}
    details |= choice_probabilities(logprobs, LETTERS[: len(logprobs)])
    return Reading("correct" if score else "wrong", score, details=details)
