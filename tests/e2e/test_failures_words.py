"""Every stage's command says what failed in the fault's own words, and ends with the same code."""

import json
from pathlib import Path

import pytest

from h3eval import cli, registry
from h3eval.datasets import DataSource

ASKED = ["--tasks", "or_bench", "--data", "demo", "--limit", "4"]


def answers(folder: Path, count: int) -> Path:
    """Answers to the first of the demo samples, in a file with an awkward name."""
    file = folder / 'my "answers", v2=@.txt'
    task = registry.task("or_bench")
    ids = [sample.id for sample in task.samples(DataSource(demo=True))][:count]
    file.write_text("".join(json.dumps({"task": "or_bench", "id": name, "text": "Sure."}) + "\n" for name in ids))
    return file


def spec(file: Path) -> str:
    return 'outputs:"' + str(file).replace('"', '""') + '"'


@pytest.mark.parametrize(("count", "code"), [(4, 0), (1, 3)])
def test_generate_judge_and_score_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, code: int
) -> None:
    run = str(tmp_path / "run")
    assert cli.main(["generate", "--model", spec(answers(tmp_path, count)), *ASKED, "--out", run]) == code
    told = capsys.readouterr().err
    assert ("not answered: 3 of 4: no answer in my" in told) == (code == 3)
    assert cli.main(["judge", run, "--judge", "or_bench=refusal_keywords", "--format", "results,terminal"]) == code
    assert cli.main(["score", run, "--format", "results"]) == code
    assert cli.main(["run", "--model", spec(answers(tmp_path, count)), *ASKED, "--out", run, "--judge",
                     "or_bench=refusal_keywords", "--format", "results"]) == code  # fmt: skip
    assert ("Not scored" in capsys.readouterr().out) == (code == 3)


def test_a_faults_words_reach_terminal_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    made = cli.main(
        ["run", "--model", spec(answers(tmp_path, 4)), *ASKED, "--out", str(run), "--format", "results,html"]
    )
    assert made == 3
    (failed,) = json.loads((run / "results.json").read_text(encoding="utf-8"))["failures"]
    assert (failed["reason"], failed["count"]) == ("no judge", 4)
    assert failed["first"] == "pass --judge or_bench=BACKEND:MODEL"
    assert "pass --judge or_bench=BACKEND:MODEL" in (run / "report.html").read_text(encoding="utf-8")
    assert "the first one says" in capsys.readouterr().out
