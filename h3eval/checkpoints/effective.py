"""A configuration as the model's own transformers class reads it: with all that its file leaves out. Loaded by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig


@dataclass(frozen=True)
class Effective:
    """All keys and values that a class has."""

    model_type: str
    values: dict[str, Any]
    declared: frozenset[str]
    """Keys that the class itself knows; others were only found in the file."""


def effective(folder: Path) -> Effective | None:
    """None where transformers has no class for it, or the class can't read it."""
    try:
        made = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        plain = type(made)().to_dict()
    except (StrictDataclassError, OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError):
        return None
    return Effective(str(made.model_type), made.to_dict(), frozenset(plain))
