"""Subsets of a task: some of its samples, drawn by a seed, as a protocol of its own.

`gsm8k-subset200-seed7` is 200 of GSM8K's samples. The mark becomes the end of the protocol, and so part of
every number's identity: stores, comparisons, gates and leaderboards never take a subset for the whole task,
nor for another subset.
"""

import heapq
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from h3eval.text import digest
from h3eval.types import Sample, Source, Task

MARK = re.compile(r"(.+)-subset([1-9][0-9]{0,8})-seed(0|[1-9][0-9]{0,8})")


def marked(name: str, size: int, seed: int) -> str:
    """The name of a task's, or of a protocol's, subset."""
    return f"{name}-subset{size}-seed{seed}"


def parted(name: str) -> tuple[str, int, int] | None:
    """Name, size and seed of what bears a mark; None for a whole task."""
    found = MARK.fullmatch(name)
    return (found[1], int(found[2]), int(found[3])) if found else None


def subset(task: Task, size: int, seed: int) -> Task:
    """The task on `size` of its samples, or on all where it has no more."""
    note = (
        f"A subset: {size} samples of {task.id}, drawn by seed {seed}, or all where there are no more. Not comparable "
        "with the whole, nor with another subset."
    )
    return replace(
        task, protocol=marked(task.protocol, size, seed), samples=partial(drawn, task, size, seed),
        notes=(note, *task.notes),
    )  # fmt: skip


def drawn(task: Task, size: int, seed: int, source: Source) -> Iterator[Sample]:
    """The samples whose digest of seed and id is lowest, in the task's own order.

    The ids alone decide, so that machine, order and release of Python do not; a larger subset by the same seed
    holds the smaller one, and protocols that name their samples alike draw the same ones.
    """

    def rank(numbered: tuple[int, Sample]) -> str:
        return digest(f"{seed} {numbered[1].id}")

    kept = heapq.nsmallest(size, enumerate(task.samples(source)), key=rank)
    for _, sample in sorted(kept, key=lambda numbered: numbered[0]):
        yield sample
