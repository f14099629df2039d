"""Carries out a plan: reads, computes and writes side by side, in memory that does not grow with the model."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from h3eval.errors import ConfigError
from h3eval.merge import digests, kernels, matrices
from h3eval.merge.checkpoints import File
from h3eval.merge.kernels import F32, F64
from h3eval.merge.methods import Chosen, combination, family
from h3eval.merge.pieces import Combination, Prepared, Summing
from h3eval.merge.plan import PIECE, Job, Plan, Raw
from h3eval.merge.shards import Output, Place
from h3eval.merge.tensors import SCRATCH, ModelDeltas, TensorDeltas, whole

Progress = Callable[[int], None]
"""Told how many more bytes have been read and written."""


@dataclass(frozen=True)
class Result:
    """What a merge found on its way."""

    tensors: Mapping[str, Mapping[str, Any]]
    """Statistics by tensor."""
    hashes: Mapping[str, str]
    """SHA-256 of the weights files, by path."""


@dataclass(frozen=True)
class Workers:
    """Threads that compute, and threads that see a tensor through and wait for the first."""

    pool: Executor
    drivers: int

    def each(self, function: Callable[[Job], dict[str, Any]], jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
        """The function's answers by tensor. The first error stops what has not begun."""
        with ThreadPoolExecutor(self.drivers) as drivers:
            futures = {drivers.submit(function, job): job.name for job in jobs}
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                # Also when the user interrupts: the tensors at hand are the last.
                for future in futures:
                    future.cancel()
            _raise_first(futures)
            return {name: future.result() for future, name in futures.items()}


def _raise_first(futures: Mapping["Future[dict[str, Any]]", str]) -> None:
    for future in futures:
        if not future.cancelled() and (error := future.exception()) is not None:
            raise error


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    plan: Plan,
    output: Output,
    threads: int,
    files: Sequence[File],
    progress: Progress,
    where: matrices.Where = matrices.here,
) -> Result:
    """Fill the output's files, and take the inputs' digests. Raise ConfigError for NaN, and DiskFull."""
    chosen = plan.recipe.chosen
    # Digests have threads of their own: they need none of the compiled loops, which take a second to load.
    with _threads(threads) as pool, _threads(max(1, threads // 2)) as hashers:
        hashes = {str(file.path): hashers.submit(digests.sha256, file) for file in files}
        # Sums go over models in the order of their names, so that theirs in the recipe does not matter.
        order = sorted(range(len(chosen.labels)), key=lambda at: chosen.labels[at])
        work = Work(plan, chosen.sorted(), order, output, pool, progress, where)
        with matrices.single_threaded() if chosen.method.whole else contextlib.nullcontext():
            tensors = Workers(pool, threads if chosen.method.whole else threads + 1).each(work.tensor, plan.jobs)
        return Result(tensors, {path: future.result() for path, future in hashes.items()})


@contextlib.contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that drops what has not begun when something fails."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class Work:
    """Everything the jobs of one merge share."""

    def __init__(
        self, plan: Plan, chosen: Chosen, order: Sequence[int], output: Output, pool: Executor, progress: Progress,
        where: matrices.Where,
    ) -> None:  # fmt: skip
        self.chosen = chosen
        self.order = order
        self.output = output
        self.pool = pool
        self.progress = progress
        self.where = where
        self.sums = threading.local()
        self.everywhere: Prepared | None = None
        overall = family(chosen.at("", 0.0))
        if overall.everywhere:
            tensors = [self.deltas(self.sorted(job)) for job in plan.jobs if job.merged]
            self.everywhere = overall.prepare(ModelDeltas(tensors, chosen.labels))

    def sorted(self, job: Job) -> Job:
        """The job with its models in the order of their names."""
        parts = tuple(job.parts[at] for at in self.order) if job.parts else ()
        return Job(**{**vars(job), "parts": parts})

    def deltas(self, job: Job) -> TensorDeltas:
        """The job's pieces."""
        return TensorDeltas(job, self.chosen.labels, self.pool)

    def tensor(self, job: Job) -> dict[str, Any]:
        """Merge one tensor; its statistics."""
        job = self.sorted(job)
        place = self.output.places[job.name]
        facts: dict[str, Any] = {}
        if job.whole:
            facts = self._whole(job, place)
        elif job.merged:
            facts = self._pieces(job, place)
        self._copy(job, place)
        return facts

    def _pieces(self, job: Job, place: Place) -> dict[str, Any]:
        deltas = self.deltas(job)
        chosen = self.chosen.at(job.name, job.depth)
        prepared = self.everywhere or family(chosen).prepare(deltas)
        how = combination(chosen)
        tallies = deltas.spread(lambda span: self._span(deltas, span, prepared, how, place))
        total = Tally.sum(tallies)
        return {**prepared.facts, **total.facts(job, self.chosen.labels)}

    def _span(self, deltas: TensorDeltas, span: range, prepared: Prepared, how: Combination, place: Place) -> "Tally":
        job = deltas.job
        tally = Tally(len(job.parts))
        summing = self._summing(job.piece)
        begin, end = span.start * job.piece, min(span.stop * job.piece, job.merged)
        # One more place than the inputs take.
        written = SCRATCH.raw(-1, (end - begin) * place.item)
        for piece, base in deltas.read(span):
            tally.see(piece.values, job, self.chosen.labels)
            prepared.transform(piece)
            tally.count(piece.values)
            merged = summing(how, piece.values)
            tally.merged += kernels.squares(merged)
            into = written[(piece.start - begin) * place.item :][: len(base) * place.item]
            kernels.add(merged, base)
            rounded(base, job, into)
        place.write(begin, written)
        self.progress(len(written) + job.bytes_in * len(span) // job.pieces)
        return tally

    def _summing(self, elements: int) -> Summing:
        made: Summing | None = getattr(self.sums, "made", None)
        if made is None or made.scratch.shape[1] < elements:
            made = self.sums.made = Summing(elements)
        return made

    def _whole(self, job: Job, place: Place) -> dict[str, Any]:
        values, base = whole(job)
        tally = Tally(len(job.parts))
        tally.see(values, job, self.chosen.labels)
        tally.count(values)
        merged, facts = matrices.merge(self.chosen, job, values, self.where)
        tally.merged = kernels.squares(merged)
        written = np.empty(job.bytes_out, np.uint8)
        kernels.add(merged, base)
        rounded(base, job, written)
        place.write(0, written)
        self.progress(job.bytes_in + job.bytes_out)
        return {**facts, **tally.facts(job, self.chosen.labels)}

    def _copy(self, job: Job, place: Place) -> None:
        """What is not merged: the reference's."""
        if not job.reference.floating:
            place.write(0, job.reference.raw())
            return
        for start in range(job.merged, job.reference.elements, PIECE):
            values = np.empty(min(PIECE, job.reference.elements - start), np.float32)
            written = np.empty(len(values) * place.item, np.uint8)
            job.reference.values(start, values)
            rounded(values, job, written)
            place.write(start, written)
            self.progress(len(written))


def rounded(values: F32, job: Job, into: Raw) -> None:
    """The values in the result's number format, nearest, ties to even. Raise ConfigError where one is not finite."""
    if job.dtype == "BF16":
        wrong = kernels.narrow_bfloat16(values.view(np.uint32), into.view(np.uint16))
    else:
        made = into.view(np.float16 if job.dtype == "F16" else np.float32)
        with np.errstate(over="ignore"):
            made[:] = values
        wrong = made.size - int(np.isfinite(made).sum())
    if wrong:
        raise ConfigError(f"{job.name}: {wrong} merged weights are not finite or too large for {job.dtype}")


class Tally:
    """Running statistics of one tensor; those of its spans add up."""

    def __init__(self, models: int) -> None:
        self.squares: F64 = np.zeros(models)
        self.kept = np.zeros(models, np.int64)
        self.conflicts = 0
        self.merged = 0.0

    def see(self, values: F32, job: Job, labels: Sequence[str]) -> None:
        """Before the transform: norms. Raise ConfigError naming the model whose weights are not finite."""
        now = np.zeros(len(values))
        kernels.squares_each(values, now)
        if not np.isfinite(now).all():
            label = labels[int(np.argmin(np.isfinite(now)))]
            raise ConfigError(f"{job.name}: {label} (or the base) holds NaN or infinite weights")
        self.squares += now

    def count(self, values: F32) -> None:
        """After the transform: what was kept, and where models disagree."""
        self.conflicts += kernels.count_signs(values, np.empty(values.shape[1], np.uint8), self.kept)

    @staticmethod
    def sum(tallies: Sequence["Tally"]) -> "Tally":
        """All together."""
        total = Tally(len(tallies[0].squares))
        for each in tallies:
            total.squares += each.squares
            total.kept += each.kept
            total.conflicts += each.conflicts
            total.merged += each.merged
        return total

    def facts(self, job: Job, labels: Sequence[str]) -> dict[str, Any]:
        """For the report; norms of changes, or of weights where there is no base."""
        return {
            "elements": job.merged,
            "norm": dict(zip(labels, np.sqrt(self.squares).tolist(), strict=True)),
            "kept": dict(zip(labels, (self.kept / job.merged).tolist(), strict=True)),
            "sign_conflicts": self.conflicts / job.merged,
            "merged_norm": float(np.sqrt(self.merged)),
        }
