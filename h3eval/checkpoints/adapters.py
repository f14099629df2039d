"""The one reader of LoRA adapters, as peft saves them: what each says is understood exactly, or refused by name.

A LoRA adapter changes a matrix W to W + s·B·A with s = alpha / r, or alpha / √r for rsLoRA (Hu et al. 2021,
https://arxiv.org/abs/2106.09685). Much that peft can train is no such change: DoRA scales columns, PiSSA and OLoRA
were trained against another base than the one they name, biases and whole layers come beside the matrices. Such
adapters are refused, with the way to merge them. Each tensor of an adapter's file is used once, or refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from h3eval.checkpoints import adaptersettings
from h3eval.checkpoints.adaptersettings import CONFIG, Settings, refused
from h3eval.config import read_json
from h3eval.errors import ConfigError

F32 = NDArray[np.float32]
WEIGHTS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"
PREFIX = "base_model.model."
KINDS = {
    ".lora_A.weight": ("A", False),
    ".lora_B.weight": ("B", False),
    ".lora_embedding_A": ("A", True),
    ".lora_embedding_B": ("B", True),
}
"""The ends of the names of low-rank matrices: which side, and is it of an embedding (which is stored turned)?"""
BASE_LAYER = ".base_layer.weight"
INPUT, OUTPUT = ("embed_tokens", "wte", "embed_in", "word_embeddings"), ("lm_head", "embed_out")
NUMPY: dict[str, Any] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


@dataclass(frozen=True)
class Change:
    """What an adapter adds to one tensor of its base: scale · left @ right."""

    left: F32
    right: F32
    scale: float


@dataclass(frozen=True)
class Base:
    """What must be known of the model that an adapter is laid over."""

    name: str
    """For messages."""
    shapes: Mapping[str, tuple[int, ...]]
    values: Callable[[str], F32]
    """A whole tensor, as float32."""
    config: Mapping[str, Any]
    tied: bool
    """Are input and output embeddings one matrix?"""


@dataclass(frozen=True)
class Adapter:
    """A read adapter."""

    changes: Mapping[str, Change]
    """By the base's tensor names."""
    notes: tuple[str, ...] = ()
    """What a user must know of it."""


@dataclass
class _Parts:
    """The low-rank matrices of one module."""

    turned: bool
    sides: dict[str, F32] = field(default_factory=dict)


def is_adapter(folder: Path) -> bool:
    """Does the folder hold an adapter, and no model? Raise ConfigError where it holds both: engines read either."""
    if not (folder / CONFIG).is_file():
        return False
    others = sorted(file.name for file in folder.glob("*.safetensors") if not file.name.startswith("adapter_model"))
    if others:
        raise ConfigError(
            f"model {folder}: holds an adapter ({CONFIG}) and a model ({others[0]}): which is meant? Move one of them "
            "to a folder of its own"
        )
    return True


def read(folder: Path, base: Base) -> Adapter:
    """The adapter's changes to its base. Raise ConfigError naming what is not understood, or does not fit."""
    settings = adaptersettings.read(folder, read_json(folder / CONFIG))
    if str(base.config.get("model_type")) in adaptersettings.TURNED_MODELS:
        raise refused(folder, f"its base is a {base.config['model_type']}, which stores its matrices turned")
    modules = _modules(folder, base, tensors(folder))
    changes = {
        f"{name}.weight": _change(folder, name, parts, settings, base) for name, parts in sorted(modules.items())
    }
    _check_targets(folder, settings, set(modules), base)
    return Adapter(changes, (*settings.notes, *_origin(folder, settings, base)))


def tensors(folder: Path) -> dict[str, F32]:
    """All that the adapter's file holds, as float32. Raise ConfigError for another file, other numbers, NaN."""
    file = folder / WEIGHTS
    if not file.is_file():
        why = "pickled adapters are not read: save it again with peft" if (folder / PICKLED).is_file() else "no weights"
        raise ConfigError(f"adapter {folder}: no {WEIGHTS} ({why})")
    try:
        entries: list[tuple[str, dict[str, Any]]] = deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{file}: not a safetensors file, or cut: {error}") from error
    if not entries:
        raise ConfigError(f"{file}: no tensors in it")
    return {name: _numbers(folder, name, entry) for name, entry in entries}


def _numbers(folder: Path, name: str, entry: Mapping[str, Any]) -> F32:
    kind, shape = entry["dtype"], entry["shape"]
    if kind == "BF16":
        wide = np.frombuffer(entry["data"], np.dtype("<u2")).astype(np.uint32) << 16
        values = wide.view(np.float32)
    elif kind in NUMPY:
        values = np.frombuffer(entry["data"], NUMPY[kind]).astype(np.float32)
    else:
        raise refused(folder, f"{name} is {kind}; matrices of F32, F16 or BF16 are understood")
    if not np.isfinite(values).all():
        raise ConfigError(f"adapter {folder}: {name} holds NaN or infinite numbers: its training went wrong")
    return values.reshape(shape)


def _modules(folder: Path, base: Base, held: Mapping[str, F32]) -> dict[str, _Parts]:
    """The low-rank matrices by module. Raise ConfigError for a tensor that is none, nor a copy of the base's."""
    made: dict[str, _Parts] = {}
    for name, values in held.items():
        end = next((end for end in KINDS if name.endswith(end)), None)
        if not name.startswith(PREFIX):
            raise refused(folder, f"{name} is not named as peft names tensors ({PREFIX}...)")
        if end is None:
            _check_copy(folder, base, name, values)
            continue
        side, turned = KINDS[end]
        module = name.removeprefix(PREFIX).removesuffix(end)
        parts = made.setdefault(module, _Parts(turned))
        if side in parts.sides or parts.turned != turned:
            raise refused(folder, f"{module} has two matrices for one side")
        parts.sides[side] = values
    return made


def _check_copy(folder: Path, base: Base, name: str, values: F32) -> None:
    """peft saves the embeddings of the base too, where they are adapted: they must be this base's."""
    plain = name.removeprefix(PREFIX)
    plain = f"{plain.removesuffix(BASE_LAYER)}.weight" if plain.endswith(BASE_LAYER) else plain
    if base.tied and _of(plain, OUTPUT):
        raise ConfigError(f"adapter {folder}: {name}: {_tied(base)}")
    if plain not in base.shapes:
        raise refused(folder, f"{name} is not a LoRA matrix")
    if base.shapes[plain] != values.shape:
        raise refused(
            folder, f"{name} is {values.shape} and the base's {base.shapes[plain]}: it brings layers of its own"
        )
    if not np.array_equal(base.values(plain), values):
        raise refused(
            folder, f"{name} differs from the base's {plain}: it brings layers of its own, or has another base"
        )


def _change(folder: Path, module: str, parts: _Parts, settings: Settings, base: Base) -> Change:
    where = f"adapter {folder}: {module}"
    name = f"{module}.weight"
    if base.tied and (_of(module, OUTPUT) or _of(module, INPUT)):
        raise ConfigError(f"adapter {folder}: it changes {module}, and {_tied(base)}")
    if name not in base.shapes:
        raise ConfigError(f"{where} does not belong to the base {base.name}: no {name} there")
    if missing := {"A", "B"} - set(parts.sides):
        raise ConfigError(f"{where}: lora_{min(missing)} is missing in {WEIGHTS}")
    first, second = parts.sides["A"], parts.sides["B"]
    # An embedding's row is a token's column in A.
    left, right = (first.T, second.T) if parts.turned else (second, first)
    fits = left.ndim == right.ndim == 2 and left.shape[1] == right.shape[0]
    if not fits or (left.shape[0], right.shape[1]) != base.shapes[name]:
        raise ConfigError(
            f"{where} has another shape than the base's {base.shapes[name]}: B {second.shape}, A {first.shape}"
        )
    rank = right.shape[0]
    if rank != settings.rank(module):
        raise ConfigError(f"{where}: of rank {rank}; {CONFIG} says {settings.rank(module)} (r, rank_pattern)")
    return Change(np.ascontiguousarray(left), np.ascontiguousarray(right), settings.scale(module, rank))


def _check_targets(folder: Path, settings: Settings, have: set[str], base: Base) -> None:
    """Raise ConfigError where what the configuration targets, and what the file holds, are not the same."""
    if not have:
        raise refused(folder, f"no LoRA matrix in {WEIGHTS}")
    if settings.targets is None:
        return
    if stray := sorted(name for name in have if not settings.targets(name)):
        raise refused(folder, f"{stray[0]} is changed, and none of target_modules")
    matrices = (name.removesuffix(".weight") for name, shape in base.shapes.items() if len(shape) == 2)
    lost = sorted(name for name in matrices if settings.targets(name) and name not in have)
    if lost:
        raise refused(
            folder, f"target_modules covers {lost[0]}, and {WEIGHTS} has no matrices for it ({len(lost)} such)"
        )


def _of(name: str, layers: Sequence[str]) -> bool:
    """Is this one of these layers, or its weight?"""
    return name.removesuffix(".weight").rpartition(".")[2] in layers


def _tied(base: Base) -> str:
    # peft's own merge changes both, too.
    return (
        f"the input and output embeddings of {base.name} are one matrix, so that both would change; save the base "
        "untied first (tie_word_embeddings=False, with an lm_head of its own), and merge the adapter into that"
    )


def _origin(folder: Path, settings: Settings, base: Base) -> list[str]:
    """Warnings where the adapter names another base: shapes alone can't tell."""
    told = []
    own = {_last(base.name), _last(str(base.config.get("_name_or_path") or ""))}
    if settings.base and _last(settings.base) not in own:
        told.append(
            f"adapter {folder.name}: trained on {settings.base}, by its own words, and laid over {base.name}: if they "
            "are not the same weights, the result is wrong"
        )
    if settings.revision not in (None, "main"):
        told.append(f"adapter {folder.name}: trained on revision {settings.revision} of its base; is this that one?")
    return told


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].lower()
