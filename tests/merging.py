"""What the tests of merging share: tensors in memory as a method sees them, small checkpoints, plain formulas."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from h3eval.merge import methods, recipe
from h3eval.merge.pieces import Piece, Summing, key, random_words

T = TypeVar("T")
NAME = "layers.0.weight"


@dataclass(frozen=True)
class Held:
    """One tensor's changes in memory, (models, rows, columns), cut into pieces of so many elements."""

    changes: NDArray[np.float32]
    labels: tuple[str, ...]
    cut: int
    name: str = NAME
    first: int = 0

    @property
    def elements(self) -> int:
        return int(self.changes[0].size)

    def pieces(self) -> Iterable[Piece]:
        flat = self.changes.reshape(len(self.changes), -1)
        for at, start in enumerate(range(0, self.elements, self.cut)):
            values = flat[:, start : start + self.cut].copy()
            yield Piece(values, start, self.changes.shape[-1], at, self.name)

    def sweep(self, function: Callable[[Iterable[Piece]], T]) -> list[T]:
        return [function([piece]) for piece in self.pieces()]


def chosen(method: str, labels: Sequence[str], parameters: Mapping[str, Any], seed: int = 0) -> methods.Chosen:
    """A method with its numbers, through the recipe's own checks; a list holds a number for each model."""
    each = {name: value for name, value in parameters.items() if isinstance(value, list)}
    models = [{"path": label, **{name: value[at] for name, value in each.items()}} for at, label in enumerate(labels)]
    shared = {name: value for name, value in parameters.items() if name not in each}
    made = {"method": method, "base": "somewhere", "models": models, "parameters": shared, "seed": seed}
    return recipe.recipe(made).chosen


def merged_change(
    method: str, changes: NDArray[np.float32], cut: int = 1 << 15, name: str = NAME, **parameters: Any
) -> NDArray[np.float64]:
    """The merged change of changes (models, rows, columns), by pieces of `cut` elements."""
    labels = tuple(f"model{at}" for at in range(len(changes)))
    how = chosen(method, labels, {key.rstrip("_"): value for key, value in parameters.items()})
    held = Held(changes, labels, cut, name)
    prepared = methods.family(how).prepare(held)
    summing, combination = Summing(cut), methods.combination(how)
    parts = []
    for piece in held.pieces():
        prepared.transform(piece)
        parts.append(summing(combination, piece.values).copy())
    return np.concatenate(parts).reshape(changes.shape[1:])


def random_changes(models: int = 3, rows: int = 48, columns: int = 40, seed: int = 0) -> NDArray[np.float32]:
    """Changes with some zeros and many equal magnitudes, as in bfloat16 checkpoints."""
    source = np.random.default_rng(seed)
    values = source.standard_normal((models, rows, columns)) * 1e-3
    values[source.random(values.shape) < 0.2] = 0
    return torch.from_numpy(values).bfloat16().float().numpy()


def distinct(seed: int = 0) -> NDArray[np.float32]:
    """Changes without equal magnitudes: other tools' choice among those is arbitrary."""
    source = np.random.default_rng(seed)
    ranks = np.stack([source.permutation(48 * 40) + 1 for _ in range(3)]).reshape(3, 48, 40)
    return ((ranks + source.uniform(0, 0.5, ranks.shape)) * source.choice([-1, 1], ranks.shape) * 1e-6).astype(
        np.float32
    )


def handed(labels: Sequence[str] = ("model0", "model1", "model2")) -> Callable[[torch.Tensor], torch.Tensor]:
    """Our random numbers for torch.bernoulli's place, model by model: other tools' only source of chance."""
    left = iter(labels)

    def bernoulli(chances: torch.Tensor) -> torch.Tensor:
        words = random_words(key(0, next(left), NAME), 0, chances.numel())
        return torch.from_numpy((words / 2.0**32).reshape(chances.shape) < chances.double().numpy()).to(chances.dtype)

    return bernoulli


def write_model(
    folder: Path, tensors: Mapping[str, torch.Tensor], shards: int = 1, config: Mapping[str, Any] | None = None
) -> Path:
    """A checkpoint's folder, with or without an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or {"model_type": "llama", "tie_word_embeddings": False}))
    names = sorted(tensors)
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    where = {name: f"model-{at % shards + 1:05d}-of-{shards:05d}.safetensors" for at, name in enumerate(names)}
    for file in set(where.values()):
        save_file({name: tensors[name] for name in names if where[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def read_model(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, by safetensors' own reader."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def family_of(
    folder: Path, models: int = 3, dtype: torch.dtype = torch.bfloat16, seed: int = 0, rows: int = 64
) -> list[Path]:
    """A base and its variants, with matrices, vectors and embeddings."""
    source = torch.Generator().manual_seed(seed)
    shapes = {
        "model.embed_tokens.weight": (rows, 24), "lm_head.weight": (rows, 24), "model.norm.weight": (24,),
        "model.layers.0.mlp.up_proj.weight": (40, 24), "model.layers.0.self_attn.q_proj.weight": (24, 24),
    }  # fmt: skip
    base = {name: torch.randn(shape, generator=source) for name, shape in shapes.items()}
    made = [write_model(folder / "base", {name: value.to(dtype) for name, value in base.items()})]
    for at in range(models):
        changed = {
            name: (value + 0.02 * torch.randn(value.shape, generator=source)).to(dtype) for name, value in base.items()
        }
        made.append(write_model(folder / f"variant{at}", changed))
    return made
