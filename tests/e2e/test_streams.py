"""Standard output of any kind: a command writes to it and ends with the code that it means."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from h3eval import cli, streams
from h3eval.errors import DiskFull

COMMAND = [sys.executable, "-c", "import sys; from h3eval import cli; sys.exit(cli.main())"]


def ended(shell: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a shell that says where its output goes; `"$@"` is the command."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}", "bash", *COMMAND, *arguments],
        capture_output=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16"])
def test_any_encoding(encoding: str) -> None:
    done = ended('"$@"', "ls", "tasks", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert "beavertails" in done.stdout.decode(encoding)


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ('"$@" >&-', 0),
        ('"$@" <&- >&- 2>&-', 0),
        ('"$@" >/dev/full', DiskFull.exit_code),
        ('"$@" 2>/dev/full', 0),
        ('exec 3>&1; { "$@"; echo $? >&3; } | true; true', 0),
    ],
)
def test_closed_full_and_broken(shell: str, code: int) -> None:
    done = ended(shell, "ls", "suites")
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_what_has_no_letter_is_shown_all_the_same() -> None:
    said = "a – b · c … ü 🙂 \ud800"
    assert said.encode("ascii", streams.NAME) == b"a - b - c ... \\xfc \\U0001f642 \\ud800"
    assert said.encode("utf-8", streams.NAME) == "a – b · c … ü 🙂 \\ud800".encode()


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (PermissionError(13, "Permission denied", "/x"), 2, "h3eval: /x: Permission denied\n"),
        (OSError(28, "No space left on device"), 6, "h3eval: No space left on device\n"),
        (MemoryError(), 2, "h3eval: not enough memory\n"),
        (KeyError("k"), streams.FAULT, "KeyError"),
        (RecursionError("deep"), streams.FAULT, "RecursionError"),
    ],
)
def test_what_nobody_thought_of_never_ends_as_a_failed_gate(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, says: str
) -> None:
    assert streams.unforeseen(error) == code
    assert says in capsys.readouterr().err


def test_messages_are_short_and_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b[2J\u202e" + "x" * 9_000
    assert cli.main(["score", str(tmp_path / name[:200])]) == 2
    assert cli.main(["merge", "--method", name, "--model", "a", "--out", str(tmp_path / "o")]) == 2
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert len(told) < 10_000
