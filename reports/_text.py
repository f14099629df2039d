"""Text that others wrote, made safe to look at: nothing hidden, nothing that moves the cursor."""

import re
from dataclasses import dataclass

from markupsafe import Markup, escape

# Controls but newline and tab, invisible and direction-changing characters, tags, lone surrogates.
# Joiners (200C, 200D) belong to Persian, Hindi and emoji: suspicious only beside ASCII.
HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]+"
    r"|(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])"
)
STACKED = re.compile(
    r"([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})"
    r"([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+)"
)


def visible(text: str) -> str:
    """Plain text with every hidden character shown as its escape, `\\x1b` say."""
    if _plain(text):
        return text
    text = STACKED.sub(lambda match: f"{match[1]}[+{len(match[2])} marks]", text.replace("\r\n", "\n"))
    return HIDDEN.sub(lambda match: _escapes(match[0]), text)


def marked(text: str) -> Markup:
    """The same as HTML, escapes inside `mark` elements. Harmless in an attribute, too."""
    if _plain(text):
        return escape(text)
    shown = str(escape(text)).replace("\r\n", "\n")
    shown = STACKED.sub(lambda match: f"{match[1]}<mark>+{len(match[2])} marks</mark>", shown)
    return Markup(HIDDEN.sub(lambda match: f"<mark>{_escapes(match[0])}</mark>", shown))


def _plain(text: str) -> bool:
    """Is there surely nothing to show? Most texts are ASCII, where this is ten times as quick as looking for each."""
    return text.isascii() and text.replace("\n", " ").replace("\t", " ").isprintable()


def _escapes(hidden: str) -> str:
    return "".join(_escape(ord(character)) for character in hidden)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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
