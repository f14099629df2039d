"""Samples of tasks, from wherever their data is: what does not fit is one line, and never a traceback."""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from h3eval.datasets import DataSource, misfit, pinned
from h3eval.store import Reader
from h3eval.types import Sample, Task

STORE = "run.db"
MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a task's code raises on rows that are not what it expects."""


def limited(task: Task, source: DataSource, limit: float | None) -> Iterator[Sample]:
    """A task's samples, the first `limit` of them (a share of them where it is below 1). Raise DataMissing."""
    samples = fitting(task, source)
    if limit is None:
        return samples
    if limit >= 1:
        return islice(samples, int(limit))
    every = list(samples)
    return islice(every, math.ceil(limit * len(every)))


def fitting(task: Task, source: DataSource) -> Iterator[Sample]:
    """A task's samples. Raise DataMissing, with what was read, where the task's own code can't use the rows."""
    read_before = len(source.origins)
    try:
        for sample in task.samples(source):
            if (wrong := ill_formed(sample)) is not None:
                raise TypeError(f"sample {sample.id}: {wrong!r} stands where text is expected")
            yield sample
    except MISFITS as error:
        raise misfit(task.id, error, source.origins[read_before:]) from error


def ill_formed(sample: Sample) -> object:
    """What is no text in a sample's prompt and choices; None where all is. A hub's null is such a thing."""
    messages = () if isinstance(sample.prompt, str) else sample.prompt
    texts = [*(message["content"] for message in messages), *sample.choices]
    if isinstance(sample.prompt, str | tuple | list) and all(isinstance(text, str) for text in texts):
        return None
    return next((text for text in texts if not isinstance(text, str)), sample.prompt) or "nothing"


def revisions_of(out: str | None) -> dict[str, str]:
    """The hub's revisions that the run in this folder has read, so that it goes on with the same questions."""
    if not out or not Path(out, STORE).is_file():
        return {}
    with Reader(Path(out)) as reader:
        return pinned((reader.meta("manifest") or {}).get("data", {}))
