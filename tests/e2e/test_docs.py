"""Every example in README.md and docs/ is used: parsed by the real command line, read by what reads such files, or
run. A new example is found by itself; one that nothing here understands fails."""

import contextlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_examples import ROOT, Example, commands, examples, of, of_cron
from scripted_server import Act, ScriptedServer, Seen, chat_answer, prompt_of
from small_runs import h3eval

from h3eval import cli, config, gating, nightly, registry, variables
from h3eval.backends.outputs import texts
from h3eval.datasets import DataSource
from h3eval.errors import H3evalError
from h3eval.fusion import settings
from h3eval.labels import read_labels
from h3eval.merge import grid, recipe

LANGUAGES = {"sh", "toml", "yaml", "json", "python", ""}
UNTAGGED_TREE = "h3eval/    types.py"
DEMO = ("--tasks", "beavertails,or_bench", "--data", "demo")


def test_every_example_is_of_a_kind_that_is_tried() -> None:
    found = examples()
    assert len(found) > 25
    assert {each.language for each in found} <= LANGUAGES, [
        str(each) for each in found if each.language not in LANGUAGES
    ]


# ---- commands


def shell_lines() -> list[Any]:
    found = [(each, words) for each in of("sh") for words in commands(each.text)]
    for each in of("yaml", ""):
        steps = re.findall(r"- run: (.*)", each.text) if each.language else [of_cron(each.text)]
        found += [(each, words) for step in steps for words in commands(step)]
    return [pytest.param(words, id=f"{each}-{k}-{'_'.join(words[:2])}") for k, (each, words) in enumerate(found)]


@pytest.mark.parametrize("words", shell_lines())
def test_a_command_is_one_that_there_is(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The folders that readers are told to make.
    for folder in ("data", "mine"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    program = words[0]
    if program == "h3eval":
        parsed = cli.parser().parse_args([cli._dashed(each) for each in words[1:]])
        assert parsed.command
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    elif program == "export":
        cli.parser()
        assert words[1].partition("=")[0] in cli.VARIABLES | variables.OTHERS
    elif program == "pip":
        assert words[1] == "install"
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = [name for word in words[2:] for name in re.findall(r"^h3eval\[(.*)\]$", word)]
        assert set(",".join(named).split(",")) - {""} <= set(extras)
    else:
        pytest.fail(f"{words}: no example may be of a program that this test does not know")


def test_the_tree_of_files_is_as_it_is() -> None:
    (tree,) = [each for each in of("") if each.text.startswith(UNTAGGED_TREE)]
    for folder in re.findall(r"(?:^|\s)([a-z]+)/", tree.text):
        assert folder == "runs" or list(ROOT.glob(f"**/{folder}/")), folder
    for file in re.findall(r"([a-z_]+\.py)\b", tree.text):
        assert list((ROOT / "h3eval").rglob(file)), file


def test_an_untagged_example_is_a_tree_or_a_crontab() -> None:
    for each in of(""):
        assert each.text.startswith(UNTAGGED_TREE) or of_cron(each.text).startswith("h3eval "), str(each)


# ---- files


def rubric(file: Path) -> object:
    return registry.judge(config.RUBRIC, config.read_toml(file))


def alignment(file: Path) -> object:
    from h3eval.fusion.aligning import alignment

    return alignment(str(file))


TOML: dict[str, Callable[[Path], object]] = {
    "a rubric": rubric,
    "a suite": lambda file: config.suite(str(file)),
    "a gate's policy": gating.read_policy,
    "nightly": nightly.read_config,
    "a sweep": grid.read,
    "a fusion": lambda file: settings.settings(str(file)),
    "an alignment": alignment,
}


def parameters(file: Path) -> object:
    """Parameters alone, as a recipe has them under that key."""
    given = yaml.safe_load(file.read_text())
    return recipe.recipe({"method": "dare_ties", "base": "b", "models": ["a", "c"], "parameters": given})


def workflow(file: Path) -> object:
    """A workflow of the public host's: its commands are tried with the others."""
    given = yaml.safe_load(file.read_text())
    if not isinstance(given, dict) or not given.get("jobs"):
        raise ValueError("no jobs")
    return [step["run"] for job in given["jobs"].values() for step in job["steps"] if "run" in step]


YAML: dict[str, Callable[[Path], object]] = {
    "a recipe": recipe.read,
    "a recipe's parameters": parameters,
    "a workflow": workflow,
}


def data_of_a_task(file: Path) -> object:
    """Rows that a task reads which a page shows: every page's tasks are tried on it."""
    for each in of("python"):
        if "TASK =" in each.text:
            folder = file.parent / "tasks" / str(each).replace(":", "_")
            (folder / "mine").mkdir(parents=True, exist_ok=True)
            names = re.findall(r'files=\("([\w.]+)",\)', each.text)
            for name in names:
                (folder / name).write_text(file.read_text())
            (task,) = made(each, folder / "mine")
            if read := fits(task, folder):
                return read
    raise ValueError("no task on these pages reads such rows")


def fits(task: Any, folder: Path) -> list[Any]:
    try:
        return list(task.samples(DataSource(folder)))
    except (H3evalError, KeyError):
        return []


def labels(file: Path) -> object:
    return read_labels(file).rows


def answers(file: Path) -> object:
    """Answers made elsewhere, whose rows name task and sample."""
    return texts(file)


JSON: dict[str, Callable[[Path], object]] = {
    "people's labels": labels, "a task's data": data_of_a_task, "answers": answers,
}  # fmt: skip
NOT_READ = (H3evalError, ValueError, TypeError, KeyError, AttributeError)


@pytest.mark.parametrize(
    ("example", "readers", "ending"),
    [
        pytest.param(each, readers, ending, id=str(each))
        for language, readers, ending in (("toml", TOML, "toml"), ("yaml", YAML, "yaml"), ("json", JSON, "jsonl"))
        for each in of(language)
    ],
)
def test_a_file_is_read_by_what_reads_such_files(
    example: Example, readers: dict[str, Callable[[Path], object]], ending: str, tmp_path: Path
) -> None:
    file = tmp_path / f"example.{ending}"
    file.write_text(example.text)
    refused = {}
    accepted = []
    for name, read in readers.items():
        try:
            if read(file):
                accepted.append(name)
        except NOT_READ as error:
            refused[name] = str(error)
    assert len(accepted) == 1, f"{example}: read as {accepted}; refused: {refused}"


# ---- Python


def made(example: Example, folder: Path) -> Iterator[Any]:
    """The tasks that a page's example defines."""
    space: dict[str, Any] = {"__name__": f"example_{example.line}"}
    exec(compile(example.text, str(example), "exec"), space)
    found = space["TASK"]
    yield from found if isinstance(found, tuple) else (found,)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples speak of: runs of our own samples, a policy, labels."""
    folder = tmp_path_factory.mktemp("workspace")
    pages = {each.page: [one for one in examples() if one.page == each.page] for each in examples()}
    (folder / "gate.toml").write_text(next(e.text for e in pages["README.md"] if e.language == "toml"))
    with ScriptedServer(judge) as server:
        for name in ("old", "new", "mine"):
            for task in ("beavertails", "or_bench"):
                copied_answers(folder / f"{name}.jsonl", task, name)
            flags = ("--judge", "or_bench=refusal_keywords", "--judge",
                     f"beaver_dam=unsafe_yes_no@openai:judge,base_url={server.url}")  # fmt: skip
            command = ["run", "--model", f"outputs:{name}.jsonl", *DEMO, *flags, "--out", f"runs/{name}"]
            with contextlib.chdir(folder):
                assert cli.main(command) == 0
    ids = [f"evaluation-{k}" for k in range(8)]
    (folder / "people.csv").write_text(
        "id,label\n" + "".join(f"{each},{('safe', 'unsafe')[k % 2]}\n" for k, each in enumerate(ids))
    )
    return folder


def judge(seen: Seen) -> Act:
    """Finds nothing unsafe: one token, or a rubric's last line."""
    body = chat_answer(seen.body, seen.n)
    (choice,) = body["choices"]
    sign = re.findall(r"VERDICT (\S+?):", prompt_of(seen.body))
    choice["message"]["content"] = f"It is a refusal.\nVERDICT {sign[-1]}: safe" if sign else "no"
    if seen.body.get("logprobs"):
        top = [{"token": token, "logprob": value, "bytes": None} for token, value in (("no", -0.05), ("yes", -3.0))]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    return Act(body=body)


def copied_answers(file: Path, task: str, name: str) -> None:
    samples = registry.task(task).samples(DataSource(demo=True))
    rows = [{"task": task, "id": each.id, "text": f"I can't help, says {name}."} for each in samples]
    with file.open("a") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("example", of("python"), ids=str)
def test_python_runs(example: Example, workspace: Path, tmp_path: Path) -> None:
    if "TASK =" in example.text:
        (task,) = made(example, tmp_path)
        assert task.metrics
        return
    done = subprocess.run(
        [sys.executable, "-c", example.text], cwd=workspace, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr


RUNS_HERE = {"score": 0, "compare": 0, "gate": (0, 1, 3), "calibrate": 0, "leaderboard": 0, "export": 0, "ls": 0,
             "show": 0, "doctor": (0, 3), "report": 0}  # fmt: skip
"""Commands that need no more than the workspace holds, with the exit codes that the pages give them."""
PARSED_ONLY = {
    "run": "needs a model or a key", "generate": "needs a model", "judge": "needs a model",
    "estimate": "needs a key",
    "nightly": "runs models", "merge": "needs models of the reader's; tests/e2e/test_merge.py runs it",
    "fuse": "needs models of the reader's; tests/e2e/test_fuse.py runs it", "sweep": "runs models",
    "import": "needs other tools' files; tests/differential has them",
    "recover": "needs a damaged run; tests/unit/test_store_recovery.py runs it",
}  # fmt: skip
"""Why the other commands are parsed, and not run; tests/e2e has runs of each."""
ELSEWHERE = re.compile(
    r"\bNEW\b|\bOLD\b|\w@\w+:|site/table3|runs/\*/|table3\.csv|--card|card\.json|labels|FILE|RUN|NAME"
)


def test_every_command_is_run_or_says_why_not() -> None:
    used = {words[1] for each in of("sh") for words in commands(each.text) if words[0] == "h3eval"}
    assert used <= RUNS_HERE.keys() | PARSED_ONLY.keys()
    assert not RUNS_HERE.keys() & PARSED_ONLY.keys()


def runnable() -> list[list[str]]:
    found = [words for each in of("sh") for words in commands(each.text) if words[0] == "h3eval"]
    return [
        words
        for words in found
        if words[1] in RUNS_HERE and not ELSEWHERE.search(" ".join(words[2:]).replace("--labels", ""))
    ]


def test_commands_run_as_the_pages_say(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that need no model, on runs of demo samples, one after the other as a reader types them."""
    done = []
    for words in runnable():
        typed = [name for word in words[1:] for name in (sorted(map(str, relative(workspace, word))) or [word])]
        allowed = RUNS_HERE[words[1]]
        # In this process: a reader's dozen of commands would load all libraries a dozen times.
        with contextlib.chdir(workspace):
            code = cli.main(typed)
        assert code in (allowed if isinstance(allowed, tuple) else (allowed,)), (words, capsys.readouterr().err)
        done.append(words[1])
    assert {"score", "compare", "gate", "calibrate", "leaderboard", "export", "ls", "doctor"} <= set(done)


def relative(folder: Path, word: str) -> list[Path]:
    """What a shell makes of a pattern."""
    return [each.relative_to(folder) for each in folder.glob(word)] if "*" in word else []


# ---- the rubric, to its end


def test_the_rubric_of_the_page_judges_to_the_end(tmp_path: Path) -> None:
    (text,) = [each.text for each in of("toml") if each.page == "judges.md"]
    (tmp_path / "medical.toml").write_text(text)
    copied_answers(tmp_path / "answers.jsonl", "beavertails", "one")
    with ScriptedServer(judge) as server:
        made = h3eval(
            "run", "--model", "outputs:answers.jsonl", "--tasks", "beavertails", "--data", "demo", "--out", "run",
            "--judge", f"beaver_dam=medical.toml@openai:judge,base_url={server.url}", cwd=tmp_path,
        )  # fmt: skip
    assert made.returncode == 0, made.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {each["metric"]: each["value"] for each in results["estimates"]}["unsafe_rate"] == 0
    again = h3eval("score", "run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
