"""What a router does on held-out rows: whom it asks, and whether its probabilities mean what they say."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from h3eval.fusion.losses import mean_routing
from h3eval.fusion.modeling_mixture import Mixture, mixtures
from h3eval.fusion.rows import IGNORED, Padding, Row
from h3eval.stats.classes import appraise_classes

SCALES = torch.logspace(-1.5, 1.5, 121)
"""By what to multiply a router's logits, when its temperature is fitted."""


@dataclass
class Observed:
    """Routing of some rows, in their order."""

    shares: npt.NDArray[np.float64]
    """(rows, experts): mean pi over tokens and layers."""
    first: npt.NDArray[np.float64]
    """(rows, experts): how often each expert is the likeliest."""
    chosen: npt.NDArray[np.float64]
    """(rows, experts): how often each is among the top k."""
    by_layer: npt.NDArray[np.float64]
    """(rows, layers, experts): mean pi over tokens."""
    losses: npt.NDArray[np.float64]
    """(rows,): mean negative log-likelihood of the answers' tokens, in nats."""
    logits: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Each batch's (layers, batch, tokens, experts) and mask, where they are kept."""


@torch.no_grad()
def observe(
    model: torch.nn.Module, data: Sequence[dict[str, Any]], pad: int, batch: int = 8, keep: bool = False
) -> Observed:
    """Run rows through a fused model and watch its routers."""
    model.eval()
    layers = mixtures(model)
    device = next(model.parameters()).device
    found: dict[str, list[Tensor]] = {name: [] for name in ("shares", "first", "chosen", "by_layer", "losses")}
    kept = []
    for layer in layers:
        layer.watched = True
    for start in range(0, len(data), batch):
        inputs = {key: value.to(device) for key, value in Padding(pad)(data[start : start + batch]).items()}
        inputs.pop("expert", None)
        labels = inputs.pop("labels")
        found["losses"].append(_losses(model(**inputs).logits, labels))
        logits = torch.stack([_logits(layer) for layer in layers])
        for name, value in statistics(logits, inputs["attention_mask"], layers[0].top_k).items():
            found[name].append(value)
        if keep:
            kept.append((logits.cpu(), inputs["attention_mask"].cpu()))
    for layer in layers:
        layer.watched, layer.logits = False, None
    return Observed(**{name: torch.cat(values).double().cpu().numpy() for name, values in found.items()}, logits=kept)


def _logits(layer: Mixture) -> Tensor:
    if layer.logits is None:
        raise RuntimeError("a mixture did not run")
    return layer.logits


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood of each row's answer: (batch,)."""
    shifted = labels[:, 1:]
    each = functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), shifted, ignore_index=IGNORED, reduction="none"
    )
    return each.sum(1) / (shifted != IGNORED).sum(1).clamp_min(1)


def statistics(logits: Tensor, mask: Tensor, top_k: int) -> dict[str, Tensor]:
    """Each row's shares, from scores (layers, batch, tokens, experts) and which tokens are no padding."""
    kept = mask[None, :, :, None].to(logits.dtype)
    count = kept.sum(2)
    shares = logits.softmax(-1)
    by_layer = ((shares * kept).sum(2) / count).transpose(0, 1)
    top = shares.topk(top_k, dim=-1).indices
    experts = shares.shape[-1]
    first = functional.one_hot(shares.argmax(-1), experts).to(logits.dtype)
    chosen = functional.one_hot(top, experts).sum(-2).to(logits.dtype)
    return {
        "shares": mean_routing(list(logits), mask),
        "first": ((first * kept).sum(2) / count).mean(0),
        "chosen": ((chosen * kept).sum(2) / count).mean(0),
        "by_layer": by_layer,
    }


def activation(seen: Observed, rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    """Who answers what: mean probability, and shares of tokens, by the rows' expert and by their file.

    The papers draw these as bars of expert activation (TrinityX, figure 4h and 4i).
    """
    groups = {"dimension": [row.expert for row in rows], "source": [row.source for row in rows]}
    table: dict[str, Any] = {}
    for kind, labels in groups.items():
        table[kind] = {}
        for label in dict.fromkeys(labels):
            places = [place for place, each in enumerate(labels) if each == label]
            table[kind][label] = {
                "n": len(places),
                "mean_probability": _named(seen.shares[places].mean(0), names),
                "likeliest": _named(seen.first[places].mean(0), names),
                "in_top_k": _named(seen.chosen[places].mean(0), names),
                "mean_probability_by_layer": [_named(row, names) for row in seen.by_layer[places].mean(0)],
                "loss": float(seen.losses[places].mean()),
            }
    return table


def _named(values: npt.NDArray[np.float64], names: Sequence[str]) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(names, values, strict=True)}


def calibration(seen: Observed, experts: Sequence[int], seed: int = 0) -> dict[str, Any]:
    """ECE, Brier score and more of a sample's mean routing, against whose sample it is.

    Where every row is one expert's there is nothing to tell apart, and `note` says so.
    """
    if len(set(experts)) < 2:
        return {"note": "held-out rows are all of one expert: routing can't be appraised", "n": len(experts)}
    shares = seen.shares / seen.shares.sum(1, keepdims=True)
    made = appraise_classes(shares, experts, np.random.default_rng(seed))
    right = float(np.mean(shares.argmax(1) == np.asarray(experts)))
    return {"accuracy": right, **_plain(asdict(made))}


def fitted_scale(seen: Observed, experts: Sequence[int], gamma: Sequence[float]) -> float:
    """By what to multiply the routers' own scores so that rows' mean routing has the least negative log-likelihood.

    The states that reach each router are taken as they are: with other weights they would change a little.
    """
    prior = torch.tensor(gamma).log()
    best, least = 1.0, float("inf")
    for scale in SCALES.tolist():
        total, start = 0.0, 0
        for logits, mask in seen.logits:
            scaled = (logits - prior) * scale + prior
            labels = torch.tensor(experts[start : start + mask.shape[0]])
            share = mean_routing(list(scaled), mask).clamp_min(1e-12).log()
            total += float(functional.nll_loss(share, labels, reduction="sum"))
            start += mask.shape[0]
        if total < least:
            best, least = scale, total
    return best


def _plain(value: Any) -> Any:
    """Arrays and numpy's numbers as JSON's own; what isn't finite is missing."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value
