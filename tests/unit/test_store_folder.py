"""A run's folder: who may read it, who writes it, and what is refused there."""

import dataclasses
import os
import stat
from pathlib import Path

import pytest
from small_store import change, keys

from h3eval.errors import H3evalError, RunLocked, UsageError
from h3eval.journal import plain
from h3eval.store import Reader, Store
from h3eval.types import Reply

KEY = bytes(range(32))
REPLY = Reply("42", tokens_in=3, tokens_out=1)


# ---- the folder


def test_meta_and_events(store: Store) -> None:
    store.put_meta("manifest", {"a": [1, 2.5, None]})
    store.put_meta("manifest", {"b": "é"})
    store.event("warning", "drift", "another model answered")
    store.flush()
    assert store.meta("manifest") == {"b": "é"}
    (event,) = store.events()
    assert (event["level"], event["code"], event["text"]) == ("warning", "drift", "another model answered")


def test_only_the_owner_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    with Store.open(folder) as store:
        store.put_meta("a", 1)
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}
        assert set(modes) == {"run.db", "run.db-wal", "run.db-shm", "lock"}
        assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_how_the_database_is_kept(store: Store) -> None:
    assert store._rows("PRAGMA journal_mode") == [("wal",)]
    assert store._rows("PRAGMA application_id") == [(0x48334556,)]
    assert store._rows("PRAGMA user_version") == [(2,)]
    assert store._rows("PRAGMA trusted_schema") == [(0,)]
    assert store._writer._connection.execute("PRAGMA synchronous").fetchall() == [(2,)]
    with pytest.raises(H3evalError, match="readonly"):
        store._rows("DELETE FROM answer")


def test_reading_beside_the_writer_and_after_it(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, Reader(tmp_path) as reader:
        store.put("gen", KEY, REPLY)
        store.flush()
        assert reader.get(KEY) == REPLY
    with Reader(tmp_path) as reader:
        assert reader.get(KEY) == REPLY
    with Store.open(tmp_path) as store:
        assert store.get(KEY) == REPLY


def test_what_is_queued_is_written_at_the_end(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for key in keys(100):
        store.put("gen", key, REPLY)
    store.close()
    store.close()
    with Reader(tmp_path) as reader:
        assert len(reader.get_many(keys(100))) == 100
    with pytest.raises(ValueError, match="closed"):
        store.put("gen", KEY, REPLY)


def test_one_writer_even_within_a_process(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for _ in range(2):
            with pytest.raises(RunLocked, match="this process is already working"):
                Store.open(tmp_path)
        store.put_meta("still", "writable")
    Store.open(tmp_path).close()


@pytest.mark.parametrize("name", ["run.db", "run.db-wal", "lock"])
def test_a_symbolic_link_is_refused(tmp_path: Path, name: str) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(UsageError, match="a symbolic link"):
        Store.open(folder)
    assert not elsewhere.exists()


def test_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run here \(no run.db\)"):
        Reader(tmp_path)
    (tmp_path / "run.db").touch()
    with pytest.raises(UsageError, match="never begun"):
        Reader(tmp_path)
    Store.open(tmp_path).close()
    Reader(tmp_path).close()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"Not a directory|File exists"):
        Store.open(tmp_path / "file")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("PRAGMA application_id=7; DROP TABLE event", "not a run of h3eval"),
        ("PRAGMA application_id=0; DROP TABLE event", "not a run of h3eval"),
        ("PRAGMA user_version=3", "written by a newer h3eval .* upgrade"),
    ],
)
def test_a_foreign_or_newer_database_is_left_alone(tmp_path: Path, sql: str, message: str) -> None:
    with Store.open(tmp_path) as store:
        store.put_meta("a", 1)
    for statement in sql.split("; "):
        change(tmp_path, statement)
    before = (tmp_path / "run.db").read_bytes()
    for opener in (Reader, Store.open):
        with pytest.raises(UsageError, match=message):
            opener(tmp_path)
    assert (tmp_path / "run.db").read_bytes() == before


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "run.db").write_text("not a database" * 100)
    for opener in (Reader, Store.open):
        with pytest.raises(UsageError, match="not a run of h3eval"):
            opener(tmp_path)


def test_odd_folder_names(tmp_path: Path) -> None:
    folder = tmp_path / "100% #1?mode=memory & é"
    with Store.open(folder) as store:
        store.put_meta("a", 1)
    assert sorted(os.listdir(tmp_path)) == [folder.name]
    with Reader(folder) as reader:
        assert reader.meta("a") == 1


def test_every_field_of_a_reply_is_stored() -> None:
    # But for the nonce, which is made anew from what was asked.
    assert set(plain(Reply())) == {field.name for field in dataclasses.fields(Reply)} - {"nonce"}
