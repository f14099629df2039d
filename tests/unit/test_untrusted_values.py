"""JSON, TOML and YAML from outside: what is absurd is refused in one line, and quickly; what is ordinary is read."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from h3eval import config
from h3eval.errors import ConfigError
from h3eval.merge import grid, recipe
from h3eval.untrusted import messages, values, yamls

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
BOMB = 'notes:\n  - &a0 ["x","x","x","x","x","x","x","x","x"]\n' + "".join(
    f"  - &a{level} [{','.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "nested"),
        ("[" * 500 + "]" * 500, "nested more than"),
        ('{"a":' * 200 + "1" + "}" * 200, "nested more than"),
        ("9" * 4_000, "a number of 4000 digits"),
        ("-" + "9" * 5_000, "a number of 5001 digits"),
        ("1e999", "too large"),
        ("[NaN]", "NaN is not a JSON number"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' comes twice"),
        ("{} {}", "Extra data"),
        ("", "Expecting value"),
        (b"\xff", "utf-8"),
    ],
)
def test_json_that_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        values.parsed(text)
    assert len(str(caught.value).splitlines()) == 1


@settings(deadline=None)
@given(PLAIN)
def test_ordinary_json_is_what_it_is(value: Any) -> None:
    assert values.parsed(json.dumps(value)) == value
    assert values.reply(json.dumps(value).encode()) == value


def test_constants_mean_what_the_reader_says() -> None:
    assert values.parsed("[NaN, 1]", constants="missing") == [None, 1]
    assert values.parsed("[Infinity, 1e999]", constants="keep") == [float("inf"), float("inf")]
    with pytest.raises(ValueError, match="Infinity"):
        values.parsed("[Infinity]", constants="missing")
    assert values.parsed("9" * 4_000, python=True) == int("9" * 4_000)


def test_an_absurd_number_costs_a_paid_reply_nothing() -> None:
    for digits in (301, 4_000, 5_000, 1_000_000):
        body = b'{"text": "yes", "usage": {"prompt_tokens": ' + b"9" * digits + b"}}"
        assert values.reply(body) == {"text": "yes", "usage": {"prompt_tokens": None}}
    with pytest.raises(ValueError, match="nested"):
        values.reply(b"[" * 100_000)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "9" * 5_000, "digits"),
        ("a = " + "9" * 400, "more than 64 bits"),
        ("a = 0x" + "f" * 6_000, "64 bits"),
        ("a = nan", "nan"),
        ("a = -inf", "inf"),
        ("a = [1, {b = 1e999}]", "inf"),
        ("a = " + "[" * 3_000, "nested"),
        ("a = " + "[" * 150 + "]" * 150, "nested"),
        ("a." * 50_000 + "b = 1", "a key of more than"),
        ("a . " * 50_000 + "b = 1", "a key of more than"),
        ("a = {" + "b." * 50_000 + "c = 1}", "a key of more than"),
        ("a = 1\na = 2", "Cannot overwrite"),
        ("a = 2020-13-45", "line 1"),
        ("a = '''" + "x" * (1 << 20), "longer than"),
    ],
)
def test_toml_that_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    for read in (config.read_toml, grid.read):
        with pytest.raises(ConfigError, match=says) as caught:
            read(file)
        assert str(file) in str(caught.value)
        assert len(str(caught.value)) < 1_000 + len(str(file))


def test_long_prose_and_many_numbers_are_ordinary_toml() -> None:
    prose = "Is it so? Hello there... " * 2_000
    numbers = ", ".join(["0.125"] * 2_000)
    assert values.toml(f"a = '{prose}'\nb = [{numbers}]") == {"a": prose, "b": [0.125] * 2_000}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB + "models: [*a8]", "again and again"),
        (BOMB + "base: *a8", "again and again"),
        ("a: &a '" + "x" * 100_000 + "'\nb: [" + ",".join(["*a"] * 1_000) + "]", "again and again"),
        ("[" * 20_000, "nested more than"),
        ("{" * 20_000, "nested more than"),
        ("- " * 20_000, "nested more than"),
        ("? " * 20_000, "nested more than"),
        ("models: &m [*m]", "contains itself"),
        ("&m\na: *m", "contains itself"),
        ("a: &a\n  <<: *a", "contains itself"),
        ("seed: " + "9" * 5_000, "a number of 5000 digits"),
        ("a: 010", "in two ways"),
        ("a: 0x1F", "in two ways"),
        ("a: 1_000", "in two ways"),
        ("a: 12:30:45", "in two ways"),
        ("a: 1:30.5", "base of 60"),
        ("a: .nan", "not a number"),
        ("a: -.inf", "not a number"),
        ("a: 1.0e+400", "not a number"),
        ("a: !!binary aGk=", "of the kind binary"),
        ("a: !!set {b}", "of the kind set"),
        ("a: !mine 1", "of the kind !mine"),
        ("!!python/object/apply:os.system [id]", "of the kind python"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' comes twice"),
        ("b: {a: 1, a: 1}", "'a' comes twice"),
        ("1: 2", "a key that is no text: '1'"),
        ("yes: 2", "a key that is no text: 'yes'"),
        ("? [1, 2]\n: 3", "a key that is no text"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: *nowhere", "undefined alias"),
        ("a: \0", "no text"),
        ("a:\n\t- b", "cannot start"),
        ("#" + "x" * (1 << 19), "longer than"),
    ],
)
def test_recipes_that_are_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        recipe.read(file)
    said = str(caught.value).removeprefix(f"{file}: ")
    assert len(said) < 400
    assert len(said.splitlines()) == 1


def test_a_recipe_in_another_encoding_is_refused_and_dates_are_names(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(b"method: caf\xe9")
    with pytest.raises(ConfigError, match="line 1: not UTF-8"):
        recipe.read(file)
    assert yamls.parsed("a: 2020-01-01\nb: 2020-13-45") == {"a": "2020-01-01", "b": "2020-13-45"}


@settings(deadline=None)
@given(PLAIN)
def test_ordinary_yaml_is_what_it_is(value: Any) -> None:
    written = yaml.safe_dump({"a": value}, allow_unicode=True)
    assert yamls.parsed(written) == yaml.safe_load(written)


def test_a_merge_of_mappings_is_read_as_yaml_reads_it() -> None:
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  x: 3\nc: *a\n"
    assert yamls.parsed(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("preferences = 3\n[merge]\nmodels = 3\n", "a list is needed"),
        ("preferences = 1000000000\n[merge]\nmodels = ['a', 'b', 'c']\n", "points; at most"),
        (
            "[merge]\nmodels = ['a']\n[grid]\n" + "".join(f"k{n} = [{'1, ' * 100}]\n" for n in range(20)),
            "points; at most",
        ),
    ],
)
def test_sweeps_without_end_are_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        grid.read(file)


def test_what_others_raise_becomes_one_line() -> None:
    class Odd(Exception):
        pass

    for error, says in (
        (Odd("first\nsecond"), "FILE: Odd: first"),
        (ValueError("\x1b[2J\nx"), r"FILE: \x1b[2J"),
        (KeyError("a"), "FILE: KeyError: 'a'"),
        (Odd(), "FILE: Odd"),
        (RecursionError("x" * 9_000), "FILE: nested too deeply"),
        (MemoryError(), "FILE: does not fit into memory"),
        (ConfigError("as it is"), "as it is"),
    ):
        with pytest.raises(ConfigError) as caught, messages.reading("FILE"):
            raise error
        assert str(caught.value) == says
