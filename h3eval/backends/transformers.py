"""Hugging Face transformers in this process: the default engine, on CPU or GPU.

`transformers:MODEL[,key=value...]`, where MODEL is a checkpoint folder, a GGUF file, a hub id or
`demo`. Completes, scores continuations and runs sequence classifiers.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, GgufConfig

from h3eval import extras
from h3eval.backends import _adapters, _classify, _local, _weights
from h3eval.backends._causal import Causal
from h3eval.backends._choices import score
from h3eval.backends._generate import generate
from h3eval.backends._prompts import Encoded, Prompts
from h3eval.config import ModelSpec, check_args
from h3eval.errors import BackendError, ConfigError
from h3eval.types import Call, Fault, Journal, Json, Reply
from h3eval.untrusted import templates
from h3eval.untrusted.messages import loading
from h3eval.untrusted.weights import header

ARGS = _local.ARGS | {
    "device": "auto, cpu, cuda or cuda:N",
    "batch_size": "auto, or the most rows of one pass",
}
CHUNK = 2048
# Scores of given words come sooner than answers, and so does the first task that is done.
ORDER = ("classify", "loglikelihood", "complete", "execute")
Asks = Sequence[tuple[Call, Encoded]]
Answers = Iterator[tuple[Call, Reply | Fault]]


class Transformers:
    """A backend over one model folder; weights are loaded when the first call comes."""

    paid = False

    def __init__(self, spec: ModelSpec) -> None:
        check_args(spec, ARGS)
        _local.quiet()
        self.model = _local.Local(spec)
        if self.model.adapter:
            extras.need("peft", what="an adapter")
        self.can = self.model.can
        self.rows = _local.number(spec, "batch_size")
        self.device = _device(spec)
        default = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        self.dtype: torch.dtype = default if self.model.dtype == "auto" else getattr(torch, self.model.dtype)
        self._classifier: Any = None
        self._tokenizer: Any = None
        self._engine: Causal | None = None
        self._prompts: Prompts | None = None

    @cached_property
    def folder(self) -> Path:
        """The model's folder, or its GGUF file, on this machine; a hub model is fetched now."""
        return self.model.folder()

    @cached_property
    def identity(self) -> Mapping[str, Json]:
        """What replies depend on besides the request."""
        return {
            "backend": "transformers",
            "weights": _weights.weights_digest(self.folder),
            "revision": self.model.revision,
            "dtype": str(self.dtype).removeprefix("torch."),
            "max_length": self.model.max_length,
            "chat_template": self.model.template,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            **self.model.adapted,
        }

    def answer(self, calls: Iterable[Call], journal: Journal) -> Answers:
        """Answer calls in chunks, each sorted by length; yield as batches finish."""
        ways: dict[str, Callable[[Sequence[Call]], Answers]] = {
            "complete": self._complete,
            "loglikelihood": self._score,
            "classify": self._classify,
        }
        pending = iter(calls)
        while chunk := list(islice(pending, CHUNK)):
            for kind in sorted({call.request.kind for call in chunk}, key=ORDER.index):
                if kind not in self.can:
                    raise BackendError(f"model {self.model.name} can't answer {kind} requests")
                for call, answer in ways[kind]([call for call in chunk if call.request.kind == kind]):
                    named = replace(answer, model=self.model.name) if isinstance(answer, Reply) else answer
                    yield call, named

    def close(self) -> None:
        """Free the model's memory."""
        self._classifier = self._engine = self._prompts = self._tokenizer = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _complete(self, calls: Sequence[Call]) -> Answers:
        engine, prompts = self._causal()
        asks, faults = _local.encoded(calls, lambda call: prompts.complete(call.request))
        yield from faults
        ends = _ends(engine.model, prompts.tokenizer)
        yield from self._fitting(engine, asks, lambda part: generate(engine, prompts, part, ends))

    def _score(self, calls: Sequence[Call]) -> Answers:
        engine, prompts = self._causal()
        asks, faults = _local.encoded(calls, lambda call: prompts.pair(call.request))
        yield from faults
        yield from self._fitting(engine, asks, lambda part: score(engine, part))

    def _classify(self, calls: Sequence[Call]) -> Answers:
        model, tokenizer = self._labeller()
        longest = self.model.max_length or _local.longest_input(model.config, tokenizer)
        asks, faults = _local.encoded(calls, lambda call: _classify.tokens(tokenizer, call.request, longest))
        yield from faults
        rows = self.rows or (64 if self.device.type == "cpu" else 256)
        yield from _classify.classify(model, [_classify.Text(call, *made) for call, made in asks], rows)

    def _fitting(self, engine: Causal, asks: Asks, run: Callable[[Asks], Iterator[tuple[Call, Reply]]]) -> Answers:
        """Run batches; where the GPU's memory runs out, go on with smaller ones."""
        left = {id(call): (call, prompt) for call, prompt in asks}
        while left:
            try:
                for call, reply in run(list(left.values())):
                    del left[id(call)]
                    yield call, reply
            except torch.OutOfMemoryError as error:
                if engine.rows == 1:
                    raise BackendError(f"model {self.model.name}: one prompt alone exceeds memory") from error
                engine.shrink()

    def _causal(self) -> tuple[Causal, Prompts]:
        if self._engine is None or self._prompts is None:
            templates.start()
            model, tokenizer = self._load(AutoModelForCausalLM)
            with loading(f"model {self.model.name}"):
                length = self.model.max_length or _local.longest_input(model.config, tokenizer)
                self._prompts = Prompts(tokenizer, length, self.model.template, self.model.name)
            self._engine = Causal(model, self.rows)
        return self._engine, self._prompts

    def _labeller(self) -> tuple[Any, Any]:
        if self._classifier is None:
            model, tokenizer = self._load(AutoModelForSequenceClassification)
            _classify.prepare(model, tokenizer)
            self._classifier, self._tokenizer = model, tokenizer
        return self._classifier, self._tokenizer

    def _load(self, factory: Any) -> tuple[Any, Any]:
        path = self.folder
        options: dict[str, Any] = {"dtype": self.dtype, "trust_remote_code": self.model.remote_code}
        if path.is_file():
            options |= {"gguf_file": path.name, "quantization_config": GgufConfig(dequantize=True)}
        else:
            options |= {"use_safetensors": True}
        with loading(f"model {self.model.name}"):
            model, told = factory.from_pretrained(
                path.parent if path.is_file() else path, output_loading_info=True, **options
            )
        if not path.is_file():
            _check_whole(self.model.name, model, told)
        if self.model.adapter:
            header(self.model.adapter.folder / _adapters.WEIGHTS)
            _adapters.put_on(model, self.model.adapter)
        # PyTorch's attention leaves out the capping of Gemma 2's attention logits.
        if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
            model.set_attn_implementation("eager")
        return model.to(self.device).eval(), self.model.tokenizer(path)


def _check_whole(name: str, model: Any, told: Mapping[str, Any]) -> None:
    """Raise BackendError where weights are missing: transformers would draw them at random, and only warn."""
    # What has no elements can't be missed: shared experts of no width.
    empty = {each for each, parameter in model.named_parameters() if not parameter.numel()}
    if missing := sorted(set(told.get("missing_keys") or ()) - empty):
        first = ", ".join(missing[:3])
        raise BackendError(f"model {name}: its files lack {len(missing)} of the weights config.json wants: {first}")


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end an answer: the generation config's and the tokenizer's."""
    given = model.generation_config.eos_token_id
    ids = given if isinstance(given, list) else [given]
    return frozenset(i for i in [*ids, tokenizer.eos_token_id] if i is not None)


def _device(spec: ModelSpec) -> torch.device:
    name = spec.args.get("device", "auto")
    gpu = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if gpu else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ConfigError(f"{spec.backend}: device={name}: expected auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not gpu:
        raise ConfigError(f"{spec.backend}: device={name}: PyTorch sees no such GPU on this machine")
    return torch.device(name)


BACKEND = Transformers
