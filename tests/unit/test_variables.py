"""Environment variables in place of flags: each means one flag, and what it holds is checked as the flag's value is."""

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from h3eval import cli, variables

ROOT = Path(__file__).parents[2]
RUN = ["run", "--model", "demo", "--tasks", "gsm8k"]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [each for each in os.environ if each.startswith(variables.PREFIX)]:
        monkeypatch.delenv(name)


def commands(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command's own parser, `import xstest` and the like included."""
    below = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    for action in below:
        for name, each in action.choices.items():
            yield from commands(each, f"{path} {name}".strip())
    if not below:
        yield path, parser


def flags() -> Iterator[tuple[str, str, argparse.Action]]:
    for command, parser in commands(cli.parser()):
        for action in parser._actions:
            for flag in action.option_strings:
                yield command, flag, action


def with_variable(action: argparse.Action) -> list[str]:
    return re.findall(r"\[(H3EVAL_\w+)\]", action.help or "")


def test_each_variable_means_one_flag_in_all_commands() -> None:
    meant = defaultdict(set)
    for _, flag, action in flags():
        for name in {*with_variable(action), *(variables.names(flag) if with_variable(action) else ())}:
            meant[name].add(flag)
    assert len(meant) > 15
    assert {name: each for name, each in meant.items() if len(each) != 1} == {}
    assert meant["H3EVAL_DATA"] == {"--data-dir"}
    assert set(meant) == cli.VARIABLES


def test_the_help_names_the_variable_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for command, flag, action in flags():
        assert with_variable(action) in ([], [variables.names(flag)[0]]), (command, flag)


SAMPLE_VALUES = {"--data": "real", "--limit": "3", "--num-fewshot": "3", "--seed": "3", "--max-cost": "3",
                 "--max-failed": "0.5", "--threads": "3"}  # fmt: skip


@pytest.mark.parametrize("name", sorted({name for _, _, each in flags() for name in with_variable(each)}))
def test_a_variable_reaches_its_flag_and_no_other(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {(command, flag): action.default for command, flag, action in flags()}
    (meant,) = {flag for _, flag, action in flags() if name in with_variable(action)}
    monkeypatch.setenv(name, SAMPLE_VALUES.get(meant, str(tmp_path)))
    changed = {flag for command, flag, action in flags() if action.default != before[command, flag]}
    assert changed == {meant}


@pytest.mark.parametrize("flag", ["--data=demo", "--data=real"])
def test_a_data_folder_leaves_the_kind_of_data_alone(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("H3EVAL_DATA", str(tmp_path))
    args = cli.parser().parse_args(RUN)
    assert (args.data, args.data_dir) == (None, tmp_path)
    assert cli.parser().parse_args([*RUN, flag]).data == flag.partition("=")[2]


def test_the_kind_of_data_has_a_variable_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H3EVAL_DATA_KIND", "demo")
    args = cli.parser().parse_args(RUN)
    assert (args.data, args.data_dir) == ("demo", None)
    assert cli.parser().parse_args([*RUN, "--data", "real"]).data == "real"


def test_a_flag_is_stronger_than_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H3EVAL_DATA", "nowhere at all")
    assert cli.parser().parse_args([*RUN, "--data-dir", str(tmp_path)]).data_dir == tmp_path


@pytest.mark.parametrize("dashes", ["--data", "--data-dir", "--data_dir", "--data-d"])
def test_a_flag_s_name_is_never_taken_for_a_longer_one_s(dashes: str, tmp_path: Path) -> None:
    value = "demo" if dashes == "--data" else str(tmp_path)
    args = cli.parser().parse_args([cli._dashed(each) for each in [*RUN, dashes, value]])
    assert (args.data, args.data_dir) == (("demo", None) if dashes == "--data" else (None, tmp_path))


MISTAKES = {
    "demo as a folder": ({"H3EVAL_DATA": "demo"}, "H3EVAL_DATA=demo: no such folder; it names the folder"),
    "a folder that is none": ({"H3EVAL_DATA": "/no/such"}, "H3EVAL_DATA=/no/such: no such folder"),
    "an unknown kind": ({"H3EVAL_DATA_KIND": "/tmp"}, "H3EVAL_DATA_KIND=/tmp: choose from demo, real"),
    "two that differ": ({"H3EVAL_DATA": "/tmp", "H3EVAL_DATA_DIR": "/"}, "H3EVAL_DATA and H3EVAL_DATA_DIR differ"),
    "no number": ({"H3EVAL_LIMIT": "many"}, "H3EVAL_LIMIT=many: "),
    "no whole number": ({"H3EVAL_NUM_FEWSHOT": "2.5"}, "H3EVAL_NUM_FEWSHOT=2.5: "),
    "no amount": ({"H3EVAL_MAX_COST": "-1"}, "H3EVAL_MAX_COST=-1: an amount of US dollars"),
    "an infinite amount": ({"H3EVAL_MAX_COST": "inf"}, "H3EVAL_MAX_COST=inf: an amount of US dollars"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_variable_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment, words = MISTAKES[name]
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert cli.main(RUN) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_a_wrong_variable_matters_only_to_commands_with_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H3EVAL_DATA", "demo")
    monkeypatch.setenv("H3EVAL_LIMIT", "many")
    assert cli.main(["ls", "suites"]) == 0


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("H3EVAL_DATA", "H3EVAL_DATA_KIND", "H3EVAL_LIMIT", "H3EVAL_MAX_COST"):
        monkeypatch.setenv(name, "")
    args = cli.parser().parse_args(RUN)
    assert (args.data, args.data_dir, args.limit, args.max_cost) == (None, None, None, None)


def test_a_variable_that_nothing_reads_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("H3EVAL_MAXCOST", "3")
    monkeypatch.setenv("H3EVAL_UNSAFE", "1")
    assert cli.main(["ls", "suites"]) == 0
    told = capsys.readouterr().err
    assert "H3EVAL_MAXCOST is set, and nothing reads it (did you mean H3EVAL_MAX_COST?)" in told
    assert "UNSAFE" not in told


def test_every_variable_that_this_repository_speaks_of_is_known() -> None:
    cli.parser()
    known = cli.VARIABLES | variables.OTHERS
    ours = [*(ROOT / "h3eval").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "Makefile"]
    spoken = {name for file in ours for name in re.findall(r"\bH3EVAL_[A-Z][A-Z_]*[A-Z]\b", file.read_text())}
    assert spoken <= known
