"""The durable store of a run: `run.db` in the run's folder, and the lock beside it.

It holds the samples, every attempt at a call, the answers and what the run is. An answer that was
acknowledged is never asked for again; a call that was under way when the process died stays listed
as ambiguous. Scores are not stored: they are computed from here. Any number of `Reader`s may look
on while the one `Store` writes. Does not know what stages, judges or metrics are.
"""

import contextlib
import errno
import hashlib
import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from h3eval import costs, integrity, journal
from h3eval.errors import ConfigError, DiskFull, RunMismatch, StoreDamaged, UsageError
from h3eval.folder import RunLock, prepared, time_of
from h3eval.schema import connect, note_event, prepare, schema_of, seal, was_emptied
from h3eval.text import one_line
from h3eval.types import Fault, Journal, Json, Reply, Request, Sample

Item = TypeVar("Item")
Row = tuple[bytes, bytes]
"""A sample's id and its packed contents."""

PAGE = 500
"""Rows read or written at a time: no statement stays open between two pages."""
RESERVE = 32 << 20
"""Bytes that must be free for a paid call to be sent."""

LAST_FAULTS = (
    "SELECT key, fault FROM attempt WHERE fault IS NOT NULL AND id IN"
    " (SELECT MAX(id) FROM attempt WHERE key IN ({marks}) AND done_ns IS NOT NULL GROUP BY key)"
)


def call_key(stage: str, identity: Mapping[str, Json], request: Request) -> bytes:
    """The content address of a call: SHA-256 over the stage, who is asked, and all that is asked.

    `identity` is what tells the answering engine from others. Raise ValueError for NaN.
    """
    if stage not in ("gen", "judge"):
        raise ValueError(f"stage {stage!r}: gen or judge")
    asked = journal.plain(request)
    asked |= {"temperature": float(request.temperature), "top_p": float(request.top_p)}
    content = journal.encoded({"identity": dict(identity), "request": asked})
    return hashlib.sha256(f"h3eval/{stage}/1\0".encode() + content).digest()


def pages(items: Iterable[Item]) -> Iterator[list[Item]]:
    """The items in lists of at most PAGE."""
    stream = iter(items)
    while page := list(itertools.islice(stream, PAGE)):
        yield page


def emptied(folder: Path) -> None:
    """Raise StoreDamaged where the run's database has lost all it held: begun anew, it would be paid for again."""
    if was_emptied(folder):
        raise StoreDamaged(
            f"{folder / 'run.db'}: empty, beside the results of a run; restore it from a copy, or choose another folder"
        )


class Reader:
    """Looks at a run, whether or not a process is writing to it. Not durable, not exclusive."""

    def __init__(self, folder: Path, checked: bool = True) -> None:
        """Open the run, and look through it once unless `checked` is False: for who has done so already.

        Raise UsageError where there is no run, or one this h3eval can't read; StoreDamaged.
        """
        self.folder = folder
        self._path = folder / "run.db"
        if not self._path.is_file():
            raise UsageError(f"{folder}: no run here (no run.db); `h3eval run --out {folder}` makes one")
        log = folder / "run.db-wal"
        # On a read-only disk SQLite can't make its index of the log; without a log it needs none.
        sealed = not os.access(folder, os.W_OK) and not (log.is_file() and log.stat().st_size)
        if checked:
            integrity.check_log(self._path)
        try:
            self._db = connect(self._path, "mode=ro&immutable=1" if sealed else "mode=ro")
        except sqlite3.Error as error:
            raise UsageError(f"{self._path}: can't be read ({one_line(error)})") from error
        try:
            begun = schema_of(self._db, self._path)
            if checked:
                integrity.check(self._db, self._path)
        except BaseException:
            self._db.close()
            raise
        if not begun:
            self._db.close()
            emptied(folder)
            raise UsageError(f"{folder}: the run there was never begun; `h3eval run --out {folder}` begins it")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def _rows(self, sql: str, values: Sequence[Json] = ()) -> list[tuple[Json, ...]]:
        """All rows at once, so that no reader holds back the writer's log."""
        try:
            return self._db.execute(sql, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StoreDamaged(f"{self._path}: can't be read ({one_line(error)}); restore it from a copy") from error

    def meta(self, key: str) -> Json | None:
        """What `put_meta` stored, or None."""
        for (value,) in self._rows("SELECT value FROM meta WHERE key = ?", (key,)):
            return journal.unpack(value, key.encode(), f"{self._path}: meta {key!r}")
        return None

    def tasks(self) -> list[tuple[str, int]]:
        """Ids and versions of the tasks whose samples are stored, in the order of storing."""
        found = self._rows("SELECT name, version FROM task WHERE n IS NOT NULL ORDER BY id")
        return [(name, version) for name, version in found]

    def _task(self, task_id: str, version: int) -> tuple[int, int, bytes] | None:
        """Row number, number of samples and their digest."""
        sql = "SELECT id, n, sha256 FROM task WHERE name = ? AND version = ? AND n IS NOT NULL"
        for row, n, sha256 in self._rows(sql, (task_id, version)):
            return row, n, sha256
        return None

    def sample_count(self, task_id: str, version: int) -> int:
        known = self._task(task_id, version)
        return known[1] if known else 0

    def samples(self, task_id: str, version: int) -> Iterator[Sample]:
        """The task's samples in the order they were stored in; memory does not grow with their number."""
        task, n, _ = self._task(task_id, version) or (0, 0, b"")
        sql = "SELECT id, content FROM sample WHERE task = ? AND position BETWEEN ? AND ? ORDER BY position"
        for start in range(0, n, PAGE):
            rows = self._rows(sql, (task, start, start + PAGE - 1))
            if len(rows) != min(PAGE, n - start):
                raise StoreDamaged(f"{self._path}: {task_id} lacks samples; restore run.db from a copy")
            for position, (id_, content) in enumerate(rows, start):
                name = f"{self._path}: sample {position} of {task_id}"
                yield journal.sample_of(journal.unpack(content, place(position, id_), name))

    def get(self, key: bytes) -> Reply | Fault | None:
        """The answer; else how the last finished attempt failed; else None."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Reply | Fault]:
        """As `get`, for many keys at once. Raise StoreDamaged naming a damaged answer."""
        found: dict[bytes, Reply | Fault] = {}
        for page in pages(keys):
            marks = ",".join("?" * len(page))
            for key, reply in self._rows(f"SELECT key, reply FROM answer WHERE key IN ({marks})", page):
                found[key] = journal.reply_of(self._opened("answer", key, reply))
            missing = [key for key in page if key not in found]
            if missing:
                sql = LAST_FAULTS.format(marks=",".join("?" * len(missing)))
                for key, fault in self._rows(sql, missing):
                    found[key] = Fault(**self._opened("fault", key, fault))
        return found

    def _opened(self, table: str, key: bytes, packed: bytes) -> dict[str, Json]:
        record: dict[str, Json] = journal.unpack(packed, key, f"{self._path}: {table} {key.hex()}")
        return record

    def ambiguous(self) -> list[Mapping[str, Json]]:
        """Attempts sent whose end was never noted: possibly billed, answer lost; or still under way."""
        sql = "SELECT id, lower(hex(key)), stage, sent_ns FROM attempt WHERE done_ns IS NULL ORDER BY id"
        return [
            {"attempt": row, "key": key, "stage": stage, "sent": time_of(ns)} for row, key, stage, ns in self._rows(sql)
        ]

    def totals(self) -> Mapping[str, Mapping[str, Json]]:
        """By stage what its calls came to, as `costs.total` says; added up whether or not they ran at the same time."""
        return {stage: costs.total(row) for stage, *row in self._rows(costs.TOTALS)}

    def events(self) -> list[Mapping[str, Json]]:
        """What happened, in order: `time`, `level`, `code`, `text`."""
        rows = self._rows("SELECT ns, level, code, text FROM event ORDER BY id")
        return [{"time": time_of(ns), "level": level, "code": code, "text": text} for ns, level, code, text in rows]


class Store(Reader):
    """The one writer of a run, and a reader of it: use `Store.open` in a `with` statement.

    What `put` and `event` queue can be read once it is committed, at the latest after `flush`.
    """

    def __init__(self, folder: Path, lock: RunLock, db: sqlite3.Connection, reserve: int) -> None:
        super().__init__(folder, checked=False)
        self._lock = lock
        self._closed = False
        self._reserve = reserve
        self._writer = journal.Writer(db, str(self._path))

    @classmethod
    def open(cls, folder: Path, reserve: int = RESERVE) -> Self:
        """Begin or go on with the run in `folder`, made for its owner only.

        Raise RunLocked, DiskFull, StoreDamaged, or UsageError where something else stands there. Paid calls are
        refused while fewer than `reserve` bytes are free on the disk.
        """
        try:
            with contextlib.ExitStack() as undo:
                path = prepared(folder)
                lock = RunLock(folder / "lock")
                undo.callback(lock.release)
                emptied(folder)
                integrity.check_log(path)
                db = connect(path, "mode=rw")
                undo.callback(db.close)
                integrity.check(db, path)
                prepare(db, schema_of(db, path))
                store = cls(folder, lock, db, reserve)
                undo.pop_all()
                return store
        except sqlite3.Error as error:
            raise DiskFull(f"{folder / 'run.db'}: can't be written ({error}); make room") from error
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
            raise (DiskFull if full else UsageError)(f"{folder}: {error.strerror or error}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except DiskFull:
            if error is None:  # else the first trouble is the one to hear of
                raise

    def close(self) -> None:
        """Write what is queued and free the run. Raise DiskFull where that could not be written."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
        finally:
            super().close()
            self._writer.close()
            self._lock.release()

    def flush(self) -> None:
        """Wait until all that was queued is on disk. Raise DiskFull."""
        self._writer.call(lambda db: 0)

    def write(self, work: journal.Work) -> int:
        """Commit work of another module's own; its value. On disk when this returns. Raise DiskFull."""
        return self._writer.call(work)

    def put_meta(self, key: str, value: Json) -> None:
        """Store what the run is; on disk when this returns."""
        row = (key, journal.pack(journal.ordered(value), key.encode()))
        sql = "INSERT INTO meta(key, value) VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
        self._writer.call(lambda db: db.execute(sql, row).rowcount)

    def event(self, level: str, code: str, text: str) -> None:
        """Queue a note of what happened; `text` must hold no secret."""
        row = {"ns": time.time_ns(), "level": level, "code": code, "text": journal.printable(text)}
        self._writer.submit(lambda db: note_event(db, row))

    def put(self, stage: str, key: bytes, answer: Reply | Fault, seconds: float = 0.0, **info: Json) -> None:
        """Queue an answer that no journal knows of: a local engine's. `seconds` is what it took.

        `info` has the keys of `Journal.outcome`. Raise DiskFull once the disk is full.
        """
        ns = int(seconds * 1e9)
        begin = journal.intent(stage, key, time.time_ns() - ns)
        end, reply = journal.ending(answer, key, paid=False, info=info), journal.packed_answer(answer, key)

        def work(db: sqlite3.Connection) -> int:
            return journal.finish(begin(db), key, end, reply, ns)(db)

        self._writer.submit(work)

    def journal(self, stage: str) -> Journal:
        """Where a backend that costs money notes its calls of this stage."""
        return journal.AttemptJournal(self._writer, self.folder, stage, self._reserve)

    def put_samples(self, task_id: str, version: int, samples: Iterable[Sample]) -> int:
        """Store a task's samples, all or nothing; their number. The same set again changes nothing.

        Raise ConfigError for an id used twice or a sample that is not JSON, RunMismatch where the
        run already holds other samples of this task.
        """
        known = self._task(task_id, version)
        task = known[0] if known else self._writer.call(lambda db: begin_task(db, task_id, version))
        count, contents = 0, hashlib.sha256()
        for page in pages(sample_rows(task_id, samples, contents.update)):
            if not known:
                self._insert(task_id, task, count, page)
            count += len(page)
        if known and known[1:] != (count, contents.digest()):
            raise RunMismatch(
                f"{self.folder}: the samples of {task_id} (version {version}) are not those this run began"
                f" with ({known[1]} stored, {count} now); choose another folder, or the same data"
            )
        if not known:
            end = (count, contents.digest(), task)
            self._writer.call(lambda db: end_task(db, *end))
        return count

    def _insert(self, task_id: str, task: int, start: int, page: Sequence[Row]) -> None:
        rows = [(task, position, *row) for position, row in enumerate(page, start)]
        # Nothing may fail inside the writer but the disk, so an id used twice is found by counting.
        sql = "INSERT OR IGNORE INTO sample(task, position, id, content) VALUES(?, ?, ?, ?)"
        if self._writer.call(lambda db: db.executemany(sql, rows).rowcount) == len(rows):
            return
        stored = self._rows("SELECT position FROM sample WHERE task = ? AND position >= ?", (task, start))
        twice = next(row[2] for row in rows if (row[1],) not in stored)
        raise ConfigError(f"{task_id}: sample id {twice.decode('utf-8', 'replace')!r} is used twice")


def begin_task(db: sqlite3.Connection, name: str, version: int) -> int:
    """A new row for the task's samples, in place of what a broken-off attempt left."""
    left = "SELECT id FROM task WHERE name = ? AND version = ? AND n IS NULL"
    db.execute(f"DELETE FROM sample WHERE task IN ({left})", (name, version))
    db.execute(f"DELETE FROM task WHERE id IN ({left})", (name, version))
    return db.execute("INSERT INTO task(name, version) VALUES(?, ?)", (name, version)).lastrowid or 0


def end_task(db: sqlite3.Connection, n: int, sha256: bytes, task: int) -> int:
    """Note that the task's samples are complete; the number of rows, which is 1."""
    db.execute("UPDATE task SET n = ?, sha256 = ? WHERE id = ?", (n, sha256, task))
    return db.execute(seal("task", "id = ?"), (task,)).rowcount


def sample_rows(task_id: str, samples: Iterable[Sample], note: Callable[[bytes], None]) -> Iterator[Row]:
    """Each sample as a row, its contents told to `note`. Raise ConfigError if one is not JSON."""
    for position, sample in enumerate(samples):
        try:
            record = journal.plain(sample)
            raw = journal.ordered(record)
            same = journal.encoded(record)
            id_ = sample.id.encode("utf-8", "surrogatepass")
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"{task_id}: sample {sample.id!r} can't be stored as JSON ({error})") from error
        # What orders keys otherwise is still the same set of samples.
        note(len(same).to_bytes(8, "big") + same)
        yield id_, journal.pack(raw, place(position, id_))


def place(position: int, id_: bytes) -> bytes:
    """Salt of a sample's checksum: a damaged index that leads to another row is found out."""
    return f"{position} {id_!r}".encode()
