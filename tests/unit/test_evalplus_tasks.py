"""HumanEval+ and MBPP+ as tasks: prompts, programs, metrics, and a run from a file of answers to its numbers."""

import importlib
import json
import zlib
from base64 import b64decode
from pathlib import Path

import pytest
from evalplus_runs import estimates, needs_sandbox, programs, run, samples

from h3eval import registry
from h3eval.cli import main
from h3eval.datasets import DataSource
from h3eval.errors import ConfigError, DataMissing, Unreadable
from h3eval.types import Generation, Reply, Sample, Task

NAMES = ("humaneval_plus", "mbpp_plus")
PASS = {"status": "pass", "passed": 1, "total": 1, "reason": "", "cpu_s": 0.0, "wall_s": 0.0}
FAIL = {**PASS, "status": "fail", "passed": 0}


def demo(name: str) -> list[Sample]:
    return list(registry.task(name).samples(DataSource(demo=True)))


def problem(sample: Sample) -> dict[str, object]:
    return dict(json.loads(zlib.decompress(b64decode(sample.reference["problem"]))))


@pytest.mark.parametrize("name", NAMES)
def test_protocols_ask_as_evalplus_does(name: str) -> None:
    chat, api, base, ten = registry.tasks(name)
    assert [each.protocol for each in (chat, api, base, ten)] == ["chat", "api", "base", "chat-10"]
    for task, roles in ((chat, ["user", "assistant"]), (api, ["user"]), (ten, ["user", "assistant"])):
        sample = next(iter(task.samples(DataSource(demo=True))))
        assert [message["role"] for message in sample.prompt if isinstance(message, dict)] == roles
    asked = chat.ask(demo(name)[0], ())
    assert [(each.temperature, each.repeat) for each in asked] == [(0.0, 0)]
    assert "\n```\n" in asked[0].stop
    drawn = ten.ask(demo(name)[0], ())
    assert {each.temperature for each in drawn} == {0.8}
    assert [each.repeat for each in drawn] == list(range(10))
    bare = next(iter(base.samples(DataSource(demo=True))))
    assert isinstance(bare.prompt, str)
    assert bare.prompt == str(problem(bare)["prompt"]).strip() + "\n"
    assert chat.ask(demo(name)[0], (Reply("x"),)) == []


def test_real_prompts_have_room_for_768_tokens(shared_data: Path) -> None:
    for name, count in (("humaneval_plus", 164), ("mbpp_plus", 378)):
        task = registry.task(name)
        found = list(task.samples(DataSource(shared_data)))
        assert len(found) == len({sample.id for sample in found}) == count
        assert {request.max_tokens for sample in found for request in task.ask(sample, ())} == {768}


def test_data_is_evalplus_own_release_or_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    with pytest.raises(DataMissing, match="get_human_eval_plus"):
        list(registry.task("humaneval_plus").samples(DataSource(tmp_path)))
    (tmp_path / "MbppPlus.jsonl").write_text('{"task_id": "Mbpp/2"}\n')
    with pytest.raises(ConfigError, match="entry_point"):
        list(registry.task("mbpp_plus").samples(DataSource(tmp_path)))


def told(base: dict[str, object], plus: dict[str, object], sandbox: str = "namespaces") -> Reply:
    return Reply(json.dumps({"base": base, "plus": plus, "sandbox": sandbox}))


def test_plus_is_base_and_plus() -> None:
    judge = registry.judge("evalplus")
    sample, generation = demo("mbpp_plus")[0], Generation("x", (Reply("code"),))
    read = lambda *replies: judge.read(sample, generation, replies)  # noqa: E731
    assert (read(told(PASS, PASS)).label, read(told(PASS, PASS)).score) == ("pass", 1.0)
    assert (read(told(PASS, FAIL)).label, read(told(PASS, FAIL)).score) == ("base only", 0.0)
    assert (read(told(FAIL, PASS)).label, read(told(FAIL, PASS)).score) == ("fail", 0.0)
    assert read(told(PASS, PASS, "UNSANDBOXED")).label == "pass UNSANDBOXED"
    assert read(told(PASS, PASS), told(FAIL, FAIL)).score == 0.5
    for text in (
        "",
        "pass",
        "{}",
        '{"base": {"status": "pass"}}',
        json.dumps({"base": PASS, "plus": PASS, "sandbox": 1}),
    ):
        with pytest.raises(Unreadable):
            read(Reply(text))


def canonical(name: str, samples_: list[Sample]) -> list[dict[str, str]]:
    found = [problem(sample) for sample in samples_]
    return [{"task_id": str(p["task_id"]), "completion": str(p["canonical_solution"])} for p in found]


@pytest.mark.parametrize("name", NAMES)
def test_canonical_solutions_pass_and_wrong_ones_do_not(name: str, tmp_path: Path) -> None:
    needs_sandbox()
    rows = canonical(name, demo(name))
    entry = problem(demo(name)[0])["entry_point"]
    rows[0] = {"task_id": rows[0]["task_id"], "solution": f"def {entry}(*given): return 2"}
    rows[1] = {"task_id": rows[1]["task_id"], "solution": "import os; os._exit(0)"}
    assert run(tmp_path, name, samples(tmp_path, rows), "--data", "demo") == 0
    found = {key: value[0] for key, value in programs(tmp_path).items()}
    status = [(each["base"]["status"], each["plus"]["status"]) for each in found.values()]
    assert status == [("fail", "fail")] * 2 + [("pass", "pass")] * 6
    assert found[rows[1]["task_id"]]["base"]["reason"] == "died: exit status 0"
    assert estimates(tmp_path) == {"base_pass@1": 0.75, "plus_pass@1": 0.75}
    manifest = json.loads((tmp_path / "run" / "results.json").read_text())["manifest"]
    assert "canaries held" in manifest["environment"]["sandbox"]


def test_slow_programs_are_run_again_and_both_results_are_kept(tmp_path: Path) -> None:
    needs_sandbox()
    entry = problem(demo("mbpp_plus")[0])["entry_point"]
    spin = (
        "import time\ndef spin(seconds):\n end = time.process_time() + seconds\n while time.process_time() < end: pass"
    )
    slow = f"{spin}\ndef {entry}(text):\n spin(0.7)\n return len(text.split())"
    greedy = f"def {entry}(text): raise MemoryError"
    rows = [{"task_id": str(demo("mbpp_plus")[0].id), "solution": code} for code in (slow, greedy)]
    for n, each in enumerate(rows):
        folder = tmp_path / str(n)
        folder.mkdir()
        assert run(folder, "mbpp_plus", samples(folder, [each]), "--data", "demo", "--limit", "1") == 0
    (late,), (full,) = (next(iter(programs(tmp_path / str(n)).values())) for n in range(2))
    assert {late[suite]["status"] for suite in ("base", "plus")} == {"pass"}
    assert {each["reason"] for each in late["first"].values()} == {"timeout: of processor time"}
    assert [full[suite]["status"] for suite in full["first"]] == ["fail", "fail"]
    assert {each["reason"] for each in full["first"].values()} == {"MemoryError"}


def test_scoring_again_executes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_sandbox()
    answers = samples(tmp_path, canonical("mbpp_plus", demo("mbpp_plus")))
    assert run(tmp_path, "mbpp_plus", answers, "--data", "demo", "--limit", "2") == 0
    before = estimates(tmp_path)
    monkeypatch.setattr("subprocess.Popen", None)
    assert main(["score", str(tmp_path / "run")]) == 0
    assert estimates(tmp_path) == before


def test_generate_first_and_judge_where_a_sandbox_is(tmp_path: Path) -> None:
    needs_sandbox()
    answers = samples(tmp_path, canonical("mbpp_plus", demo("mbpp_plus")))
    words = ["--tasks", "mbpp_plus", "--data", "demo", "--limit", "2", "--out", str(tmp_path / "run")]
    assert main(["generate", "--model", f"outputs:{answers}", *words]) == 0
    assert main(["judge", str(tmp_path / "run")]) == 0
    assert estimates(tmp_path)["plus_pass@1"] == 1.0


def test_without_a_jail_every_row_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H3EVAL_UNSAFE", "1")
    answers = samples(tmp_path, canonical("mbpp_plus", demo("mbpp_plus")))
    assert run(tmp_path, "mbpp_plus", answers, "--data", "demo", "--limit", "2", "--unsafe-code") == 0
    assert {each[0]["sandbox"] for each in programs(tmp_path).values()} == {"UNSANDBOXED"}
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert any("UNSANDBOXED" in warning for warning in results["warnings"])
    assert "UNSANDBOXED" in (tmp_path / "run" / "report.html").read_text()


def test_ten_programs_a_problem_give_pass_at_ten(tmp_path: Path) -> None:
    needs_sandbox()
    good = canonical("mbpp_plus", demo("mbpp_plus")[:1])[0]
    bad = {"task_id": good["task_id"], "solution": "def words_in(text): return -1"}
    answers = samples(tmp_path, [good, *[bad] * 9])
    assert run(tmp_path, "mbpp_plus/chat-10", answers, "--data", "demo", "--limit", "1") == 0
    assert len(programs(tmp_path)[good["task_id"]]) == 10
    assert estimates(tmp_path) == pytest.approx(
        {"base_pass@1": 0.1, "base_pass@10": 1.0, "plus_pass@1": 0.1, "plus_pass@10": 1.0}
    )


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("answer", "Sure.\n```python\ndef words_in(text):\n\treturn len(text.split())\n```\nprint(words_in('a'))"),
        ("answer", "def words_in(text):\n    return len(text.split())\nassert words_in('a') == 1"),
        ("continued", "\ndef words_in(text):\n    return len(text.split())\n\nprint(1)"),
    ],
)
def test_answers_are_sanitised_by_evalplus(form: str, text: str) -> None:
    backend = importlib.import_module("h3eval.backends.sandbox")
    code = backend._code(text, form, backend._problem(demo("mbpp_plus")[0].reference["problem"]).problem)
    scope: dict[str, object] = {}
    exec(code, scope)
    assert scope["words_in"]("a b c") == 3  # type: ignore[operator]
    assert "print(" not in code


def test_both_tasks_are_parts_of_a_composite() -> None:
    for name in NAMES:
        task: Task = registry.task(name)
        assert task.primary == "plus_pass@1"
        assert task.dimension == "helpful"
