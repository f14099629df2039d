"""LoRA adapters, as peft saves them: low-rank changes to some of a base's tensors.

The change is scale · B·A with scale = alpha / r, or alpha / √r for rsLoRA (Hu et al., 2021,
https://arxiv.org/abs/2106.09685). What can't be said as such a product is refused, not ignored.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from h3eval.config import read_json
from h3eval.errors import ConfigError
from h3eval.merge import kernels
from h3eval.merge.checkpoints import Checkpoint, Tensor, read_header
from h3eval.merge.kernels import F32

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
PART = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
REFUSED = ("use_dora", "fan_in_fan_out", "modules_to_save", "trainable_token_indices", "target_parameters")


@dataclass(frozen=True)
class LowRank:
    """One tensor's change."""

    left: F32
    right: F32
    scale: float

    def add(self, start: int, out: F32) -> None:
        """Add the change's elements from flat index `start` on."""
        kernels.add_low_rank(self.left, self.right, self.scale, start, out)


def is_adapter(folder: Path) -> bool:
    """Does the folder hold an adapter, and no model?"""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def open_adapter(folder: Path, base: Checkpoint) -> dict[str, LowRank]:
    """The adapter's changes, by the base's tensor names. Raise ConfigError for what can't be merged."""
    settings = read_json(folder / CONFIG)
    _check(folder, settings)
    if not (folder / WEIGHTS).is_file():
        raise ConfigError(f"adapter {folder}: no {WEIGHTS} (pickled adapters are not read: save it again with peft)")
    sides: dict[str, dict[str, Tensor]] = {}
    for tensor in read_header(folder / WEIGHTS):
        found = PART.fullmatch(tensor.name.removeprefix(PREFIX))
        if not found:
            raise ConfigError(f"adapter {folder}: {tensor.name} is not a LoRA matrix; merge it into its base first")
        sides.setdefault(found["module"], {})[found["side"]] = tensor
    return {f"{module}.weight": _change(folder, module, parts, settings, base) for module, parts in sides.items()}


def _check(folder: Path, settings: Mapping[str, Any]) -> None:
    if settings.get("peft_type") != "LORA":
        raise ConfigError(f"adapter {folder}: {settings.get('peft_type')} adapters can't be merged, LORA ones can")
    if unknown := [name for name in REFUSED if settings.get(name)]:
        raise ConfigError(
            f"adapter {folder}: {unknown[0]} is set; merge it into its base with peft, and use the result"
        )
    if settings.get("bias", "none") != "none":
        raise ConfigError(f"adapter {folder}: bias is {settings['bias']!r}; only 'none' can be merged")


def _change(
    folder: Path, module: str, parts: Mapping[str, Tensor], settings: Mapping[str, Any], base: Checkpoint
) -> LowRank:
    target = base.tensors.get(f"{module}.weight")
    if target is None or len(parts) != 2:
        raise ConfigError(f"adapter {folder}: {module} does not belong to the base {base.folder}")
    left, right = matrix(parts["B"]), matrix(parts["A"])
    if (left.shape[0], right.shape[1]) != target.shape or left.shape[1] != right.shape[0]:
        raise ConfigError(f"adapter {folder}: {module} has another shape than the base's {target.shape}")
    return LowRank(left, right, _scale(module, right.shape[0], settings))


def matrix(tensor: Tensor) -> F32:
    """A whole tensor."""
    out = np.empty(tensor.elements, np.float32)
    tensor.values(0, out)
    return out.reshape(tensor.shape)


def _scale(module: str, rank: int, settings: Mapping[str, Any]) -> float:
    alpha = float(settings["lora_alpha"])
    for pattern, given in (settings.get("alpha_pattern") or {}).items():
        # As peft matches: the whole name, or its last parts.
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = float(given)
            break
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
