"""Task Singular Vectors Merge: merge the leading singular directions of each model's change, made orthogonal.

Gargiulo et al., 2025, https://arxiv.org/abs/2412.00081. For T changes D_i of shape (m, n), r = min(m, n), k = r // T:
U and V hold the k leading singular vectors of each, S their singular values; the merged change is
polar(U) · diag(S) · polar(V), where polar(X) is the orthonormal matrix nearest to X.

The leading vectors come from the eigenvectors of D·Dᵀ in float64, and polar(X) from those of XᵀX: half the work of
singular value decompositions, and as exact while
float64 tells the squares apart; where it can't, a real one is made.

Matrices are NumPy's, or PyTorch's on a GPU: what is used here, both have (the Array API).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, device

Array = Any
"""A matrix of NumPy's or PyTorch's."""

NOTHING = 1e-6
"""Directions with a singular value below this share of the largest are noise of rounding, and are left out."""
CLOSE = 1e-13
"""Smallest over largest eigenvalue of XᵀX from which on its inverse root can be trusted."""


@dataclass(frozen=True)
class Directions:
    """The leading part of a singular value decomposition: left (m, k), values (k,), right (k, n)."""

    left: Array
    values: Array
    right: Array


def merge(changes: Array) -> Array:
    """The merged change, (m, n) in float64, of changes (T, m, n)."""
    return joined([leading(change, min(change.shape) // len(changes)) for change in changes])


def joined(parts: Sequence[Directions]) -> Array:
    """polar(U) · diag(S) · polar(V) of all parts side by side."""
    xp = array_namespace(parts[0].left)
    left = xp.concat([part.left for part in parts], axis=1)
    right = xp.concat([part.right for part in parts], axis=0)
    values = xp.concat([part.values for part in parts])
    if not len(values):
        return xp.zeros((left.shape[0], right.shape[1]), dtype=xp.float64, device=device(left))
    a, b = inverse_root(left.T), inverse_root(right)
    if a is None or b is None:
        return (polar(left) * values) @ polar(right.T).T
    # The inverse roots are small, and meet in the middle before the long product.
    return (left @ ((a * values) @ b)) @ right


def leading(change: Array, count: int) -> Directions:
    """The `count` leading singular directions, fewer where the change has fewer."""
    if change.shape[0] > change.shape[1]:
        turned = leading(change.T, count)
        return Directions(turned.right.T, turned.values, turned.left.T)
    xp = array_namespace(change)
    wide = xp.astype(change, xp.float64)
    powers, vectors = xp.linalg.eigh(wide @ wide.T)
    values = xp.sqrt(xp.clip(xp.flip(powers), min=0.0))
    count = min(count, int(xp.sum(values > NOTHING * values[0])) if values[0] > 0 else 0)
    left, values = xp.flip(vectors, axis=1)[:, :count], values[:count]
    return Directions(left, values, (left / values).T @ wide)


def inverse_root(rows: Array) -> Array | None:
    """(rows · rowsᵀ)^(-1/2); None where float64 can't tell its smallest eigenvalues from nothing."""
    if rows.shape[0] > rows.shape[1]:
        return None
    xp = array_namespace(rows)
    powers, vectors = xp.linalg.eigh(rows @ rows.T)
    if powers[0] <= CLOSE * powers[-1]:
        return None
    return (vectors / xp.sqrt(powers)) @ vectors.T


def polar(tall: Array) -> Array:
    """The nearest matrix with orthonormal columns; with orthonormal rows, where there are more columns than rows.

    Directions of no length are left out: between them no orthonormal matrix is nearer than another.
    """
    xp = array_namespace(tall)
    left, values, right = xp.linalg.svd(tall, full_matrices=False)
    # Singular values come in falling order.
    some = int(xp.sum((values > NOTHING * values[0]) & (values > 0))) if len(values) else 0
    return left[:, :some] @ right[:some, :]
