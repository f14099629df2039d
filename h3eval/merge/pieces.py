"""What a merge method sees: the models' changes to one tensor, piece by piece, and what it gives back."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from h3eval.merge import kernels
from h3eval.merge.kernels import F32, F64, U32

T = TypeVar("T")
WORDS = 1 << 32


@dataclass(frozen=True)
class Piece:
    """Neighbouring elements of one tensor in all models; whole rows, where a method asks for rows."""

    values: F32
    """(models, elements): what each model adds to the base, or its weights where there is no base. May be changed."""
    start: int
    """Flat index, in the tensor, of the first element."""
    columns: int
    """Length of a row."""
    number: int
    """How many pieces come before it in the whole model."""
    tensor: str

    @property
    def rows(self) -> F32:
        """(models, rows, columns), a view."""
        return self.values.reshape(self.values.shape[0], -1, self.columns)


class Deltas(Protocol):
    """All the pieces of a tensor, or of a model; read anew at each sweep."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The models' names."""
        ...

    @property
    def elements(self) -> int:
        """How many there are, in each model."""
        ...

    @property
    def first(self) -> int:
        """Number of the first piece."""
        ...

    def sweep(self, function: Callable[[Iterable[Piece]], T]) -> list[T]:
        """The function's answers for consecutive runs of pieces, in order, whoever computed them."""
        ...


Transform = Callable[[Piece], None]
"""Changes a piece's values in place: a mask, a scale."""


def unchanged(piece: Piece) -> None:
    """The transform of methods that have none."""


@dataclass(frozen=True)
class Prepared:
    """What a method learnt from a whole tensor: how to transform its pieces, and what to report."""

    transform: Transform = unchanged
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Combination:
    """How transformed changes become one: Σ w·v, among those of the elected sign only where `elect`."""

    weights: F64
    elect: bool = False
    normalize: bool = False
    scale: float = 1.0

    def divisor(self) -> float:
        """What a sum without election is divided by."""
        total = float(self.weights.sum()) if self.normalize else 1.0
        return total if abs(total) >= 1e-8 else 1.0


class Summing:
    """Combines pieces in float64; keeps its scratch memory from piece to piece. One for each thread."""

    def __init__(self, elements: int) -> None:
        self.scratch = np.empty((3, elements))

    def __call__(self, how: Combination, values: F32) -> F64:
        """The combined change, (elements,); valid until the next call."""
        total, elected, share = (line[: values.shape[1]] for line in self.scratch)
        if how.elect:
            kernels.add_elected(values, how.weights, how.normalize, elected, total, share)
            factor = how.scale
        else:
            kernels.add_weighted(values, how.weights, total)
            factor = how.scale / how.divisor()
        if factor != 1.0:
            total *= factor
        return total


def key(seed: int, label: str, tensor: str) -> tuple[int, int]:
    """The random key of one tensor of one model."""
    made = hashlib.blake2b(f"{seed}\0{label}\0{tensor}".encode(), digest_size=8).digest()
    return int.from_bytes(made[:4], "little"), int.from_bytes(made[4:], "little")


def random_words(keys: tuple[int, int], start: int, count: int) -> U32:
    """The random words of elements `start` to `start + count`: word e is lane e % 4 of counter e // 4."""
    lead = start % 4
    words = np.empty((lead + count + 3) // 4 * 4, np.uint32)
    kernels.draw(start // 4, *keys, words)
    return words[lead : lead + count]


def rescaled(transform: Transform, deltas: Deltas, facts: Mapping[str, Any]) -> Prepared:
    """The transform, and then one factor a model that restores the L1 norm it had before (mergekit's rescale)."""

    def norms(pieces: Iterable[Piece]) -> F64:
        sums = np.zeros((2, len(deltas.labels)))
        for piece in pieces:
            sums[0] += [kernels.magnitudes(row) for row in piece.values]
            transform(piece)
            sums[1] += [kernels.magnitudes(row) for row in piece.values]
        return sums

    before, after = np.sum(deltas.sweep(norms), axis=0)
    factors = np.where((before > 0) & (after > 0), before / np.where(after > 0, after, 1), 1.0)

    def both(piece: Piece) -> None:
        transform(piece)
        piece.values[:] *= factors.astype(np.float32)[:, None]

    return Prepared(both, {**facts, "rescale": _named(deltas.labels, factors)})


def _named(labels: tuple[str, ...], values: Iterable[float]) -> dict[str, float]:
    return {label: float(value) for label, value in zip(labels, values, strict=True)}
