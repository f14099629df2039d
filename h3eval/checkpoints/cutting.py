"""A model's first two layers and its last one as a model of their own: what can be run where the whole can't."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CONFIG_MAPPING

KEPT = 3
LAYER = re.compile(r"(?P<before>(?:^|.*?\.)(?:layers|layer|h|blocks)\.)(?P<number>\d+)(?P<after>\..*)")


def depth(config: Mapping[str, Any]) -> int:
    """How many layers a configuration has."""
    return int(config[_key(config)])


def cut_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the cut; what it says layer by layer is cut, too."""
    count = depth(config)
    kept = _kept(count)
    made = {
        key: [value[at] for at in kept] if isinstance(value, list) and len(value) == count else value
        for key, value in config.items()
    }
    return {**made, _key(config): len(kept)}


def cut_names(names: Iterable[str], count: int) -> dict[str, str]:
    """Names of the tensors that are kept, and what they are called in the cut."""
    numbers = {str(old): str(new) for new, old in enumerate(_kept(count))}
    made = {}
    for name in names:
        found = LAYER.fullmatch(name)
        if not found:
            made[name] = name
        elif found["number"] in numbers:
            made[name] = found["before"] + numbers[found["number"]] + found["after"]
    return made


def write_cut(names: Iterable[str], read: Callable[[str], Tensor], config: Mapping[str, Any], into: Path) -> Path:
    """Write the cut as a folder that transformers loads."""
    into.mkdir(parents=True)
    tensors = {new: read(old).contiguous() for old, new in cut_names(names, depth(config)).items()}
    save_file(tensors, into / "model.safetensors", metadata={"format": "pt"})
    (into / "config.json").write_text(json.dumps(cut_config(config)), encoding="utf-8")
    return into


def cut_folder(folder: Path, config: Mapping[str, Any], into: Path) -> Path:
    """The cut of a folder with safetensors."""
    places: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            places.update(dict.fromkeys(opened.keys(), file))

    def read(name: str) -> Tensor:
        with safe_open(places[name], framework="pt") as opened:
            found: Tensor = opened.get_tensor(name)
            return found

    return write_cut(places, read, config, into)


def cut_adapter(folder: Path, config: Mapping[str, Any], into: Path) -> Path:
    """The cut of a LoRA adapter of a model of this configuration."""
    into.mkdir(parents=True)
    stored = load_file(folder / "adapter_model.safetensors")
    kept = {new: stored[old] for old, new in cut_names(stored, depth(config)).items()}
    save_file(kept, into / "adapter_model.safetensors", metadata={"format": "pt"})
    (into / "adapter_config.json").write_bytes((folder / "adapter_config.json").read_bytes())
    return into


def _kept(count: int) -> list[int]:
    return sorted({*range(min(2, count)), count - 1})


def _key(config: Mapping[str, Any]) -> str:
    """What the architecture calls its number of layers."""
    kind = str(config["model_type"])
    names = CONFIG_MAPPING[kind].attribute_map if kind in CONFIG_MAPPING else {}
    return str(names.get("num_hidden_layers", "num_hidden_layers"))
