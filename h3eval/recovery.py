"""Saves what can still be read of a damaged run into a new folder. Knows rows, not what they mean.

SQLite leads from page to page, and stops where one is damaged. So every page of the file is looked at by itself: a row
is taken wherever it stands if its own checksum says that it is whole. Nothing is guessed.
"""

import contextlib
import hashlib
import mmap
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from h3eval import journal
from h3eval.errors import StoreDamaged, UsageError
from h3eval.schema import MAGIC, checksum, seal
from h3eval.store import Store, place
from h3eval.types import Json

TABLE_LEAF, INDEX_LEAF, INDEX_INNER = 13, 10, 2
"""First bytes of pages that hold rows: of a table, and of one without row numbers."""
ATTEMPT = f"INSERT INTO attempt VALUES({', '.join('?' * 15)})"
Value = int | float | str | bytes | None
Row = tuple[Value, ...]


@dataclass
class Saved:
    """The rows that are whole, by what tells them apart."""

    meta: dict[str, list[Json]] = field(default_factory=dict)
    """All values that were found: a page that is no longer in use may hold an older one."""
    tasks: dict[int, Row] = field(default_factory=dict)
    samples: dict[tuple[int, int], Row] = field(default_factory=dict)
    attempts: dict[int, Row] = field(default_factory=dict)
    answers: dict[bytes, Row] = field(default_factory=dict)


@dataclass(frozen=True)
class Recovery:
    """What a recovery has saved, and what it knows to be lost."""

    tasks: int
    samples: int
    answers: int
    lost: int
    """Calls that were answered, and whose answers are gone."""
    unpriced: int
    """Answers whose call is gone, and with it what it cost."""


def recover(folder: Path, out: Path) -> Recovery:
    """Write a new run into `out` with all rows of `folder` that are whole.

    Raise UsageError where `out` holds something, StoreDamaged where what the run was can't be told any more.
    """
    path = folder / "run.db"
    if not path.is_file():
        raise UsageError(f"{folder}: no run here (no run.db)")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: something is there; name a new folder")
    with folded(path) as file:
        saved = carved(file)
    manifests = saved.meta.get("manifest", [])
    if len(manifests) != 1:
        why = "is lost" if not manifests else f"can't be told: it holds {len(manifests)} manifests"
        raise StoreDamaged(f"{path}: nothing can be saved: what the run was {why}")
    complete = {task: row for task, row in saved.tasks.items() if is_complete(saved, task, row)}
    answered = {row[1] for row in saved.attempts.values() if row[4] == "answer"}
    done = Recovery(
        tasks=len(complete),
        samples=sum(1 for task, _ in saved.samples if task in complete),
        answers=len(saved.answers),
        lost=len(answered - set(saved.answers)),
        unpriced=len(set(saved.answers) - answered),
    )
    with Store.open(out) as store:
        for key, values in saved.meta.items():
            if len(values) == 1:
                store.put_meta(key, values[0])
        store.write(lambda db: _restored(db, saved, complete))
        store.event(
            "warning",
            "recovered",
            f"saved from a damaged run: {done.lost} answers are known to be lost, and what {done.unpriced} cost",
        )
    return done


@contextlib.contextmanager
def folded(path: Path) -> Iterator[Path]:
    """A copy of the database with its log folded in, as far as SQLite can; the file itself where there is no log."""
    log = Path(f"{path}-wal")
    if not log.is_file() or not log.stat().st_size:
        yield path
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        copy = Path(place, "run.db")
        shutil.copyfile(path, copy)
        shutil.copyfile(log, f"{copy}-wal")
        with contextlib.suppress(sqlite3.Error):  # then the log can't be read: the file's own pages are what is left
            db = sqlite3.connect(copy, isolation_level=None)
            try:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                db.close()
        yield copy


def is_complete(saved: Saved, task: int, row: Row) -> bool:
    """Are all samples of the task there, with the digest that was noted of them?"""
    _, _, n, sha256, *_ = row
    contents = hashlib.sha256()
    for position in range(int(str(n))):
        found = saved.samples.get((task, position))
        if found is None:
            return False
        id_, content = found
        raw = journal.encoded(journal.unpack(content, place(position, bytes(id_)), "row"))  # type: ignore[arg-type]
        contents.update(len(raw).to_bytes(8, "big") + raw)
    return contents.digest() == sha256


def _restored(db: sqlite3.Connection, saved: Saved, complete: Mapping[int, Row]) -> int:
    """Insert the rows; the number of answers. An answered call whose answer is lost is left out: it is asked again."""
    for task, row in complete.items():
        db.execute("INSERT INTO task(id, name, version, n, sha256) VALUES(?, ?, ?, ?, ?)", (task, *row[:4]))
    for (task, position), row in saved.samples.items():
        if task in complete:
            db.execute("INSERT INTO sample(task, position, id, content) VALUES(?, ?, ?, ?)", (task, position, *row))
    calls: dict[Value, int] = {}
    for attempt, row in saved.attempts.items():
        if row[4] != "answer":
            db.execute(ATTEMPT, (attempt, *row))
        elif row[1] in saved.answers:
            db.execute(ATTEMPT, (attempt, *row))
            calls[row[1]] = attempt
    for key, (reply,) in saved.answers.items():
        db.execute(journal.ANSWER, (key, calls.get(key) or _unknown_call(db, key), reply))
    db.execute(seal("task", "1"))
    return len(saved.answers)


def _unknown_call(db: sqlite3.Connection, key: bytes) -> int:
    """A row for an answer whose own call is lost; its number."""
    attempt = journal.intent("recovered", key, 0)(db)
    end = {**dict.fromkeys(journal.ENDING), "outcome": "answer", "billed": "unknown"}
    journal.finish(attempt, key, end, None, 0)(db)
    return attempt


def carved(path: Path) -> Saved:
    """All whole rows of a database file, wherever they stand."""
    saved = Saved()
    if not path.stat().st_size:
        return saved
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        size = page_size(data)
        for start in range(0, len(data) - size + 1, size):
            for rowid, payload in cells(data, start, size):
                row = record(payload)
                if row is not None:
                    _keep(saved, rowid, row)
    return saved


def page_size(data: mmap.mmap) -> int:
    """As the file's head says, where that can be; else 4096, which every run has."""
    told = int.from_bytes(data[16:18], "big")
    told = 65536 if told == 1 else told
    allowed = data[: len(MAGIC)] == MAGIC and told >= 512 and told & (told - 1) == 0
    return told if allowed else 4096


def _keep(saved: Saved, rowid: int, row: Row) -> None:
    """Take a row by the form of the table that it fits, if its checksum is right."""
    match row:
        case (str() as key, bytes() as value):
            found = _unpacked(value, key.encode("utf-8", "surrogateescape"))
            known = saved.meta.setdefault(key, []) if found else []
            known.extend(each for each in found if each not in known)
        case (bytes() as key, int(), bytes() as reply) if _unpacked(reply, key):
            saved.answers.setdefault(key, (reply,))
        case (int() as task, int() as position, bytes() as id_, bytes() as content):
            if _unpacked(content, place(position, id_)):
                saved.samples.setdefault((task, position), (id_, content))
        case (None, str(), int(), int(), bytes(), *_) if len(row) <= 6:
            # Proved by its samples' digest, with or without a checksum of its own.
            saved.tasks.setdefault(rowid, row[1:])
        case (None, str(), bytes(), *_, int() as crc) if len(row) == 15 and crc == checksum(*row[1:14]):
            saved.attempts.setdefault(rowid, row[1:])


def _unpacked(packed: bytes, salt: bytes) -> list[Json]:
    """The value, alone in a list; an empty list where the checksum is another."""
    try:
        return [journal.unpack(packed, salt, "row")]
    except StoreDamaged:
        return []


def cells(data: mmap.mmap, start: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Number and payload of each row on a page, where it is one that holds rows.

    The form is SQLite's file format, https://sqlite.org/fileformat2.html, sections 1.6 and 1.7.
    """
    head = start + (100 if start == 0 else 0)
    kind = data[head]
    if kind not in (TABLE_LEAF, INDEX_LEAF, INDEX_INNER):
        return
    count = int.from_bytes(data[head + 3 : head + 5], "big")
    first = head + (12 if kind == INDEX_INNER else 8)
    for n in range(min(count, size // 2)):
        pointer = first + 2 * n
        place_ = start + int.from_bytes(data[pointer : pointer + 2], "big") + (4 if kind == INDEX_INNER else 0)
        length, place_ = varint(data, place_)
        rowid, place_ = varint(data, place_) if kind == TABLE_LEAF else (0, place_)
        payload = _payload(data, place_, length, size, kind)
        if payload is not None:
            yield rowid, payload


def _payload(data: mmap.mmap, start: int, length: int, size: int, kind: int) -> bytes | None:
    """A row's bytes, those that overflow onto pages of their own included; None where they are not all there."""
    most = size - 35 if kind == TABLE_LEAF else (size - 12) * 64 // 255 - 23
    if length <= most:
        return data[start : start + length]
    least = (size - 12) * 32 // 255 - 23
    here = least + (length - least) % (size - 4)
    here = here if here <= most else least
    parts = [data[start : start + here]]
    page = int.from_bytes(data[start + here : start + here + 4], "big")
    missing = length - here
    while missing > 0:
        place_ = (page - 1) * size
        if page < 2 or place_ + size > len(data):
            return None
        page = int.from_bytes(data[place_ : place_ + 4], "big")
        parts.append(data[place_ + 4 : place_ + 4 + min(missing, size - 4)])
        missing -= size - 4
    return b"".join(parts)


def varint(data: bytes | mmap.mmap, start: int) -> tuple[int, int]:
    """SQLite's variable-length integer, and where it ends."""
    value = 0
    part = data[start : start + 9]
    for n, byte in enumerate(part[:8], 1):
        value = value << 7 | byte & 127
        if byte < 128:
            return value, start + n
    return value << 8 | (part[8] if len(part) == 9 else 0), start + 9


def record(payload: bytes) -> Row | None:
    """The columns of a row, section 2.1 of the file format; None where they don't add up."""
    length, place_ = varint(payload, 0)
    kinds = []
    while place_ < length <= len(payload):
        kind, place_ = varint(payload, place_)
        kinds.append(kind)
    row: list[Value] = []
    for kind in kinds:
        size = _size_of(kind)
        part = payload[place_ : place_ + size]
        if kind in (7, 10, 11) or len(part) != size:
            return None
        row.append(_value(kind, part))
        place_ += size
    return tuple(row) if place_ == len(payload) and None not in row[1:2] else None


def _size_of(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    return (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]


def _value(kind: int, part: bytes) -> Value:
    if kind == 0:
        return None
    if kind in (8, 9):
        return kind - 8
    if kind < 8:
        return int.from_bytes(part, "big", signed=True)
    if kind % 2 == 0:
        return part
    return part.decode("utf-8", "surrogateescape")
