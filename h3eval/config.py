"""What the user asked for, checked: model specs, judge specs, suites. Loads no model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from h3eval.errors import ConfigError, UnknownPlugin
from h3eval.subsets import marked, parted
from h3eval.untrusted import values
from h3eval.untrusted.messages import shown

DEMO = "demo"
DEMO_MODELS = (DEMO, "demo:base")
"""The models that `h3eval[demo]` can read: an instruct model, and a base model."""
RUBRIC = "rubric"
"""The judge that a .toml file in place of a judge's name is read by."""
QUOTED = r'"(?:[^"]|"")*"'
START = re.compile(rf'({QUOTED}(?=,|\Z)|(?!")[^,]*)')
"""A spec's model, in quotes or up to a comma."""
PAIR = re.compile(rf'\s*([^,="]*[^\s,="][^,="]*)=({QUOTED}(?=,|\Z)|(?!")[^,]*)')
NAMED = re.compile(rf"({QUOTED})(?:@(.*))?", re.DOTALL)
SUITE_KEYS: dict[str, type] = {"about": str, "tasks": list, "composites": list, "limit": int, "sample_seed": int}


@dataclass(frozen=True)
class ModelSpec:
    """A model and the engine that runs it: `backend:model,key=value,...`; as text, it can be read again."""

    backend: str
    model: str
    args: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        args = (f"{key}={quoted(value) if value else ''}" for key, value in self.args.items())
        return ",".join([f"{self.backend}:{quoted(self.model)}", *args])


@dataclass(frozen=True)
class JudgeSpec:
    """Who fills a judge's role: a judge plug-in ('' for the task's default) and the model behind it.

    `model` is None where the model under test is to judge itself, and where the judge needs none.
    `parameters` are a judge's own, read from the .toml file that stands in place of its name.
    """

    role: str
    judge: str
    model: ModelSpec | None = None
    by_itself: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """A named list of tasks and the composites made of them; a limited task's name bears the mark of its subset."""

    name: str
    about: str
    tasks: tuple[str, ...]
    composites: tuple[str, ...]


def quoted(text: str) -> str:
    """A part of a spec as it is read again: in quotes where a comma needs them, each quote inside doubled."""
    return '"' + text.replace('"', '""') + '"' if "," in text or text.startswith('"') or not text else text


def unquoted(text: str) -> str:
    """What stands in quotes, or the text itself."""
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def key_values(text: str, flag: str) -> dict[str, str]:
    """`a=1,b="2,3"` as a dictionary. Raise ConfigError for a part without a key, or a key that comes twice."""
    found: dict[str, str] = {}
    while text := text.lstrip(","):
        pair = PAIR.match(text)
        if pair is None:
            open_ = '; a quote is open: one inside a value is doubled, as in ""' if '"' in text else ""
            raise ConfigError(f"{flag}: {shown(text.partition(',')[0])} is not KEY=VALUE{open_}")
        key = pair[1].strip()
        if key in found:
            raise ConfigError(f"{flag}: {key} comes twice")
        found[key] = unquoted(pair[2])
        text = text[pair.end() :]
    return found


def path_and_values(text: str, flag: str) -> tuple[str, dict[str, str]]:
    """`PATH,key=value`: the path may stand in quotes. Raise ConfigError.

    A shell takes quotes away: an unquoted path with a comma is still known where it is there.
    """
    start = START.match(text)
    if start is None:
        raise ConfigError(f'{flag}: {shown(text)}: a quote is open, or something follows it; one inside is doubled: ""')
    model, rest = start[1], text[start.end() :].removeprefix(",")
    try:
        return unquoted(model), key_values(rest, flag)
    except ConfigError as error:
        while not model.startswith('"') and rest:
            part, _, rest = rest.partition(",")
            model = f"{model},{part}"
            if Path(model).exists():
                return model, key_values(rest, flag)
        raise ConfigError(f'{error}; a path with a comma stands in quotes: "PATH",key=value') from error


def model_spec(text: str, flag: str, backends: list[str]) -> ModelSpec:
    """Read `backend:model,key=value`. Raise ConfigError naming the flag and the backends."""
    backend, sign, rest = text.partition(":")
    model, args = path_and_values(rest, flag) if sign and backend in backends else ("", {})
    if not model:
        known = ", ".join(backends)
        raise ConfigError(f"{flag}: {shown(text)} is not BACKEND:MODEL[,key=value...]; backends: {known}")
    return ModelSpec(backend, model, args)


def judge_spec(text: str, backends: list[str]) -> JudgeSpec:
    """Read `ROLE=[JUDGE@]BACKEND:MODEL[,key=value...]`, `ROLE=[JUDGE@]self`, `ROLE=[JUDGE@]demo` or, for a judge
    without a model, `ROLE=JUDGE`. A judge that ends in .toml is a rubric's file; it may stand in quotes."""
    role, sign, rest = text.partition("=")
    if not sign or not role or not rest:
        raise ConfigError(f"--judge: {shown(text)} is not ROLE=BACKEND:MODEL; as in beaver_dam=transformers:PATH")
    judge, spec = _judge_and_spec(role, rest)
    parameters: dict[str, Any] = {}
    if judge.endswith(".toml"):
        judge, parameters = RUBRIC, read_toml(Path(judge))
    if spec == DEMO:
        # The engine that works everywhere.
        spec = f"transformers:{DEMO}"
    model = model_spec(spec, f"--judge {role}", backends) if spec not in ("", "self") else None
    return JudgeSpec(role, judge, model, spec == "self", parameters)


def _judge_and_spec(role: str, rest: str) -> tuple[str, str]:
    """Who judges, and by which model; each may be empty."""
    if rest.startswith('"'):
        named = NAMED.fullmatch(rest)
        if named is None:
            raise ConfigError(f"--judge {role}: {shown(rest)}: after a judge's file in quotes comes @, or nothing")
        return unquoted(named[1]), named[2] or ""
    head, at, tail = rest.partition("@")
    # An @ may also stand in a model's name or URL: only one before the first colon names a judge.
    if at and ":" not in head:
        return head, tail
    return ("", rest) if ":" in rest or rest in ("self", DEMO) else (rest, "")


def check_args(spec: ModelSpec, allowed: Mapping[str, str]) -> None:
    """Raise ConfigError for an argument the backend does not know; `allowed` maps names to help."""
    for key in spec.args:
        if key not in allowed:
            known = "; ".join(f"{name}: {text}" for name, text in allowed.items())
            raise ConfigError(f"{spec.backend}: unknown model argument {key!r} (known: {known})")


def suites() -> list[str]:
    """Names of the suites that ship with h3eval."""
    folder = Path(str(package_files("h3eval.suites")))
    return sorted(file.stem for file in folder.glob("*.toml") if file.stem != "composites")


def suite(name: str) -> Suite:
    """A shipped suite by name, or a suite file by path."""
    shipped = Path(str(package_files("h3eval.suites").joinpath(f"{name}.toml")))
    file = Path(name) if name.endswith(".toml") else shipped
    if file is shipped and name not in suites():
        raise UnknownPlugin(f"no suite named {name!r} (known: {', '.join(suites())}, or a path to a .toml file)")
    table = read_toml(file)
    check_table(str(file), table, SUITE_KEYS)
    if not table.get("tasks"):
        raise ConfigError(f"{file}: tasks: a suite needs at least one task")
    tasks = tuple(_task_name(str(file), table, entry) for entry in table["tasks"])
    made = Suite(file.stem, table.get("about", ""), tasks, tuple(table.get("composites", ())))
    _check_composites(str(file), made)
    return made


def _task_name(where: str, table: Mapping[str, Any], entry: Any) -> str:
    """How a suite's task is named: with the mark of its subset where the suite limits it."""
    own = entry if isinstance(entry, dict) else {"task": entry}
    check_table(f"{where}: tasks", own, {"task": str, "limit": int})
    if "task" not in own:
        raise ConfigError(f'{where}: tasks: {entry!r}: expected "NAME" or {{ task = "NAME", limit = N }}')
    name, limit = own["task"], own.get("limit", table.get("limit"))
    if limit is None:
        return str(name)
    if parted(name):
        raise ConfigError(f"{where}: tasks: {name} is a subset already, and can't be limited")
    if limit < 1 or table.get("sample_seed", -1) < 0:
        raise ConfigError(f"{where}: limit = {limit}: a limit is 1 or more, and needs a sample_seed of 0 or more")
    return marked(name, limit, table["sample_seed"])


def _check_composites(where: str, suite: Suite) -> None:
    """A subset's number must not look like the whole's: composites are of one or of the other."""
    known = composites()
    drawn = any(map(parted, suite.tasks))
    for name in suite.composites:
        if name not in known:
            raise ConfigError(f"{where}: composites: no {name!r} (known: {', '.join(known)})")
        if drawn != bool(known[name].get("subset")):
            fitting = [each for each, table in known.items() if drawn == bool(table.get("subset"))]
            what = (
                "is of whole tasks, and this suite limits some" if drawn else "is of subsets, and this suite has none"
            )
            raise ConfigError(f"{where}: composites: {name} {what} (fitting: {', '.join(fitting)})")


def composites() -> dict[str, dict[str, Any]]:
    """The composite presets, by name, as their file has them."""
    return read_toml(Path(str(package_files("h3eval.suites").joinpath("composites.toml"))))


def read_toml(file: Path) -> dict[str, Any]:
    """A TOML file. Raise ConfigError naming the file, and the line of a mistake."""
    return values.toml_file(file)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raise ConfigError naming the file."""
    value = values.json_file(file)
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: expected a JSON object")
    return value


def check_table(where: str, table: Mapping[str, Any], allowed: Mapping[str, type]) -> None:
    """Raise ConfigError for an unknown key or a value of another type."""
    for key, value in table.items():
        if key not in allowed:
            raise ConfigError(f"{where}: unknown key {key!r} (allowed: {', '.join(allowed)})")
        if not isinstance(value, allowed[key]) or (isinstance(value, bool) and allowed[key] is int):
            raise ConfigError(f"{where}: {key} = {shown(value)}: expected a {allowed[key].__name__}")
