"""Pure helpers for wording questions and reading answers. Knows nothing of models or files."""

import hashlib
import json
import re
from typing import Any

PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


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
