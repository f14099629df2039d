"""Standard output and error: whatever they are, a command writes to them, and ends with a code that says what happened.

They may be closed, full, a pipe that nobody reads, or of an encoding that has no letter for what is said.
"""

import codecs
import errno
import io
import os
import sys
import traceback

from h3eval.errors import DiskFull, H3evalError
from h3eval.text import visible
from h3eval.untrusted.messages import cut, first_line

NAME = "h3eval"
LONGEST = 4000
FAULT = 70
"""An error of h3eval's own: never 1, which says that a gate has failed."""
PIPE = 141
PLAIN = str.maketrans({
    "–": "-", "—": "-", "−": "-", "‐": "-", "‑": "-", "·": "-", "•": "*", "…": "...", "×": "x", "≤": "<=", "≥": ">=",
    "±": "+-", "→": "->", "←": "<-", "’": "'", "‘": "'", "“": '"', "”": '"', "✓": "yes", "✗": "no", "█": "#", "▏": "|",
})  # fmt: skip
"""How signs are written where there is no letter for them; anything else is shown as its number."""


def _written_plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end].translate(PLAIN)
    return part.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(NAME, _written_plain)


def prepare() -> None:
    """Open what is closed, so that no file of ours takes its place, and let no letter stop us."""
    if any(stream is None for stream in (sys.stdin, sys.stdout, sys.stderr)):
        while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(spare)
        sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115 - it stays open
        sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=NAME)


def told(error: H3evalError) -> int:
    """Print what a person can mend; the exit code."""
    tell(visible(str(error)))
    return error.exit_code


def unforeseen(error: Exception) -> int:
    """Print what nobody has thought of, as well as it can be named; the exit code."""
    if isinstance(error, MemoryError):
        tell("not enough memory")
        return H3evalError.exit_code
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        tell(visible(f"{where}{error.strerror}"))
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return DiskFull.exit_code if full else H3evalError.exit_code
    traceback.print_exception(error)
    tell(f"a fault of h3eval's own ({type(error).__name__}: {first_line(error)}): please report the lines above")
    return FAULT


def tell(text: str) -> None:
    """A message on standard error, if it takes one."""
    try:
        print(f"h3eval: {cut(text, LONGEST)}", file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)


def flushed(code: int) -> int:
    """Write what still waits, so that nothing fails after the exit code is settled; the code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            _give_up(stream)
            code = PIPE
        except ValueError:
            # Closed by somebody else: nothing can be lost any more.
            continue
        except OSError as error:
            _give_up(stream)
            tell(f"standard output can't be written: {error.strerror}")
            code = DiskFull.exit_code
    return code


def broken() -> int:
    """The reader has gone (`| head`): nothing more is written; the exit code."""
    _give_up(sys.stdout)
    return PIPE


def _give_up(stream: object) -> None:
    """Send the rest to nowhere: Python would complain of it at exit."""
    if isinstance(stream, io.TextIOWrapper):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
