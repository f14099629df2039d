"""Text files from outside, plain or gzipped, in bounded memory.

What a file is, its content says, not its name. Everything streams: a small gzip file that unpacks to more than the
limits is refused before it has filled the memory.
"""

import codecs
import gzip
import hashlib
import io
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from h3eval.errors import ConfigError
from h3eval.untrusted.messages import shown

MIB = 1 << 20
LARGEST = 8192 * MIB
"""Bytes of a file that is read line by line, unpacked."""
LONGEST_LINE = 64 * MIB
WHOLE = 1024 * MIB
"""Bytes of a file that is read at once."""
FREE = 16 * MIB
RATIO = 200
"""A gzip file may unpack to FREE, and to RATIO times its own size beyond that: texts don't pack better."""
BLOCK = 1 << 16
GZIP = b"\x1f\x8b"
OTHERS = {
    b"PK\x03\x04": "a zip archive or a spreadsheet (.xlsx, .ods): save the sheet as CSV UTF-8, or unpack the archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet (.xls): save the sheet as CSV UTF-8",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it with zstd -d, or pack it with gzip",
    b"\xfd7zXZ\x00": "packed with xz: unpack it with xz -d, or pack it with gzip",
    b"BZh": "packed with bzip2: unpack it with bzip2 -d, or pack it with gzip",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"Rar!": "a RAR archive: unpack it",
    b"PAR1": "a Parquet file: write its rows as JSON lines",
    b"ARROW1": "an Arrow file: write its rows as JSON lines",
    b"SQLite format 3\x00": "an SQLite database: export its rows as JSON lines or CSV",
    b"%PDF": "a PDF",
    b"GGUF": "a GGUF file, a model's weights",
    b"\x80\x04\x95": "a pickle, which can run code when it is read: write its rows as JSON lines",
    b"\x80\x05\x95": "a pickle, which can run code when it is read: write its rows as JSON lines",
}  # fmt: skip
"""What files begin with that hold no text, and the cure."""
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Byte order marks. PowerShell and Excel write UTF-16 with one."""


class Capped(io.RawIOBase):
    """The bytes of a stream, up to a limit. Raise ConfigError beyond it."""

    def __init__(self, path: Path, source: BinaryIO, packed: BinaryIO | None, most: int) -> None:
        self.path, self.source, self.packed, self.most = path, source, packed, most
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: "memoryview") -> int:  # type: ignore[override]
        data = self.source.read(min(len(into), BLOCK))
        into[: len(data)] = data
        self.count += len(data)
        if self.count > self.most:
            raise ConfigError(f"{self.path}: longer than {size(self.most)}, which is the most that is read")
        if self.packed is not None and self.count > FREE + RATIO * self.packed.tell():
            raise ConfigError(
                f"{self.path}: unpacks to over {RATIO} times its size: made to fill the memory? "
                "If it is real, unpack it with gzip -d, and name the unpacked file"
            )
        return len(data)


def size(count: int) -> str:
    """A number of bytes, to be read."""
    return f"{count // MIB} MiB" if count >= MIB else f"{count // 1024} KiB"


@contextmanager
def binary(path: Path, most: int = LARGEST) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked, in bounded reads. Raise ConfigError for what is no ordinary file of text."""
    try:
        # Looked at first: opening a pipe would wait for whoever writes into it.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path}: not an ordinary file")
        with path.open("rb") as file:
            start = file.read(16)
            file.seek(0)
            for magic, what in OTHERS.items():
                if start.startswith(magic):
                    raise ConfigError(f"{path}: this is {what}")
            packed = start.startswith(GZIP)
            source: BinaryIO = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
            yield io.BufferedReader(Capped(path, source, file if packed else None, most), BLOCK)
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{path}: can't be read: {why}") from error


@contextmanager
def opened(path: Path, most: int = LARGEST, newline: str | None = "\n") -> Iterator[TextIO]:
    """The file as text: UTF-8, or UTF-16 where a byte order mark says so. Raise ConfigError naming the line of a
    byte that is neither."""
    with binary(path, most) as data:
        start = data.peek(4)[:4]  # type: ignore[attr-defined]
        encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), "utf-8")
        if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            raise ConfigError(f"{path}: UTF-32: save it as UTF-8")
        if encoding == "utf-8" and b"\0" in start:
            raise ConfigError(f"{path}: UTF-16 without a byte order mark, or no text: save it as UTF-8")
        try:
            yield io.TextIOWrapper(data, encoding=encoding, newline=newline)
        except UnicodeDecodeError as error:
            raise ConfigError(_undecodable(path, encoding, most)) from error
        except UnicodeError as error:
            raise ConfigError(f"{path}: {error}: save it as UTF-8") from error


def _undecodable(path: Path, encoding: str, most: int) -> str:
    """Where the first byte stands that can't be read."""
    if encoding == "utf-16":
        return f"{path}: not UTF-16, though it begins with such a mark: save it as UTF-8"
    with binary(path, most) as data:
        for number in range(1, most):
            try:
                data.readline(LONGEST_LINE).decode("utf-8")
            except UnicodeDecodeError as error:
                near = shown(error.object[max(0, error.start - 12) : error.end + 4])
                return (
                    f"{path}, line {number}: not UTF-8 at byte {error.start + 1} ({near}): save it as UTF-8 "
                    "(in a spreadsheet: CSV UTF-8)"
                )
    return f"{path}: not UTF-8"


def lines(path: Path, most: int = LARGEST, longest: int = LONGEST_LINE, newline: str | None = "\n") -> Iterator[str]:
    """The file's lines, with their ends. Raise ConfigError for one that is longer than `longest` characters.

    Only a line feed ends a line, and, with `newline=""`, a carriage return: Unicode's other line ends may stand in a
    text.
    """
    with opened(path, most, newline) as text:
        number = 0
        while line := text.readline(longest + 1):
            number += 1
            if len(line) > longest:
                raise ConfigError(f"{path}, line {number}: longer than {longest // MIB or 1} million characters")
            yield line


def text(path: Path, most: int = WHOLE) -> str:
    """The whole file. Raise ConfigError where it is longer than `most` bytes, or no text."""
    with opened(path, most) as source:
        return source.read()


def sha256(path: Path) -> str:
    """Digest of the file as it lies there. Raise ConfigError where it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
