"""What to merge: h3eval's own schema, and the common part of mergekit's. Unknown keys are errors; nothing is loaded."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from h3eval.errors import ConfigError
from h3eval.merge.checkpoints import NAMES
from h3eval.merge.gradients import Gradient, number
from h3eval.merge.methods import METHODS, Chosen, Method, check, method_name
from h3eval.untrusted import yamls
from h3eval.untrusted.messages import shown

KEYS = {"method", "base", "models", "parameters", "seed", "dtype", "tokenizer", "embeddings"}
MODEL_KEYS = {"path", "name"}
EMBEDDINGS = ("refuse", "intersect", "base")
MERGEKIT_METHODS = {
    "linear": "rewarded_soup", "task_arithmetic": "task_arithmetic", "ties": "ties", "dare_linear": "dare",
    "dare_ties": "dare_ties", "della_linear": "della_linear", "della": "della_ties", "breadcrumbs": "breadcrumbs",
    "breadcrumbs_ties": "breadcrumbs_ties", "model_stock": "model_stock",
}  # fmt: skip
MERGEKIT_KEYS = {
    "merge_method", "base_model", "models", "parameters", "dtype", "out_dtype", "tokenizer_source", "tokenizer", "name",
}  # fmt: skip
MERGEKIT_RESCALES = {"dare", "dare_ties", "della_linear", "della_ties"}
"""Methods whose `rescale` is on in mergekit unless it is switched off."""
NO_EFFECT = {"int8_mask"}
"""Parameters of mergekit's that change how it stores masks, and no result."""


@dataclass(frozen=True)
class Recipe:
    """A merge, complete: every default is filled in."""

    chosen: Chosen
    paths: tuple[str, ...]
    """Folders or hub ids of the models, in the order of `chosen.labels`."""
    base: str | None = None
    dtype: str | None = None
    """Number format of the result; None: the base's, tensor by tensor."""
    tokenizer: str = "base"
    """The label of the model that tokenizer and config come from, or `base`."""
    embeddings: str = "refuse"
    notes: tuple[str, ...] = field(default=())

    def settings(self) -> dict[str, Any]:
        """All that the result depends on beside the models, for the report."""
        return {
            "method": self.chosen.name,
            "seed": self.chosen.seed,
            "parameters": dict(self.chosen.shared),
            "models": [
                {"name": label, **{key: _setting(value) for key, value in row.items()}}
                for label, row in zip(self.chosen.labels, self.chosen.each, strict=True)
            ],
            "dtype": self.dtype,
            "tokenizer": self.tokenizer,
            "embeddings": self.embeddings,
        }


def _setting(value: float | Gradient) -> float | list[Any]:
    return value.setting() if isinstance(value, Gradient) else value


def read(file: Path) -> Recipe:
    """The recipe in a YAML file. Raise ConfigError naming the file, the key, the value and what is allowed."""
    made = content(file)
    with named(str(file)):
        return recipe(made)


def content(file: Path) -> dict[str, Any]:
    """A file's keys, in h3eval's own schema whichever it is written in. Raise ConfigError."""
    made = yamls.file(file)
    if not isinstance(made, dict):
        raise ConfigError(f"{file}: not a mapping of keys to values")
    with named(str(file)):
        return from_mergekit(made) if "merge_method" in made else made


@contextmanager
def named(where: str) -> Iterator[None]:
    """Errors say which file they are of."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def recipe(given: Mapping[str, Any]) -> Recipe:
    """A recipe from h3eval's own keys."""
    _only(given, KEYS | {"notes"}, "")
    name = method_name(str(given.get("method")))
    method = METHODS[name]
    models = [_model(entry, method) for entry in _list(given.get("models"), "models")]
    labels = _labels([(path, label) for path, label, _ in models])
    base = given.get("base")
    if base and "base" in labels:
        raise ConfigError("models: `base` means the base model; give this one another `name`")
    shared = _mapping(given.get("parameters"), "parameters")
    _only(shared, method.parameters, "parameters.")
    each = [_each(method, label, own, shared) for label, (_, _, own) in zip(labels, models, strict=True)]
    if method.needs_base and not base:
        raise ConfigError(f"base: {name} adds to a base model, and none is named")
    chosen = Chosen(name, labels, each, _shared(method, shared), _seed(given.get("seed", 0)))
    if not chosen.varies():
        check(chosen)
    elif chosen.shared.get("trim_scope") == "global" and chosen.varies("density"):
        raise ConfigError(f"{name}: trim_scope global ranks all tensors together, and needs one density for all")
    tokenizer = str(given.get("tokenizer") or ("base" if base else labels[0]))
    if tokenizer not in (*labels, *(["base"] if base else [])):
        raise ConfigError(f"tokenizer: {shown(tokenizer)} is not base or one of {', '.join(labels)}")
    return Recipe(
        chosen, tuple(path for path, _, _ in models), str(base) if base else None,
        _choice("dtype", given.get("dtype"), (None, *NAMES)), tokenizer,
        str(_choice("embeddings", given.get("embeddings", "refuse"), EMBEDDINGS)), tuple(given.get("notes", ())),
    )  # fmt: skip


def from_mergekit(content: Mapping[str, Any]) -> dict[str, Any]:
    """h3eval's keys from mergekit's, with mergekit's defaults. Raise ConfigError for what has no counterpart."""
    _only(
        content, MERGEKIT_KEYS, "", "h3eval reads models, parameters, dtype and tokenizer of mergekit's configurations"
    )
    given = str(content["merge_method"])
    if given not in MERGEKIT_METHODS:
        raise ConfigError(f"merge_method: {shown(given)} is not one of {', '.join(MERGEKIT_METHODS)}")
    name, base = MERGEKIT_METHODS[given], content.get("base_model")
    entries = _list(content.get("models"), "models")
    # mergekit lists the base among the models, without a change of its own.
    listed = [each for each in entries if name == "rewarded_soup" or _path(each, "model") != base]
    tokenizer = content.get("tokenizer_source") or _mapping(content.get("tokenizer"), "tokenizer").get("source")
    if tokenizer not in (None, "base"):
        raise ConfigError(
            f"tokenizer: {shown(tokenizer)}: only base; name a model in h3eval's own schema for another donor"
        )
    made = {
        "method": name,
        "models": [_mergekit_model(name, each) for each in listed],
        "parameters": _mergekit_shared(name, _mapping(content.get("parameters"), "parameters")),
        "dtype": content.get("out_dtype") or content.get("dtype"),
        "notes": (f"read from mergekit's schema: {given} is {name}, with mergekit's defaults",),
    }
    return {**made, "base": base} if base else made


def _mergekit_model(name: str, entry: Any) -> dict[str, Any]:
    own = _mapping(entry.get("parameters"), "models.parameters") if isinstance(entry, dict) else {}
    return {"path": _path(entry, "model"), **_effective(own)}


def _mergekit_shared(name: str, shared: Mapping[str, Any]) -> dict[str, Any]:
    made = _effective(shared)
    if name == "rewarded_soup" and made.pop("normalize", True) is not True:
        raise ConfigError("parameters.normalize: a mean is always divided by its weights' sum; use task_arithmetic")
    allowed = METHODS[name].parameters
    if "rescale" in allowed:
        made["rescale"] = "l1" if made.get("rescale", name in MERGEKIT_RESCALES) else "none"
    if "density" in allowed:
        made.setdefault("density", 1.0)
    return made


def _effective(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in NO_EFFECT}


def _path(entry: Any, key: str) -> str:
    made = entry.get(key) if isinstance(entry, dict) else entry
    if not isinstance(made, str) or not made:
        raise ConfigError(f"models: each is a path, or a mapping with `{key}`; {shown(entry)} is neither")
    return made


def _model(entry: Any, method: Method) -> tuple[str, str | None, dict[str, Any]]:
    """Path, given name, own parameters."""
    path = _path(entry, "path")
    own = dict(entry) if isinstance(entry, dict) else {"path": path}
    each = {key for key, parameter in method.parameters.items() if parameter.each}
    _only(own, MODEL_KEYS | each, "models.")
    del own["path"]
    return path, own.pop("name", None), own


def _labels(models: Sequence[tuple[str, str | None]]) -> tuple[str, ...]:
    """A label for each model: its name, or the last part of its path. Random masks depend on it."""
    labels = tuple(str(given or Path(path.rstrip("/")).name) for path, given in models)
    if not labels:
        raise ConfigError("models: none is named")
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ConfigError(f"models: two are called {twice[0]!r}; give each a `name` of its own")
    return labels


def _each(method: Method, label: str, own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, float | Gradient]:
    made: dict[str, float | Gradient] = {}
    given = {**{key: value for key, value in shared.items() if method.parameters[key].each}, **own}
    if "window" in given:
        if "epsilon" in given:
            raise ConfigError(f"{label}: epsilon and window (twice epsilon): give one of them")
        given["epsilon"] = method.parameters["window"].check(f"{label}: window", given.pop("window")) / 2
    for key, parameter in method.parameters.items():
        if not parameter.each or key == "window":
            continue
        if key not in given and parameter.required:
            raise ConfigError(f"{label}: {key} is missing: give it for the model, or for all under parameters")
        made[key] = number(f"{label}: {key}", given.get(key, parameter.default), parameter.check)
    return made


def _shared(method: Method, given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: parameter.check(f"parameters.{key}", given[key]) if given.get(key) is not None else parameter.default
        for key, parameter in method.parameters.items()
        if not parameter.each
    }


def _only(given: Mapping[str, Any], allowed: Any, where: str, hint: str = "") -> None:
    if unknown := sorted(set(map(str, given)) - set(allowed)):
        told = f" ({hint})" if hint else ""
        raise ConfigError(f"{where}{unknown[0]}: unknown; allowed are {', '.join(sorted(allowed)) or 'none'}{told}")


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"seed: {shown(value)} is not a whole number")
    return value


def _choice(key: str, value: Any, allowed: Sequence[str | None]) -> str | None:
    if value not in allowed:
        raise ConfigError(f"{key}: {shown(value)} is not one of {', '.join(str(each) for each in allowed if each)}")
    return None if value is None else str(value)


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{key}: a list of one or more is needed")
    return value


def _mapping(value: Any, key: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{key}: {shown(value)} is not a mapping of keys to values")
    return dict(value or {})
