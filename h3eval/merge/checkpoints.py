"""Checkpoint folders: which tensors they hold and where, from headers alone; values are read when they are wanted.

The format: eight bytes of length, that many of JSON, then the tensors' bytes
(https://github.com/huggingface/safetensors#format). Only safetensors: unpickling a file can run code.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h3eval.config import read_json
from h3eval.errors import ConfigError
from h3eval.merge import kernels
from h3eval.merge.kernels import F32
from h3eval.untrusted.weights import Entry, header

BYTES = {"BF16": 2, "F16": 2, "F32": 4}
"""Number formats that can be merged, by safetensors' names."""
NAMES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
OTHER_BYTES = {"F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
HASH_BLOCK = 1 << 21


class File:
    """An open weights file. Any number of threads may read at once. Raise ConfigError where it can't be opened."""

    descriptor = -1

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise ConfigError(f"{path}: can't be opened: {error.strerror}") from error
        self.size = os.fstat(self.descriptor).st_size

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def read(self, offset: int, into: NDArray[Any]) -> None:
        """Fill the array with the bytes at the offset. Raise ConfigError if the file has become shorter."""
        view = into.data.cast("B")
        while view:
            got = os.preadv(self.descriptor, [view], offset)
            if not got:
                raise ConfigError(f"{self.path}: the file ends within a tensor; it was cut or changed")
            view, offset = view[got:], offset + got

    def sha256(self) -> str:
        """Digest of the whole file, as the hub shows it."""
        made, block = hashlib.sha256(), np.empty(HASH_BLOCK, np.uint8)
        for offset in range(0, self.size, HASH_BLOCK):
            part = block[: min(HASH_BLOCK, self.size - offset)]
            self.read(offset, part)
            made.update(part.data)
        return made.hexdigest()


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: File
    offset: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def floating(self) -> bool:
        """Can it be merged?"""
        return self.dtype in BYTES

    @property
    def item(self) -> int:
        """Bytes of one element."""
        return BYTES.get(self.dtype) or OTHER_BYTES[self.dtype]

    def raw(self) -> NDArray[np.uint8]:
        """All its bytes: for the few tensors that are copied."""
        made = np.empty(self.elements * self.item, np.uint8)
        self.file.read(self.offset, made)
        return made

    def load(self, start: int, into: NDArray[np.uint8]) -> None:
        """Fill `into` with the bytes of elements from flat index `start` on."""
        self.file.read(self.offset + start * self.item, into)

    def widen(self, raw: NDArray[np.uint8], out: F32) -> None:
        """The loaded bytes as float32."""
        if self.dtype == "BF16":
            kernels.widen_bfloat16(raw.view(np.uint16), out.view(np.uint32))
        else:
            out[:] = raw.view(np.float32 if self.dtype == "F32" else np.float16)

    def values(self, start: int, out: F32) -> None:
        """Fill `out` with elements from flat index `start` on, as float32."""
        raw = np.empty(out.size * self.item, np.uint8)
        self.load(start, raw)
        self.widen(raw, out)


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder."""

    folder: Path
    tensors: Mapping[str, Tensor]

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json."""
        return read_json(self.folder / "config.json")

    @property
    def tied(self) -> bool:
        """Are output and input embeddings one matrix? Where the config is silent, the file tells."""
        text = self.config.get("text_config") or self.config
        said = self.config.get("tie_word_embeddings", text.get("tie_word_embeddings"))
        return bool(said) if said is not None else "lm_head.weight" not in self.tensors

    @property
    def files(self) -> list[File]:
        """The weights files, by name."""
        return sorted({tensor.file.path: tensor.file for tensor in self.tensors.values()}.values(), key=_path)


def _path(file: File) -> Path:
    return file.path


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder. Raise ConfigError saying what is wrong with it."""
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model {folder}: no config.json in this folder")
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        for tensor in read_header(file):
            if tensor.name in tensors:
                raise ConfigError(f"model {folder}: tensor {tensor.name} is in two files")
            tensors[tensor.name] = tensor
    return Checkpoint(folder, tensors)


def weight_files(folder: Path) -> list[Path]:
    """The index's files, or the only one. Raise ConfigError for pickles, and for missing files."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = sorted({folder / name for name in read_json(index).get("weight_map", {}).values()})
        if missing := [file.name for file in named if not file.is_file()]:
            raise ConfigError(f"model {folder}: the index names {', '.join(missing)}, which is not there")
        return named
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        pickled = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        if pickled:
            raise ConfigError(
                f"model {folder}: only pickled weights ({pickled[0]}), which can run code when they are read; load the "
                "model in transformers where you trust it, and save it again: that writes safetensors"
            )
        raise ConfigError(f"model {folder}: no *.safetensors in this folder")
    if len(found) > 1 and not (folder / "model.safetensors").is_file():
        raise ConfigError(f"model {folder}: {len(found)} weights files and no model.safetensors.index.json")
    return [folder / "model.safetensors"] if len(found) > 1 else found


def read_header(path: Path) -> list[Tensor]:
    """The tensors of one file, in the file's order. Raise ConfigError where the header and the file disagree."""
    file, found = File(path), header(path)
    return [_tensor(entry, file, found.data) for entry in found.entries]


def _tensor(entry: Entry, file: File, data: int) -> Tensor:
    made = Tensor(entry.name, entry.dtype, entry.shape, file, data + entry.begin)
    if not made.floating and made.dtype not in OTHER_BYTES:
        raise ConfigError(f"{file.path}: {entry.name} is {made.dtype}; quantized weights can't be merged")
    return made
