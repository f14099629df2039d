"""What the two local engines share: reading a model's spec, finding its folder, tokenising calls."""

import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import TemplateError
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from h3eval import extras
from h3eval.backends import _adapters, _demo, _weights
from h3eval.config import ModelSpec, read_json
from h3eval.errors import ConfigError
from h3eval.types import Call, Fault, Json
from h3eval.untrusted.messages import loading

ARGS = {
    "dtype": "auto, float32, bfloat16 or float16; auto is bfloat16 on a GPU and float32 on a CPU",
    "max_length": "context length in tokens, where the model's own is not wanted",
    "revision": "branch, tag or commit of a hub model",
    "chat_template": "auto (where the tokenizer has one), yes or no",
    "trust_remote_code": "yes runs Python code that comes with the model",
    "adapter": "folder of a LoRA adapter of the model, as peft saves it",
}
DTYPES = ("auto", "float32", "bfloat16", "float16")
# Where a config says nothing of the context length; lm-eval's default too.
DEFAULT_LENGTH = 2048
T = TypeVar("T")


class Local:
    """A checked model spec: which folder, what kinds of calls, which options. Loads nothing."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.revision = spec.args.get("revision")
        self.remote_code = one_of(spec, "trust_remote_code", ("no", "yes")) == "yes"
        self.template = one_of(spec, "chat_template", ("auto", "yes", "no"))
        self.dtype = one_of(spec, "dtype", DTYPES)
        self.max_length = number(spec, "max_length")
        self.demo = spec.model in _demo.MODELS
        self.hub = not self.demo and not _weights.is_local(spec.model)
        self.gguf = not self.demo and not self.hub and Path(spec.model).expanduser().is_file()
        self.adapter = _adapters.adapter(spec)
        if self.adapter and self.gguf:
            raise ConfigError(f"{spec.backend}: adapter={spec.args['adapter']}: not on a GGUF file")
        self.name = self._name()
        self.can = self._kinds()
        if self.adapter and not self.hub and not self.demo:
            _adapters.check_beside(self.adapter, _weights.local(spec.model, self.remote_code), self.template)

    def folder(self) -> Path:
        """The checkpoint folder or GGUF file; fetched or made now where it is not here yet."""
        if self.demo:
            return _demo.folder(self.spec.model)
        if self.hub:
            found = _weights.download(self.spec.model, self.revision)
            _weights.check_folder(found, self.remote_code)
            if self.adapter:
                _adapters.check_beside(self.adapter, found, self.template)
            return found
        return _weights.local(self.spec.model, self.remote_code)

    def tokenizer(self, folder: Path) -> Any:
        """The model's tokenizer. Raise BackendError if it can't be read."""
        with loading(f"model {self.spec.model}: tokenizer"):
            if folder.is_file():
                return _demo.gguf_tokenizer(folder)
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=self.remote_code)

    @property
    def adapted(self) -> dict[str, Json]:
        """What the adapter adds to the model's identity: nothing where there is none."""
        return {"adapter": self.adapter.digest} if self.adapter else {}

    def _name(self) -> str:
        model = self.spec.model
        own = model if self.demo or self.hub else Path(model).expanduser().resolve().name
        return f"{own}+{self.adapter.folder.name}" if self.adapter else own

    def _kinds(self) -> frozenset[str]:
        model = self.spec.model
        if self.demo:
            _demo.check(model)
            return _weights.CAUSAL
        if self.hub:
            return _weights.kinds(_weights.hub_config(model, self.revision), model)
        path = _weights.local(model, self.remote_code)
        if path.is_file():
            extras.need("gguf", "accelerate", what="a GGUF file")
            return _weights.CAUSAL
        return _weights.kinds(read_json(path / "config.json"), model)


def one_of(spec: ModelSpec, key: str, allowed: Sequence[str]) -> str:
    """An argument's value, the first of those allowed by default. Raise ConfigError for another."""
    value = spec.args.get(key, allowed[0])
    if value not in allowed:
        raise ConfigError(f"{spec.backend}: {key}={value}: expected one of {', '.join(allowed)}")
    return value


def number(spec: ModelSpec, key: str) -> int | None:
    """A positive whole number; None where the argument is missing or `auto`."""
    value = spec.args.get(key, "auto")
    if value == "auto":
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        raise ConfigError(f"{spec.backend}: {key}={value}: expected a positive whole number")
    return int(value)


def longest_input(config: Any, tokenizer: Any) -> int:
    """A model's context length in tokens, from config and tokenizer."""
    text = config.get_text_config()
    given = (getattr(text, name, None) for name in ("n_positions", "max_position_embeddings", "n_ctx"))
    length = next((int(value) for value in given if value), tokenizer.model_max_length)
    return int(length) if length < 1 << 30 else DEFAULT_LENGTH


def encoded(
    calls: Sequence[Call], encode: Callable[[Call], T]
) -> tuple[list[tuple[Call, T]], list[tuple[Call, Fault]]]:
    """Calls with their tokens, and those whose prompt this model can't take, as lasting faults."""
    asks: list[tuple[Call, T]] = []
    faults: list[tuple[Call, Fault]] = []
    for call in calls:
        try:
            asks.append((call, encode(call)))
        except (TemplateError, ValueError) as error:
            faults.append((call, Fault("bad_prompt", _weights.first_line(error), transient=False)))
    return asks, faults


def quiet() -> None:
    """No progress bars, no advice; warnings of the tokenizers' threads are of no use either."""
    logs: Any = transformers_logging
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
