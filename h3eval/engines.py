"""Which engine runs a model, and opening it. Loads the one backend module that is asked for."""

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from h3eval import registry
from h3eval.budget import Budget
from h3eval.config import START, ModelSpec, key_values, model_spec, unquoted
from h3eval.errors import ConfigError
from h3eval.types import Backend


def resolve(model: str, backend: str | None, args: str) -> ModelSpec:
    """The spec of `--model`, `--backend` and `--model_args` together.

    `demo`, a path and a hub id go to `backend`, or to the default one; `outputs:FILE`,
    `openai:NAME` and the like name their backend themselves.
    """
    backends = registry.names("backends")
    prefix = model.partition(":")[0]
    if prefix in backends and ":" in model:
        if backend not in (None, prefix):
            raise ConfigError(f"--model {model} names the backend {prefix}, --backend says {backend}")
        spec = model_spec(model, "--model", backends)
    else:
        chosen = backend or default_backend()
        if chosen not in backends:
            raise ConfigError(f"--backend: {registry.unknown('backend', chosen, backends)}")
        spec = ModelSpec(chosen, unquoted(model) if START.fullmatch(model) else model)
    return replace(spec, args={**spec.args, **key_values(args, "--model_args")})


def default_backend() -> str:
    """vLLM where it is installed and there is a GPU, else transformers."""
    gpu = Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()
    return "vllm" if gpu and importlib.util.find_spec("vllm") else "transformers"


def open_backend(spec: ModelSpec) -> Backend:
    """The backend of a spec; it has checked the spec and loaded no weights."""
    factory: Callable[[ModelSpec], Backend] = registry.load("backends", spec.backend)
    return factory(spec)


def share_budget(engines: Iterable[Backend], budget: Budget) -> None:
    """Have all engines that cost money spend from one budget.

    Raise ConfigError for one whose prices are not known: a cap would mean nothing.
    """
    for engine in engines:
        if engine.paid:
            if getattr(engine, "price", None) is None:
                model = engine.identity.get("model", "this model")
                raise ConfigError(f"--max-cost: the prices of {model} are not known; give price_in=USD,price_out=USD")
            share: Callable[[Budget], None] = engine.share  # type: ignore[attr-defined]
            share(budget)
