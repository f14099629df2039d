"""Checkpoint folders: tensors read one at a time, shards written one at a time. No model is built here.

Memory: a reader holds the tensor that was asked for, a writer the tensors since its last `flush`.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from h3eval.checkpoints import adapters
from h3eval.checkpoints.adapters import Base
from h3eval.config import read_json
from h3eval.errors import ConfigError

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json",
)  # fmt: skip
INDEX = "model.safetensors.index.json"


class Checkpoint:
    """A model's folder: `config`, the names of its tensors, and each tensor when it is asked for."""

    notes: tuple[str, ...] = ()
    """What a user must know of it."""

    def __init__(self, folder: Path) -> None:
        """Raise ConfigError where there is no model with safetensors weights."""
        self.folder = folder
        self.config = read_json(folder / "config.json")
        self.places = _places(folder)

    @property
    def names(self) -> list[str]:
        return sorted(self.places)

    def tensor(self, name: str) -> Tensor:
        """Raise ConfigError where the checkpoint has no such tensor."""
        if name not in self.places:
            raise ConfigError(
                f"{self.folder}: no tensor {name!r}; the model's architecture differs from its config.json"
            )
        with safe_open(self.places[name], framework="pt") as file:
            found: Tensor = file.get_tensor(name)
            return found

    def shape(self, name: str) -> tuple[int, ...]:
        with safe_open(self.places[name], framework="pt") as file:
            return tuple(file.get_slice(name).get_shape())

    def low_rank(self, name: str) -> tuple[Tensor, Tensor] | None:
        """The change to one matrix as b (out, rank) and a (rank, in), where it is known to be of low rank."""
        return None

    def total_bytes(self) -> int:
        return sum(file.stat().st_size for file in set(self.places.values()))


class Adapted(Checkpoint):
    """A base with one LoRA adapter: W + s B A."""

    def __init__(self, base: Checkpoint, folder: Path, scaled: bool = True) -> None:
        """`scaled` False leaves s out, as the published code of H3Fusion does. Raise ConfigError for other adapters."""
        self.folder, self.config, self.places = folder, base.config, base.places
        self.base = base
        shapes = {name: base.shape(name) for name in base.names}
        tied = bool(base.config.get("tie_word_embeddings", "lm_head.weight" not in base.places))
        made = adapters.read(
            folder, Base(str(base.folder), shapes, lambda name: base.tensor(name).float().numpy(), base.config, tied)
        )
        self.changes, self.notes = made.changes, made.notes
        self.scaled = scaled

    def low_rank(self, name: str) -> tuple[Tensor, Tensor] | None:
        change = self.changes.get(name)
        if change is None:
            return None
        scale = change.scale if self.scaled else 1.0
        return scale * torch.from_numpy(change.left), torch.from_numpy(change.right)

    def tensor(self, name: str) -> Tensor:
        weights = self.base.tensor(name)
        change = self.low_rank(name)
        return weights if change is None else (weights.float() + change[0] @ change[1]).to(weights.dtype)


def opened(folder: Path, base: Checkpoint | None = None, scaled: bool = True) -> Checkpoint:
    """A model's or, with its base, a LoRA adapter's folder. Raise ConfigError for anything else."""
    if adapters.is_adapter(folder):
        if base is None:
            raise ConfigError(f"{folder}: a LoRA adapter: it needs `base`, the model that it was trained from")
        return Adapted(base, folder, scaled)
    return Checkpoint(folder)


class Writer:
    """Writes a checkpoint shard by shard; a half-written folder has no index and doesn't load."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in [*folder.glob("*.safetensors"), folder / INDEX]:
            old.unlink(missing_ok=True)
        self.folder = folder
        self.waiting: dict[str, Tensor] = {}
        self.shards: list[list[str]] = []
        self.bytes = 0

    def add(self, name: str, tensor: Tensor) -> None:
        self.waiting[name] = tensor.contiguous()

    def flush(self) -> None:
        """Write all tensors since the last flush as one shard, and forget them."""
        if not self.waiting:
            return
        save_file(self.waiting, self._path(len(self.shards)), metadata={"format": "pt"})
        self.shards.append(list(self.waiting))
        self.bytes += sum(tensor.nbytes for tensor in self.waiting.values())
        self.waiting = {}

    def close(self, config: Mapping[str, Any]) -> None:
        """Number the shards, and write index and configuration."""
        self.flush()
        index = {}
        for number, names in enumerate(self.shards):
            final = self.folder / f"model-{number + 1:05d}-of-{len(self.shards):05d}.safetensors"
            os.replace(self._path(number), final)
            index.update(dict.fromkeys(names, final.name))
        write_json(
            self.folder / INDEX,
            {"metadata": {"total_size": self.bytes}, "weight_map": dict(sorted(index.items()))},
        )
        write_json(self.folder / "config.json", config)

    def _path(self, number: int) -> Path:
        return self.folder / f"writing-{number:05d}.safetensors"


def copy_tokenizer(source: Path, folder: Path) -> None:
    """The tokenizer and generation settings of one model's folder, for another."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def digest(checkpoint: Checkpoint) -> str:
    """SHA-256 of a checkpoint's tensors, whatever its shards: names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name in checkpoint.names:
        tensor = checkpoint.tensor(name).contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def layers(names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Groups of a model's tensors: each layer's, then one group for each of the others."""
    groups: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        key = ".".join(parts[:3]) if parts[:2] == ["model", "layers"] else name
        groups.setdefault(key, []).append(name)
    yield from groups.items()


def write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def _places(folder: Path, single: str = "model.safetensors") -> dict[str, Path]:
    """Tensor to the file that holds it. Pickled weights are not read."""
    index = folder / INDEX
    if index.is_file():
        return {name: folder / file for name, file in read_json(index)["weight_map"].items()}
    file = folder / single
    if not file.is_file():
        raise ConfigError(f"{folder}: no {single}; pickled weights are not read: save the model as safetensors")
    try:
        with safe_open(file, framework="pt") as opened_file:
            return dict.fromkeys(opened_file.keys(), file)
    except SafetensorError as error:
        raise ConfigError(f"{file}: {error}") from error
