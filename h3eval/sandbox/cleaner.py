"""Cleans an answer as EvalPlus does, in a jail: read as text and run there, with the standard library and EvalPlus's
own sanitiser beside it. Imported by tests alone."""

import importlib
import sys
import types
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

UNUSED = {
    "evalplus.data": ("get_human_eval_plus", "get_mbpp_plus", "load_solutions", "write_directory", "write_jsonl"),
    "termcolor": ("colored",),
    "tqdm": ("tqdm",),
}
"""What the sanitiser's modules import for their command lines: the hub's whole library, and progress bars."""


def prepared() -> Callable[[str, str], str]:
    """EvalPlus's sanitiser, taking an answer and the function's name; the answer itself where it can't be parsed."""
    for name, members in UNUSED.items():
        module: Any = types.ModuleType(name)
        for member in members:
            setattr(module, member, None)
        sys.modules[name] = module
    sanitizer: Any = importlib.import_module("evalplus.sanitize")
    check = sanitizer.syntax_check
    sanitizer.code_extract = lambda text: longest(text, check)

    def clean(text: str, entry_point: str) -> str:
        try:
            code: str = sanitizer.sanitize(text, entry_point)
        except (MemoryError, RecursionError, SyntaxError, UnicodeError, ValueError):
            return text
        return code

    return clean


def longest(text: str, parses: Callable[[str], bool]) -> str:
    """The run of two or more lines that parses and has the most lines that are not blank; of several the first, as
    EvalPlus finds it; the first line where there is none.

    EvalPlus tries all runs, the square of the lines, and parses each: three hundred lines take minutes. Here the
    longest come first, so that an answer that is all code takes one.
    """
    lines = text.split("\n")
    for first, last in _runs(lines):
        run = "\n".join(lines[first : last + 1])
        if parses(run):
            return run
    return lines[0]


def _runs(lines: list[str]) -> Iterator[tuple[int, int]]:
    """First and last lines of all runs of two or more, those with most lines that are not blank first."""
    upto = list(accumulate((bool(line.strip()) for line in lines), initial=0))
    for count in range(upto[-1], 0, -1):
        for first in range(len(lines)):
            wanted = upto[first] + count
            if wanted > upto[-1]:
                break
            last = max(bisect_left(upto, wanted) - 1, first + 1)
            while last < len(lines) and upto[last + 1] == wanted:
                yield first, last
                last += 1
