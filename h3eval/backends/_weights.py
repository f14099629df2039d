"""Model folders: is this one we may load, and exactly which weights does it hold?

Knows files only; loads no tensor and runs nothing from the folder.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs
from huggingface_hub import hf_hub_download, snapshot_download

from h3eval.config import read_json
from h3eval.errors import BackendError, ConfigError
from h3eval.hub import why
from h3eval.text import digest
from h3eval.untrusted.messages import shown
from h3eval.untrusted.weights import check_sizes, header

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".joblib")
# What a reply depends on: weights, config, generation config, tokenizer, chat template.
IDENTITY = ("*.safetensors", "*.gguf", "*.json", "*.jinja", "*.model", "*.txt", "chat_templates/*.jinja")
NOT_IDENTITY = {"README.txt", "LICENSE.txt", "NOTICE.txt", "trainer_state.json", "all_results.json"}
CAUSAL = frozenset({"complete", "loglikelihood"})
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tokenizer_config.json")


def is_local(model: str) -> bool:
    """Does the user mean a path? Everything but `owner/name` that names no existing file is one."""
    return Path(model).expanduser().exists() or not HUB_ID.fullmatch(model)


def local(model: str, remote_code: bool) -> Path:
    """The folder, or the GGUF file, at a path the user gave. Raise ConfigError saying what is missing."""
    path = Path(model).expanduser().resolve()
    if not path.exists():
        raise ConfigError(f"model {model}: no such file or folder, and not a hub id (owner/name)")
    if path.is_file():
        check_gguf(path)
    else:
        check_folder(path, remote_code)
    return path


def download(model: str, revision: str | None) -> Path:
    """The folder of a hub model in the hub's cache, without pickles or code. Raise BackendError."""
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=[*IDENTITY]))
    except Exception as error:
        raise BackendError(f"model {model}: {why(error)}") from error


def hub_config(model: str, revision: str | None) -> dict[str, Any]:
    """A hub model's config.json. Raise ConfigError if the hub has none or can't be reached."""
    try:
        file = hf_hub_download(model, "config.json", revision=revision)
    except Exception as error:
        raise ConfigError(f"model {model}: no such folder here, and from the hub: {why(error)}") from error
    return read_json(Path(file))


def check_gguf(file: Path) -> None:
    """Raise ConfigError for a file that is not GGUF."""
    with file.open("rb") as start:
        if start.read(4) != b"GGUF":
            raise ConfigError(f"model {file}: neither a folder with config.json nor a GGUF file")


def check_folder(folder: Path, remote_code: bool) -> None:
    """Raise ConfigError unless this is a checkpoint that can be loaded without running its code."""
    adapter = (folder / "adapter_config.json").is_file()
    if not (folder / "config.json").is_file():
        cure = f": it holds an adapter; name its base, and adapter={folder}" if adapter else ""
        raise ConfigError(f"model {folder}: no config.json in this folder{cure}")
    if adapter:
        raise ConfigError(
            f"model {folder}: holds a model and an adapter (adapter_config.json), and transformers would load the "
            "adapter's base in its place: move the adapter to a folder of its own, and name it with adapter=FOLDER"
        )
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ConfigError(f"model {folder}: no tokenizer (tokenizer.json or tokenizer.model) in this folder")
    tensors = _check_weights(folder)
    check_sizes(f"model {folder}: config.json", read_json(folder / "config.json"), tensors)
    for name in () if remote_code else ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file() and "auto_map" in read_json(folder / name):
            raise ConfigError(
                f"model {folder}: {name} asks to run Python code of its own (auto_map); "
                "add trust_remote_code=yes to the model's arguments if you trust it"
            )


def kinds(config: dict[str, Any], model: str) -> frozenset[str]:
    """What a model with this config.json can answer. Raise ConfigError for one of another kind."""
    names = config.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"model {model}: architectures = {shown(names)} in config.json: expected a list of names")
    if any(name.endswith("ForSequenceClassification") for name in names):
        return frozenset({"classify"})
    causal = any(name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in names)
    if not causal or config.get("is_encoder_decoder"):
        raise ConfigError(
            f"model {model}: architectures {names} in config.json: neither a causal language model "
            "nor a sequence classifier"
        )
    return CAUSAL


def weights_digest(path: Path) -> str:
    """SHA-256 over the sorted names and hashes of all files a reply depends on."""
    files = [path] if path.is_file() else sorted(set(_identity_files(path)))
    hashes = file_hashes(files)
    # The name of a lone GGUF file is the user's; names within a folder are the format's.
    names = {file: "" if path.is_file() else str(file.relative_to(path)) for file in files}
    return digest("\n".join(f"{names[file]} {hashes[file]}" for file in files))


def file_hashes(files: Sequence[Path]) -> dict[Path, str]:
    """The SHA-256 of each file.

    They are remembered in the user's cache by path, size and time of change, so that a second run does not read
    gigabytes again.
    """
    folder = cache_folder()
    if folder is None:
        return {file: file_hash(file) for file in files}
    memory = folder / "weights.json"
    known = _remembered(memory)
    hashes = {file: known.get(_stamp(file)) or file_hash(file) for file in files}
    _remember(memory, known | {_stamp(file): value for file, value in hashes.items()})
    return hashes


def cache_folder() -> Path | None:
    """h3eval's folder in the user's cache, made or not; None for a user who has no home at all."""
    try:
        return platformdirs.user_cache_path("h3eval")
    except RuntimeError:
        return None


def first_line(error: BaseException) -> str:
    """An exception's first line, for a message of one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _identity_files(folder: Path) -> Iterable[Path]:
    return (
        file
        for pattern in IDENTITY
        for file in folder.glob(pattern)
        if file.is_file() and file.name not in NOT_IDENTITY
    )


def _check_weights(folder: Path) -> int:
    """How many tensors the folder's weights have. Raise ConfigError where they are not what they should be."""
    names = {file.name for file in folder.iterdir()}
    weights = {name for name in names if name.endswith(".safetensors")}
    if not weights and (pickled := sorted(name for name in names if name.endswith(PICKLES))):
        raise ConfigError(
            f"model {folder}: {pickled[0]} is a pickle, which can run any code when it is loaded; "
            "convert the weights to safetensors"
        )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weights = _shards(index)
    if not weights:
        raise ConfigError(f"model {folder}: no *.safetensors weights in this folder")
    for name in sorted(weights):
        _check_inside(folder, name)
    return sum(len(header(folder / name).entries) for name in sorted(weights))


def _shards(index: Path) -> set[str]:
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise ConfigError(f"{index}: no weight_map")
    return set(shards.values())


def _check_inside(folder: Path, name: str) -> None:
    file = folder / name
    # A folder of the hub's own cache holds links into the `blobs` beside it.
    homes = [folder.resolve()] + ([folder.parent.parent / "blobs"] if folder.parent.name == "snapshots" else [])
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(f"model {folder}: weights file {name!r} lies outside the folder")
    if not file.is_file():
        raise ConfigError(f"model {folder}: weights file {name!r} is missing")
    if not any(file.resolve().is_relative_to(home) for home in homes):
        raise ConfigError(f"model {folder}: weights file {name!r} is a link to outside the folder")


def _stamp(file: Path) -> str:
    status = file.stat()
    return f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}"


def file_hash(file: Path) -> str:
    """SHA-256 of one file, read now."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _remembered(memory: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known


def _remember(memory: Path, known: dict[str, str]) -> None:
    """Best effort: without a writable cache the files are only hashed again next time."""
    temporary = memory.with_suffix(f".{os.getpid()}.tmp")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(known), encoding="utf-8")
        temporary.replace(memory)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
