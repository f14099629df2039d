"""Runs with everything whose order or form carries meaning: run, score, report, judge and resume agree, and pay once.

The rubric of docs/judges.md stands in it word for word.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Act, ScriptedServer, envelope, prompt_of

from h3eval import cli

DOCS = Path(__file__).parents[2] / "docs" / "judges.md"
FRAME = 'name = "{name}"\nscale = "1 unsafe, 0 safe"\ncriteria = "Is it kind, \u00fcnd {{nonce}}?"\n'
RUBRICS = {
    "docs": re.findall(r"```toml\n(name = .*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[0],
    "whole": FRAME.format(name="whole") + "[labels]\nunsafe = 1\nharmful = 1.0\nsafe = 0\n",
    "reference": FRAME.format(name="reference") + "needs_reference = true\n[labels]\nunsafe = 1\nsafe = 0\n",
}
TASK = """
from h3eval.stats.estimates import proportion
from h3eval.types import Metric, Request, Sample, Task, Verdict


def samples(source):
    for number in range(3):
        # An order that is no alphabet's, and a task that shows it.
        yield Sample(f"s{number}", reference={"beta": number, "alpha": 2.0, "Zeta": None})


def ask(sample, replies):
    return () if replies else (Request("complete", f"{list(sample.reference)} {sample.reference}"),)


def value(item):
    found = item.verdicts["beaver_dam"]
    return found.reading.score if isinstance(found, Verdict) else None


TASK = Task(
    "ordered", 1, "harmless", "own", samples, (Metric("unsafe_rate", value, proportion, roles=("beaver_dam",)),),
    "unsafe_rate", ask=ask, judges={"beaver_dam": "beaver_dam"},
)
"""


def judging(seen: Any) -> Act:
    """The first verdict that the prompt offers, or an answer."""
    offered = re.findall(r"^VERDICT [0-9a-f]+: .+$", prompt_of(seen.body), re.MULTILINE)
    text = f"So.\n{offered[0].replace(': N', ': 7')}" if offered else "Answer."
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return Act(body=envelope("chat.completion", seen.body, choice, ["x"], seen.n))


def written(folder: Path, names: list[str]) -> list[str]:
    for name in names:
        (folder / f"{name}.toml").write_text(RUBRICS[name], encoding="utf-8")
    return [str(folder / f"{name}.toml") for name in names]


def results(folder: Path) -> Any:
    found = json.loads((folder / "results.json").read_text())
    return found["estimates"], [{**task, "judges": sorted(task["judges"])} for task in found["tasks"]]


def everything(run: list[str], judge: list[str], folder: Path, server: ScriptedServer) -> None:
    """Run, and then each command that reads the run anew: the same numbers, and nothing is sent again."""
    ends = ["--format", "results"]
    assert cli.main(["run", *run, *judge, "--out", str(folder), *ends]) == 0
    first, posts = results(folder), server.posts
    for command in (
        ["score", str(folder)], ["report", str(folder)], ["judge", str(folder), *judge], ["judge", str(folder)],
        ["run", *run, *judge, "--out", str(folder)],
    ):  # fmt: skip
        include = run[: run.index("--tasks")] if "--include-path" in run and command[0] != "run" else []
        assert cli.main([*command, *(include[:2]), *ends]) == 0, command
        assert results(folder) == first, command
    assert server.posts == posts


@pytest.mark.parametrize("names", [["docs"], ["whole"], ["docs", "whole"], ["docs", "whole", "docs"]], ids=str)
def test_rubrics_and_panels_of_them(names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(judging) as server:
        model = f"openai:g,base_url={server.url},api_key_env=none"
        judges = [word for file in written(tmp_path, names) for word in ("--judge", f"beaver_dam={file}@{model}")]
        run = ["--model", model, "--tasks", "beavertails", "--data", "demo", "--limit", "3"]
        if len(names) == 3:
            assert cli.main(["run", *run, *judges, "--out", str(tmp_path / "run")]) == 2
            assert "the same judge twice" in capsys.readouterr().err
            assert server.posts == 0
            return
        everything(run, judges, tmp_path / "run", server)
        assert server.posts == 3 * (1 + len(names))


def test_a_rubric_that_rates_and_a_suite_with_composites(tmp_path: Path) -> None:
    (tmp_path / "rates.toml").write_text(
        'scale = "points, 1 to 10"\ncriteria = """\nIs it good?\r\n"""\nname = "rates"\n'
        "rating = { min = 1, max = 10 }\n"
    )
    (tmp_path / "mine.toml").write_text('about = "Mine."\ntasks = ["mt_bench", "xstest"]\n')
    with ScriptedServer(judging) as server:
        model = f"openai:g,base_url={server.url},api_key_env=none"
        judges = ["--judge", f"mt_bench={tmp_path / 'rates.toml'}@{model}", "--judge", "xstest=refusal_keywords"]
        run = ["--model", model, "--suite", str(tmp_path / "mine.toml"), "--data", "demo", "--limit", "2"]
        everything(run, judges, tmp_path / "run", server)


def test_a_task_of_ones_own_that_shows_the_order_of_its_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "ordered.py").write_text(TASK)
    monkeypatch.setattr("h3eval.registry._folders", {})
    with ScriptedServer(judging) as server:
        model = f"openai:g,base_url={server.url},api_key_env=none"
        (file,) = written(tmp_path, ["reference"])
        run = ["--include-path", str(mine), "--model", model, "--tasks", "ordered"]
        folder = tmp_path / "run"
        judge = ["--judge", f"beaver_dam={file}@{model}"]
        monkeypatch.setattr("h3eval.registry.include", lambda place: _once(place))
        everything(run, judge, folder, server)
        asked = [prompt_of(seen.body) for seen in server.seen]
    assert sum("['beta', 'alpha', 'Zeta'] {'beta': 1, 'alpha': 2.0, 'Zeta': None}" in text for text in asked) == 1
    assert sum('"beta": 1,\n "alpha": 2.0,\n "Zeta": null' in text for text in asked) == 1
    monkeypatch.setattr("h3eval.registry._folders", {})
    capsys.readouterr()
    assert cli.main(["score", str(folder)]) == 2
    assert "needs its --include-path here, too" in capsys.readouterr().err


def _once(place: Path) -> None:
    """The folder, which one process would otherwise include once a command."""
    from h3eval import registry

    registry._folders["tasks"] = [place]


def test_a_judge_measured_on_a_labelled_set(tmp_path: Path) -> None:
    """A card of the rubric, made by asking: its task is stored and read again like any other."""
    rows = [
        {"id": str(n), "question": f"Q{n}?", "answer": f"A{n}.", "label": "unsafe" if n % 2 else "safe"}
        for n in range(6)
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with ScriptedServer(judging) as server:
        model = f"openai:g,base_url={server.url},api_key_env=none"
        (file,) = written(tmp_path, ["docs"])
        words = [
            "calibrate",
            f"{file}@{model}",
            "--labels",
            str(tmp_path / "labels.jsonl"),
            "--out",
            str(tmp_path / "out"),
        ]
        assert cli.main(words) == 0
        posts = server.posts
        assert cli.main(words) == 0
        assert cli.main(["score", str(tmp_path / "out"), "--format", "results"]) == 0
        assert server.posts == posts == 6
