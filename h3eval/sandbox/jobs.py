"""What is run in a jail, what it may use, and how it ended."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

MEGABYTE = 1 << 20

Mode = Literal["inputs", "calls", "tests"]
"""What a program is run for: `inputs` are its function's positional arguments; `calls` have keyword arguments too;
`tests` are a program whose function under test is a stub."""
End = Literal["done", "stopped", "timeout", "memory", "output", "protocol", "signal", "died"]


@dataclass(frozen=True)
class Limits:
    """What a program may use. `seconds` of processor time in all; `memory` is of address space, as EvalPlus's."""

    seconds: float = 60.0
    memory: int = 4096 * MEGABYTE
    line: int = 256 * MEGABYTE
    output: int = 1024 * MEGABYTE

    def resources(self) -> dict[str, int]:
        """The kernel's limits, by their names."""
        # The kernel's own clock is the last resort: it ends what a runner that has gone can't.
        return {
            "AS": self.memory, "CPU": int(self.seconds) + 2, "FSIZE": 0, "NOFILE": 64, "CORE": 0, "NPROC": 64,
            "MEMLOCK": 0,
        }  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A program, its function's name, and its inputs, one encoded line each, with the seconds each may take."""

    code: str
    entry: str
    lines: bytes
    allowed: Sequence[float]
    present: bool = False
    """Send only whether there is an output: for outputs that can't be sent."""
    limits: Limits = field(default_factory=Limits)
    mode: Mode = "inputs"

    def head(self) -> bytes:
        """The candidate's first line."""
        head = {"code": self.code, "entry": self.entry, "present": self.present, "mode": self.mode}
        return json.dumps(head).encode() + b"\n"


Hear = Callable[[int, bytes, float], bool]
"""Takes an output's index, its text (an error's name after `!`), and the processor seconds that the program has used
by then; False to hear no more."""


@dataclass
class Outcome:
    """How a program ended. `cpu_s` and `wall_s` were measured outside of it; `whole` tells that it was all inputs
    together that took too long."""

    end: End
    heard: int = 0
    detail: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_kb: int = 0
    whole: bool = False
