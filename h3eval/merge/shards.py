"""The result's folder: files of their final size from the start, filled in any order, shown when they are whole.

Weights go into a hidden folder beside the wanted one; its config.json is written last, and then it is renamed. What a
crash leaves behind can't be taken for a model.
"""

import contextlib
import errno
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h3eval.errors import ConfigError, DiskFull
from h3eval.merge.checkpoints import BYTES
from h3eval.merge.plan import Job

SPARE_BYTES = 1 << 26
BLOCK = 1 << 12
"""What begins and ends at multiples of this, in the file and in memory, is written past the system's cache of files:
the inputs stay in that cache, and no memory has to be found for the result."""
FLUSH_EVERY_S = 0.3
INDEX = "model.safetensors.index.json"
CARRIED = ("*.json", "*.jinja", "*.model", "*.txt", "chat_templates/*.jinja")
NOT_CARRIED = (
    "*.safetensors.index.json", "*.bin.index.json", "adapter_*.json", "config.json", "merge_report.json",
    "fusion_*.json",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a tensor's bytes go."""

    descriptor: int
    direct: int | None
    """The same file, opened to be written past the cache; None where the file system can't."""
    offset: int
    item: int

    def write(self, start: int, values: NDArray[np.uint8]) -> None:
        """Write elements from flat index `start` on. Raise DiskFull."""
        view = values.data
        where = self.offset + start * self.item
        if self.direct is not None and not any(at % BLOCK for at in (where, len(view), values.ctypes.data)):
            wrote = past_cache(self.direct, view, where)
            view, where = view[wrote:], where + wrote
        put(self.descriptor, view, where)


def put(descriptor: int, view: memoryview, where: int) -> None:
    """Write all of it. Raise DiskFull."""
    while view:
        with disk():
            wrote = os.pwrite(descriptor, view, where)
        view, where = view[wrote:], where + wrote


def open_direct(file: Path) -> int | None:
    """A descriptor that writes past the system's cache, where system and file system have such."""
    try:
        return os.open(file, os.O_WRONLY | os.O_DIRECT)
    except (AttributeError, OSError):
        return None


def past_cache(descriptor: int, view: memoryview, where: int) -> int:
    """Write, if the device takes such blocks at all; how many bytes it took. Raise DiskFull."""
    try:
        with disk():
            return os.pwrite(descriptor, view, where)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return 0


@contextmanager
def disk() -> Iterator[None]:
    """What the system says of a full disk, as DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"the result can't be written: {error.strerror}; nothing of it is left") from error
        raise


def layout(jobs: Sequence[Job], shard_bytes: int | None) -> dict[str, list[Job]]:
    """Files and their tensors: as in the reference, or cut where a size is reached."""
    shards: list[list[Job]] = []
    if shard_bytes is None:
        by_file: dict[Path, list[Job]] = {}
        for job in jobs:
            by_file.setdefault(job.reference.file.path, []).append(job)
        shards = [by_file[path] for path in sorted(by_file)]
    else:
        size = 0
        for job in jobs:
            if not shards or size + job.bytes_out > shard_bytes:
                shards, size = [*shards, []], 0
            shards[-1].append(job)
            size += job.bytes_out
    if len(shards) == 1:
        return {"model.safetensors": shards[0]}
    return {f"model-{at:05d}-of-{len(shards):05d}.safetensors": shard for at, shard in enumerate(shards, 1)}


def header(jobs: Sequence[Job]) -> tuple[bytes, dict[str, int]]:
    """A file's first bytes, and where each tensor begins in the file: whole blocks first, each of which begins at a
    block, then wider numbers first, so that all are aligned.
    """
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offsets, at = {}, 0
    for job in sorted(jobs, key=lambda job: (job.bytes_out % BLOCK != 0, -_item(job), job.name)):
        offsets[job.name] = at
        entries[job.name] = {
            "dtype": job.dtype, "shape": list(job.reference.shape), "data_offsets": [at, at + job.bytes_out],
        }  # fmt: skip
        at += job.bytes_out
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % BLOCK)
    return len(text).to_bytes(8, "little") + text, {name: len(text) + 8 + at for name, at in offsets.items()}


def _item(job: Job) -> int:
    return BYTES.get(job.dtype) or job.reference.item


class Output:
    """The folder that is being written."""

    def __init__(self, out: Path, jobs: Sequence[Job], shard_bytes: int | None) -> None:
        self.out = out
        self.hidden = out.parent / f".{out.name}.unfinished-{os.getpid()}"
        self.shards = layout(jobs, shard_bytes)
        self.places: dict[str, Place] = {}
        self.descriptors: list[int] = []
        self.done = threading.Event()
        self.flusher = threading.Thread(target=self._flush, daemon=True)

    def __enter__(self) -> "Output":
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise ConfigError(f"--out {self.out}: exists already, and is not an empty folder")
        self.out.parent.mkdir(parents=True, exist_ok=True)
        needed = sum(job.bytes_out for jobs in self.shards.values() for job in jobs)
        if (free := shutil.disk_usage(self.out.parent).free) < needed + SPARE_BYTES:
            raise DiskFull(f"--out {self.out}: needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
        self.hidden.mkdir()
        try:
            for name, jobs in self.shards.items():
                self._create(name, jobs)
        except BaseException:
            self.discard()
            raise
        self.flusher.start()
        return self

    def _flush(self) -> None:
        """Push to the disk what has been written so far, while more is computed."""
        while not self.done.wait(FLUSH_EVERY_S):
            for descriptor in self.descriptors:
                with contextlib.suppress(OSError):
                    # Errors show again at the end, in the thread that can tell of them.
                    os.fdatasync(descriptor)

    def _create(self, name: str, jobs: Sequence[Job]) -> None:
        start, offsets = header(jobs)
        descriptor = os.open(self.hidden / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self.descriptors.append(descriptor)
        direct = open_direct(self.hidden / name)
        if direct is not None:
            self.descriptors.append(direct)
        with disk():
            reserve(descriptor, len(start) + sum(job.bytes_out for job in jobs))
            put(descriptor, memoryview(start), 0)
        self.places.update({job.name: Place(descriptor, direct, offsets[job.name], _item(job)) for job in jobs})

    def __exit__(self, *error: object) -> None:
        self.discard()

    def discard(self) -> None:
        """Close the files and remove what was not finished."""
        self.done.set()
        if self.flusher.is_alive():
            self.flusher.join()
        while self.descriptors:
            os.close(self.descriptors.pop())
        shutil.rmtree(self.hidden, ignore_errors=True)

    def finish(
        self,
        donor: Path,
        config: Mapping[str, Any],
        written: Mapping[str, str],
        check: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        """Add the donor's files and ours, make all durable, and give the folder its name, unless `check` of it raises.
        Raise DiskFull."""
        with disk():
            for descriptor in self.descriptors:
                os.fsync(descriptor)
            carry(donor, self.hidden)
            if len(self.shards) > 1:
                (self.hidden / INDEX).write_text(json.dumps(self.index(), indent=2) + "\n", encoding="utf-8")
            for name, text in written.items():
                (self.hidden / name).write_text(text, encoding="utf-8")
            (self.hidden / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            check(self.hidden)
            if self.out.exists():
                self.out.rmdir()
            self.hidden.rename(self.out)

    def index(self) -> dict[str, Any]:
        """The file that says in which shard a tensor is."""
        total = sum(job.bytes_out for jobs in self.shards.values() for job in jobs)
        where = {job.name: name for name, jobs in self.shards.items() for job in jobs}
        return {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}


def reserve(descriptor: int, size: int) -> None:
    """Give a file its final size, and its blocks where the file system can do so at once."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def carry(donor: Path, into: Path) -> None:
    """Copy what a model's folder holds beside weights and config: tokenizer, templates, generation settings."""
    for pattern in CARRIED:
        for file in donor.glob(pattern):
            if not any(file.match(each) for each in NOT_CARRIED):
                target = into / file.relative_to(donor)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, target)
