"""Answers made elsewhere, from a file: `outputs:FILE`. Calls no model.

The file is JSON lines of `task`, `id` and `text` (a list of texts for several turns; with `finish_reason`, where it
is known how the last one ended), AlpacaEval's
`model_outputs.json`, EvalPlus samples, or MT-Bench model answers; gzipped or not. AlpacaEval's
answers are found by the instruction, MT-Bench's by the question that the sample's id begins with, all
others by the sample's id.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from h3eval.config import ModelSpec, check_args
from h3eval.errors import ConfigError
from h3eval.types import Backend, Call, Fault, Journal, Json, Prompt, Reply, Request
from h3eval.untrusted.files import sha256
from h3eval.untrusted.messages import shown
from h3eval.untrusted.rows import numbered

Key = tuple[str, str, int, int]
"""Task ('' where the file does not say), sample, turn, repeat. An instruction stands as a sample
with `INSTRUCTION` before it, the number of an MT-Bench question with `QUESTION`."""
INSTRUCTION = "instruction: "
QUESTION = "question: "
FINISHES = ("stop", "length", "content_filter")


class Program(str):
    """An answer that is code: EvalPlus's `solution` stands alone, its `completion` continues the problem's prompt."""

    form = ""


class Ended(str):
    """An answer of which the file says how it ended."""

    finish = "stop"


class Outputs:
    """Implements `types.Backend`. The file is read whole, and checked, at the start."""

    can = frozenset({"complete"})
    paid = False

    def __init__(self, spec: ModelSpec) -> None:
        check_args(spec, {})
        self.path = Path(spec.model)
        if not self.path.is_file():
            raise ConfigError(f"outputs: {self.path}: no such file")
        self.texts = texts(self.path)
        self.identity: Mapping[str, Json] = {
            "backend": "outputs",
            # Requests say in `options` which `task`, `sample` and `turn` they are for.
            "by_sample": True,
            "file_sha256": sha256(self.path),
        }

    def answer(self, calls: Iterable[Call], journal: Journal) -> Iterator[tuple[Call, Reply | Fault]]:
        for call in calls:
            text = self._find(call.request)
            missing = Fault(f"no answer in {self.path.name}", transient=False)
            if text is None:
                yield call, missing
            else:
                extra = {"form": text.form} if isinstance(text, Program) else {}
                finish = text.finish if isinstance(text, Ended) else "stop"
                yield call, Reply(str(text), finish, model=self.path.name, extra=extra)

    def _find(self, request: Request) -> str | None:
        options = request.options
        task, sample = str(options.get("task", "")), str(options.get("sample", ""))
        turn, repeat = int(options.get("turn", 0)), request.repeat
        for key in (
            (task, sample, turn, repeat),
            ("", sample, turn, repeat),
            ("", QUESTION + sample.rpartition("-")[0], turn, repeat),
            ("", INSTRUCTION + asked(request.prompt), turn, repeat),
        ):
            if key in self.texts:
                return self.texts[key]
        return None

    def close(self) -> None:
        self.texts = {}


def asked(prompt: Prompt) -> str:
    """The last message, or the whole of a plain prompt."""
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def texts(path: Path) -> dict[Key, str]:
    """All answers of a file. Raise ConfigError naming the row that is not understood, or contradicts."""
    found: dict[Key, str] = {}
    repeats: dict[str, int] = {}
    for number, row in numbered(path):
        where = f"{path}, row {number}"
        for key, text in _answers(row, repeats, where):
            if not isinstance(text, str):
                raise ConfigError(f"{where}: an answer must be text, not {type(text).__name__}")
            if found.setdefault(key, text) != text:
                raise ConfigError(f"{where}: a second, different answer to {key[1]!r}")
    if not found:
        raise ConfigError(f"{path}: holds no answers")
    return found


def _answers(row: Mapping[str, Any], repeats: dict[str, int], where: str) -> Iterator[tuple[Key, Any]]:
    """The answers of one row, by the fields that tell the four forms apart."""
    if {"task", "id", "text"} <= row.keys():
        turns: Any = row["text"] if isinstance(row["text"], list) else [row["text"]]
        task = _name(row["task"], "task", where).partition("/")[0]
        name, repeat = _name(row["id"], "id", where), _whole(row.get("repeat", 0), where)
        if turns and row.get("finish_reason"):
            turns = [*turns[:-1], _ended(turns[-1], row["finish_reason"], where)]
        yield from (((task, name, turn, repeat), text) for turn, text in enumerate(turns))
    elif {"instruction", "output"} <= row.keys():
        yield ("", f"{INSTRUCTION}{row['instruction']}", 0, 0), row["output"]
    elif "task_id" in row and row.keys() & {"solution", "completion"}:
        # EvalPlus writes several samples of one problem as several rows.
        name = str(row["task_id"])
        repeats[name] = repeats.get(name, -1) + 1
        form = "solution" if "solution" in row else "completion"
        yield ("", name, 0, repeats[name]), _program(row[form], form)
    elif "question_id" in row and isinstance(row.get("choices"), list):
        for repeat, choice in enumerate(row["choices"]):
            turns = choice.get("turns") if isinstance(choice, dict) else None
            for turn, text in enumerate(turns if isinstance(turns, list) else [None]):
                yield ("", f"{QUESTION}{row['question_id']}", turn, repeat), text
    else:
        raise ConfigError(
            f"{where}: not understood; expected task, id and text; or instruction and output; or task_id "
            f"and solution or completion; or question_id and choices; found {', '.join(sorted(row))}"
        )


def _name(value: Any, key: str, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ConfigError(f"{where}: {key} = {shown(value)}: expected text or a whole number")
    return str(value)


def _ended(text: Any, finish: Any, where: str) -> Any:
    """The last turn's answer with how it ended. Raise ConfigError for a reason that is not known."""
    if finish not in FINISHES:
        raise ConfigError(f"{where}: finish_reason = {shown(finish)}: expected one of {', '.join(FINISHES)}")
    if not isinstance(text, str):
        return text
    made = Ended(text)
    made.finish = finish
    return made


def _program(text: Any, form: str) -> Any:
    if not isinstance(text, str):
        return text
    made = Program(text)
    made.form = form
    return made


def _whole(value: Any, where: str) -> int:
    if type(value) is not int or value < 0:
        raise ConfigError(f"{where}: repeat must be a whole number, not {shown(value)}")
    return value


BACKEND: Callable[[ModelSpec], Backend] = Outputs
