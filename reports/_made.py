"""The shell of the pages of merges, fusions and sweeps."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from ._shared import write
from .html import HERE, environment, page_style, policy

SERVED = 0o644
"""A page beside a model is for all who may read the model."""


def publish(folder: Path, name: str, template: str, **facts: Any) -> tuple[Path, ...]:
    """Write one page of a template. Raise UsageError where it can't be written."""
    style = page_style() + Markup((HERE / "made.css").read_text(encoding="utf-8"))
    page = environment().get_template(template).render(
        style=style, script=Markup(""), policy=policy(style, ""), **facts
    )  # fmt: skip
    return (write(folder, name, [page], mode=SERVED),)
