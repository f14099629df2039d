"""LoRA adapters: is this one that we may put on a model, and what must an engine know of it?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h3eval.backends import _weights
from h3eval.config import ModelSpec, read_json
from h3eval.errors import BackendError, ConfigError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class Adapter:
    """A checked folder, as peft writes it."""

    folder: Path
    rank: int
    """The largest of its matrices."""
    whole: bool
    """Does it bring weights of whole layers too?"""
    modules: tuple[str, ...]
    """The names' ends of the layers that it changes; empty where its config has a pattern for them."""

    @property
    def digest(self) -> str:
        """Of all its files on which an answer depends."""
        return _weights.weights_digest(self.folder)


def adapter(spec: ModelSpec) -> Adapter | None:
    """The adapter that a model's arguments name. Raise ConfigError where it is none that we may load."""
    if not (named := spec.args.get("adapter")):
        return None
    folder = Path(named).expanduser().resolve()
    where = f"{spec.backend}: adapter={named}"
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{where}: no {CONFIG} in this folder: expected a LoRA adapter as peft saves it")
    if not (folder / WEIGHTS).is_file():
        raise ConfigError(f"{where}: no {WEIGHTS} in this folder; pickled weights are not loaded")
    return _checked(where, folder, read_json(folder / CONFIG))


def put_on(model: Any, chosen: Adapter) -> None:
    """Put the adapter's layers into a transformers model, not merged: as it is served. Raise BackendError."""
    try:
        info = model.load_adapter(str(chosen.folder))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BackendError(f"adapter {chosen.folder.name} does not fit: {_weights.first_line(error)}") from error
    stray = [*info.unexpected_keys, *info.missing_keys, *info.mismatched_keys]
    if stray:
        counted = f"{len(stray)} tensors have no place or no weights"
        raise BackendError(f"adapter {chosen.folder.name} does not fit: {counted} ({stray[0]})")


def _checked(where: str, folder: Path, config: dict[str, Any]) -> Adapter:
    if config.get("peft_type") != "LORA":
        raise ConfigError(f"{where}: peft_type {config.get('peft_type')}: only LORA is supported")
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    if not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        raise ConfigError(f"{where}: {CONFIG}: r is no rank: {config.get('r')}")
    named = config.get("target_modules")
    modules = tuple(sorted({name.rpartition(".")[2] for name in named})) if isinstance(named, list) else ()
    return Adapter(folder, max(ranks), bool(config.get("modules_to_save")), modules)
