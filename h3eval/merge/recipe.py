"""What to merge: h3eval's own schema, and the common part of mergekit's. Unknown keys are errors; nothing is loaded."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from h3eval.errors import ConfigError
from h3eval.merge.checkpoints import NAMES
from h3eval.merge.gradients import Gradient, number
from h3eval.merge.methods import METHODS, Chosen, Method, check, method_name
from h3eval.text import visible
from h3eval.untrusted import yamls
from h3eval.untrusted.messages import cut, shown

KEYS = {"method", "base", "models", "parameters", "seed", "dtype", "tokenizer", "embeddings", "allow"}
MODEL_KEYS = {"path", "name"}
LONGEST_KEY = 80
EMBEDDINGS = ("refuse", "intersect", "base")
MERGEKIT_METHODS = {
    "linear": "rewarded_soup", "task_arithmetic": "task_arithmetic", "ties": "ties", "dare_linear": "dare",
    "dare_ties": "dare_ties", "della_linear": "della_linear", "della": "della_ties", "breadcrumbs": "breadcrumbs",
    "breadcrumbs_ties": "breadcrumbs_ties", "model_stock": "model_stock",
}  # fmt: skip
MERGEKIT_KEYS = {
    "merge_method", "base_model", "models", "parameters", "dtype", "out_dtype", "tokenizer_source", "tokenizer", "name",
}  # fmt: skip
MERGEKIT_REFUSED = {
    "slices": "layers of several models are not stacked here; list whole models under `models`",
    "modules": "parts of multimodal models are not merged one by one here; list whole models under `models`",
    "chat_template": "the result has its tokenizer's template; h3eval's own schema has `tokenizer: NAME` for another",
    "tokens": "no tokens are made or replaced here; merge with one tokenizer, and change it afterwards",
    "pad_to_multiple_of": "vocabularies are not padded here",
}
"""Keys of mergekit's schema that are not honoured, and what to do."""
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
    allow: tuple[str, ...] = ()
    """Differences between the models, by name, that are told and not refused."""
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
            **({"allow": list(self.allow)} if self.allow else {}),
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
    name = method_name(_text("method", given.get("method")) or "none")
    method = METHODS[name]
    models = [_model(entry, method) for entry in _list(given.get("models"), "models")]
    labels = _labels([(path, label) for path, label, _ in models])
    base = _text("base", given.get("base"))
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
    tokenizer = _text("tokenizer", given.get("tokenizer")) or ("base" if base else labels[0])
    if tokenizer not in (*labels, *(["base"] if base else [])):
        raise ConfigError(f"tokenizer: {shown(tokenizer)} is not base or one of {', '.join(labels)}")
    return Recipe(
        chosen, tuple(path for path, _, _ in models), base,
        _choice("dtype", given.get("dtype"), (None, *NAMES)), tokenizer,
        str(_choice("embeddings", given.get("embeddings", "refuse"), EMBEDDINGS)),
        _texts("allow", given.get("allow")), _texts("notes", given.get("notes")),
    )  # fmt: skip


def from_mergekit(content: Mapping[str, Any]) -> dict[str, Any]:
    """h3eval's keys from mergekit's, with mergekit's defaults. Raise ConfigError for what has no counterpart."""
    content = _honoured(content, MERGEKIT_KEYS, "")
    given = _text("merge_method", content.get("merge_method"))
    if given not in MERGEKIT_METHODS:
        raise ConfigError(f"merge_method: {shown(given)} is not one of {', '.join(MERGEKIT_METHODS)}")
    name, base = MERGEKIT_METHODS[given], _text("base_model", content.get("base_model"))
    entries = [_mergekit_model(each, METHODS[name]) for each in _list(content.get("models"), "models")]
    _check_tokenizer(content)
    made = {
        "method": name,
        # mergekit lists the base among the models, without a change of its own.
        "models": [each for each in entries if name == "rewarded_soup" or each["path"] != base],
        "parameters": _mergekit_shared(name, _mapping(content.get("parameters"), "parameters")),
        "dtype": content.get("out_dtype") or content.get("dtype"),
        "notes": [f"read from mergekit's schema: {given} is {name}, with mergekit's defaults"],
    }
    return {**made, "base": base} if base else made


def _honoured(given: Mapping[str, Any], allowed: Any, where: str) -> dict[str, Any]:
    """A part of mergekit's schema without what is null. Raise ConfigError for keys that would not be honoured."""
    held = {key: value for key, value in given.items() if value is not None}
    for key in held:
        if key in MERGEKIT_REFUSED:
            raise ConfigError(f"{where}{key}: {MERGEKIT_REFUSED[key]}")
    _only(held, allowed, where, "h3eval reads models, parameters, dtype and tokenizer of mergekit's configurations")
    return held


def _check_tokenizer(content: Mapping[str, Any]) -> None:
    """Raise ConfigError for a tokenizer that is not the base's as it is."""
    asked = content.get("tokenizer_source")
    if "tokenizer" in content:
        if asked is not None:
            raise ConfigError("tokenizer, tokenizer_source: give one of them")
        # mergekit takes a `tokenizer` without `source` for a union.
        asked = _honoured(_mapping(content["tokenizer"], "tokenizer"), {"source"}, "tokenizer.").get("source", "union")
    if asked not in (None, "base"):
        raise ConfigError(f"tokenizer: {asked!r}: only base; name a model in h3eval's own schema for another donor")


def _mergekit_model(entry: Any, method: Method) -> dict[str, Any]:
    """h3eval's entry of a model. Raise ConfigError for a reference with more than a path."""
    if not isinstance(entry, dict):
        return {"path": _path(entry, "model")}
    if isinstance(entry.get("model"), dict):
        more = ", ".join(sorted(map(str, entry["model"])))
        raise ConfigError(
            f"models.model: a mapping ({more}): only a folder or hub id; an adapter is a model of its own"
        )
    held = _honoured(entry, {"model", "parameters"}, "models.")
    own = _effective(_mapping(held.get("parameters"), "models.parameters"), "models.parameters.")
    each = {key for key, parameter in method.parameters.items() if parameter.each}
    _only(own, each, "models.parameters.")
    return {"path": _path(held, "model"), **own}


def _mergekit_shared(name: str, shared: Mapping[str, Any]) -> dict[str, Any]:
    made = _effective(shared, "parameters.")
    if name == "rewarded_soup" and made.pop("normalize", True) is not True:
        raise ConfigError("parameters.normalize: a mean is always divided by its weights' sum; use task_arithmetic")
    allowed = METHODS[name].parameters
    if "rescale" in allowed:
        rescale = made.get("rescale", name in MERGEKIT_RESCALES)
        if not isinstance(rescale, bool):
            raise ConfigError(f"parameters.rescale: {shown(rescale)} is not true or false")
        made["rescale"] = "l1" if rescale else "none"
    if "density" in allowed:
        made.setdefault("density", 1.0)
    return made


def _effective(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Without what changes no result."""
    for key in NO_EFFECT & set(given):
        if not isinstance(given[key], bool):
            raise ConfigError(f"{where}{key}: {shown(given[key])} is not true or false")
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
        near = get_close_matches(unknown[0], sorted(allowed), 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        known = ", ".join(sorted(allowed)) or "none"
        told = f" ({hint})" if hint else ""
        raise ConfigError(f"{where}{visible(cut(unknown[0], LONGEST_KEY))}: unknown{meant}; allowed are {known}{told}")


def _text(key: str, value: Any) -> str | None:
    """A word or a path. Raise ConfigError for anything else."""
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{key}: {shown(value)} is not a text")
    return value or None


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigError(f"{key}: {shown(value)} is not a list of texts")
    return tuple(value)


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
