"""A model as transformers loads it, and a refusal where transformers would fill a gap with chance."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from h3eval.checkpoints.architecture import REFUSALS
from h3eval.errors import ConfigError

SHOWN = 3


def loaded(folder: Path, dtype: torch.dtype, kind: Any = AutoModelForCausalLM, **more: Any) -> Any:
    """The folder's model. Raise ConfigError where configuration and weights don't belong together: transformers itself
    leaves out what it has no place for, starts at random what is missing, and warns."""
    try:
        with quiet():
            # Other shapes are told by name in the account, and refused below.
            model, info = kind.from_pretrained(
                folder,
                dtype=dtype,
                output_loading_info=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                **more,
            )
    except (*REFUSALS, OSError, ImportError) as error:
        raise ConfigError(f"{folder}: transformers can't load it: {' '.join(str(error).split())[:400]}") from error
    # What has no elements can't be missed: shared experts of no width.
    empty = {name for name, parameter in model.named_parameters() if not parameter.numel()}
    info = {**info, "missing_keys": set(info.get("missing_keys") or ()) - empty}
    for key, says in {
        "missing_keys": "the weights lack",
        "unexpected_keys": "config.json has no place for",
        "mismatched_keys": "config.json wants another shape of",
        "error_msgs": "transformers reports",
    }.items():
        if found := sorted(map(_named, info.get(key) or ())):
            more_of = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            raise ConfigError(f"{folder}: {says} {', '.join(found[:SHOWN])}{more_of}")
    return model.eval()


def _named(entry: Any) -> str:
    """A tensor of transformers' account: its name, or its name and both shapes."""
    if not isinstance(entry, tuple):
        return str(entry)
    name, *shapes = entry
    return f"{name} ({' and '.join(str(tuple(each)) for each in shapes)})"


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' reports and bars: what they would say is read from the loading's own account."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
