"""R-TSVM: TSVM with a weight for each model by its outliers, and a rank for each layer by its density.

From the 3H merging paper's equations 6 to 11 and appendix A; where these contradict themselves or leave a quantity
open, a switch says so. With equal weights and the default rank this is TSVM.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, device

from h3eval.merge import tsvm
from h3eval.merge.tsvm import Array

OUTLIER_SIGMAS = 3.0


@dataclass(frozen=True)
class Options:
    """The switches: defaults are the readings under which the paper's numbers are possible."""

    gamma: float | None = None
    """Share of directions a layer with nothing but small changes loses; None: 1 - 1/T, which leaves TSVM's rank."""
    weights: str = "mean1"
    """mean1: weights average to 1, as TSVM's do; sum1: they sum to 1, as printed, and shrink the merged change."""
    order: str = "truncate_first"
    """orthogonalize_first is the printed algorithm: for square layers no interference is removed at all."""
    epsilon: float = 0.1
    epsilon_mode: str = "absolute"
    """absolute: as printed; rms: epsilon in units of the layer's root mean square change."""
    clamp_rank: bool = False


def merge(changes: Array, options: Options) -> tuple[Array, dict[str, Any]]:
    """The merged change, (m, n) in float64, of changes (T, m, n), and what was chosen on the way."""
    alpha = outlier_weights(changes)
    sparsity = small_share(changes, options)
    rank = chosen_rank(changes.shape, sparsity, options)
    scale = [each * (len(changes) if options.weights == "mean1" else 1) for each in alpha]
    build = _truncated if options.order == "truncate_first" else _orthogonalized
    facts = {"alpha": alpha, "omega": sparsity, "rank": rank, "short_side": min(changes.shape[1:])}
    return build(changes, scale, rank), facts


def outlier_weights(changes: Array) -> list[float]:
    """α (eq. 8): each model's share of the L1 norm that stands out of its row by three standard deviations."""
    xp = array_namespace(changes)
    masses = []
    for change in changes:
        size = xp.abs(xp.astype(change, xp.float64))
        limit = xp.mean(size, axis=1, keepdims=True) + OUTLIER_SIGMAS * xp.std(size, axis=1, keepdims=True)
        masses.append(float(xp.sum(size[size >= limit])))
    total = sum(masses)
    return [mass / total if total > 0 else 1 / len(changes) for mass in masses]


def small_share(changes: Array, options: Options) -> float:
    """Ω (eq. 9): the share of changes that are smaller than epsilon."""
    xp = array_namespace(changes)
    unit = 1.0
    if options.epsilon_mode == "rms":
        unit = float(xp.sqrt(xp.mean(xp.square(xp.astype(changes, xp.float64)))))
    return float(xp.mean(xp.astype(xp.abs(changes) < options.epsilon * unit, xp.float64)))


def chosen_rank(shape: tuple[int, ...], sparsity: float, options: Options) -> int:
    """k (eq. 10): floor(r · (1 - gamma · Ω)), at least 1 and at most r."""
    models, short = shape[0], min(shape[1:])
    gamma = 1 - 1 / models if options.gamma is None else options.gamma
    # One part in 10^9 forgives that 1 - (1 - 1/3) is a little less than 1/3.
    rank = min(max(int(short * (1 - gamma * sparsity) * (1 + 1e-9)), 1), short)
    return min(rank, max(short // models, 1)) if options.clamp_rank else rank


def _truncated(changes: Array, scale: Sequence[float], rank: int) -> Array:
    parts = [tsvm.leading(change, rank) for change in changes]
    return tsvm.joined(
        [tsvm.Directions(part.left, part.values * each, part.right) for part, each in zip(parts, scale, strict=True)]
    )


def _orthogonalized(changes: Array, scale: Sequence[float], rank: int) -> Array:
    """Polar factors of all directions of all models together, then the first `rank` of each model's."""
    xp = array_namespace(changes)
    short = min(changes.shape[1:])
    parts = [xp.linalg.svd(xp.astype(change, xp.float64), full_matrices=False) for change in changes]
    left = tsvm.polar(xp.concat([u for u, _, _ in parts], axis=1))
    right = tsvm.polar(xp.concat([v for _, _, v in parts], axis=0).T).T
    total = xp.zeros(changes.shape[1:], dtype=xp.float64, device=device(changes))
    for model, ((_, values, _), each) in enumerate(zip(parts, scale, strict=True)):
        chosen = slice(model * short, model * short + rank)
        total = total + (left[:, chosen] * (each * values[:rank])) @ right[chosen]
    return total


def warnings(facts: Mapping[str, Mapping[str, Any]], models: int, options: Options) -> list[str]:
    """What a user of these options must know; `facts` are those of each tensor."""
    told = []
    if options.order == "orthogonalize_first":
        told.append(
            "order: orthogonalize_first is the printed algorithm, in which all directions of a square layer's models "
            "together can't be orthogonal: there it is 1/T of the sum of truncated changes, and removes no interference"
        )
    if options.weights == "sum1":
        told.append("weights: sum1 makes the merged change about 1/T of TSVM's")
    made = [each for each in facts.values() if "omega" in each]
    if made and options.epsilon_mode == "absolute" and all(each["omega"] > 0.999 for each in made):
        told.append(
            f"epsilon {options.epsilon} (absolute) lies above nearly every change: Ω is 1 in all layers and the rank "
            "does not adapt; epsilon_mode: rms makes it do so"
        )
    if any(each["rank"] * models > each["short_side"] for each in made):
        told.append("rank: more directions than a layer has room for; they can't all be orthogonal (clamp_rank: true)")
    return told
