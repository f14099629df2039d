"""adapter_config.json: which keys of peft's are understood with which values; all others are refused by name."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from h3eval.errors import ConfigError

CONFIG = "adapter_config.json"
T = TypeVar("T")
CURE = (
    "merge it with peft first (PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(FOLDER)), "
    "and use FOLDER"
)
TURNED_MODELS = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
"""transformers' models with Conv1D layers, whose matrices are (in, out)."""
TOLD = {
    "auto_mapping", "base_model_name_or_path", "inference_mode", "lora_dropout", "megatron_core", "peft_version",
    "qalora_group_size", "revision", "runtime_config", "task_type",
}  # fmt: skip
"""Keys that change no merged weight: where it comes from, how it was trained, sizes of what is switched off."""
USED = {
    "peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "target_modules", "exclude_modules",
    "layers_to_transform", "layers_pattern", "init_lora_weights", "bias", "eva_config",
}  # fmt: skip
OFF = {
    "use_dora": "DoRA scales the columns of its matrices",
    "fan_in_fan_out": "its matrices are stored turned (Conv1D)",
    "modules_to_save": "it brings whole layers",
    "trainable_token_indices": "it brings tokens' rows of its own",
    "target_parameters": "it changes parameters that are no layer's",
    "lora_bias": "it brings biases",
    "alora_invocation_tokens": "aLoRA is on for some tokens only",
    "layer_replication": "it repeats layers of its base",
    "megatron_config": "it is of a Megatron model",
    "loftq_config": "LoftQ changed its base",
    "corda_config": "CorDA changed its base",
    "lora_ga_config": "LoRA-GA changed its base",
    "use_qalora": "QALoRA pools its inputs",
    "use_bdlora": "BD-LoRA's matrices are blocks",
    "arrow_config": "Arrow routes between adapters",
    "kasa_config": "KaSA changed its base",
    "velora_config": "VeLoRA is a variant of its own",
    "monteclora_config": "MonteCLoRA is a variant of its own",
    "ensure_weight_tying": "it ties adapted layers",
    "enable_lora": "its matrices are fused (MergedLinear)",
}
"""Keys that must be off, and why."""
BY_PEFT = {"modules_to_save", "trainable_token_indices", "target_parameters", "lora_bias", "fan_in_fan_out"}
"""Of these, what peft itself puts on a model exactly as it would merge it."""
PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica")
"""Beginnings that leave the base as it is: their matrices are read as they were saved."""
CHANGED_BASE = {
    "pissa": "PiSSA", "olora": "OLoRA", "corda": "CorDA", "loftq": "LoftQ", "lora_ga": "LoRA-GA",
}  # fmt: skip
CONVERTED = "; or save it again with peft's path_initial_model_for_weight_conversion, which makes a plain LoRA of it"


@dataclass(frozen=True)
class Settings:
    """An adapter's configuration, as far as weights depend on it."""

    r: int
    alpha: float
    rslora: bool
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    targets: Callable[[str], bool] | None
    """Is this module one that the adapter changes? None where it doesn't say."""
    modules: tuple[str, ...]
    """target_modules, where it is a list."""
    base: str
    """The model that it says it was trained on."""
    revision: str | None
    notes: tuple[str, ...] = ()

    def rank(self, module: str) -> int:
        """The rank that the configuration gives a module."""
        return _by_name(self.ranks, module, self.r)

    def scale(self, module: str, rank: int) -> float:
        """What a module's product is multiplied by."""
        return _by_name(self.alphas, module, self.alpha) / (math.sqrt(rank) if self.rslora else rank)


def refused(folder: Path, what: str) -> ConfigError:
    """The error for what is not understood, with the way out."""
    return ConfigError(f"adapter {folder}: {what}; {CURE}")


def read(folder: Path, given: Mapping[str, Any], by_peft: bool = False) -> Settings:
    """The settings of a plain LoRA adapter. Raise ConfigError for anything that is not understood, by name.

    `by_peft` where peft itself puts the adapter on a model: it can do more than we read, though not all that it saves.
    """
    if given.get("peft_type") != "LORA":
        raise refused(folder, f"peft_type {given.get('peft_type')}: only LORA is understood")
    notes = _unknown(folder, given)
    if not given.get("target_modules") and not by_peft:
        notes = (*notes, f"adapter {folder.name}: it names no target_modules: whether its file is whole is not known")
    for key, why in OFF.items():
        if given.get(key) and not (by_peft and key in BY_PEFT):
            raise refused(folder, f"{key} is set: {why}")
    if (bias := given.get("bias", "none")) != "none" and not (by_peft and bias in ("all", "lora_only")):
        raise refused(folder, f"bias is {bias!r}: it brings biases")
    _check_start(folder, given, by_peft)
    return Settings(
        r=int(_number(folder, "r", given.get("r"), whole=True)),
        alpha=_number(folder, "lora_alpha", given.get("lora_alpha")),
        rslora=_switch(folder, "use_rslora", given.get("use_rslora")),
        ranks={key: int(value) for key, value in _pattern(folder, "rank_pattern", given, whole=True).items()},
        alphas=_pattern(folder, "alpha_pattern", given),
        targets=_targets(folder, given) if given.get("target_modules") else None,
        modules=tuple(wanted) if isinstance(wanted := given.get("target_modules"), list) else (),
        base=str(given.get("base_model_name_or_path") or ""),
        revision=given.get("revision"),
        notes=notes,
    )


def _unknown(folder: Path, given: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys that we have never heard of: those that are on are refused, those that are off are told."""
    unknown = sorted(set(given) - TOLD - USED - set(OFF))
    for key in unknown:
        if given[key]:
            raise refused(folder, f"{key} is not understood (a newer peft's?)")
    return tuple(f"adapter {folder.name}: {key} is not known here, and switched off there" for key in unknown)


def _check_start(folder: Path, given: Mapping[str, Any], by_peft: bool) -> None:
    """How the matrices began tells whether the base was changed for them."""
    start = given.get("init_lora_weights", True)
    if isinstance(start, bool):
        if given.get("eva_config"):
            raise refused(folder, "eva_config is set, and init_lora_weights is not eva")
        return
    said = str(start).lower()
    # peft changes the base again, the same way, as it loads these; of PiSSA's fast form it would be another change.
    if by_peft and said in ("pissa", "olora"):
        return
    if name := next((name for key, name in CHANGED_BASE.items() if said.startswith(key)), None):
        convertible = CONVERTED if name != "LoftQ" else ""
        what = f"init_lora_weights is {start!r}: {name} changed the base that it was trained on"
        raise ConfigError(f"{refused(folder, what)}{convertible}")
    if said not in PLAIN_STARTS:
        raise refused(folder, f"init_lora_weights is {start!r}, which is not understood")


def _number(folder: Path, key: str, value: Any, whole: bool = False) -> float:
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or (whole and value < 1):
        what = "a whole number from 1 up" if whole else "a number"
        raise ConfigError(f"adapter {folder}: {CONFIG}: {key}: {value!r} is not {what}")
    return float(value)


def _switch(folder: Path, key: str, value: Any) -> bool:
    if value not in (None, True, False) or isinstance(value, int | float) != isinstance(value, bool):
        raise ConfigError(f"adapter {folder}: {CONFIG}: {key}: {value!r} is not true or false")
    return bool(value)


def _pattern(folder: Path, key: str, given: Mapping[str, Any], whole: bool = False) -> dict[str, float]:
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"adapter {folder}: {CONFIG}: {key}: {value!r} is not a mapping of modules to numbers")
    for pattern in value:
        _check_regex(folder, key, pattern)
    return {str(pattern): _number(folder, f"{key}.{pattern}", each, whole) for pattern, each in value.items()}


def _check_regex(folder: Path, key: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"adapter {folder}: {CONFIG}: {key}: {pattern!r} is no regular expression") from error


def _by_name(patterns: Mapping[str, T], module: str, default: T) -> T:
    """As peft matches: the first pattern for the whole name, or for its last parts."""
    found = next((key for key in patterns if re.fullmatch(rf"(.*\.)?({key})", module)), None)
    return default if found is None else patterns[found]


def _targets(folder: Path, given: Mapping[str, Any]) -> Callable[[str], bool]:
    """Which modules are changed, in peft's meaning of the four keys that say so."""
    wanted = _names(folder, "target_modules", given)
    if wanted is None or wanted == "all-linear":
        raise refused(folder, f"target_modules is {wanted!r}: it has to name its modules")
    excluded = _names(folder, "exclude_modules", given)
    layers, pattern = given.get("layers_to_transform"), given.get("layers_pattern") or []
    numbers = [layers] if isinstance(layers, int) else (layers or [])
    patterns = [pattern] if isinstance(pattern, str) else pattern
    for each in patterns:
        _check_regex(folder, "layers_pattern", each)

    def targeted(module: str) -> bool:
        if excluded and _named(excluded, module):
            return False
        if not _named(wanted, module):
            return False
        return isinstance(wanted, str) or not numbers or _layer(module, patterns) in numbers

    return targeted


def _names(folder: Path, key: str, given: Mapping[str, Any]) -> str | list[str] | None:
    value = given.get(key)
    if isinstance(value, str):
        _check_regex(folder, key, value)
    elif value is not None and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise ConfigError(f"adapter {folder}: {CONFIG}: {key}: {value!r} is not a name, or a list of names")
    return value


def _named(names: str | list[str], module: str) -> bool:
    """A regular expression for the whole name, or a list of whole names or their last parts."""
    if isinstance(names, str):
        return bool(re.fullmatch(names, module))
    return any(module == name or module.endswith(f".{name}") for name in names)


def _layer(module: str, patterns: list[str]) -> int | None:
    """The number of a module's layer."""
    tried = [rf"(?:^|.*?\.){each}\.(?P<at>\d+)\." for each in patterns] or [r".*?\.[^.]*\.(?P<at>\d+)\."]
    found = next((match for each in tried if (match := re.match(each, module))), None)
    return int(found["at"]) if found else None
