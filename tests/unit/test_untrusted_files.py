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

ROOM = 1 << 30
"""Bytes of address space for a command that is given a bomb of more; it takes a quarter of that when it starts."""


def bomb(file: Path, start: bytes, block: bytes, times: int) -> Path:
    with gzip.open(file, "wb", 1) as out:
        out.write(start)
        for _ in range(times):
            out.write(block)
    return file


@pytest.mark.parametrize(
    ("name", "start", "block"),
    [
        ("line.jsonl.gz", b'{"task": "t", "id": "1", "text": "', b"a" * (1 << 20)),
        ("lines.jsonl.gz", b"", b"\n" * (1 << 20)),
        ("list.json.gz", b"[", b" " * (1 << 20)),
        ("table.csv.gz", b"id,label\n", b'"' + b"a," * (1 << 19)),
        ("nothing.jsonl", b"", b"\0" * (1 << 20)),
    ],
)
def test_a_small_file_that_unpacks_to_a_large_one(tmp_path: Path, name: str, start: bytes, block: bytes) -> None:
    file = bomb(tmp_path / name, start, block, 1_500)
    code = "import sys; from h3eval import cli; sys.exit(cli.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "calibrate", "xstest", "--labels", str(file), "--out", str(tmp_path / "card")],
        capture_output=True, text=True, timeout=300, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM)),
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr[-2_000:]
    (line,) = done.stderr.splitlines()
    assert str(file) in line


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
