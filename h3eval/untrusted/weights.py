"""What a model's folder says of itself: headers of weights, and sizes in its configuration, before they are believed.

The format: eight bytes of length, that many of JSON, then the tensors' bytes
(https://github.com/huggingface/safetensors#format). Nothing here reads a tensor.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from h3eval.errors import ConfigError
from h3eval.untrusted import values
from h3eval.untrusted.messages import first_line, shown

LONGEST_HEADER = 100_000_000
"""Bytes; the safetensors library has the same limit."""
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "BF16": 16, "F16": 16, "I16": 16,
    "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Of one number, by the format's names."""
DIMENSIONS = 32
COUNTS = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "num_decoder_layers"), 10_000),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "n_head", "num_heads"), 1 << 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 1 << 16),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "intermediate_size", "head_dim"), 1 << 24),
    "vocab_size": 1 << 28,
    "max_position_embeddings": 1 << 40,
}
"""Numbers of a configuration by which a model is laid out, and the most that is believed of each."""
MAY_BE_NONE = {"num_experts", "num_local_experts", "n_routed_experts", "intermediate_size"}
"""Zero says that there are none."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a header: `begin` and `end` count from the first byte after it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A weights file's header: its tensors by their place, and where their bytes begin in the file."""

    entries: tuple[Entry, ...]
    data: int


def header(path: Path) -> Header:
    """The header of a safetensors file. Raise ConfigError where it can't be, or the file is not as it says."""
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: can't be opened: not an ordinary file")
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            start = file.read(8)
            if len(start) < 8:
                raise ConfigError(f"{path}: not a safetensors file: shorter than its header")
            (length,) = struct.unpack("<Q", start)
            if length > min(LONGEST_HEADER, size - 8):
                raise ConfigError(f"{path}: not a safetensors file: its header can't be {length} bytes long")
            text = file.read(length)
    except OSError as error:
        raise ConfigError(f"{path}: can't be opened: {error.strerror}") from error
    try:
        found = values.parsed(text)
        entries = sorted(_entries(found), key=lambda entry: (entry.begin, entry.end))
    except ValueError as error:
        raise ConfigError(f"{path}: not a safetensors file: {first_line(error)}") from error
    _check_places(path, entries, size - 8 - length)
    return Header(tuple(entries), 8 + length)


def _entries(found: Any) -> Iterator[Entry]:
    """The header's tensors. Raise ValueError."""
    if not isinstance(found, dict):
        raise ValueError("its header is no JSON object")
    for name, entry in found.items():
        if name != "__metadata__":
            try:
                yield _entry(name, entry)
            except (KeyError, TypeError) as error:
                raise ValueError(f"{shown(name)}: {shown(entry)} is no tensor's entry") from error


def _entry(name: str, entry: Mapping[str, Any]) -> Entry:
    begin, end = entry["data_offsets"]
    shape, dtype = tuple(entry["shape"]), entry["dtype"]
    if not all(type(each) is int and each >= 0 for each in (begin, end, *shape)) or len(shape) > DIMENSIONS:
        raise ValueError(f"{shown(name)}: shape {shown(shape)} at {shown([begin, end])} can't be")
    if dtype not in BITS:
        raise ValueError(f"{shown(name)}: numbers of the unknown kind {shown(dtype)}")
    if (end - begin) * 8 != prod(shape) * BITS[dtype]:
        raise ValueError(f"{shown(name)}: shape {shown(shape)} of {dtype} does not fill {end - begin} bytes")
    return Entry(name, dtype, shape, begin, end)


def _check_places(path: Path, entries: list[Entry], size: int) -> None:
    """Raise ConfigError where tensors overlap, leave bytes unused, or end beyond the file."""
    at = 0
    for entry in entries:
        if entry.begin != at:
            what = "overlaps the one before it" if entry.begin < at else "leaves bytes before it unused"
            raise ConfigError(f"{path}: not a safetensors file: {shown(entry.name)} {what}")
        at = entry.end
    if at > size:
        raise ConfigError(f"{path}: the header and the file's length disagree: the file was cut")
    if at < size:
        raise ConfigError(f"{path}: {size - at} bytes follow the last tensor: not a whole safetensors file")


def check_sizes(where: str, config: Mapping[str, Any], tensors: int | None = None) -> None:
    """Raise ConfigError for numbers of a configuration that no model has, or that its `tensors` can't fill.

    A library would build what they say, for hours, or until the memory is full.
    """
    for part in (config, *(each for key, each in config.items() if key.endswith("_config") and isinstance(each, dict))):
        for key, most in COUNTS.items():
            value = part.get(key)
            if value is None or isinstance(value, list):
                continue
            least = 0 if key in MAY_BE_NONE else 1
            if type(value) is not int or not least <= value <= most:
                raise ConfigError(f"{where}: {key} = {shown(value)}: expected a whole number from {least} to {most}")
    layers = config.get("num_hidden_layers")
    if tensors is not None and isinstance(layers, int) and layers > max(tensors, 100):
        raise ConfigError(f"{where}: num_hidden_layers = {layers}, and its weights are {tensors} tensors")
