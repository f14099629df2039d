"""Is a run's database what was written? One pass over it, before a number is made of it or a call is paid for.

A bit that flips in a database file may change a number that no checksum covers, or lead a search past a row that is
there. So everything is held against something else: pages and indices by SQLite itself, rows by their checksums,
their numbers by the ledger, and attempts that were answered by the answers.
"""

import mmap
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

from h3eval.errors import StoreDamaged
from h3eval.schema import COUNTED, MAGIC, SEALED, TABLES, UPGRADE, checksum, schema_of
from h3eval.text import one_line

LOST_ANSWERS = (
    "SELECT COUNT(*) FROM attempt WHERE outcome = 'answer'"
    " AND NOT EXISTS (SELECT 1 FROM answer WHERE answer.key = attempt.key)"
)
STRAY_ANSWERS = (
    "SELECT COUNT(*) FROM answer WHERE NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.id = answer.attempt"
    " AND attempt.key = answer.key AND attempt.outcome = 'answer')"
)
LOG_MAGIC, LOG_HEAD, FRAME_HEAD = 0x377F0682, 32, 24
SAMPLES = "SELECT name, n, (SELECT COUNT(*) FROM sample WHERE sample.task = task.id) FROM task WHERE n IS NOT NULL"


def check(db: sqlite3.Connection, path: Path) -> None:
    """Raise StoreDamaged, saying what is wrong, unless the whole database is as it was written.

    A database that is still empty is well. Reads one state of it, whoever is writing meanwhile. Contents of samples
    and answers are not looked into: each holds its own checksum, which is checked whenever it is read.
    """
    schema = schema_of(db, path)
    if not schema:
        return
    try:
        db.execute("BEGIN")
        try:
            found = next(problems(db, schema), "")
        finally:
            db.execute("ROLLBACK")
        found = found or header_problem(path)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        found = str(error)
    if found:
        raise damaged(path, found)


def check_log(path: Path) -> None:
    """Raise StoreDamaged where the log beside the database is damaged. Before the database is opened: SQLite folds what
    it can read of the log into the database, and deletes the rest."""
    if found := log_problem(path):
        raise damaged(path, found)


def damaged(path: Path, found: str) -> StoreDamaged:
    """The error, in one line: SQLite's words may quote what is damaged."""
    return StoreDamaged(
        f"{path} is damaged: {one_line(found)}. Nothing was scored, sent or changed; restore the file from a copy, or "
        f"save what can still be read: h3eval recover {path.parent} --out NEW"
    )


def problems(db: sqlite3.Connection, schema: int) -> Iterator[str]:
    """What is wrong, in words; nothing where all is well."""
    if statements(db) != expected_statements(schema):
        yield "its tables are not those of a run"
    for (line,) in db.execute("PRAGMA integrity_check(1)"):
        if line != "ok":
            yield str(line).replace("\n", " ")
    if schema > 1:
        yield from changed_rows(db)
        yield from lost_rows(db)
    yield from lost_answers(db)
    for name, n, count in db.execute(SAMPLES):
        if n != count:
            yield f"{name} has {count} samples of {n}"


def lost_answers(db: sqlite3.Connection) -> Iterator[str]:
    """Calls without the answer they were given, and answers without a call."""
    (lost,) = db.execute(LOST_ANSWERS).fetchone()
    if lost:
        yield f"{lost} calls were answered, and their answers are not there"
    (stray,) = db.execute(STRAY_ANSWERS).fetchone()
    if stray:
        yield f"{stray} answers belong to no call"


def statements(db: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """How the tables, indices and triggers were made."""
    rows = db.execute("SELECT type, name, COALESCE(sql, '') FROM sqlite_master").fetchall()
    return {(kind, name, sql) for kind, name, sql in rows}


def expected_statements(schema: int) -> set[tuple[str, str, str]]:
    """As `statements`, of a new run."""
    db = sqlite3.connect(":memory:")
    try:
        db.create_function("crc", -1, checksum, deterministic=True)
        db.executescript(TABLES + (UPGRADE if schema > 1 else ""))
        return statements(db)
    finally:
        db.close()


def changed_rows(db: sqlite3.Connection) -> Iterator[str]:
    """Rows whose checksum is not theirs."""
    for table, columns in SEALED.items():
        # A task's row is sealed when its samples are complete.
        done = " AND n IS NOT NULL" if table == "task" else ""
        sql = f"SELECT COUNT(*), MIN(rowid) FROM {table} WHERE crc IS NOT crc({columns}){done}"
        count, first = db.execute(sql).fetchone()
        if count:
            yield f"{count} rows of the table {table} have changed (the first is row {first})"


def lost_rows(db: sqlite3.Connection) -> Iterator[str]:
    """Tables that hold more or fewer rows than were written."""
    ledger = dict(db.execute("SELECT name, n FROM ledger").fetchall())
    for table in COUNTED:
        (count,) = db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
        if ledger.get(table) != count:
            yield f"the table {table} has {count} rows, and {ledger.get(table)} were written"


def header_problem(path: Path) -> str:
    """What SQLite does not look at: a file that ends before its last page."""
    with path.open("rb") as file:
        head = file.read(100)
        length = file.seek(0, 2)
    if not head.startswith(MAGIC):
        return "it does not begin as a database does"
    page = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    size = 65536 if page == 1 else page
    if length % size:
        return f"it is cut off: {length} bytes are no whole number of pages"
    # With a log beside it the file may still lack pages that the log holds.
    log = Path(f"{path}-wal")
    if length < pages * size and not (log.is_file() and log.stat().st_size):
        return f"it is cut off: {length // size} of {pages} pages are there"
    return ""


def log_problem(path: Path) -> str:
    """What is wrong with the write-ahead log, in words. SQLite stops in silence at the first frame that is damaged, and
    all that was committed after it is gone: so no commit may stand behind such a frame.

    A process that is killed leaves nothing behind the place where it stopped. The form is SQLite's,
    https://sqlite.org/fileformat2.html, section 4.
    """
    log = Path(f"{path}-wal")
    if not log.is_file() or log.stat().st_size <= LOG_HEAD:
        return ""
    with log.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = data[:LOG_HEAD]
        found = _broken_log(head, data)
        file.seek(0)
        # Begun anew by the process that is writing, while it was looked at: then nothing can be said of it.
        return found if file.read(LOG_HEAD) == head else ""


def _broken_log(head: bytes, data: mmap.mmap) -> str:
    order = {LOG_MAGIC: "little", LOG_MAGIC + 1: "big"}.get(int.from_bytes(head[:4], "big"))
    if order is None or _summed(order, head[:24], (0, 0)) != _pair(head[24:]):
        return "the head of its log (run.db-wal) has changed"
    size, salts = int.from_bytes(head[8:12], "big"), head[16:24]
    sums, whole = _pair(head[24:]), True
    for start in range(LOG_HEAD, len(data) - FRAME_HEAD - size + 1, FRAME_HEAD + size):
        frame = data[start : start + FRAME_HEAD]
        if whole:
            page = data[start + FRAME_HEAD : start + FRAME_HEAD + size]
            sums = _summed(order, frame[:8] + page, sums)
            whole = frame[8:16] == salts and sums == _pair(frame[16:])
        elif frame[8:16] == salts and frame[4:8] != bytes(4):
            return "its log (run.db-wal) has changed, and what was written after that is out of reach"
    return ""


def _pair(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")


def _summed(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    """The log's running checksum, section 4.2 of the file format."""
    first, second = sums
    words = struct.unpack(f"{'<' if order == 'little' else '>'}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
