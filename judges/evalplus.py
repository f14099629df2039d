"""Which of EvalPlus's tests does the program pass? Asks the sandbox, no model.

The verdict is made where the program runs, and stored: scoring a run again executes nothing. All this judge does is
word what is to be run, and read what came of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from h3eval.errors import Unreadable
from h3eval.types import Generation, Json, Reading, Reply, Request, Sample

SUITES = ("base", "plus")
STATUSES = ("pass", "fail", "timeout")
UNSANDBOXED = "UNSANDBOXED"


@dataclass(frozen=True)
class EvalPlus:
    """Implements `types.Judge`. One request a program; the score is the share that pass both suites."""

    name: str = "evalplus"
    version: int = 1
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
        told = [statuses(reply.text) for reply in replies]
        if not told:
            raise Unreadable("no program was run")
        base = sum(each["base"]["status"] == "pass" for each in told)
        # As EvalPlus counts: plus is base and plus.
        plus = sum(map(passes, told))
        details: dict[str, Json] = {"n": len(told), "base": base, "plus": plus, "programs": told}
        bare = any(each["sandbox"] == UNSANDBOXED for each in told)
        return Reading(label(len(told), base, plus) + f" {UNSANDBOXED}" * bare, plus / len(told), details=details)


def form(sample: Sample, reply: Reply) -> str:
    """How the answer becomes a program: as a file of samples says, else as the task asked."""
    return str(reply.extra.get("form") or sample.metadata.get("form", "answer"))


def label(n: int, base: int, plus: int) -> str:
    """One program's result in a word; several programs' as a count."""
    if n > 1:
        return f"{plus} of {n} pass"
    return "pass" if plus else "base only" if base else "fail"


def passes(told: Mapping[str, Any]) -> bool:
    """Are both suites passed?"""
    return all(told[suite]["status"] == "pass" for suite in SUITES)


def statuses(text: str) -> dict[str, Any]:
    """What the sandbox says of one program. Raise Unreadable for anything else."""
    try:
        told = json.loads(text)
        known = all(told[suite]["status"] in STATUSES for suite in SUITES) and isinstance(told["sandbox"], str)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Unreadable("not a result of the sandbox") from error
    if not known:
        raise Unreadable("not a result of the sandbox")
    return dict(told)


JUDGE = EvalPlus()
