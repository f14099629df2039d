"""`h3eval compare` and `h3eval gate` on stored runs: outcomes, files, and what they refuse."""

import json
import random
from pathlib import Path
from xml.etree import ElementTree

import pytest
from readme_task import answers, capitals
from scipy import stats
from small_runs import h3eval

N = 200
POLICY = 'margin = 3\n[tasks."capitals/one-word"]\n'


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `old` (60 % right), `same`, `worse` (40 %), `better` (80 %), and `short` (fewer items)."""
    folder = capitals(tmp_path_factory.mktemp("runs"), N)
    order = random.Random(1).sample(range(N), N)
    for name, share in (("old", 0.6), ("same", 0.6), ("worse", 0.4), ("better", 0.8), ("short", 0.6)):
        model = answers(folder, name, set(order[: int(share * N)]), N)
        limit = ("--limit", "50") if name == "short" else ()
        made = h3eval(
            "run", "--include-path", "mine", "--tasks", "capitals", "--model", model, "--data-dir", "data",
            "--out", name, "--format", "results", *limit, cwd=folder,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
    (folder / "gate.toml").write_text(POLICY)
    return folder


def gate(runs: Path, new: str, *more: str, **env: str) -> tuple[int, str]:
    made = h3eval(
        "gate", new, "--baseline", "old", "--policy", "gate.toml", "--include-path", "mine", *more, cwd=runs, **env
    )  # fmt: skip
    return made.returncode, made.stdout + made.stderr


def test_the_comparison_counts_what_changed(runs: Path, tmp_path: Path) -> None:
    made = h3eval("compare", "old", "better", "--include-path", "mine", "--out", str(tmp_path), cwd=runs)
    assert made.returncode == 0, made.stderr
    found = json.loads((tmp_path / "comparison.json").read_text())
    whole, europe = found["changes"]
    assert (whole["old"], whole["new"], whole["n"]) == (0.6, 0.8, N)
    assert whole["difference"] == pytest.approx(0.2)
    assert len(whole["flips"]) == 40
    assert all((flip["old_label"], flip["new_label"]) == ("wrong", "right") for flip in whole["flips"])
    # Forty changes for the better, none for the worse: McNemar's mid-p.
    assert whole["p"] == pytest.approx(2 * stats.binom.cdf(0, 40, 0.5) - stats.binom.pmf(0, 40, 0.5))
    assert europe["n"] == N // 4
    assert "+20.00" in made.stdout


@pytest.mark.parametrize(("new", "code", "outcome"), [("better", 0, "pass"), ("worse", 1, "fail"), ("same", 0, "pass")])
def test_outcomes(new: str, code: int, outcome: str, runs: Path, tmp_path: Path) -> None:
    found, said = gate(runs, new, "--junit", str(tmp_path / "out.xml"), "--out", str(tmp_path))
    assert (found, f"gate: {outcome}" in said) == (code, True), said
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()[0]
    assert suite.get("failures") == str(int(outcome == "fail"))
    assert json.loads((tmp_path / "gate.json").read_text())["outcome"] == outcome


def test_too_little_data_is_inconclusive(runs: Path) -> None:
    (runs / "narrow.toml").write_text('margin = 0.001\n[tasks."capitals/one-word"]\nmetric = "accuracy[europe]"\n')
    made = h3eval(
        "gate", "same", "--baseline", "old", "--policy", "narrow.toml", "--include-path", "mine", cwd=runs
    )  # fmt: skip
    assert made.returncode == 3, made.stdout
    assert "inconclusive" in made.stdout


def test_ci_is_told(runs: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    code, said = gate(runs, "worse", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))
    assert code == 1
    assert "::error title=h3eval gate" in said
    assert "❌ fail | capitals/one-word: accuracy" in summary.read_text()


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("margins = 1\n" + POLICY, "unknown key 'margins'"),
        ("margin = 1\n", "name what to watch"),
        ('[tasks."capitals/one-word"]\n', "margin = None"),
        ('margin = 1\n[tasks."capitals/other"]\n', "capitals/other: can't be gated"),
        (POLICY + 'metric = "speed"\n', "no metric 'speed'"),
        ("alpha = 2\n" + POLICY, "alpha = 2"),
        ('margin = "much"\n' + POLICY.partition("\n")[2], "margin"),
    ],
)
def test_policies_refused(policy: str, said: str, runs: Path) -> None:
    (runs / "broken.toml").write_text(policy)
    made = h3eval("gate", "same", "--baseline", "old", "--policy", "broken.toml", "--include-path", "mine", cwd=runs)
    assert made.returncode == 2
    assert said in made.stderr
    assert "Traceback" not in made.stderr


def test_a_missing_baseline_and_other_items_are_refused(runs: Path) -> None:
    made = h3eval("gate", "same", "--baseline", "nowhere", "--policy", "gate.toml", cwd=runs)
    assert (made.returncode, "no run here" in made.stderr) == (2, True)
    code, said = gate(runs, "short")
    assert (code, "different items (150 only in the baseline" in said) == (2, True), said


def test_the_same_id_with_another_reference_is_another_item(runs: Path, tmp_path: Path) -> None:
    other = capitals(tmp_path / "other", N)
    text = (other / "data" / "capitals.jsonl").read_text()
    (other / "data" / "capitals.jsonl").write_text(text.replace("City 7", "Town 7"))
    made = h3eval(
        "run", "--include-path", "mine", "--tasks", "capitals", "--model", answers(other, "x", {1}, N),
        "--data-dir", "data", "--out", str(runs / "elsewhere"), "--format", "results", cwd=other,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    code, said = gate(runs, "elsewhere")
    assert (code, "11 ids name another question" in said) == (2, True), said
