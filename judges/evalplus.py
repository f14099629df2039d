"""Which of EvalPlus's tests does the program pass? Asks the sandbox, no model.

The verdict is made where the program runs, and stored: scoring a run again executes nothing. All this judge does is
word what is to be run, and read what came of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from h3eval.errors import Unreadable
from h3eval.types import Generation, Json, Reading, Reply, Request, Sample

from ._programs import UNSANDBOXED, form, statuses

SUITES = ("base", "plus")


@dataclass(frozen=True)
class EvalPlus:
    """Implements `types.Judge`. One request a program; the score is the share that pass both suites."""

    name: str = "evalplus"
    version: int = 2
    calls: int = 1
    complete_reply: bool = False
    wording: str = "official"
    template: str = ""
    scale: str = "share of the programs that pass the base and the plus tests"
    by_definition: bool = True

    def ask(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Sequence[Request]:
        if replies:
            return ()
        task = sample.reference or {}
        return [
            Request("execute", reply.text, options={"form": form(sample, reply), "problem": task.get("problem", "")})
            for reply in generation.replies
        ]

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading:
        told = [statuses(reply.text, SUITES) for reply in replies]
        if not told:
            raise Unreadable("no program was run")
        base = sum(each["base"]["status"] == "pass" for each in told)
        # As EvalPlus counts: plus is base and plus.
        plus = sum(map(passes, told))
        details: dict[str, Json] = {"n": len(told), "base": base, "plus": plus, "programs": told}
        bare = any(each["sandbox"] == UNSANDBOXED for each in told)
        return Reading(label(len(told), base, plus) + f" {UNSANDBOXED}" * bare, plus / len(told), details=details)


def label(n: int, base: int, plus: int) -> str:
    """One program's result in a word; several programs' as a count."""
    if n > 1:
        return f"{plus} of {n} pass"
    return "pass" if plus else "base only" if base else "fail"


def passes(told: Mapping[str, Any]) -> bool:
    """Are both suites passed?"""
    return all(told[suite]["status"] == "pass" for suite in SUITES)


JUDGE = EvalPlus()
