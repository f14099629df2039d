"""Files from outside in bounded memory: each case runs in a process that may not take more."""

import gzip
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from h3eval.datasets import read_rows
from h3eval.errors import ConfigError
from h3eval.untrusted import files

ROOM = 768 << 20
"""Bytes of address space for a process that is given a bomb of 1.5 GB."""
READ = "import sys, pathlib; from h3eval import datasets; datasets.read_rows(pathlib.Path(sys.argv[1]))"


@pytest.mark.parametrize(
    ("name", "start", "block"),
    [
        ("line.jsonl", b'{"task": "t", "id": "1", "text": "', b"a"),
        ("list.json", b"[", b" "),
        ("table.csv", b"id,label\n", b'"a,'),
    ],
)
def test_a_small_file_that_unpacks_to_a_large_one(tmp_path: Path, name: str, start: bytes, block: bytes) -> None:
    file = tmp_path / f"{name}.gz"
    # Members of a gzip file follow one another: 1.5 GB in 1.5 MB, made of one.
    file.write_bytes(gzip.compress(start) + gzip.compress(block * ((16 << 20) // len(block)), 9) * 90)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(file)], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM)),
    )  # fmt: skip
    assert "MemoryError" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("h3eval.errors.ConfigError: ")
    assert str(file) in last


def test_an_ordinary_gzip_file_packs_well_and_is_read(tmp_path: Path) -> None:
    rows = [{"id": number, "text": "the same answer again and again " * 50} for number in range(2_000)]
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    assert read_rows(file) == rows
    named_otherwise = file.rename(tmp_path / "rows.json")
    assert read_rows(named_otherwise) == rows


def test_limits_of_lines_and_wholes(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("short\n" + "x" * 100)
    with pytest.raises(ConfigError, match="line 2: longer than"):
        list(files.lines(file, longest=50))
    with pytest.raises(ConfigError, match="longer than"):
        files.text(file, most=50)
    assert list(files.lines(file)) == ["short\n", "x" * 100]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    text = json.dumps({"a": "\u2028 \u0085 \x0c"}, ensure_ascii=False)
    file.write_text(f"{text}\r\n{text}\n", encoding="utf-8", newline="")
    assert read_rows(file) == [{"a": "\u2028 \u0085 \x0c"}] * 2


@pytest.mark.parametrize("kind", ["folder", "missing", "fifo", "device", "unreadable", "name"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "x.jsonl"
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "device":
        file = Path("/dev/zero")
    elif kind == "unreadable":
        file = Path("/proc/self/mem")
    elif kind == "name":
        file = tmp_path / ("x" * 300)
    with pytest.raises(ConfigError, match=file.name):
        read_rows(file)
