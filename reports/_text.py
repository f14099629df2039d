"""Text that others wrote, made safe to look at: nothing hidden, nothing that moves the cursor."""

from dataclasses import dataclass

from markupsafe import Markup, escape

from h3eval.text import HIDDEN, STACKED, escapes, unhidden
from h3eval.text import visible as visible


def marked(text: str) -> Markup:
    """The same as HTML, escapes inside `mark` elements. Harmless in an attribute, too."""
    if unhidden(text):
        return escape(text)
    shown = str(escape(text)).replace("\r\n", "\n")
    shown = STACKED.sub(lambda match: f"{match[1]}<mark>+{len(match[2])} marks</mark>", shown)
    return Markup(HIDDEN.sub(lambda match: f"<mark>{escapes(match[0])}</mark>", shown))


def one_line(text: str, limit: int = 100) -> str:
    """The beginning of a text on one line, hidden characters shown; for tables and summaries."""
    words = " ".join(text[: 8 * limit].split())
    return visible(words if len(words) <= limit else words[: limit - 1].rstrip() + "…")


@dataclass(frozen=True, slots=True)
class Clip:
    """A text, or its beginning and end with the number of bytes between them that are left out."""

    head: str
    tail: str = ""
    left_out: int = 0
    size: int = 0
    """Bytes of the whole text."""


def clip(text: str, limit: int) -> Clip:
    """At most `limit` characters of a text: two thirds from its beginning, the rest from its end."""
    if len(text) <= limit:
        return Clip(text)
    head, tail = text[: limit * 2 // 3], text[-(limit // 3) :]
    size = _bytes(text)
    return Clip(head, tail, size - _bytes(head) - _bytes(tail), size)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
