"""The tables of a run's database, how each row proves itself, and how an older run is brought up to date.

Every row carries a checksum over all its columns, and `ledger` counts the rows of each table by triggers, in the
transaction that writes them. A row that is changed, lost or out of reach is therefore found: see `h3eval.integrity`.
"""

import os
import sqlite3
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from h3eval.errors import H3evalError, StoreDamaged, UsageError
from h3eval.text import one_line
from h3eval.types import Json

APPLICATION = 0x48334556  # "H3EV"
SCHEMA = 2
"""1: without checksums of rows and without the ledger (h3eval 0.1.0 before 2026-11-29)."""
MAGIC = b"SQLite format 3\0"
SMALLEST_PAGE = 512
PATIENCE_S = 30.0

TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE task(id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, n INTEGER,
  sha256 BLOB, UNIQUE(name, version));
CREATE TABLE sample(task INTEGER NOT NULL, position INTEGER NOT NULL, id BLOB NOT NULL,
  content BLOB NOT NULL, UNIQUE(task, position), UNIQUE(task, id));
CREATE TABLE attempt(id INTEGER PRIMARY KEY, stage TEXT NOT NULL, key BLOB NOT NULL,
  sent_ns INTEGER NOT NULL, done_ns INTEGER, outcome TEXT CHECK(outcome IN ('answer', 'fault')),
  billed TEXT NOT NULL CHECK(billed IN ('yes', 'no', 'unknown')), http_status INTEGER, request_id TEXT,
  retry_after_ms INTEGER, usage_in INTEGER, usage_out INTEGER, cost_micro INTEGER, fault BLOB);
CREATE INDEX attempt_key ON attempt(key);
CREATE TABLE answer(key BLOB PRIMARY KEY, attempt INTEGER NOT NULL, reply BLOB NOT NULL);
CREATE TABLE event(id INTEGER PRIMARY KEY, ns INTEGER NOT NULL, level TEXT NOT NULL, code TEXT NOT NULL,
  text TEXT NOT NULL);
"""
COUNTED = ("meta", "task", "sample", "attempt", "answer", "event")
SEALED = {
    "attempt": "stage, key, sent_ns, done_ns, outcome, billed, http_status, request_id, retry_after_ms, usage_in,"
    " usage_out, cost_micro, fault",
    "task": "name, version, n, sha256",
    "event": "ns, level, code, text",
}
"""The columns that a row's `crc` covers. Contents of samples, answers and meta hold a checksum of their own."""


def _second() -> str:
    """What schema 2 adds: a checksum for each row, and the ledger with what keeps it."""
    lines = [f"ALTER TABLE {table} ADD COLUMN crc INTEGER;" for table in SEALED]
    lines.append("CREATE TABLE ledger(name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;")
    for table in COUNTED:
        lines.append(f"INSERT INTO ledger(name, n) SELECT '{table}', COUNT(*) FROM {table};")
        for word, sign in (("INSERT", "+"), ("DELETE", "-")):
            lines.append(
                f"CREATE TRIGGER {table}_{word.lower()} AFTER {word} ON {table} BEGIN"
                f" UPDATE ledger SET n = n {sign} 1 WHERE name = '{table}'; END;"
            )
    return "\n".join(lines)


UPGRADE = _second()


def checksum(*values: object) -> int:
    """CRC-32 over the values of a row, as the SQL function `crc`."""
    return zlib.crc32(repr(values).encode("utf-8", "surrogatepass"))


def seal(table: str, which: str) -> str:
    """The statement that writes the checksum of the rows that `which` names."""
    return f"UPDATE {table} SET crc = crc({SEALED[table]}) WHERE {which}"


def connect(path: Path, options: str) -> sqlite3.Connection:
    """A connection that knows the function `crc`. Raise sqlite3.Error."""
    uri = f"file:{quote(os.fsencode(path.absolute()))}?{options}"
    db = sqlite3.connect(uri, PATIENCE_S, isolation_level=None, check_same_thread=False, uri=True)
    try:
        db.create_function("crc", -1, checksum, deterministic=True)
        db.execute("PRAGMA trusted_schema=OFF")
    except BaseException:
        db.close()
        raise
    return db


def schema_of(db: sqlite3.Connection, path: Path) -> int:
    """The schema's number; 0 for a database that is still empty.

    Raise UsageError where it is not a run, or a newer h3eval's; StoreDamaged for a run that can't be read.
    """
    try:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (schema,) = db.execute("PRAGMA user_version").fetchone()
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the message may quote damaged text
        raise _unreadable(path, error) from error
    if application == 0 and not names:
        # SQLite takes a file of less than a page for an empty one.
        size = path.stat().st_size
        if size % SMALLEST_PAGE:
            raise _unreadable(path, f"cut off after {size} bytes")
        return 0
    if application != APPLICATION:
        if names >= set(COUNTED):
            raise StoreDamaged(f"{path}: a run that is damaged (its application id is {application})")
        raise UsageError(f"{path}: not a run of h3eval (application id {application}); choose another folder")
    if schema > SCHEMA:
        raise UsageError(f"{path}: written by a newer h3eval (schema {schema}, known {SCHEMA}); upgrade h3eval")
    if schema < 1:
        raise StoreDamaged(f"{path}: a run that is damaged (its schema is {schema})")
    return int(schema)


def was_emptied(folder: Path) -> bool:
    """Does an empty database stand beside the results of a run that it once held?"""
    sizes = [file.stat().st_size for file in (folder / "run.db", folder / "run.db-wal") if file.is_file()]
    return not sum(sizes) and any((folder / name).is_file() for name in ("results.json", "costs.json"))


def _unreadable(path: Path, why: object) -> H3evalError:
    """The error for a file that is no database, or no longer one."""
    with path.open("rb") as file:
        head = file.read(100)
    if MAGIC.startswith(head[: len(MAGIC)]) or head[68:72] == APPLICATION.to_bytes(4, "big"):
        return StoreDamaged(f"{path}: a run that is damaged ({one_line(why)})")
    return UsageError(f"{path}: not a run of h3eval, or not readable ({one_line(why)})")


def prepare(db: sqlite3.Connection, schema: int) -> None:
    """Make the connection one that writes, and bring the tables from `schema` (0: none yet) to today's."""
    (mode,) = db.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        db.execute("PRAGMA journal_mode=TRUNCATE")
    db.execute("PRAGMA synchronous=FULL")
    marks = f"PRAGMA application_id={APPLICATION}; PRAGMA user_version={SCHEMA};"
    if schema == 0:
        db.executescript(f"BEGIN IMMEDIATE; {TABLES} {UPGRADE} {marks} COMMIT;")
    elif schema < SCHEMA:
        seals = "; ".join(seal(table, "1") for table in SEALED)
        db.executescript(f"BEGIN IMMEDIATE; {UPGRADE} {seals}; {marks} COMMIT;")
    if mode != "wal":
        text = f"no write-ahead log here, but {mode}: slower"
        note_event(db, {"ns": time.time_ns(), "level": "warning", "code": "journal", "text": text})


def note_event(db: sqlite3.Connection, row: Mapping[str, Json]) -> int:
    """Write down what happened (`ns`, `level`, `code`, `text`); the number of rows, which is 1."""
    values = ":ns, :level, :code, :text"
    sql = f"INSERT INTO event({SEALED['event']}, crc) VALUES({values}, crc({values}))"
    return db.execute(sql, row).rowcount
