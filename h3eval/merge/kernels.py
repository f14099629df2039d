"""Compiled loops over flat float32 arrays, each reading its input once. They know nothing of models or files.

Everything here releases the interpreter's lock, so that pieces of a tensor run side by side, and none of it depends
on how a tensor is cut: a random number belongs to an element's flat index, and equal magnitudes are told apart by it.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
F = TypeVar("F", bound=Callable[..., Any])

# Philox 4x32 with ten rounds: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
PHILOX_ROUNDS = 10
MULTIPLY_0 = np.uint64(0xD2511F53)
MULTIPLY_1 = np.uint64(0xCD9E8D57)
WEYL_0 = np.uint64(0x9E3779B9)
WEYL_1 = np.uint64(0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
MAGNITUDE = np.uint32(0x7FFFFFFF)
EXPONENT = np.uint32(0x7F800000)
COARSE = 16
"""A magnitude's 31 bits are looked up in two steps: the upper 15, then the lower 16."""
COARSE_BINS = 1 << 15
FINE_BINS = 1 << 16
FINE_MASK = np.uint32(0xFFFF)
DIGIT = np.uint32(0xFF)


def compiled(function: F) -> F:
    """Machine code, made at the first call and kept on disk."""
    made: Any = numba.njit(nogil=True, cache=True)(function)
    return cast(F, made)


def summing(function: F) -> F:
    """As `compiled`, for float64 sums whose terms may be added in the processor's own order."""
    made: Any = numba.njit(nogil=True, cache=True, fastmath={"reassoc"})(function)
    return cast(F, made)


@compiled
def widen_bfloat16(raw: U16, bits: U32) -> None:
    """The bits of float32 values, from those of bfloat16 ones."""
    for j in range(raw.shape[0]):
        bits[j] = np.uint32(raw[j]) << np.uint32(16)


@compiled
def narrow_bfloat16(bits: U32, raw: U16) -> int:
    """Round to the nearest bfloat16, ties to even; how many are not finite."""
    wrong = 0
    for j in range(raw.shape[0]):
        word = bits[j]
        wrong += (word & EXPONENT) == EXPONENT
        raw[j] = (word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return wrong


@compiled
def draw(counter: int, key_0: int, key_1: int, out: U32) -> None:
    """Random words: four for each counter from `counter` on. `out` holds a multiple of four."""
    for block in range(out.shape[0] // 4):
        number = np.uint64(counter + block)
        c0, c1, c2, c3 = number & LOW, number >> HALF, np.uint64(0), np.uint64(0)
        k0, k1 = np.uint64(key_0), np.uint64(key_1)
        for _ in range(PHILOX_ROUNDS):
            p0, p1 = MULTIPLY_0 * c0, MULTIPLY_1 * c2
            c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW
            k0, k1 = (k0 + WEYL_0) & LOW, (k1 + WEYL_1) & LOW
        out[4 * block] = c0
        out[4 * block + 1] = c1
        out[4 * block + 2] = c2
        out[4 * block + 3] = c3


@compiled
def keep_below(values: F32, words: U32, limit: int, factor: float) -> None:
    """Multiply by `factor` where the random word lies below `limit` (0 to 2^32), else set to 0."""
    bound = np.uint64(limit)
    for j in range(values.shape[0]):
        values[j] = np.float32(values[j] * factor) if np.uint64(words[j]) < bound else np.float32(0)


@compiled
def count_coarse(bits: U32, counts: I64) -> None:
    """Add to the histogram of the upper half of each magnitude."""
    for j in range(bits.shape[0]):
        counts[(bits[j] & MAGNITUDE) >> np.uint32(COARSE)] += 1


@compiled
def count_fine(bits: U32, coarse: int, counts: I64) -> None:
    """Add to the histogram of the lower half, of magnitudes whose upper half is `coarse`."""
    wanted = np.uint32(coarse)
    for j in range(bits.shape[0]):
        word = bits[j] & MAGNITUDE
        if (word >> np.uint32(COARSE)) == wanted:
            counts[word & FINE_MASK] += 1


@compiled
def count_equal(bits: U32, threshold: int) -> int:
    """How many magnitudes are exactly the threshold's."""
    wanted = np.uint32(threshold)
    found = 0
    for j in range(bits.shape[0]):
        found += (bits[j] & MAGNITUDE) == wanted
    return found


@compiled
def mark_largest(bits: U32, threshold: int, allowed: int, mask: U8) -> None:
    """Mark magnitudes above the threshold, and the first `allowed` of those that equal it."""
    wanted = np.uint32(threshold)
    for j in range(bits.shape[0]):
        word = bits[j] & MAGNITUDE
        mask[j] = word > wanted
        if word == wanted and allowed > 0:
            mask[j] = 1
            allowed -= 1


@compiled
def order_by_magnitude(bits: U32, items: U64, counts: I64) -> tuple[int, int]:
    """Sort the non-zero values by magnitude, the largest first, equal ones by index: how many there are, and the row of
    `items` whose lower halves are then their indices.

    items and counts are scratch, of shapes (2, columns) and (4, 256).
    """
    counts[:] = 0
    n = 0
    for j in range(bits.shape[0]):
        key = MAGNITUDE - (bits[j] & MAGNITUDE)
        items[0, n] = (np.uint64(key) << HALF) | np.uint64(j)
        here = key != MAGNITUDE
        n += here
        for digit in range(4):
            counts[digit, (key >> np.uint32(8 * digit)) & DIGIT] += here
    now = 0
    for digit in range(4 if n else 0):
        now = sort_digit(n, digit, now, items, counts[digit])
    return n, now


@compiled
def sort_digit(n: int, digit: int, now: int, items: U64, counts: I64) -> int:
    """One step of a radix sort: stable by eight bits, from row `now` of the scratch to the other; where it ended."""
    shift = HALF + np.uint64(8 * digit)
    if counts[(items[now, 0] >> shift) & np.uint64(DIGIT)] == n:
        return now
    total = 0
    for value in range(256):
        here = counts[value]
        counts[value] = total
        total += here
    for j in range(n):
        item = items[now, j]
        value = (item >> shift) & np.uint64(DIGIT)
        to = counts[value]
        counts[value] = to + 1
        items[1 - now, to] = item
    return 1 - now


@compiled
def keep_by_rank(rows: F32, words: U32, low: float, width: float, inverse: bool) -> None:
    """DELLA's mask: a value's chance to stay grows with its rank in its row, from `low` to `low + width`.

    rows and words have shape (rows, columns). With `inverse`, what stays is divided by its own chance.
    """
    columns = rows.shape[1]
    items = np.empty((2, columns), np.uint64)
    counts = np.empty((4, 256), np.int64)
    for row in range(rows.shape[0]):
        n, now = order_by_magnitude(rows[row].view(np.uint32), items, counts)
        for position in range(n):
            j = items[now, position] & LOW
            share = (columns - 1 - position) / (columns - 1) if columns > 1 else 0.5
            chance = low + width * share
            stays = np.uint64(words[row, j]) < np.uint64(np.floor(chance * 4294967296.0))
            value = np.float32(rows[row, j] / chance) if inverse else rows[row, j]
            rows[row, j] = value if stays else np.float32(0)


@compiled
def keep_band_by_row(rows: F32, skip: int, keep: int) -> None:
    """Set to 0, row by row, the `skip` largest magnitudes and all after the next `keep`."""
    columns = rows.shape[1]
    items = np.empty((2, columns), np.uint64)
    counts = np.empty((4, 256), np.int64)
    for row in range(rows.shape[0]):
        n, now = order_by_magnitude(rows[row].view(np.uint32), items, counts)
        for position in range(min(skip, n)):
            rows[row, items[now, position] & LOW] = 0
        for position in range(min(skip + keep, n), n):
            rows[row, items[now, position] & LOW] = 0


@compiled
def add(change: F64, values: F32) -> None:
    """Add float64 changes to float32 values, each sum rounded once."""
    for j in range(values.shape[0]):
        values[j] = np.float32(values[j] + change[j])


@compiled
def add_weighted(values: F32, weights: F64, total: F64) -> None:
    """Weighted sum over models: values has shape (models, elements)."""
    total[:] = 0.0
    for i in range(values.shape[0]):
        weight = weights[i]
        for j in range(total.shape[0]):
            total[j] += weight * values[i, j]


@compiled
def add_elected(values: F32, weights: F64, normalize: bool, elected: F64, total: F64, share: F64) -> None:
    """Weighted sum of those values that agree with the sign of the weighted sum of all; a sum of 0 elects plus.

    With `normalize`, divided by the weights of those that agreed (by 1 where there are none).
    """
    elected[:] = 0.0
    total[:] = 0.0
    share[:] = 0.0
    for i in range(values.shape[0]):
        weight = weights[i]
        for j in range(total.shape[0]):
            elected[j] += weight * values[i, j]
    for i in range(values.shape[0]):
        weight = weights[i]
        for j in range(total.shape[0]):
            term = weight * values[i, j]
            agrees = (term > 0) if elected[j] >= 0 else (term < 0)
            total[j] += term if agrees else 0.0
            share[j] += weight if agrees else 0.0
    if normalize:
        for j in range(total.shape[0]):
            total[j] /= share[j] if share[j] != 0.0 else 1.0


@summing
def products(values: F32, out: F64) -> None:
    """Inner products of every pair of models: out has shape (models, models); its upper half is filled."""
    for a in range(values.shape[0]):
        for b in range(a, values.shape[0]):
            total = 0.0
            for j in range(values.shape[1]):
                total += np.float64(values[a, j]) * np.float64(values[b, j])
            out[a, b] = total


@summing
def squares_each(values: F32, out: F64) -> None:
    """Each model's sum of squares."""
    for i in range(values.shape[0]):
        total = 0.0
        for j in range(values.shape[1]):
            total += np.float64(values[i, j]) * np.float64(values[i, j])
        out[i] = total


@summing
def squares(values: F64) -> float:
    """Sum of squares."""
    total = 0.0
    for j in range(values.shape[0]):
        total += np.float64(values[j]) * np.float64(values[j])
    return total


@summing
def magnitudes(values: F32) -> float:
    """Sum of absolute values."""
    total = 0.0
    for j in range(values.shape[0]):
        total += np.float64(abs(values[j]))
    return total


@compiled
def count_signs(values: F32, signs: U8, kept: I64) -> int:
    """Count each model's non-zero values into `kept`; how many elements hold both signs."""
    signs[:] = 0
    for i in range(values.shape[0]):
        here = 0
        for j in range(values.shape[1]):
            plus = values[i, j] > 0
            minus = values[i, j] < 0
            signs[j] |= np.uint8(plus) | (np.uint8(minus) << np.uint8(1))
            here += plus | minus
        kept[i] += here
    both = 0
    for j in range(values.shape[1]):
        both += signs[j] == 3
    return both


@compiled
def add_low_rank(left: F32, right: F32, scale: float, first: int, out: F32) -> None:
    """Add scale · left @ right to `out`, elements `first` on of the flattened product, in a fixed order of terms."""
    columns = right.shape[1]
    row = first // columns
    column = first % columns
    j = 0
    line = np.empty(columns, np.float64)
    while j < out.shape[0]:
        line[:] = 0.0
        for k in range(right.shape[0]):
            factor = scale * left[row, k]
            for c in range(columns):
                line[c] += factor * right[k, c]
        while column < columns and j < out.shape[0]:
            out[j] = np.float32(out[j] + line[column])
            column += 1
            j += 1
        row += 1
        column = 0
