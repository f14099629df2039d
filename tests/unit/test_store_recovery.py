"""What is saved of a damaged run: all rows that are whole, nothing that is not, and what is lost is said."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from damaged_store import filled, judged_run
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import h3eval
from small_store import change, keys

from h3eval.errors import StoreDamaged, UsageError
from h3eval.recovery import Recovery, record, recover, varint
from h3eval.store import Reader, Store
from h3eval.types import Fault, Reply, Sample

N = 400


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with short and long answers, so that some take pages of their own."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    filled(folder, N)
    chance = random.Random(2)
    with Store.open(folder) as store:
        long = "".join(map(chr, chance.choices(range(33, 0x3000), k=9_000)))
        store.put("judge", keys(2)[0], Reply(long), cost_micro=7)
        store.put("judge", keys(2)[1], Fault("timeout", long))
        store.put_meta("environment", {"note": long})
        store.put_samples("u", 3, [Sample("one", long)])
    return folder


def read(folder: Path) -> tuple[object, ...]:
    with Reader(folder) as reader:
        answers = sorted((key, repr(reply)) for key, reply in reader.get_many(stored_keys(reader)).items())
        samples = [list(reader.samples(*task)) for task in reader.tasks()]
        totals = {stage: {**each, "seconds": 0} for stage, each in reader.totals().items()}
        return answers, samples, totals, reader.meta("manifest"), reader.meta("environment"), reader.tasks()


def stored_keys(reader: Reader) -> list[bytes]:
    return [bytes.fromhex(key) for (key,) in reader._rows("SELECT hex(key) FROM attempt")]


def test_all_of_a_whole_run_is_saved(whole: Path, tmp_path: Path) -> None:
    assert recover(whole, tmp_path / "new") == Recovery(2, N + 1, N + 1, 0, 0)
    assert read(tmp_path / "new") == read(whole)


def cut_in_half(data: bytearray) -> bytearray:
    return data[: len(data) // 2]


def without_head(data: bytearray) -> bytearray:
    return bytearray(100) + data[100:]


def speckled(data: bytearray) -> bytearray:
    chance = random.Random(8)
    for _ in range(40):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def holed(data: bytearray) -> bytearray:
    middle = len(data) // 8192 * 4096
    data[middle : middle + 4096] = random.Random(3).randbytes(4096)
    return data


@pytest.mark.parametrize("damage", [cut_in_half, without_head, speckled, holed])
def test_what_is_saved_is_true(whole: Path, tmp_path: Path, damage: Callable[[bytearray], bytearray]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.db").write_bytes(damage(bytearray((whole / "run.db").read_bytes())))
    with pytest.raises((StoreDamaged, UsageError)):
        Reader(folder)
    done = recover(folder, tmp_path / "new")
    assert done.answers > N // 4
    assert done.answers + done.lost <= N + 1
    truth, saved = read(whole), read(tmp_path / "new")
    told = dict(truth[0])  # type: ignore[call-overload]
    for key, answer in saved[0]:  # type: ignore[attr-defined]
        assert told[key] == answer
    assert all(samples in truth[1] for samples in saved[1])  # type: ignore[operator, attr-defined]
    assert saved[3] == truth[3]


def test_an_old_run_is_saved_too(tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "fixtures" / "stored" / "schema_1"
    assert recover(old, tmp_path / "new") == Recovery(1, 12, 24, 0, 24)
    with Reader(tmp_path / "new") as reader:
        assert len(list(reader.samples(*reader.tasks()[0]))) == 12


def test_what_the_log_holds_is_saved(tmp_path: Path) -> None:
    """As after kill -9: the last rows stand in the log alone."""
    with Store.open(tmp_path / "run") as store:
        store.put_meta("manifest", {"a": 1})
        for key in keys(20):
            store.put("gen", key, Reply("text"))
        store.flush()
        shutil.copytree(tmp_path / "run", tmp_path / "killed")
    assert (tmp_path / "killed" / "run.db-wal").stat().st_size
    assert recover(tmp_path / "killed", tmp_path / "new").answers == 20


def test_nothing_is_guessed(tmp_path: Path) -> None:
    filled(tmp_path / "run", 3)
    change(tmp_path / "run", "UPDATE meta SET value = x'00' WHERE key = 'manifest'")
    with pytest.raises(StoreDamaged, match="what the run was is lost"):
        recover(tmp_path / "run", tmp_path / "new")
    with pytest.raises(UsageError, match="no run here"):
        recover(tmp_path / "nowhere", tmp_path / "new")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="something is there"):
        recover(tmp_path / "run", tmp_path / "full")


def test_a_recovered_run_goes_on(tmp_path: Path) -> None:
    """The command says what is lost; the same numbers come of what is not."""
    run = judged_run(tmp_path, 5)
    change(run, "DELETE FROM answer WHERE rowid = (SELECT MAX(rowid) FROM answer)")
    refused = h3eval("score", str(run), cwd=tmp_path)
    assert refused.returncode == 6
    done = h3eval("recover", str(run), "--out", "new", cwd=tmp_path)
    assert done.returncode == 3
    assert "1 tasks with 5 samples, 9 answers" in done.stdout + done.stderr
    assert "lost: 1 answers" in done.stdout + done.stderr
    scored = h3eval("score", "new", "--format", "results", cwd=tmp_path)
    assert scored.returncode == 3
    assert "not asked yet" in (tmp_path / "new" / "results.json").read_text()


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_row_or_none(payload: bytes) -> None:
    row = record(payload)
    assert row is None or isinstance(row, tuple)
    value, end = varint(payload, 0)
    assert value >= 0
    assert 1 <= end <= 9
