"""Is a run's database what was written? One pass over it, before a number is made of it or a call is paid for.

A bit that flips in a database file may change a number that no checksum covers, or lead a search past a row that is
there. So everything is held against something else: pages and indices by SQLite itself, rows by their checksums,
their numbers by the ledger, and attempts that were answered by the answers.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from h3eval.errors import StoreDamaged
from h3eval.schema import COUNTED, MAGIC, SEALED, TABLES, UPGRADE, checksum, schema_of

LOST_ANSWERS = (
    "SELECT COUNT(*) FROM attempt WHERE outcome = 'answer'"
    " AND NOT EXISTS (SELECT 1 FROM answer WHERE answer.key = attempt.key)"
)
STRAY_ANSWERS = (
    "SELECT COUNT(*) FROM answer WHERE NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.id = answer.attempt"
    " AND attempt.key = answer.key AND attempt.outcome = 'answer')"
)
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
        raise StoreDamaged(
            f"{path} is damaged: {found}. Nothing was scored, sent or changed; restore the file from a copy, or save "
            f"what can still be read: h3eval recover {path.parent} --out NEW"
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
