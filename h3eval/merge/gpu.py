"""Matrices decomposed on a GPU, by PyTorch, in float64 as on the processor.

Only the methods that decompose matrices gain by one: all others wait for the disk and for memory, and would for a GPU's
bus as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from h3eval.errors import ConfigError
from h3eval.merge.kernels import F32, F64


@dataclass(frozen=True)
class Device:
    """A device by PyTorch's name for it."""

    name: str

    def __call__(
        self, function: Callable[[Any], tuple[Any, dict[str, Any]]], changes: F32
    ) -> tuple[F64, dict[str, Any]]:
        """The function's answer for the changes. Raise ConfigError where the device's memory is too small."""
        try:
            made, facts = function(torch.from_numpy(np.ascontiguousarray(changes)).to(self.name))
        except torch.OutOfMemoryError as error:
            size = " x ".join(str(side) for side in changes.shape)
            raise ConfigError(f"--device {self.name}: no memory for matrices of {size}; use --device cpu") from error
        return made.cpu().numpy(), facts


def device(asked: str) -> Device | None:
    """The device for `auto` (a GPU where there is one) or `cuda`; None is the processor. Raise ConfigError."""
    if torch.cuda.is_available():
        return Device("cuda")
    if asked == "cuda":
        raise ConfigError("--device cuda: PyTorch finds no GPU here; use --device cpu")
    return None
