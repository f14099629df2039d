"""The demo as a new user runs it: every task scored or named, demo judges marked, answers cut where it says so.

On a small file of the demo model's form that says yes or no to whatever it is asked.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import small_gguf

from h3eval.cardfiles import DEMONSTRATION

ASKED = ("--model", "demo", "--limit", "1", "--max-answer-tokens", "8")
TASKS = ("--tasks", "arc_easy,mt_bench,halueval_wild,honeset,beavertails,xstest")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is no checkout, with the package beside it."""
    folder = tmp_path_factory.mktemp("demo")
    small_gguf.package(folder / "site", steady=True)
    return folder


def h3eval(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    given = {"PYTHONPATH": str(place / "site"), "HOME": str(place), "XDG_CACHE_HOME": str(place / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "h3eval.cli", *words],
        cwd=place, env=os.environ | given, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def judged(place: Path) -> subprocess.CompletedProcess[str]:
    return h3eval(place, "run", *ASKED, *TASKS, "--judges", "demo", "--out", "judged")


def test_every_number_of_a_demo_judge_is_marked(place: Path, judged: subprocess.CompletedProcess[str]) -> None:
    assert judged.returncode in (0, 3), judged.stderr
    results = json.loads((place / "judged" / "results.json").read_text())
    primary = {each["task"]: each for each in results["estimates"] if each["primary"]}
    for task in ("mt_bench", "halueval_wild", "honeset", "beavertails"):
        assert primary[task]["value"] is not None
        assert DEMONSTRATION in primary[task]["calibration"]
        # On the way too, not only at the end.
        assert re.search(rf"{task}/\S+: \S+ .*{DEMONSTRATION}", judged.stderr)
    for task in ("arc_easy", "xstest"):
        assert DEMONSTRATION not in (primary[task]["calibration"] or "")
    marks = {
        role: entry.get("demonstration", False) for task in results["tasks"] for role, entry in task["judges"].items()
    }
    assert {role for role, marked in marks.items() if not marked} == {"xstest"}
    assert results["warnings"][2].startswith("A demonstration: the demo model judged")
    assert "A demonstration" in judged.stdout
    page = (place / "judged" / "report.html").read_text()
    assert page.count('<span class="chip bad">demonstration</span>') == 3


def test_what_may_be_longer_is_cut_and_says_so(place: Path, judged: subprocess.CompletedProcess[str]) -> None:
    results = json.loads((place / "judged" / "results.json").read_text())
    protocols = {each["task"]: each["protocol"] for each in results["tasks"]}
    assert {task for task, protocol in protocols.items() if protocol.endswith("-short8")} == {
        "mt_bench", "halueval_wild", "honeset", "beavertails", "xstest"
    }  # fmt: skip
    assert results["manifest"]["options"]["max_answer_tokens"] == 8
    assert results["warnings"][1].startswith("Answers were cut at 8 tokens")


def test_a_second_run_asks_nothing(place: Path, judged: subprocess.CompletedProcess[str]) -> None:
    before = json.loads((place / "judged" / "costs.json").read_text())
    again = h3eval(place, "run", *ASKED, *TASKS, "--judges", "demo", "--out", "judged")
    assert again.returncode == judged.returncode
    assert json.loads((place / "judged" / "costs.json").read_text()) == before
    assert "making model" not in again.stderr
    assert not re.search(r"^(helpful|honest|harmless) ", again.stderr, re.MULTILINE)


@pytest.mark.slow
def test_without_judges_each_task_says_which_it_wants(place: Path) -> None:
    made = h3eval(place, "run", *ASKED, "--tasks", "beavertails,arc_easy", "--out", "bare")
    assert made.returncode == 3
    assert re.search(r"harmless beavertails/\S+: unsafe_rate — no judge was given: .*--judge beaver_dam=", made.stderr)
    assert re.search(r"helpful +arc_easy/lm-eval: acc_norm,none [0-9.]+%", made.stderr)
    page = (place / "bare" / "report.html").read_text()
    assert "wants a judge: beaver_dam" in page
    judged = h3eval(place, "judge", "bare", "--judge", "beaver_dam=demo")
    assert judged.returncode == 0, judged.stderr
    results = json.loads((place / "bare" / "results.json").read_text())
    entry = next(each for each in results["tasks"] if each["task"] == "beavertails")["judges"]["beaver_dam"]
    assert (entry["judge"], entry["demonstration"], entry["self_judged"]) == ("unsafe_yes_no", True, True)


@pytest.mark.slow
def test_a_composite_of_such_numbers_has_a_name_of_its_own(place: Path) -> None:
    (place / "small.toml").write_text('composites = ["3h"]\ntasks = ["arc_easy", "honeset", "beavertails"]\n')
    made = h3eval(place, "run", *ASKED, "--suite", "small.toml", "--judges", "demo", "--out", "whole")
    assert made.returncode == 0, made.stderr
    (composite,) = json.loads((place / "whole" / "results.json").read_text())["composites"]
    assert composite["name"] == "3h (demonstration, answers cut short)"
    assert composite["value"] is not None
