"""README's first command, from a clone, on an empty machine: what a newcomer sees.

What is committed is tested, for that is what a clone holds.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from empty_machine import ROOT, Machine, megabytes

pytestmark = pytest.mark.install


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine("make demo", tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def made(machine: Machine, clone: Path) -> subprocess.CompletedProcess[str]:
    """The demo, with the time of the installation apart."""
    status = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    if status.stdout.strip():
        machine.row.name += " (of the last commit)"
    began = time.monotonic()
    installed = machine.run("make", ".venv/.demo", cwd=clone)
    machine.row.install_s, machine.row.used_s = time.monotonic() - began, 0.0
    assert installed.returncode == 0, installed.stdout + installed.stderr
    machine.row.megabytes = megabytes(clone / ".venv")
    return machine.run("make", "demo", cwd=clone)


def test_it_comes_to_its_end(made: subprocess.CompletedProcess[str], clone: Path) -> None:
    assert made.returncode == 0, made.stdout + made.stderr
    assert "Traceback" not in made.stdout + made.stderr
    report = clone / "runs" / "demo" / "report.html"
    assert f"The report: {report}" in made.stdout
    assert report.stat().st_size > 10_000


def test_every_task_that_needs_no_judge_has_a_score(made: subprocess.CompletedProcess[str], clone: Path) -> None:
    results: dict[str, Any] = json.loads((clone / "runs" / "demo" / "results.json").read_text())
    wanted = {each["task"] for each in results["estimates"] if each["primary"] and not each["judge"]}
    assert {"gsm8k", "mmlu", "arc_easy", "truthfulqa_mc"} <= wanted
    unscored = {
        each["task"]: each["note"]
        for each in results["estimates"]
        if each["primary"] and not each["judge"] and each["value"] is None
    }
    assert not unscored


def test_the_clone_holds_nothing_new_that_git_would_take(made: subprocess.CompletedProcess[str], clone: Path) -> None:
    told = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert not told.stdout
