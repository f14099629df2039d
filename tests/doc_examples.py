"""The examples in README.md and docs/: found, told apart, and the commands among them split as a shell would."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^ {4}(?=\S| ).*\n)+", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """One example: its page, line, language and text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def examples() -> list[Example]:
    """All fenced blocks, and indented ones that begin with a command of ours."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = list(FENCED.finditer(text))
        for each in fences:
            found.append(Example(page.name, line_of(text, each.start()), each[1].strip(), each[2]))
        for each in INDENTED.finditer(text):
            inside = any(fence.start() <= each.start() < fence.end() for fence in fences)
            if not inside and each[0].lstrip().startswith("h3eval "):
                found.append(Example(page.name, line_of(text, each.start()), "sh", each[0]))
    return found


def line_of(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def of(*languages: str) -> list[Example]:
    return [each for each in examples() if each.language in languages]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command: lines that end in a backslash go on, comments and an ellipsis are left out."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in line.split(" · "):
            words = [word for word in shlex.split(part, comments=True) if word != "..."]
            if words:
                yield words


def of_cron(text: str) -> str:
    """The command of ours in a line of a crontab."""
    found = re.search(r"(h3eval .*?)(?=\s*(?:>>|\|\||&&|$))", text)
    return found[1] if found else ""
