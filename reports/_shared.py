"""What all report writers need: files that replace whole or not at all, safe file names, names of tasks."""

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping
from math import isfinite
from numbers import Integral, Real
from pathlib import Path

from h3eval.errors import DiskFull, UsageError
from h3eval.text import digest
from h3eval.types import Failure, Item, Json, Run, TaskResult

CLEAN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?")
# A category in brackets, as in `unsafe_rate[drugs,weapons]`, is no filter.
LM_EVAL_KEY = re.compile(r"([^,\[\]]+),([^,\[\]]+)")
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write(folder: Path, name: str, chunks: Iterable[str | bytes], mode: int = 0o600) -> Path:
    """Write a file in one step: readers see the old file or the whole new one. Others may read it where `mode` says so.

    Lone surrogates become the six characters of their escape, which in JSON are the same string.
    Raise UsageError where the place can't be written or is no plain file, DiskFull without space.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _refuse_links(place, name, path)
            _replace(place, name, chunks, mode)
        finally:
            os.close(place)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"{path}: no space left; make room and write the reports again") from error
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from error
    return path


def _refuse_links(place: int, name: str, path: Path) -> None:
    try:
        found = os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is a link, a folder or a device, not a plain file: remove it first")


def _replace(place: int, name: str, chunks: Iterable[str | bytes], mode: int) -> None:
    temporary = f".{secrets.token_hex(6)}.tmp"
    file = os.open(temporary, NEW_FILE, 0o600, dir_fd=place)
    try:
        with os.fdopen(file, "wb", 1 << 18) as out:
            for chunk in chunks:
                out.write(chunk if isinstance(chunk, bytes) else chunk.encode("utf-8", "backslashreplace"))
            out.flush()
            os.fchmod(file, mode)
            os.fsync(file)
        os.replace(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        os.unlink(temporary, dir_fd=place)
        raise


def safe_name(text: str) -> str:
    """A part of a file name for any text. Texts that had to be changed get eight digits of their digest,
    so that different texts never share a name."""
    if CLEAN.fullmatch(text) and not RESERVED.fullmatch(text):
        return text
    words = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[-60:].strip("._-")
    return f"{words or 'x'}-{digest(text)[:8]}"


def task_keys(run: Run) -> list[str]:
    """What lm-eval's files call each of the run's tasks, in order; no two are the same.

    A task bridged from lm-eval keeps lm-eval's name. Ours carry their protocol, because one name
    stands for incompatible protocols.
    """
    keys: list[str] = []
    for result in run.results:
        key = _task_key(result)
        taken = {each.casefold() for each in keys}
        keys.append(f"{key}-{digest(identity(result))[:8]}" if key.casefold() in taken else key)
    return keys


def _task_key(result: TaskResult) -> str:
    # A subset is not lm-eval's task, whose name would say that it is the whole.
    if not bridged(result) or "-subset" in result.protocol:
        return f"{result.task}_{result.protocol}"
    return result.protocol if result.task == "lm_eval" else result.task


def sample_file(key: str) -> str:
    """Name of the file that holds all samples of the task with this key."""
    return f"samples_{safe_name(key)}.jsonl"


def bridged(result: TaskResult) -> bool:
    """Do the metrics carry lm-eval's own names, as in `exact_match,strict-match`?"""
    return any(lm_eval_key(estimate.metric)[1] for estimate in result.estimates)


def lm_eval_key(metric: str) -> tuple[str, str]:
    """Metric and filter of one of lm-eval's names; any other name whole, with no filter."""
    found = LM_EVAL_KEY.fullmatch(metric)
    return (found[1], found[2]) if found else (metric, "")


def identity(result: TaskResult) -> str:
    """`task/protocol`."""
    return f"{result.task}/{result.protocol}"


def failure_rows(result: TaskResult) -> list[tuple[str, str, int]]:
    """Stage or role, reason and count of all that gave nothing in a task."""
    parts = [(key.partition(": "), count) for key, count in sorted(result.failures.items())]
    return [(stage, reason, count) for (stage, _, reason), count in parts]


def is_breakdown(metric: str) -> bool:
    """Is this one category of another metric, as in `unsafe_rate[drugs]`?"""
    return metric.endswith("]")


def failed(item: Item) -> bool:
    """Has any step of this sample given nothing?"""
    steps = (item.generation, *item.verdicts.values())
    return any(isinstance(step, Failure) for step in steps)


def plain(value: Json) -> Json:
    """The same value for JSON: NaN and infinities as null, NumPy's numbers as Python's."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    return str(value)


def line(value: Json) -> str:
    """One line of JSON, keys in the order given."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def pretty(value: Json) -> str:
    """JSON for people, keys in the order given."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
