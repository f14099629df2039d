"""Specs of models and judges: any path can be said, and what was said is read back."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h3eval import config
from h3eval.config import ModelSpec
from h3eval.engines import resolve
from h3eval.errors import ConfigError
from h3eval.leaderboard import FOLDER

BACKENDS = ["outputs", "openai", "transformers"]
PATH = st.text(min_size=1)
VALUES = st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(), max_size=3)


@settings(deadline=None)
@given(PATH, VALUES)
def test_every_spec_is_read_back(path: str, args: dict[str, str]) -> None:
    spec = ModelSpec("outputs", path, args)
    assert config.model_spec(str(spec), "--model", BACKENDS) == spec
    assert config.path_and_values(str(spec).removeprefix("outputs:"), "--model") == (path, args)
    judge = config.judge_spec(f"role=judge@{spec}", BACKENDS)
    assert (judge.judge, judge.model) == ("judge", spec)
    assert config.judge_spec(f"role={spec}", BACKENDS).model == spec


@pytest.mark.parametrize(
    "path",
    [
        "a,b=c.jsonl",
        "a, b.jsonl",
        'say "no".jsonl',
        '"x"',
        "C:\\data\\a,1.jsonl",
        "a@b:c#d?e=f",
        "a\nb,c",
        " a",
        "ü,🙂",
        ",",
    ],
)
def test_odd_paths_in_quotes(path: str) -> None:
    said = '"' + path.replace('"', '""') + '"'
    found = config.model_spec(f'outputs:{said},dtype=auto,x="1,2"', "--model", BACKENDS)
    assert found == ModelSpec("outputs", path, {"dtype": "auto", "x": "1,2"})
    assert resolve(f"outputs:{said}", None, "") == ModelSpec("outputs", path)
    assert config.judge_spec(f"r=j@outputs:{said}", BACKENDS).model == ModelSpec("outputs", path)


def test_quotes_are_only_written_where_they_are_needed() -> None:
    for text in ("openai:gpt-4o,base_url=http://x:1/v1,price_in=1", "outputs:a b=c.jsonl", 'outputs:a"b'):
        assert str(config.model_spec(text, "--model", BACKENDS)) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('outputs:"a,b', "a quote is open"),
        ('outputs:"a"b', "something follows it"),
        ("outputs:a,b", "'b' is not KEY=VALUE; a path with a comma stands in quotes"),
        ('outputs:a,x="1', "a quote is open"),
        ('outputs:a,x="1"2', "not KEY=VALUE"),
        ("outputs:a,=1", "not KEY=VALUE"),
        ("outputs:a,x=1,x=2", "x comes twice"),
        ('outputs:""', "is not BACKEND:MODEL"),
        ("outputs:", "is not BACKEND:MODEL"),
        ("nowhere:a", "backends: outputs"),
    ],
)
def test_specs_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        config.model_spec(text, "--model", BACKENDS)


def test_a_path_whose_quotes_a_shell_took_is_known_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my answers, v2, final.jsonl").write_text("{}")
    found = config.model_spec("outputs:my answers, v2, final.jsonl,x=1", "--model", BACKENDS)
    assert found == ModelSpec("outputs", "my answers, v2, final.jsonl", {"x": "1"})
    assert os.fspath(Path(found.model)) in str(found)


def test_a_rubrics_file_may_be_called_anything(tmp_path: Path) -> None:
    file = tmp_path / 'my "rubric", v2=@:.toml'
    file.write_text("a = 1")
    said = '"' + str(file).replace('"', '""') + '"'
    for text, model in ((f"r={said}", None), (f'r={said}@outputs:"a,b"', ModelSpec("outputs", "a,b"))):
        found = config.judge_spec(text, BACKENDS)
        assert (found.judge, found.parameters, found.model) == (config.RUBRIC, {"a": 1}, model)
    with pytest.raises(ConfigError, match="comes @, or nothing"):
        config.judge_spec('r="a.toml"x', BACKENDS)


def test_folders_are_left_out_of_names_in_quotes_too() -> None:
    assert FOLDER.findall('outputs:"/home/me/a, b.jsonl",x=1') == ["/home/me/a, b.jsonl"]
    assert FOLDER.findall("transformers:/home/me/a,adapter=~/b") == ["/home/me/a", "~/b"]
