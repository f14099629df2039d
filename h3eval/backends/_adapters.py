"""LoRA adapters: is this one that we may put on a model, and what must an engine know of it?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h3eval.backends import _weights
from h3eval.checkpoints import adaptersettings, tokenizers
from h3eval.checkpoints.tokenizers import Model
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
        why = _weights.first_line(error)
        if "ignore_mismatched_sizes" in why:
            why = "its tensors have other shapes than the model's (more tokens, or another base?)"
        raise BackendError(f"adapter {chosen.folder.name} does not fit: {why}") from error
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
    adaptersettings.read(folder, config, by_peft=True)
    return Adapter(folder, max(ranks), bool(config.get("modules_to_save")), modules)


def check_plain(chosen: Adapter) -> None:
    """Raise ConfigError for an adapter that is more than one scale and two matrices a layer: engines without peft
    leave out the rest, and the patterns, in silence."""
    config = read_json(chosen.folder / CONFIG)
    adaptersettings.read(chosen.folder, config)
    for key in ("rank_pattern", "alpha_pattern"):
        if config.get(key):
            raise adaptersettings.refused(chosen.folder, f"{key} is set, and this engine has one scale for all layers")


def check_beside(chosen: Adapter, model: Path, template: str) -> None:
    """Raise ConfigError where the adapter's folder has other tokens than the model's, or another chat template.

    The model is asked with its own tokenizer and template. `template` other than auto says that this is meant.
    """
    config = read_json(model / "config.json")
    base, beside = Model(model.name, model, config), Model(chosen.folder.name, chosen.folder, {}, adapter=True)
    own, other = tokenizers.read(base), tokenizers.read(beside)
    if not other.present:
        return
    strange = {at for at, token in other.tokens.items() if own.tokens and own.tokens.get(at) != token}
    where = f"adapter {chosen.folder}"
    if strange:
        first = min(strange)
        raise ConfigError(
            f"{where}: its tokenizer has {len(strange)} tokens that are not the model's ({first} is "
            f"{other.tokens[first]!r}), and the model's is used: merge the adapter with peft first, and save its "
            "tokenizer beside the result"
        )
    given = other.facts.get("chat template")
    if template == "auto" and given and given != own.facts.get("chat template"):
        raise ConfigError(
            f"{where}: another chat template than the model's lies beside it, and the model's is used: say "
            "chat_template=yes (the model's own) or no (none) in the model's arguments, or merge the adapter with peft "
            "first, and save its tokenizer beside the result"
        )
