"""Digests of weights files that are kept: when they count, and when the file is read anew."""

import hashlib
import os
from pathlib import Path

import pytest

from h3eval.merge import digests
from h3eval.merge.checkpoints import File

OLD_NS = 1_700_000_000_000_000_000


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The files whose content was read, in order. Times of changes of status are the content's, which tests can set."""
    found: list[Path] = []
    whole, known = File.sha256, digests.identity

    def sha256(file: File) -> str:
        found.append(file.path)
        return whole(file)

    monkeypatch.setattr(File, "sha256", sha256)
    monkeypatch.setattr(digests, "identity", lambda file: [*known(file)[:4], known(file)[3]])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


def made(file: Path, content: bytes, changed_ns: int = OLD_NS) -> Path:
    file.write_bytes(content)
    os.utime(file, ns=(changed_ns, changed_ns))
    return file


def right(file: Path) -> bool:
    return digests.sha256(File(file)) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_file_is_read_once(read: list[Path], tmp_path: Path) -> None:
    file = made(tmp_path / "a", b"one")
    assert right(file)
    assert right(file)
    assert read == [file]


@pytest.mark.parametrize(("content", "changed_ns"), [(b"two", OLD_NS + 1), (b"three", OLD_NS)], ids=["time", "size"])
def test_a_changed_file_is_read_anew(content: bytes, changed_ns: int, read: list[Path], tmp_path: Path) -> None:
    file = made(tmp_path / "a", b"one")
    assert right(file)
    made(file, content, changed_ns)
    assert right(file)
    assert len(read) == 2


def test_another_file_in_its_place_is_read_anew(read: list[Path], tmp_path: Path) -> None:
    file = made(tmp_path / "a", b"one")
    assert right(file)
    made(tmp_path / "b", b"two").replace(file)
    assert right(file)
    assert len(read) == 2


def test_the_time_of_status_counts(tmp_path: Path) -> None:
    file = made(tmp_path / "a", b"one")
    before = digests.identity(File(file))
    assert before[4] == file.stat().st_ctime_ns != OLD_NS
    assert before[:4] == [file.stat().st_dev, file.stat().st_ino, 3, OLD_NS]


def test_a_young_file_is_not_kept(read: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    assert right(file)
    assert right(file)
    assert len(read) == 2


@pytest.mark.parametrize("spoiled", [b"", b"[]", b"{}", b'{"identity": 1}', b"\xff"])
def test_a_spoiled_record_is_no_record(spoiled: bytes, read: list[Path], tmp_path: Path) -> None:
    file = made(tmp_path / "a", b"one")
    assert right(file)
    (kept,) = (tmp_path / "cache" / "h3eval" / "digests").iterdir()
    kept.write_bytes(spoiled)
    assert right(file)
    assert len(read) == 2


def test_a_cache_that_can_not_be_written_is_no_error(
    read: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(made(tmp_path / "file", b"")))
    file = made(tmp_path / "a", b"one")
    assert right(file)
    assert right(file)
    assert len(read) == 2
