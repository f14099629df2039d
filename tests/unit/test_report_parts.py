"""What report writers share: files that are safe to write, texts that stay texts, numbers as people read them."""

import importlib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from run_fixture import alpaca, sample_run, written

from h3eval.errors import UsageError
from h3eval.types import Estimate, Run

shared = importlib.import_module("h3eval.reports._shared")
text = importlib.import_module("h3eval.reports._text")
numbers = importlib.import_module("h3eval.reports._numbers")
samples = importlib.import_module("h3eval.reports._samples")


# --- files ---------------------------------------------------------------------------------------


def test_a_link_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    target = tmp_path / "bashrc"
    target.write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").symlink_to(target)
    with pytest.raises(UsageError, match="not a plain file"):
        written("results", sample_run(1), tmp_path / "out")
    assert target.read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused(make: object, tmp_path: Path) -> None:
    make(tmp_path / "results.json")  # type: ignore[operator]
    with pytest.raises(UsageError, match="not a plain file"):
        written("results", sample_run(1), tmp_path)


def test_a_hard_link_loses_only_its_name(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("precious")
    os.link(tmp_path / "other", tmp_path / "results.json")
    written("results", sample_run(1), tmp_path)
    assert (tmp_path / "other").read_text() == "precious"


def test_a_broken_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def chunks() -> Iterator[str]:
        yield "half"
        raise RuntimeError("stop")

    (tmp_path / "file").write_text("old")
    with pytest.raises(RuntimeError):
        shared.write(tmp_path, "file", chunks())
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file"):
        shared.write(tmp_path / "file", "x", [""])


@pytest.mark.parametrize("name", ["gsm8k", "mmlu_pro-5.1", "a", "A_b"])
def test_clean_names_stay(name: str) -> None:
    assert shared.safe_name(name) == name


DIRTY = (
    "", ".", "..", "../x", "/etc/x", "a/b", "a__b/", "a\x00b", "a\nb", "CON", "nul.txt", "x" * 300, "😀", "x.",
    " x", "é", "e\u0301", "\ud800", ".hidden", "-rf",
)  # fmt: skip


def test_dirty_names_become_safe_and_stay_different() -> None:
    made = [shared.safe_name(name) for name in DIRTY]
    assert len({each.casefold() for each in made}) == len(DIRTY)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{8,99}", each) for each in made)


def test_tasks_that_differ_only_in_case_get_different_files(tmp_path: Path) -> None:
    one = alpaca(1, False)
    run = Run("m", {}, (one, replace(one, task="ALPACA_EVAL")), (), {})
    files = written("lm_eval", run, tmp_path)
    assert len({file.name.casefold() for file in files}) == 3


# --- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb\r\nc", "a\\x0db\nc"),
        ("\x9b1m\x07\x00\x7f", "\\x9b1m\\x07\\x00\\x7f"),
        ("a\u202eb\u2066", "a\\u202eb\\u2066"),
        ("\u200b\ufeff\u2028", "\\u200b\\ufeff\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("a\u200db", "a\\u200db"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("e\u0301", "e\u0301"),
        ("z" + "\u0301" * 10, "z" + "\u0301" * 4 + "[+6 marks]"),
    ],
)
def test_hidden_characters_are_shown(given: str, shown: str) -> None:
    assert text.visible(given) == shown


def test_every_control_character_of_ascii_is_shown() -> None:
    for code in range(128):
        plain = chr(code) in "\n\t" or 32 <= code < 127
        assert text.visible(f"a{chr(code)}b") == (f"a{chr(code)}b" if plain else f"a\\x{code:02x}b")
        assert ("<mark>" in text.marked(f"a{chr(code)}b")) != plain


def test_marks_are_html_and_texts_are_escaped() -> None:
    assert text.marked('<b "x">\x1b') == "&lt;b &#34;x&#34;&gt;<mark>\\x1b</mark>"


def test_one_line_is_cut() -> None:
    assert text.one_line("a\n\n b\tc") == "a b c"
    assert text.one_line("x" * 200, 10) == "x" * 9 + "…"


def test_long_texts_keep_both_ends_and_count_bytes() -> None:
    found = text.clip("é" * 1000, 300)
    assert (len(found.head), len(found.tail)) == (200, 100)
    assert (found.left_out, found.size) == (1400, 2000)
    assert text.clip("short", 300) == text.Clip("short")


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "se", "unit", "shown"),
    [
        (0.51234, None, "proportion", "51.2%"),
        (0.51234, 0.12, "proportion", "51.2%"),
        (0.51234, 0.012, "proportion", "51.2%"),
        (0.51234, 0.0012, "proportion", "51.23%"),
        (0.51234, 0.0, "proportion", "51.2%"),
        (51.234, 1.2, "percent", "51.2%"),
        (8.1375, 0.31, "score 1-10", "8.14"),
        (8.1375, None, "score 1-10", "8.14"),
        (8.1375, 0.031, "score 1-10", "8.137"),
    ],
)
def test_numbers_have_one_place_more_than_their_error(value: float, se: float | None, unit: str, shown: str) -> None:
    found = numbers.estimate(Estimate("m", value, 10, 0, se=se, unit=unit))
    assert found.value.text == shown
    assert float(found.value.exact) == value


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_missing_number_is_no_number(value: float | None) -> None:
    found = numbers.estimate(Estimate("m", value, 0, 3))
    assert (found.value, found.bar, found.interval) == (None, None, "—")


def test_the_worst_bound_comes_first() -> None:
    lower = Estimate("m", 0.5, 10, 2, bounds=(0.4, 0.6), direction="lower")
    assert numbers.estimate(lower).bounds == "60.0% … 40.0%"
    assert numbers.estimate(replace(lower, direction="higher")).bounds == "40.0% … 60.0%"


def test_bars_use_the_metrics_scale() -> None:
    found = numbers.estimate(Estimate("m", 5.5, 10, 0, ci=(1.0, 10.0), unit="score 1-10"))
    assert found.bar == numbers.Bar(50.0, 0.0, 100.0)
    assert numbers.estimate(Estimate("m", 5.5, 10, 0, unit="seconds")).bar is None
