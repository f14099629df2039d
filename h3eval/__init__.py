"""h3eval: how helpful, honest and harmless is a language model, and how sure are we?

`h3eval.load(RUN)` gives a stored run as pandas tables, for notebooks; all else is the command line's.
"""

import importlib
from pathlib import Path
from typing import Any

__all__ = ["load"]


def load(run: str | Path, include_path: str | Path | None = None) -> Any:
    """The stored run in this folder as `h3eval.frames.Frames`: `.samples`, `.estimates`, `.manifest`.

    `include_path` adds a folder of task and judge files, as the flag does. Raise h3eval.errors.UsageError where there
    is no run.
    """
    # By name, so that `import h3eval` brings no pandas along.
    return importlib.import_module("h3eval.frames").load(run, include_path)
