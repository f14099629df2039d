"""What others wrote, on a terminal and in a spreadsheet: nothing moves the cursor, hides, or is run."""

import csv
import io
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from h3eval import cli, registry, terminal
from h3eval.text import visible

ODD = (
    "\x1b[2J", "\x1b]52;c;aGk=\x07", "\x1b]8;;https://evil.invalid\x07link\x1b]8;;\x07", "\x9b31m", "\x00", "\x08\x08",
    "over\rwrite", "\u202efdp.jsonl", "a\u2066b\u2069", "\u200b", "\ufeff", "\U000e0041", "\u2028", "\x0b", "\x7f",
    "[red]not red[/red]", "[link=file:///etc/passwd]x[/link]", ":smile:",
)  # fmt: skip
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e0fff]"
)


@pytest.mark.parametrize("text", ODD)
def test_the_consoles_show_it_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("head", text)
    table.add_row(Text(text), text)
    for each in (text, Text(text), table):
        terminal.output().print(each)
    terminal.say(text)
    terminal.output().print(f"name: {text}")
    shown = "".join(capsys.readouterr())
    assert not UNSEEN.search(shown)
    # Rich drops the oldest controls from its texts, which shows no less of the rest.
    assert shown.count(visible(text).partition("\n")[0][:6]) >= (1 if set(text) & set("\x07\x08\x0b\x0c\r") else 3)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_gets_through_as_control(text: str) -> None:
    """In a console of ours, whatever is printed; it has no colours here."""
    out = io.StringIO()
    screen = terminal.Screen(file=out, markup=False, emoji=False)
    screen.print(Text(text), text)
    assert not UNSEEN.search(out.getvalue())


def test_colours_of_our_own_pass() -> None:
    out = io.StringIO()
    terminal.Screen(file=out, force_terminal=True, color_system="standard").print(Text("x\x1b", style="red"))
    assert out.getvalue() == "\x1b[31mx\\x1b\x1b[0m\n"


@pytest.mark.parametrize("name", ["\x1b[2J.jsonl", "\u202efdp.jsonl", "a\nb.jsonl", "\x9b31m[bold].jsonl"])
def test_names_of_models(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of answers may have any name: through every command that shows runs, errors among them."""
    rows = "\n".join(f'{{"task": "xstest", "id": "{number}", "text": "Yes."}}' for number in range(4))
    (tmp_path / name).write_text(rows)
    model, flags = (
        f"outputs:{tmp_path / name}",
        ["--data", "demo", "--limit", "2", "--judge", "xstest=refusal_keywords"],
    )
    for run in ("a", "b"):
        cli.main(["run", "--model", model, "--tasks", "xstest", "--out", str(tmp_path / run), *flags])
    runs = [str(tmp_path / "a"), str(tmp_path / "b")]
    cli.main(["leaderboard", *runs, "--out", str(tmp_path / "site")])
    cli.main(["compare", *runs])
    cli.main(["show", "run", runs[0]])
    cli.main(["score", runs[0]])
    cli.main(["run", "--model", f"outputs:{name}", "--tasks", "xstest"])
    cli.main(["show", "task", name])
    cli.main(["score", str(tmp_path / name)])
    with pytest.raises(SystemExit):
        cli.main(["run", "--limit", name, "--model", "demo"])
    told = "".join(capsys.readouterr())
    assert not UNSEEN.search(told)
    assert visible(name).partition("\n")[0][:8] in told
    shutil.rmtree(tmp_path / "site")


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)",
            "\ufe66 1", "  =1", "\u3000\uff1d1", "\u2212 1")  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_a_spreadsheet_runs_no_name(text: str) -> None:
    tables = registry.load("reports", "leaderboard").write.__globals__["_tables"]
    column = {"id": "c", "kind": "task", "title": text, "metric": text, "unit": text, "direction": text, "judge": text}
    board = {"runs": [{"name": text, "cells": {"c": {"value": 1.0}}}], "columns": [column]}
    (_, row) = csv.reader(io.StringIO(tables.spreadsheet(board), newline=""))
    found = [cell for cell in row if cell not in ("", "1.0", "task")]
    assert len(found) == 6
    for cell in found:
        # `\r` is shown as an escape, which no spreadsheet runs.
        assert cell.lstrip()[0] in "'\\"


def test_ordinary_names_are_left_alone() -> None:
    tables = registry.load("reports", "leaderboard").write.__globals__["_tables"]
    assert [tables._harmless(text) for text in ("gpt-4", "a=b", "Zürich", "日本")] == ["gpt-4", "a=b", "Zürich", "日本"]
