"""Subsets of a task: some of its samples, drawn by a seed, as a protocol of its own.

`gsm8k-subset200-seed7` is 200 of GSM8K's samples. The mark becomes the end of the protocol, and so part of
every number's identity: stores, comparisons, gates and leaderboards never take a subset for the whole task,
nor for another subset. So with answers that are cut short: `gsm8k-short64` is GSM8K with at most 64 tokens an answer.
"""

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from h3eval.text import digest
from h3eval.types import Reply, Request, Sample, Source, Task

MARK = re.compile(r"(.+)-subset([1-9][0-9]{0,8})-seed(0|[1-9][0-9]{0,8})")
SHORT = re.compile(r"(.+)-short([1-9][0-9]{0,8})")


def marked(name: str, size: int, seed: int) -> str:
    """The name of a task's, or of a protocol's, subset."""
    return f"{name}-subset{size}-seed{seed}"


def parted(name: str) -> tuple[str, int, int] | None:
    """Name, size and seed of what bears a mark; None for a whole task."""
    found = MARK.fullmatch(name)
    return (found[1], int(found[2]), int(found[3])) if found else None


def cut_short(name: str) -> tuple[str, int] | None:
    """Name and most tokens of an answer where a task's, or a protocol's, name bears that mark."""
    found = SHORT.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def longer(task: Task, sample: Sample | None, tokens: int) -> bool:
    """May the task's first answers to this sample have more tokens than that?"""
    asked = task.ask(sample, ()) if sample else ()
    return any(request.kind == "complete" and request.max_tokens > tokens for request in asked)


def shortened(task: Task, tokens: int) -> Task:
    """The task with at most so many tokens for each answer."""
    note = f"Answers were cut at {tokens} tokens: not comparable with {task.id}, nor with another length."
    return replace(
        task, protocol=f"{task.protocol}-short{tokens}", ask=partial(_ask, task, tokens), notes=(note, *task.notes)
    )


def _ask(task: Task, tokens: int, sample: Sample, replies: tuple[Reply, ...]) -> Sequence[Request]:
    return [
        replace(request, max_tokens=min(request.max_tokens, tokens)) if request.kind == "complete" else request
        for request in task.ask(sample, replies)
    ]


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
