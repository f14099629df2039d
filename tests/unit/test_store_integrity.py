"""What a look through the store finds: rows that have changed, gone or come, old runs, runs that are being written."""

import json
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from damaged_store import filled
from small_runs import h3eval
from small_store import change, keys

from h3eval.errors import StoreDamaged, UsageError
from h3eval.schema import SCHEMA
from h3eval.store import Reader, Store
from h3eval.types import Fault, Reply

OLD = Path(__file__).parents[1] / "fixtures" / "stored" / "schema_1"
N = 30


@pytest.fixture
def run(tmp_path: Path) -> Path:
    filled(tmp_path / "run", N)
    with Store.open(tmp_path / "run") as store:
        store.put("gen", keys(1)[0], Fault("timeout", "after 30 s"))
        store.event("warning", "drift", "another model answered")
    return tmp_path / "run"


EDITS = [
    ("DELETE FROM answer WHERE rowid = 3", "answered, and their answers are not there"),
    ("UPDATE answer SET key = x'00' WHERE rowid = 3", "answered, and their answers are not there"),
    ("UPDATE answer SET attempt = 1 WHERE rowid = 3", "belong to no call"),
    ("UPDATE attempt SET outcome = 'fault' WHERE id = 3", "attempt have changed"),
    ("UPDATE attempt SET outcome = NULL, done_ns = NULL WHERE id = 3", "attempt have changed"),
    ("UPDATE attempt SET usage_out = usage_out + 1 WHERE id = 3", "attempt have changed"),
    ("UPDATE attempt SET cost_micro = 0, crc = NULL WHERE id = 3", "attempt have changed"),
    ("UPDATE attempt SET stage = 'judge' WHERE id = 3", "attempt have changed"),
    ("UPDATE attempt SET key = x'00' WHERE id = 3", "attempt have changed"),
    ("UPDATE attempt SET done_ns = done_ns + 5 WHERE id = 3", "attempt have changed"),
    ("UPDATE attempt SET fault = NULL WHERE outcome = 'fault'", "attempt have changed"),
    ("UPDATE task SET n = 20", "task have changed"),
    ("UPDATE task SET version = 2", "task have changed"),
    ("UPDATE task SET name = 'u'", "task have changed"),
    ("UPDATE event SET text = 'all is well'", "event have changed"),
    ("UPDATE ledger SET n = 4 WHERE name = 'event'", "event has 1 rows, and 4 were written"),
    ("DELETE FROM ledger", "were written"),
    ("UPDATE sample SET task = 7 WHERE position = 4", "has 29 samples of 30"),
    ("DROP INDEX attempt_key", "tables are not those of a run"),
    ("CREATE VIEW spy AS SELECT * FROM answer", "tables are not those of a run"),
]
GONE = ["attempt WHERE outcome = 'fault'", "sample WHERE position = 4", "event", "meta", "task"]


@pytest.mark.parametrize(("sql", "message"), EDITS, ids=[sql for sql, _ in EDITS])
def test_a_row_that_was_changed_is_found(run: Path, sql: str, message: str) -> None:
    change(run, sql)
    for opener in (Reader, Store.open):
        with pytest.raises(StoreDamaged, match=message):
            opener(run)


@pytest.mark.parametrize("which", GONE)
def test_a_row_that_is_gone_is_found(run: Path, which: str) -> None:
    """As a bit in a page's list of rows would do it: the triggers that count see nothing of it."""
    table = which.split()[0]
    with sqlite3.connect(run / "run.db") as db:
        (trigger,) = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (f"{table}_delete",)).fetchone()
        db.execute(f"DROP TRIGGER {table}_delete")
        db.execute(f"DELETE FROM {which}")
        db.execute(trigger)
    db.close()
    with pytest.raises(StoreDamaged, match=r"rows, and \d+ were written|samples of"):
        Reader(run)


def test_the_message_says_what_to_do(run: Path) -> None:
    change(run, "DELETE FROM answer WHERE rowid = 3")
    done = h3eval("score", str(run), cwd=run.parent)
    assert done.returncode == 6
    assert done.stderr.count("\n") == 1
    assert f"h3eval recover {run} --out NEW" in done.stderr
    assert not (run / "results.json").exists()


def test_an_emptied_database_is_not_begun_anew(run: Path) -> None:
    (run / "run.db").write_bytes(b"")
    with pytest.raises(UsageError, match="never begun"):
        Reader(run)
    (run / "results.json").touch()
    for opener in (Reader, Store.open):
        with pytest.raises(StoreDamaged, match="empty, beside the results of a run"):
            opener(run)


def test_a_run_may_be_looked_at_while_it_is_written(tmp_path: Path) -> None:
    with Store.open(tmp_path / "run") as store:
        for n, key in enumerate(keys(2_000)):
            store.put("gen", key, Reply(str(n)))
            if n % 200 == 0:
                Reader(store.folder).close()
        store.flush()
        with Reader(store.folder) as reader:
            assert reader.totals()["gen"]["answers"] == 2_000


# ---- the log that a killed process leaves


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A run whose process was killed: all that it wrote stands in the log alone."""
    with Store.open(tmp_path / "run") as store:
        store.put_meta("manifest", {"a": 1})
        for key in keys(40):
            store.put("gen", key, Reply("text"))
            store.flush()
        return Path(shutil.copytree(store.folder, tmp_path / "killed"))


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.write_bytes(data)


def test_what_a_killed_process_wrote_is_there(killed: Path) -> None:
    with Reader(killed) as reader:
        assert len(reader.get_many(keys(40))) == 40
    Store.open(killed).close()
    with Reader(killed) as reader:
        assert len(reader.get_many(keys(40))) == 40


@pytest.mark.parametrize("share", [0, 0.2, 0.5, 0.9])
def test_a_damaged_log_is_found_before_it_is_folded_in(killed: Path, share: float) -> None:
    log = killed / "run.db-wal"
    flip(log, int(share * log.stat().st_size))
    before = log.read_bytes()
    for opener in (Reader, Store.open):
        with pytest.raises(StoreDamaged, match=r"run\.db-wal"):
            opener(killed)
    assert log.read_bytes() == before


def test_a_log_may_end_anywhere(killed: Path) -> None:
    """A process may be killed in the middle of a write: what it had acknowledged before is there."""
    log = killed / "run.db-wal"
    data = log.read_bytes()
    chance = random.Random(1)
    for _ in range(40):
        log.write_bytes(data[: chance.randrange(len(data))])
        (killed / "run.db-shm").unlink(missing_ok=True)
        try:
            Reader(killed).close()
        except UsageError as error:
            assert "never begun" in str(error)  # noqa: PT017


# ---- runs of the first schema


def estimates(folder: Path) -> object:
    return json.loads((folder / "results.json").read_text())["estimates"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A run of h3eval 0.1.0 as of 2026-11-21: twelve answers, each judged, with what they then scored to."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_an_old_run_is_read_as_it_is(old: Path) -> None:
    database, before = (old / "run.db").read_bytes(), estimates(old)
    costs = (old / "costs.json").read_bytes()
    done = h3eval("score", str(old), "--format", "results", cwd=old)
    assert done.returncode == 0, done.stderr
    assert estimates(old) == before
    assert (old / "costs.json").read_bytes() == costs
    assert (old / "run.db").read_bytes() == database


def test_an_old_run_is_sealed_when_it_is_written_to(old: Path) -> None:
    with Reader(old) as reader:
        before = reader.totals(), reader.tasks(), reader.meta("manifest")
    with Store.open(old) as store:
        assert store._rows("PRAGMA user_version") == [(SCHEMA,)]
        assert (store.totals(), store.tasks(), store.meta("manifest")) == before
        store.put("gen", keys(1)[0], Reply("new"))
    Reader(old).close()
    change(old, "UPDATE attempt SET usage_out = 1 WHERE id = 2")
    with pytest.raises(StoreDamaged, match="attempt have changed"):
        Reader(old)


def test_a_damaged_old_run_is_not_sealed(old: Path) -> None:
    change(old, "DELETE FROM answer WHERE rowid = 3")
    for opener in (Reader, Store.open):
        with pytest.raises(StoreDamaged, match="answers are not there"):
            opener(old)
    with sqlite3.connect(old / "run.db") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    db.close()


def test_the_message_is_one_line_whatever_is_damaged(run: Path) -> None:
    """SQLite quotes the text that it can't read, with its line breaks."""
    with sqlite3.connect(run / "run.db") as db:
        db.execute("PRAGMA writable_schema=ON")
        broken = b"CREATE TABLE event(id INTEGER PRIMARY KEY, ns\n INTEGER, lev\xff TEXT)"
        db.execute("UPDATE sqlite_master SET sql = CAST(? AS TEXT) WHERE name = 'event'", (broken,))
    db.close()
    with pytest.raises(StoreDamaged) as caught:
        Reader(run)
    assert "\n" not in str(caught.value)
