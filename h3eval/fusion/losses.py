"""What a fusion's training adds to the task's loss. pi is the router's probability of each expert, (..., experts).

All but the compatible forms are means over layers and over tokens that are not padding.
"""

import torch
from torch import Tensor
from torch.nn import functional

from h3eval.fusion.modeling_mixture import PROJECTIONS, Mixture


def mean_routing(logits: list[Tensor], mask: Tensor) -> Tensor:
    """Each sample's mean pi over its tokens and all layers: (batch, experts). `logits` are (batch, tokens, experts)."""
    kept = mask[..., None].to(logits[0].dtype)
    total = sum(((each.softmax(-1) * kept).sum(1) for each in logits), torch.zeros_like(logits[0][:, 0]))
    return total / (kept.sum(1) * len(logits))


def gating(logits: list[Tensor], mask: Tensor, experts: Tensor) -> Tensor:
    """-log of the mean probability that a sample's tokens give to its own expert; `experts` (batch,)."""
    return functional.nll_loss(mean_routing(logits, mask).clamp_min(1e-12).log(), experts)


def gating_h3fusion_code(logits: list[Tensor], experts: Tensor) -> Tensor:
    """As H3Fusion's published code: a second softmax over the mean probabilities, and padding counts.

    It lies between 0.55 and 1.55 for three experts, so it hardly moves a router.
    """
    everything = torch.ones(logits[0].shape[:2], device=logits[0].device)
    return functional.cross_entropy(mean_routing(logits, everything), experts)


def entropy(logits: list[Tensor], mask: Tensor) -> Tensor:
    """H(pi) in nats, mean over tokens and layers."""
    kept = mask.to(logits[0].dtype)
    return torch.stack(
        [((-each.softmax(-1) * each.log_softmax(-1)).sum(-1) * kept).sum() / kept.sum() for each in logits]
    ).mean()


def step_routing(logits: list[Tensor], mask: Tensor) -> Tensor:
    """Each layer's mean pi over the batch's tokens: (layers, experts)."""
    kept = mask[..., None].to(logits[0].dtype)
    return torch.stack([(each.softmax(-1) * kept).sum((0, 1)) / kept.sum() for each in logits])


def divergence(now: Tensor, before: Tensor) -> Tensor:
    """KL(pi || pi_prev), mean over layers, in nats; of a batch's mean routing against the step before's.

    The paper doesn't say what pi_prev is; the previous step's own tokens are other tokens, so means are compared.
    """
    return (now * (now.clamp_min(1e-12).log() - before.clamp_min(1e-12).log())).sum(-1).mean()


class Drift:
    """||W - W_init||^2 of each expert's matrices, summed over layers: (experts,), in float64."""

    def __init__(self, layers: list[Mixture]) -> None:
        """Remember where training starts; only what will be trained is copied."""
        self.layers = layers
        self.starts = [
            {name: tuple(part.detach().clone() for part in _parts(layer, name)) for name in PROJECTIONS}
            for layer in layers
        ]

    def __call__(self) -> Tensor:
        totals = [
            _moved(_parts(layer, name), start[name], layer.scale)
            for layer, start in zip(self.layers, self.starts, strict=True)
            for name in PROJECTIONS
            if start[name]
        ]
        return torch.stack(totals).sum(0) if totals else torch.zeros(self.layers[0].experts, dtype=torch.float64)


def _parts(layer: Mixture, name: str) -> tuple[Tensor, ...]:
    """What of a matrix is trained: its weights (experts, out, in), or its low-rank sides b and a."""
    vectors = getattr(layer, name + "_vectors", None)
    if vectors is not None and vectors.a.requires_grad:
        return vectors.b, vectors.a
    weight = getattr(layer, name).weight
    return (weight,) if weight.requires_grad and weight.dim() == 3 else ()


def _moved(now: tuple[Tensor, ...], start: tuple[Tensor, ...], scale: float) -> Tensor:
    """(experts,), in float64."""
    if len(now) == 1:
        return (now[0] - start[0]).pow(2).sum((1, 2), dtype=torch.float64)
    # ||B A - B0 A0||^2 through the Gram matrices of [B, -B0] and [A; A0]: nothing of the matrix's own size is made.
    # The products' large parts cancel: in float32 a move of 1e-4 of the change itself would be lost, or negative.
    b, a = torch.cat([now[0], -start[0]], 2).double(), torch.cat([now[1], start[1]], 1).double()
    return scale**2 * ((b.mT @ b) * (a @ a.mT)).sum((1, 2))


def drift_h3fusion_code(layers: list[Mixture]) -> Tensor:
    """As H3Fusion's published code: norms of an expert's matrices, frozen ones too, mean over layers: (experts,)."""
    norms = [
        torch.stack([torch.linalg.vector_norm(part.flatten(1), dim=1) for part in _every(layer)]).sum(0)
        for layer in layers
    ]
    return torch.stack(norms).mean(0)


def _every(layer: Mixture) -> list[Tensor]:
    found = []
    for name in PROJECTIONS:
        weight = getattr(layer, name).weight
        found.append(weight if weight.dim() == 3 else weight.expand(layer.experts, *weight.shape))
        if layer.low_rank:
            found += [getattr(layer, name + "_vectors").a, getattr(layer, name + "_vectors").b]
    return found
