"""Environment variables in place of flags: each means one flag, whichever command has it."""

import argparse
import difflib
import os
from collections.abc import Callable, Mapping
from typing import Any

from h3eval.errors import ConfigError

PREFIX = "H3EVAL_"
NAMES = {"--data-dir": ("H3EVAL_DATA", "H3EVAL_DATA_DIR"), "--data": ("H3EVAL_DATA_KIND",)}
"""Flags whose variable is not named after them: the folder is what people mean by H3EVAL_DATA."""
OTHERS = frozenset({"H3EVAL_UNSAFE", "H3EVAL_SECRET", "H3EVAL_TEST_DATA", "H3EVAL_UPDATE_GOLDEN"})
"""Variables that stand for no flag: consent to run without a sandbox, new runs' secret, and what our tests read."""
HINTS = {"H3EVAL_DATA": "it names the folder with local copies of the data; the shipped samples: --data demo"}


class Value(str):
    """A flag's value from the environment, which remembers the variable it stood in."""

    variable: str


def names(flag: str) -> tuple[str, ...]:
    """The variables that a flag may be given in, the one to use first."""
    return NAMES.get(flag, (PREFIX + flag.lstrip("-").replace("-", "_").upper(),))


def applied(flag: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `add_argument` with the flag's default from its variable, and the variable in its help.

    A variable that is set and empty is as good as unset. What it holds is read when the command is parsed that has the
    flag; it then raises ConfigError, naming the variable.
    """
    made = {**keys, "help": f"{keys.get('help', '')} [{names(flag)[0]}]"}
    given = [name for name in names(flag) if os.environ.get(name, "").strip()]
    if not given:
        return made
    value = Value(os.environ[given[0]])
    value.variable = given[0]
    reader = keys.get("type", str)
    made |= {"default": value, "required": False, "type": _reading(reader, keys.get("choices"), given)}
    return made


def _reading(reader: Callable[[str], Any], choices: Any, given: list[str]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if not isinstance(text, Value):
            return reader(text)
        if len({os.environ[name] for name in given}) > 1:
            raise ConfigError(f"{' and '.join(given)} differ, and mean the same: set one of them")
        hint = f"; {HINTS[text.variable]}" if text.variable in HINTS else ""
        try:
            value = reader(str(text))
        except (argparse.ArgumentTypeError, ValueError) as error:
            why = str(error).removeprefix(f"{text}: ")
            raise ConfigError(f"{text.variable}={text}: {why}{hint}") from error
        # argparse checks the choices of what was typed alone.
        if choices is not None and value not in choices:
            raise ConfigError(f"{text.variable}={text}: choose from {', '.join(map(str, choices))}{hint}")
        return value

    read.__name__ = getattr(reader, "__name__", "value")
    return read


def unread(known: frozenset[str]) -> list[str]:
    """A sentence for each H3EVAL_* variable that is set and that nothing reads."""
    told = []
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known | OTHERS:
            near = difflib.get_close_matches(name, known, 1)
            told.append(f"{name} is set, and nothing reads it" + (f" (did you mean {near[0]}?)" if near else ""))
    return told
