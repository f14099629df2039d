"""Does the program pass the sample's assertions? Asks the sandbox, no model; for code tasks of your own.

A sample's `reference` holds `entry_point`, the function's name, and `test`: Python lines that call it, or that define
`check(candidate)`, which is called with it, as HumanEval's tests do. `prompt` may hold code that the answer
continues, and the sample's metadata the `form` of answers (docs/sandbox.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from h3eval.errors import Unreadable
from h3eval.types import Generation, Json, Reading, Reply, Request, Sample

from ._programs import UNSANDBOXED, form, statuses

RULES = 2
"""The sandbox's rules for assertions: part of every verdict's address."""
FIELDS = ("entry_point", "test", "prompt")


@dataclass(frozen=True)
class Assertions:
    """Implements `types.Judge`. One request a program; the score is the share that pass."""

    name: str = "asserts"
    version: int = 2
    calls: int = 1
    complete_reply: bool = False
    wording: str = "official"
    template: str = ""
    scale: str = "share of the programs that pass the sample's assertions"
    by_definition: bool = True

    def ask(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Sequence[Request]:
        if replies:
            return ()
        task = sample.reference if isinstance(sample.reference, Mapping) else {}
        tests = {"rules": RULES, **{field: str(task.get(field, "")) for field in FIELDS}}
        return [
            Request("execute", reply.text, options={"form": form(sample, reply), "asserts": tests})
            for reply in generation.replies
        ]

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading:
        told = [statuses(reply.text, ("tests",)) for reply in replies]
        if not told:
            raise Unreadable("no program was run")
        passed = sum(each["tests"]["status"] == "pass" for each in told)
        details: dict[str, Json] = {"n": len(told), "passed": passed, "programs": told}
        label = f"{passed} of {len(told)} pass" if len(told) > 1 else "pass" if passed else "fail"
        bare = any(each["sandbox"] == UNSANDBOXED for each in told)
        return Reading(label + f" {UNSANDBOXED}" * bare, passed / len(told), details=details)


JUDGE = Assertions()
