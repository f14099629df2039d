"""What others wrote, as a part of a message of one line: short, and with nothing in it that can't be seen."""

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from h3eval.errors import BackendError, ConfigError, H3evalError
from h3eval.text import visible

LONGEST = 1500
"""Characters of a message that a person is shown."""
SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother, SHORT.maxlong = 3, 120, 120, 60


def shown(value: Any) -> str:
    """A value as Python writes it, cut where it is long or deep."""
    return SHORT.repr(value)


def cut(text: str, most: int = LONGEST) -> str:
    """The text, or its beginning and how much is left out."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most} more characters)"


def first_line(error: BaseException) -> str:
    """An exception's first line, cut and visible; its kind where it says nothing."""
    lines = (line.strip() for line in cut(str(error), 4 * LONGEST).splitlines())
    return visible(cut(next(filter(None, lines), type(error).__name__), 300))


@contextmanager
def reading(what: str, refusal: type[H3evalError] = ConfigError) -> Iterator[None]:
    """Whatever a library raises while it reads something from outside becomes one line that names it.

    Libraries raise many kinds, some of their own that derive from Exception alone (safetensors, tokenizers); all mean
    that the file is not what it should be. The cause stays attached.
    """
    try:
        yield
    except H3evalError:
        raise
    except RecursionError as error:
        raise refusal(f"{what}: nested too deeply") from error
    except MemoryError as error:
        raise refusal(f"{what}: does not fit into memory") from error
    except Exception as error:
        named = first_line(error)
        kind = "" if isinstance(error, OSError | ValueError | RuntimeError) else f"{type(error).__name__}: "
        raise refusal(f"{what}: {kind if kind[:-2] != named else ''}{named}") from error


@contextmanager
def loading(what: str) -> Iterator[None]:
    """As `reading`, for what an engine loads: raise BackendError."""
    with reading(what, BackendError):
        yield
