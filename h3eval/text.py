"""Pure helpers for wording questions and reading answers. Knows nothing of models or files."""

import hashlib
import itertools
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
NONCE_LENGTH = 10
"""Hexadecimal digits of a nonce, and of what stands for it."""


def fill(template: str, **values: str) -> str:
    """Replace each `{name}` of the template once, in one pass.

    Values are never read as templates, so an answer that contains `{question}` stays as it is;
    braces around anything but a given name are left alone.
    """
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces; floats by repr; NaN is refused with ValueError."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def digest(value: str | bytes) -> str:
    """SHA-256 in hexadecimal; lone surrogates in text are kept distinct, not refused."""
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return hashlib.sha256(data).hexdigest()


def one_line(words: object) -> str:
    """The words in one line without control characters: another library's message may quote what it could not read."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(words)).split())


def cut_at(text: str, stops: tuple[str, ...]) -> str:
    """The text before the first of the stop sequences."""
    ends = [position for stop in stops if stop and (position := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def placeholder(template: str, *judged: str) -> str:
    """What stands for a request's nonce until it is sent: a function of the wording and of what is judged.

    It occurs in none of them, so that every occurrence in the request made of them is one of ours.
    """
    content = "\0".join((template, *judged))
    for number in itertools.count():
        found = digest(f"{content}\0{number}" if number else content)[:NONCE_LENGTH]
        if not any(found in text for text in (template, *judged)):
            return found
    raise AssertionError("no end of numbers")


# Cyrillic and Greek letters, mostly, that look like ours, and that no compatibility form turns into them.
LOOKALIKES = str.maketrans(
    "\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0417"
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0455\u0458\u0501\u04bb\u051b\u051d\u0491\u0433"
    "\u043f\u03c5\u03bd\u03b1\u03b9\u03ba\u03c1\u03c4\u03b2\u03b5\u03b7\u03c7\u0391\u0392\u0395\u0396"
    "\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf\u03f2\u217c\u0131\u2c9f",
    "ABESIJKMHOPCTYX3aeopcyxisjdhqwrrnuvaikptbenxABEZHIKMNOPTYXoclio",
)


def plain_letters(text: str) -> str:
    """The text as it looks: full-width and styled letters, look-alikes of other scripts and other digits as the usual
    ones, and nothing that is invisible. For finding what hides from a parser, never for reading."""
    if text.isascii():
        return text
    found = []
    for character in unicodedata.normalize("NFKC", text).translate(LOOKALIKES):
        kind = unicodedata.category(character)
        if kind in ("Cf", "Mn", "Me", "Cc") and character not in "\n\t\r":
            continue
        digit = unicodedata.decimal(character, None)
        found.append(character if digit is None else str(digit))
    return "".join(found)


THOUGHT = "think|thinking|thought|reasoning|reflection|scratchpad|analysis"
ELEMENTS = f"{THOUGHT}|q|blockquote|cite|pre|code|del|s|strike"
# What may begin or end a quotation, in the order in which it is looked for at one place.
MARK = re.compile(
    rf"(?P<fence>^[ \t]*(?P<bars>`{{3,}}|~{{3,}})[^\n]*)|(?P<line>^[ \t]*(?:>|&gt;)[^\n]*)|(?P<gap>\n[ \t]*\n)"
    rf"|<(?P<end>/?)(?P<tag>{ELEMENTS})\b[^<>\n]{{0,100}}>|(?P<comment><!--)|(?P<over>-->)|(?P<struck>~~)"
    "|(?P<code>`+)|(?P<quote>[\"'\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\u300e\u300f\uff02\uff07])",
    re.MULTILINE | re.IGNORECASE,
)
CLOSING = {
    '"': '"', "'": "'", "\u2018": "\u2019", "\u201c": "\u201d", "\u201e": "\u201c\u201d", "\u00ab": "\u00bb",
    "\u00bb": "\u00ab", "\u300c": "\u300d", "\u300e": "\u300f", "\uff02": "\uff02", "\uff07": "\uff07",
}  # fmt: skip
BLANK = re.compile(r"[^\n\r]")


def own_words(text: str, *material: str, bare: int | None = None) -> str:
    """A reply with all that it quotes, thinks or strikes out turned into spaces; its lines keep their places.

    Left out are block quotes, code, quotation marks, thinking, struck out text and HTML comments, and each line that is
    one of `material`, what the reply is about. From `bare` on quotation marks and backticks hide nothing: for a last
    line that is a verdict and no more. A reply that is one quotation as a whole says what stands in it.
    """
    found = _without(text, bare)
    whole = text.strip()
    if whole and not found.strip():
        inner = re.fullmatch(r"(?:```|~~~)[^\n]*\n(.*)\n[ \t]*(?:```|~~~)|([\"`])([^\"`\n]*)\2", whole, re.DOTALL)
        found = _without(inner[1] or inner[3] or "", None) if inner else found
    if not material:
        return found
    theirs = {" ".join(line.split()) for each in material for line in each.splitlines()}
    lines = found.split("\n")
    return "\n".join(" " * len(line) if " ".join(line.split()) in theirs else line for line in lines)


@dataclass
class _Open:
    """A quotation that has begun: what ends it, and where it began."""

    kind: str
    closing: str
    start: int


def _without(text: str, bare: int | None) -> str:
    """The text with its quotations as spaces."""
    hidden: list[tuple[int, int]] = []
    now: _Open | None = None
    for mark in MARK.finditer(text):
        kind = mark.lastgroup or ""
        kind = "tag" if mark["tag"] else "fence" if mark["fence"] else kind
        if bare is not None and mark.start() >= bare and kind in ("quote", "code"):
            continue
        if now is None:
            now = _begun(text, mark, kind, hidden)
        elif _ends(text, mark, kind, now):
            hidden.append((now.start, mark.end()))
            now = None
        elif kind == "gap" and now.kind in ("quote", "code", "struck"):
            # Never closed: what follows on its line may be a quotation all the same.
            _half(text, now, hidden)
            now = None
    if now is not None:
        if now.kind in ("quote", "code", "struck"):
            _half(text, now, hidden)
        else:
            hidden.append((now.start, len(text)))
    return _blanked(text, hidden)


def _begun(text: str, mark: re.Match[str], kind: str, hidden: list[tuple[int, int]]) -> _Open | None:
    """What begins here; a block quote's line is hidden at once, and so is all before an end of thinking."""
    start = mark.start()
    if kind == "line":
        hidden.append((start, mark.end()))
    elif kind == "fence":
        return _Open(kind, mark["bars"], start)
    elif kind == "tag" and not mark["end"]:
        return _Open(kind, mark["tag"].lower(), start)
    elif kind == "tag" and re.fullmatch(THOUGHT, mark["tag"], re.IGNORECASE):
        hidden.append((0, mark.end()))
    elif kind == "comment":
        return _Open(kind, "-->", start)
    elif kind in ("struck", "code"):
        return _Open(kind, mark[0], start)
    elif kind == "quote" and mark[0] in CLOSING and not _word(text, start - 1):
        return _Open(kind, CLOSING[mark[0]], start)
    return None


def _ends(text: str, mark: re.Match[str], kind: str, now: _Open) -> bool:
    if now.kind == "fence":
        return kind == "fence" and mark["fence"].strip().startswith(now.closing)
    if now.kind == "tag":
        return kind == "tag" and bool(mark["end"]) and mark["tag"].lower() == now.closing
    if now.kind == "comment":
        return kind == "over"
    if now.kind == "quote":
        return kind == "quote" and mark[0] in now.closing and not _word(text, mark.end())
    return kind == now.kind and mark[0] == now.closing


def _half(text: str, now: _Open, hidden: list[tuple[int, int]]) -> None:
    """Hide the rest of the line after a quotation mark that is never closed; an apostrophe hides nothing."""
    if now.closing not in "'\u2019" and not (now.kind == "code" and _word(text, now.start - 1)):
        end = text.find("\n", now.start)
        hidden.append((now.start, len(text) if end < 0 else end))


def _word(text: str, place: int) -> bool:
    return 0 <= place < len(text) and text[place].isalnum()


def _blanked(text: str, hidden: list[tuple[int, int]]) -> str:
    parts, place = [], 0
    for start, end in sorted(hidden):
        if end > place:
            start = max(start, place)
            parts += [text[place:start], BLANK.sub(" ", text[start:end])]
            place = end
    return "".join(parts) + text[place:]


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
    if unhidden(text):
        return text
    text = STACKED.sub(lambda match: f"{match[1]}[+{len(match[2])} marks]", text.replace("\r\n", "\n"))
    return HIDDEN.sub(lambda match: escapes(match[0]), text)


def unhidden(text: str) -> bool:
    """Is there surely nothing to show? Most texts are ASCII, where this is ten times as quick as looking for each."""
    return text.isascii() and text.replace("\n", " ").replace("\t", " ").isprintable()


def escapes(hidden: str) -> str:
    return "".join(_escape(ord(character)) for character in hidden)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
