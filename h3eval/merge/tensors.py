"""One tensor's pieces, read from all models: the `Deltas` that methods sweep over."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from h3eval.merge.checkpoints import Tensor
from h3eval.merge.kernels import F32
from h3eval.merge.pieces import Piece
from h3eval.merge.plan import Job, Raw
from h3eval.merge.shards import BLOCK

T = TypeVar("T")
SPAN = 1 << 19
"""Elements that one thread works through before it takes the next: a few megabytes of reading."""


class Scratch(threading.local):
    """Each thread's own arrays, kept from piece to piece: fresh memory costs more than the arithmetic."""

    def __init__(self) -> None:
        self.lines: F32 = np.empty((0, 0), np.float32)
        self.bytes: dict[int, Raw] = {}

    def take(self, rows: int, elements: int) -> F32:
        """(rows, elements), holding anything."""
        if self.lines.shape[0] < rows or self.lines.shape[1] < elements:
            self.lines = np.empty((rows, elements), np.float32)
        return self.lines[:rows, :elements]

    def raw(self, place: int, size: int) -> Raw:
        """Bytes, holding anything, from the start of a block on; another array for each place."""
        if place not in self.bytes or self.bytes[place].size < size:
            loose = np.empty(size + BLOCK, np.uint8)
            self.bytes[place] = loose[-loose.ctypes.data % BLOCK :][:size]
        return self.bytes[place][:size]

    def load(self, place: int, tensor: Tensor | None, start: int, elements: int) -> Raw | None:
        """The bytes of a tensor's elements, in the array of this place."""
        if tensor is None:
            return None
        raw = self.raw(place, elements * tensor.item)
        tensor.load(start, raw)
        return raw


SCRATCH = Scratch()


@dataclass(frozen=True)
class TensorDeltas:
    """All pieces of one job's merged elements."""

    job: Job
    labels: tuple[str, ...]
    pool: Executor

    @property
    def elements(self) -> int:
        """How many elements are merged."""
        return self.job.merged

    @property
    def first(self) -> int:
        """Number of the first piece."""
        return self.job.first

    def spans(self) -> Iterator[range]:
        """Runs of pieces that one thread takes at a time."""
        many = max(1, SPAN // self.job.piece)
        for begin in range(0, self.job.pieces, many):
            yield range(begin, min(begin + many, self.job.pieces))

    def sweep(self, function: Callable[[Iterable[Piece]], T]) -> list[T]:
        """The function's answers, span by span."""
        return self.spread(lambda span: function(piece for piece, _ in self.read(span)))

    def spread(self, function: Callable[[range], T]) -> list[T]:
        """The function's answers for all spans, from as many threads as the pool has."""
        return [future.result() for future in [self.pool.submit(function, span) for span in self.spans()]]

    def read(self, span: range) -> Iterator[tuple[Piece, F32]]:
        """Pieces, each with the base's elements (zeros where there is no base); valid until the next one."""
        job = self.job
        begin, end = span.start * job.piece, min(span.stop * job.piece, job.merged)
        sources = [job.base, *(part.stored for part in job.parts)]
        raws = [SCRATCH.load(place, tensor, begin, end - begin) for place, tensor in enumerate(sources)]
        for at in span:
            start = at * job.piece
            size = min(job.piece, job.merged - start)
            lines = SCRATCH.take(len(job.parts) + 1, job.piece)[:, :size]
            self._fill(
                start,
                [_cut(raw, tensor, start - begin, size) for raw, tensor in zip(raws, sources, strict=True)],
                lines,
            )
            yield Piece(lines[1:], start, job.columns, job.first + at, job.name), lines[0]

    def _fill(self, start: int, raws: Sequence[Raw | None], lines: F32) -> None:
        """The base into the first line, each model's change (its weights, where there is no base) into the others."""
        job, base = self.job, lines[0]
        if job.base is not None and raws[0] is not None:
            job.base.widen(raws[0], base)
        else:
            base[:] = 0
        for part, raw, out in zip(job.parts, raws[1:], lines[1:], strict=True):
            if job.base is None and part.stored is not None and raw is not None:
                part.stored.widen(raw, out)
            else:
                part.delta(start, raw, base, out)


def _cut(raw: Raw | None, tensor: Tensor | None, start: int, size: int) -> Raw | None:
    return raw[start * tensor.item : (start + size) * tensor.item] if raw is not None and tensor is not None else None


@dataclass(frozen=True)
class ModelDeltas:
    """All pieces of a whole model, for methods that rank changes across tensors."""

    tensors: Sequence[TensorDeltas]
    labels: tuple[str, ...]

    @property
    def elements(self) -> int:
        """How many elements are merged."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def first(self) -> int:
        """Number of the first piece."""
        return 0

    def sweep(self, function: Callable[[Iterable[Piece]], T]) -> list[T]:
        """The function's answers, tensor by tensor and span by span."""
        return [answer for tensor in self.tensors for answer in tensor.sweep(function)]


def whole(job: Job) -> tuple[F32, F32]:
    """A tensor at once: changes (models, elements) and base (elements,)."""
    values = np.zeros((len(job.parts), job.merged), np.float32)
    base = np.zeros(job.merged, np.float32)
    if job.base is not None:
        job.base.values(0, base)
    for part, out in zip(job.parts, values, strict=True):
        if part.stored is not None:
            part.stored.values(0, out)
            out -= base
        elif part.change is not None:
            part.change.add(0, out)
    return values, base
