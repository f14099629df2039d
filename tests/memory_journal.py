"""A journal in memory, for tests of backends that cost money."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from h3eval.types import Fault, Json, Reply


@dataclass
class Attempt:
    """One attempt: open until it has an answer."""

    key: bytes
    answer: Reply | Fault | None = None
    info: Mapping[str, Json] = field(default_factory=dict)


class MemoryJournal:
    """Keeps every attempt, or none (`keep=False`, for benches). `fail_at` makes that intent raise."""

    def __init__(self, keep: bool = True, fail_at: int = -1, error: Exception | None = None) -> None:
        self.attempts: dict[int, Attempt] = {}
        self.keep = keep
        self.fail_at = fail_at
        self.error = error
        self._numbers = itertools.count()

    async def intent(self, key: bytes) -> int:
        """Note that a call is about to be sent."""
        number = next(self._numbers)
        if self.error and number >= self.fail_at >= 0:
            raise self.error
        if self.keep:
            self.attempts[number] = Attempt(key)
        return number

    async def outcome(self, attempt: int, key: bytes, answer: Reply | Fault, info: Mapping[str, Json]) -> None:
        """Note how it ended. Raise ValueError for an attempt that is not open."""
        if not self.keep:
            return
        noted = self.attempts[attempt]
        if noted.answer is not None or noted.key != key:
            raise ValueError(f"attempt {attempt} is not open")
        noted.answer, noted.info = answer, info

    @property
    def open(self) -> list[Attempt]:
        """Attempts without an outcome."""
        return [each for each in self.attempts.values() if each.answer is None]

    def faults(self) -> list[str]:
        """Reasons of all faults, in the order of the attempts."""
        return [each.answer.reason for each in self.attempts.values() if isinstance(each.answer, Fault)]

    def cost_micro(self) -> int:
        """Millionths of a US dollar of all attempts."""
        return sum(each.info.get("cost_micro") or 0 for each in self.attempts.values())
