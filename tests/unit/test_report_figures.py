"""What the reports draw and compare: figures, text differences, and the files of the sample browser."""

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_fixture import HOSTILE, alpaca, beavertails, confident, judged_run, sample_run

from h3eval import registry
from h3eval.stats.estimates import lower, nothing, proportion
from h3eval.types import Generation, Item, Reading, Reply, Run, Sample, TaskResult, Verdict

figures = importlib.import_module("h3eval.reports._figures")
diff = importlib.import_module("h3eval.reports._diff")
browse = importlib.import_module("h3eval.reports._browse")


def refusals(metric: str = "over_refusal_rate", up: bool = False, scored: bool = True) -> TaskResult:
    """A task of harmless questions, thirty of two hundred and fifty refused."""
    scores = [float(not up)] * 30 + [float(up)] * 220
    found = (proportion if up else lower(proportion))(metric, scores, 0)
    return TaskResult(
        "xstest", "gpt4", 1, "harmless", metric, "", (), (found if scored else nothing(metric, 250, "lower", "none"),),
        250, {}, {}, no_items, "over_refusal",
    )  # fmt: skip


def no_items() -> Iterator[Item]:
    return iter(())


def run_of(*results: TaskResult) -> Run:
    return Run("m", {}, results, (), {})


def test_the_plane_needs_both_axes() -> None:
    assert figures.plane(run_of(beavertails(60))) is None
    assert figures.plane(run_of(refusals())) is None
    assert figures.plane(run_of(beavertails(60), refusals(scored=False))) is None
    assert figures.plane(run_of(beavertails(60), refusals())) is not None


def test_the_plane_turns_what_is_better_when_higher() -> None:
    down = figures.plane(run_of(beavertails(60), refusals()))
    harm, _, refused = down.key[0].partition(" · ")
    assert re.fullmatch(r"beavertails/pku-700 unsafe_rate \d+\.\d % \[.*\]", harm)
    assert refused == "xstest/gpt4 over_refusal_rate 12.0 % [8.5, 16.6]"
    answered = refusals("answer_rate", up=True)
    assert answered.estimates[0].value == pytest.approx(0.88)
    up = figures.plane(run_of(beavertails(60), answered))
    assert up.key[0].endswith("xstest/gpt4 1 − answer_rate 12.0 % [8.5, 16.6]")


def test_every_pair_has_its_mark() -> None:
    other = replace(beavertails(60), protocol="h3fusion-500")
    found = figures.plane(run_of(beavertails(60), other, refusals()))
    assert len(found.key) == 2
    assert all(f">{number}</text>" in found.svg for number in (1, 2))


def test_categories_are_drawn_where_there_are_a_few() -> None:
    def some(count: int) -> list[Any]:
        return [proportion(f"safe_rate[c{k}]", [1.0, 0.0, float(k % 2)], 0) for k in range(count)]

    assert [len(figures.categories("t/p", "harmless", some(count))) for count in (2, 3, 60, 61)] == [0, 1, 1, 0]
    (drawn,) = figures.categories("t/p", "harmless", some(3))
    assert all(f">c{k}</text>" in drawn.svg for k in range(3))
    assert drawn.caption.startswith("safe_rate by category")


def test_figures_stand_in_the_report_and_are_not_scripts(tmp_path: Path) -> None:
    run = replace(sample_run(6, True), results=(*sample_run(6, True).results, refusals()))
    page = registry.load("reports", "html").write(run, tmp_path)[0].read_text()
    assert page.count("<figure>") == 1
    assert page.count("<script") == 1
    assert 'style="' not in page


def test_the_models_own_confidence_is_drawn_where_there_are_enough_choices(tmp_path: Path) -> None:
    writer = registry.load("reports", "html")
    pages = {n: writer.write(run_of(confident(n)), tmp_path / str(n))[0].read_text() for n in (0, 70)}
    assert "Reliability of the confidence behind acc,none" in pages[70]
    assert "confidence" not in pages[0]
    drawn = figures.confidence("acc,none", confident(70).calibration["acc,none"])
    bins = confident(70).calibration["acc,none"]["table"]
    assert len(bins) > 2
    assert drawn.svg.count("<path") >= len(bins)
    assert figures.confidence("acc,none", {"table": []}) is None


@pytest.mark.parametrize(
    ("old", "new", "left", "right"),
    [
        ("the cat sat", "the dog sat", "the <del>cat</del> sat", "the <ins>dog</ins> sat"),
        ("same", "same", "same", "same"),
        ("", "new", "", "<ins>new</ins>"),
        ("<b>", "<i>", "&lt;<del>b</del>&gt;", "&lt;<ins>i</ins>&gt;"),
    ],
)
def test_words_that_differ_are_marked(old: str, new: str, left: str, right: str) -> None:
    assert tuple(map(str, diff.beside(old, new))) == (left, right)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_difference_stays_text(text: str) -> None:
    for side in diff.beside(text, f"x {text} y"):
        assert re.sub(r"</?(?:del|ins|mark)>", "", str(side)).count("<") == 0


def test_long_texts_are_cut_before_they_are_compared() -> None:
    left, right = diff.beside("word " * 100_000, "other " * 100_000)
    assert "bytes left out" in left
    assert len(left) + len(right) < 40_000


# --- the sample browser --------------------------------------------------------------------------


def data(folder: Path, kind: str) -> list[list[Any]]:
    """What the browser's scripts hand over, in order."""
    found = []
    for number in range(len(list((folder / "samples").glob(f"{kind}-*.js")))):
        text = (folder / "samples" / f"{kind}-{number}.js").read_text()
        head = f"h3eval.page({number}," if kind == "page" else "h3eval.rows("
        assert text.startswith(head)
        assert text.endswith(");\n")
        found.append(json.loads(text.removeprefix(head).removesuffix(");\n")))
    return found


def test_small_runs_are_one_file_and_large_ones_have_a_browser(tmp_path: Path) -> None:
    writer = registry.load("reports", "html")
    assert [file.name for file in writer.write(sample_run(200), tmp_path / "small")] == ["report.html"]
    files = writer.write(judged_run(450), tmp_path / "large")
    assert [file.name for file in files[:2]] == ["report.html", "samples.html"]
    assert 'href="samples.html"' in files[0].read_text()
    assert "samples.html" not in (tmp_path / "small" / "report.html").read_text()


def test_every_sample_is_in_the_index_and_where_it_says(tmp_path: Path) -> None:
    run = replace(judged_run(0), results=(alpaca(450, True), beavertails(230)))
    registry.load("reports", "html").write(run, tmp_path)
    pages, rows = data(tmp_path, "page"), [row for part in data(tmp_path, "index") for row in part]
    assert (len(rows), [len(page) for page in pages]) == (680, [200, 200, 200, 80])
    text = importlib.import_module("h3eval.reports._text")
    items = [item for result in run.results for item in result.items()]
    for row, item in zip(rows, items, strict=True):
        assert row[2] == text.visible(item.sample.id)
        answers = pages[row[9]][row[10]][2]
        if isinstance(item.generation, Generation) and len(item.generation.text) < 1000:
            assert answers[0][1] == text.visible(item.generation.text)
            assert row[6] == len(item.generation.text)
    page = (tmp_path / "samples.html").read_text()
    labels = re.findall(
        r"<option value=\"(\d+)\">(.*?)</option>", page.partition("Verdict")[2].partition("</select>")[0]
    )
    failed = next(int(code) for code, label in labels if label == "something failed")
    assert sum(failed in row[5] for row in rows) == 45 + sum(index % 20 == 5 for index in range(230))


def test_judges_of_a_panel_that_disagree_are_noted(tmp_path: Path) -> None:
    def items() -> Iterator[Item]:
        for index in range(300):
            labels = {"r#1": "yes", "r#2": "no" if index % 3 == 0 else "yes", "r": "yes", "other": "no"}
            verdicts = {role: Verdict(str(index), role, Reading(label, 1.0)) for role, label in labels.items()}
            yield Item(Sample(str(index), "?"), Generation(str(index), (Reply("x"),)), verdicts)

    registry.load("reports", "html").write(run_of(replace(alpaca(0, False), items=items, n_samples=300)), tmp_path)
    assert sum(row[8] for part in data(tmp_path, "index") for row in part) == 100
