"""Do two models say the same? Their logits on a few random prompts, and how far apart two models' may be."""

from typing import Any

import torch
from torch import Tensor

from h3eval.errors import H3evalError

DTYPES = (torch.float32, torch.bfloat16)
LIMITS = {torch.float32: 1e-5, torch.bfloat16: 5e-2}
"""float32: the largest difference, of the largest logit. bfloat16, which rounds each sum: the difference's norm, of
the logits' norm."""
ROWS, SHORTEST, LONGEST = 2, 40, 320


class Differs(H3evalError):
    """What was written does not compute what it was made from: it is removed, and the message has the number."""


def prompts(config: Any) -> Tensor:
    """Random token ids, (rows, length): the same ones for equal sizes. Longer than a sliding window, where it is short.

    A window that is too long to be filled is compared in the configurations alone.
    """
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None) or 0
    length = min(max(SHORTEST, window + 8 if window < LONGEST else 0), LONGEST)
    longest = getattr(text, "max_position_embeddings", None) or length
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, text.vocab_size, (ROWS, min(length, longest)), generator=generator)


@torch.no_grad()
def logits(model: Any, ids: Tensor, **more: Tensor) -> Tensor:
    """(rows, length, vocabulary) in float32 on the CPU; `more` are the model's other inputs."""
    device = next(model.parameters()).device
    if model.config.is_encoder_decoder:
        more = {"decoder_input_ids": ids, **more}
    inputs = {key: value.to(device) for key, value in {"input_ids": ids, **more}.items()}
    found: Tensor = model.eval()(**inputs, use_cache=False)[0]
    return found.float().cpu()


def apart(made: Tensor, wanted: Tensor, dtype: torch.dtype) -> float:
    """How far apart, in the units of `LIMITS`; infinite for other shapes, and for what is not a number."""
    if made.shape != wanted.shape or not bool(made.isfinite().all() and wanted.isfinite().all()):
        return float("inf")
    difference = made.double() - wanted.double()
    if dtype == torch.float32:
        return float(difference.abs().max() / wanted.abs().max().clamp_min(1e-30))
    return float(difference.norm() / wanted.double().norm().clamp_min(1e-30))


def compared(made: Tensor, wanted: Tensor, dtype: torch.dtype, what: str, limit: float = 0.0) -> dict[str, Any]:
    """One comparison's row; `limit` where it is not the type's own. Raise Differs."""
    found, most = apart(made, wanted, dtype), limit or LIMITS[dtype]
    if not found <= most:
        raise Differs(
            f"refused: in {name(dtype)} the logits of what was written differ from {what} by {found:.3g} of their size "
            f"(at most {most:g}); what was written is removed. Please report it with the config.json"
        )
    return {"with": what, "dtype": name(dtype), "apart": found, "limit": most}


def name(dtype: torch.dtype) -> str:
    """As configurations write it."""
    return str(dtype).removeprefix("torch.")
