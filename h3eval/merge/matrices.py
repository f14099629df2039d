"""Methods that need a matrix at once, on tensors that may hold several: experts side by side, gate and up in one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from h3eval.merge import r_tsvm, tsvm
from h3eval.merge.kernels import F32, F64
from h3eval.merge.methods import Chosen
from h3eval.merge.plan import Job
from h3eval.merge.tsvm import Array

FUSED = "gate_up_proj"
"""Two matrices in one tensor, the first in the upper half of the rows."""
Merged = tuple[Array, dict[str, Any]]
Where = Callable[[Callable[[Array], Merged], F32], tuple[F64, dict[str, Any]]]
"""Runs a merge of changes (models, m, n) on some device."""
OPTIONS = ("gamma", "weights", "order", "epsilon", "epsilon_mode", "clamp_rank")


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread for each matrix product: results must not depend on how many there are."""
    with threadpool_limits(1, user_api="blas"):
        yield


def options(chosen: Chosen) -> r_tsvm.Options:
    """R-TSVM's switches."""
    return r_tsvm.Options(**{name: chosen.shared[name] for name in OPTIONS})


def here(function: Callable[[Array], Merged], changes: F32) -> Merged:
    """On the processor."""
    return function(changes)


def merge(chosen: Chosen, job: Job, values: F32, where: Where = here) -> tuple[F64, dict[str, Any]]:
    """The merged change, (elements,), of changes (models, elements); what was chosen, matrix by matrix."""
    shape = job.reference.shape
    stacked = values.reshape(len(values), -1, *shape[-2:])
    total = np.empty(stacked.shape[1:])
    facts: list[dict[str, Any]] = []
    for at, rows in _slices(job.name, shape):
        total[at, rows], told = where(lambda changes: _one(chosen, changes), stacked[:, at, rows])
        facts.append(told)
    return total.reshape(-1) * chosen.shared["lambda"], facts[0] if len(facts) == 1 else {"matrices": facts}


def _slices(name: str, shape: tuple[int, ...]) -> Iterator[tuple[int, slice]]:
    rows = shape[-2]
    for at in range(prod(shape[:-2])):
        if FUSED in name and rows % 2 == 0:
            yield at, slice(0, rows // 2)
            yield at, slice(rows // 2, rows)
        else:
            yield at, slice(0, rows)


def _one(chosen: Chosen, changes: Array) -> Merged:
    if chosen.name == "r_tsvm":
        return r_tsvm.merge(changes, options(chosen))
    return tsvm.merge(changes), {"rank": min(changes.shape[1:]) // len(changes)}
