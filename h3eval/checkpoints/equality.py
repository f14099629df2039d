"""Do two models say the same? Their logits on a few random prompts, and how far apart two models' may be."""

from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16)
LIMITS = {torch.float32: 1e-5, torch.bfloat16: 5e-2}
"""float32: the largest difference, of the largest logit. bfloat16, which rounds each sum: the difference's norm, of
the logits' norm."""
ROWS, SHORTEST, LONGEST = 2, 40, 320


def prompts(config: Any) -> Tensor:
    """Random token ids, (rows, length): the same ones for equal sizes. Longer than a sliding window, where it is short.

    A window that is too long to be filled is compared in the configurations alone.
    """
    window = getattr(config, "sliding_window", None) or 0
    length = min(max(SHORTEST, window + 8 if window < LONGEST else 0), LONGEST)
    longest = getattr(config, "max_position_embeddings", None) or length
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, config.vocab_size, (ROWS, min(length, longest)), generator=generator)


@torch.no_grad()
def logits(model: Any, ids: Tensor, **more: Tensor) -> Tensor:
    """(rows, length, vocabulary) in float32 on the CPU; `more` are the model's other inputs."""
    device = next(model.parameters()).device
    inputs = {key: value.to(device) for key, value in {"input_ids": ids, **more}.items()}
    found: Tensor = model.eval()(**inputs, use_cache=False).logits
    return found.float().cpu()


def apart(made: Tensor, wanted: Tensor, dtype: torch.dtype) -> float:
    """How far apart, in the units of `LIMITS`; infinite for other shapes, and for what is not a number."""
    if made.shape != wanted.shape or not bool(made.isfinite().all() and wanted.isfinite().all()):
        return float("inf")
    difference = made.double() - wanted.double()
    if dtype == torch.float32:
        return float(difference.abs().max() / wanted.abs().max().clamp_min(1e-30))
    return float(difference.norm() / wanted.double().norm().clamp_min(1e-30))


def name(dtype: torch.dtype) -> str:
    """As configurations write it."""
    return str(dtype).removeprefix("torch.")
