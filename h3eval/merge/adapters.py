"""LoRA adapters as parts of a merge: low-rank changes to some of a base's tensors, read by `checkpoints.adapters`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h3eval.checkpoints import adapters
from h3eval.checkpoints.adapters import WEIGHTS, Base, is_adapter
from h3eval.merge import kernels
from h3eval.merge.checkpoints import Checkpoint, Tensor
from h3eval.merge.kernels import F32

__all__ = ["WEIGHTS", "LowRank", "is_adapter", "matrix", "open_adapter"]


@dataclass(frozen=True)
class LowRank:
    """One tensor's change."""

    left: F32
    right: F32
    scale: float

    def add(self, start: int, out: F32) -> None:
        """Add the change's elements from flat index `start` on."""
        kernels.add_low_rank(self.left, self.right, self.scale, start, out)


def open_adapter(folder: Path, base: Checkpoint) -> tuple[dict[str, LowRank], tuple[str, ...]]:
    """The adapter's changes, by the base's tensor names, and warnings. Raise ConfigError for what can't be merged."""
    made = adapters.read(folder, as_base(base))
    changes = {name: LowRank(each.left, each.right, each.scale) for name, each in made.changes.items()}
    return changes, made.notes


def as_base(model: Checkpoint) -> Base:
    """What an adapter's reader must know of a base."""
    shapes = {name: tensor.shape for name, tensor in model.tensors.items()}
    return Base(str(model.folder), shapes, lambda name: matrix(model.tensors[name]), model.config, model.tied)


def matrix(tensor: Tensor) -> F32:
    """A whole tensor."""
    out = np.empty(tensor.elements, np.float32)
    tensor.values(0, out)
    return out.reshape(tensor.shape)
