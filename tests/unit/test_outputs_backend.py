"""Answers from files and from recorded runs: the forms that are read, and what is refused."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from h3eval.config import ModelSpec
from h3eval.errors import ConfigError, UsageError
from h3eval.store import Store, call_key
from h3eval.types import Backend, Call, Fault, Reply, Request

outputs: Any = importlib.import_module("h3eval.backends.outputs")
replay: Any = importlib.import_module("h3eval.backends.replay")


def lines(folder: Path, *rows: object, name: str = "answers.jsonl") -> Path:
    file = folder / name
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def backend(file: Path) -> Backend:
    made: Backend = outputs.BACKEND(ModelSpec("outputs", str(file)))
    return made


def ask(engine: Backend, request: Request) -> Reply | Fault:
    ((_, answer),) = engine.answer([Call(b"k", request)], None)  # type: ignore[arg-type]
    return answer


def tagged(sample: str, task: str = "t", turn: int = 0, repeat: int = 0, prompt: Any = "p") -> Request:
    return Request(
        "complete", prompt, repeat=repeat, options={"task": task, "sample": sample, "turn": turn}
    )  # fmt: skip


def text(answer: Reply | Fault) -> str:
    assert isinstance(answer, Reply)
    return answer.text


def test_plain_lines(tmp_path: Path) -> None:
    engine = backend(
        lines(
            tmp_path,
            {"task": "t", "id": "1", "text": "one"},
            {"task": "t/v2", "id": 2, "text": ["a", "b"]},
            {"task": "t", "id": "1", "text": "again", "repeat": 1},
        )
    )
    assert text(ask(engine, tagged("1"))) == "one"
    assert text(ask(engine, tagged("1", repeat=1))) == "again"
    assert [text(ask(engine, tagged("2", turn=turn))) for turn in (0, 1)] == ["a", "b"]
    for request in (tagged("3"), tagged("1", task="u"), tagged("1", turn=1), Request("complete", "p")):
        assert ask(engine, request) == Fault("no answer in answers.jsonl", transient=False)


def test_alpaca_eval_files_are_found_by_instruction(tmp_path: Path) -> None:
    file = tmp_path / "model_outputs.json"
    file.write_text(json.dumps([{"instruction": "Do.", "output": "Done.", "generator": "g"}]))
    messages = ({"role": "system", "content": "x"}, {"role": "user", "content": "Do."})
    engine = backend(file)
    assert text(ask(engine, tagged("whatever", prompt=messages))) == "Done."
    assert text(ask(engine, tagged("whatever", prompt="Do."))) == "Done."
    assert isinstance(ask(engine, tagged("whatever", prompt="do.")), Fault)
    assert isinstance(ask(engine, tagged("Do.")), Fault)


def test_evalplus_and_mt_bench_files(tmp_path: Path) -> None:
    code = lines(
        tmp_path,
        {"task_id": "HumanEval/0", "solution": "a"},
        {"task_id": "HumanEval/0", "completion": "b"},
        {"task_id": "HumanEval/1", "solution": ""},
    )
    assert [text(ask(backend(code), tagged("HumanEval/0", repeat=n))) for n in (0, 1)] == ["a", "b"]
    assert text(ask(backend(code), tagged("HumanEval/1"))) == ""
    chat = lines(tmp_path, {"question_id": 81, "choices": [{"index": 0, "turns": ["one", "two"]}]}, name="c.jsonl")
    assert [text(ask(backend(chat), tagged("81-2", turn=turn))) for turn in (0, 1)] == ["one", "two"]
    assert text(ask(backend(chat), tagged("81-1"))) == "one"
    for sample in ("81", "8", "1-81", "81-1-1"):
        assert isinstance(ask(backend(chat), tagged(sample)), Fault)


def test_real_files(shared_data: Path) -> None:
    folder = shared_data / "alpaca_eval" / "official"
    assert len(backend(folder / "phi-2__model_outputs.json.gz").texts) == 803  # type: ignore[attr-defined]
    assert len(backend(shared_data / "mt_bench/model_answer/gpt-4.jsonl").texts) == 160  # type: ignore[attr-defined]
    samples = shared_data / "evalplus/samples/code-millenials-13b-humaneval.jsonl"
    assert len(backend(samples).texts) == 164  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"id": "1", "text": "x"}],
        [{"task": "t", "id": "1", "text": None}],
        [{"task": "t", "id": "1", "text": 3}],
        [{"task": "t", "id": "1", "text": ["a", None]}],
        [{"task": "t", "id": "1", "text": "x", "repeat": -1}],
        [{"task": "t", "id": "1", "text": "x"}, {"task": "t", "id": "1", "text": "y"}],
        [{"instruction": "i", "output": None}],
        [{"task_id": "H/0", "completion": None}],
        [{"question_id": 1, "choices": [{}]}],
        [{"question_id": 1, "choices": ["x"]}],
        [{"question_id": 1}],
        ["not an object"],
    ],
    ids=range(13),
)
def test_bad_files_are_refused_at_once(tmp_path: Path, rows: list[object]) -> None:
    with pytest.raises(ConfigError, match=r"answers\.jsonl"):
        backend(lines(tmp_path, *rows))


def test_bad_specs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        backend(tmp_path / "none.jsonl")
    file = lines(tmp_path, {"task": "t", "id": "1", "text": "x"})
    with pytest.raises(ConfigError, match="unknown model argument"):
        outputs.BACKEND(ModelSpec("outputs", str(file), {"dtype": "float16"}))


def test_identity_is_the_content(tmp_path: Path) -> None:
    row = {"task": "t", "id": "1", "text": "x"}
    (tmp_path / "b").mkdir()
    one, same = lines(tmp_path, row), lines(tmp_path / "b", row, name="other.jsonl")
    other = lines(tmp_path, row, {**row, "id": "2"}, name="more.jsonl")
    assert backend(one).identity == backend(same).identity != backend(other).identity


def recorded(folder: Path) -> tuple[Path, Request]:
    request = Request("complete", ({"role": "user", "content": "hello"},), max_tokens=7)
    judges = {"r": {"identity": {"j": 1}}, "unfilled": {"identity": None}}
    with Store.open(folder) as store:
        store.put_meta("manifest", {"model": {"identity": {"m": 1}}, "judges": judges})
        store.put("gen", call_key("gen", {"m": 1}, request), Reply("from the model"))
        verdict = Request("classify", "x", options={"max_length": 3})
        store.put("judge", call_key("judge", {"j": 1}, verdict), Reply(probabilities={"a": 0.5}))
        failed = Request("complete", "failed")
        store.put("gen", call_key("gen", {"m": 1}, failed), Fault("timeout"))
    return folder, request


def test_replay_answers_what_was_recorded(tmp_path: Path) -> None:
    folder, request = recorded(tmp_path / "run")
    engine: Backend = replay.BACKEND(ModelSpec("replay", str(folder)))
    assert text(ask(engine, request)) == "from the model"
    verdict = ask(engine, Request("classify", "x", options={"max_length": 3}))
    assert isinstance(verdict, Reply)
    assert verdict.probabilities == {"a": 0.5}
    assert ask(engine, Request("complete", "failed")) == Fault("timeout")
    unknown = ask(engine, Request("complete", "hello"))
    assert isinstance(unknown, Fault)
    assert unknown.reason == "not recorded"


def test_replay_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        replay.BACKEND(ModelSpec("replay", str(tmp_path)))


def test_how_an_answer_ended_is_read_or_refused(tmp_path: Path) -> None:
    row = {"task": "t", "id": "1", "text": ["a", "b"], "finish_reason": "length"}
    engine = backend(lines(tmp_path, row))
    found = [ask(engine, tagged("1", turn=turn)) for turn in (0, 1)]
    assert [each.finish_reason for each in found if isinstance(each, Reply)] == ["stop", "length"]
    for odd in ({"finish_reason": "tired"}, {"finish_reason": ["stop"]}, {"id": 1.0}, {"id": [1]}, {"task": True}):
        with pytest.raises(ConfigError, match=f"row 1: {next(iter(odd))} = "):
            backend(lines(tmp_path, {**row, **odd}))
