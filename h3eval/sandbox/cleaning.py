"""Answers become programs: EvalPlus's sanitiser, in a jail, with a limit of size and of time.

It parses every run of an answer's lines, which grows with their cube, and it is a model that says how many there are.
"""

from functools import cache
from pathlib import Path

from h3eval.errors import H3evalError, NoSandbox
from h3eval.sandbox import tiers
from h3eval.sandbox.jobs import MEGABYTE, Job, Limits
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.tiers import NAMES, Tier
from h3eval.sandbox.wire import decode, encode

MOST = 1 << 20
"""Characters of an answer that is cleaned."""
SECONDS = 60.0
LIMITS = Limits(SECONDS, line=16 * MEGABYTE, output=17 * MEGABYTE)
NEEDED = ("evalplus", "tree_sitter", "tree_sitter_python")
PRELOAD = ("ast", "itertools", "bisect", "tree_sitter", "tree_sitter_python")


class Uncleaned(H3evalError):
    """An answer could not be cleaned within the limits: nobody knows what program it is."""


def tier(name: str) -> Tier:
    """A jail of that kind for the sanitiser. Raise NoSandbox as `tiers.tier`."""
    return tiers.tier(name, NEEDED, PRELOAD)


def cleaned(jail: Jail, text: str, entry_point: str) -> str:
    """What EvalPlus's own sanitiser leaves of an answer; the answer itself where it can't be parsed.

    Raise Uncleaned.
    """
    if len(text) > MOST:
        raise Uncleaned(f"an answer of {len(text):,} characters is not cleaned; at most {MOST:,} are")
    found: list[bytes] = []

    def hear(index: int, code: bytes, used: float) -> bool:
        found.append(code)
        return not code.startswith(b"!")

    line = encode([text, entry_point]).encode() + b"\n"
    outcome = jail.run(Job(_program(), "clean", line, [SECONDS], limits=LIMITS), hear)
    if outcome.end != "done" or not found:
        why = found[-1][1:80].decode("ascii", "replace") if found else f"{outcome.end}: {outcome.detail}"
        lines = text.count("\n") + 1
        raise Uncleaned(f"an answer of {lines:,} lines could not be cleaned by EvalPlus's sanitiser: {why}")
    return str(decode(found[0]))


@cache
def _program() -> str:
    source = Path(__file__).with_name("cleaner.py").read_text(encoding="utf-8")
    return f"{source}\nclean = prepared()\n"


def sanitized(text: str, entry_point: str) -> str:
    """One answer, cleaned in a jail of its own. Raise Uncleaned; NoSandbox where no kind of jail starts."""
    for name in NAMES:
        try:
            jail = Jail(tier(name))
        except NoSandbox:
            continue
        with jail:
            return cleaned(jail, text, entry_point)
    raise NoSandbox("no sandbox starts on this machine, so no answer was cleaned")
