"""HumanEval+ and MBPP+ as EvalPlus has them: its data, its prompts, its stop sequences; the sandbox runs the programs.

Protocols: `chat` (an instruction, and the beginning of the reply: models with a chat template), `api` (the
instruction alone: providers that take no beginning), `base` (the bare prompt, continued), all greedy with at most
768 tokens; `chat-10` draws ten programs at temperature 0.8, for pass@10.
"""

import ast
import functools
import importlib.util
import json
import os
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from platformdirs import user_cache_dir

from h3eval.errors import ConfigError, DataMissing
from h3eval.stats.estimates import mean, proportion
from h3eval.stats.passes import pass_at_k
from h3eval.types import Estimate, Item, Json, Message, Metric, Prompt, Reply, Request, Sample, Score, Source, Task
from h3eval.untrusted import files, values

from ._shared import DEMO_TOKENS, reading

ROLE = "sandbox"
JUDGE = "evalplus"
MOST_TOKENS = 768
TEMPERATURE, TOP_P = 0.8, 0.95
FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "atol", "base_input", "plus_input")
STOPS = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(")
"""Where EvalPlus ends every answer."""
FENCE = "\n```\n"


def evalplus_tasks(
    name: str, dataset: str, file: str, version: str, stops: tuple[str, ...], about: str
) -> tuple[Task, ...]:
    """All protocols of one data set, the default first. `stops` end the continuation of a bare prompt."""
    read = partial(samples, name=name, dataset=dataset, file=file, version=version)
    made = partial(_task, name, about, read)
    return (
        made("chat", partial(ask, stop=(*STOPS, FENCE)), chat, 1),
        made("api", partial(ask, stop=()), api, 1),
        made("base", partial(ask, stop=(*STOPS, *stops)), bare, 1),
        made("chat-10", partial(ask, stop=(*STOPS, FENCE), draws=10), chat, 10),
    )


def _task(
    name: str, about: str, read: Callable[..., Iterator[Sample]], protocol: str, asked: Callable[..., list[Request]],
    worded: Callable[[str], Prompt], draws: int,
) -> Task:  # fmt: skip
    ks = (1,) if draws == 1 else (1, draws)
    return Task(
        name=name,
        version=1,
        dimension="helpful",
        protocol=protocol,
        samples=partial(read, worded=worded, form="continued" if worded is bare else "answer"),
        ask=asked,
        judges={ROLE: JUDGE},
        metrics=tuple(metric(suite, k, draws) for suite in ("base", "plus") for k in ks),
        primary="plus_pass@1",
        about=about,
        notes=(
            "plus_pass counts programs that pass both the base and the plus tests, as EvalPlus does.",
            "Programs run in a sandbox (docs/sandbox.md); time is processor time, so that a busy machine fails nobody.",
        ),
    )


def samples(
    source: Source, name: str, dataset: str, file: str, version: str, worded: Callable[[str], Prompt], form: str
) -> Iterator[Sample]:
    """Every problem. Its tests travel in `reference`, packed: they may be large, and only the sandbox reads them."""
    for row in rows(source, name, file, version):
        problem = {"dataset": dataset, **{field: row[field] for field in FIELDS}}
        packed = b64encode(zlib.compress(json.dumps(problem).encode(), 3)).decode()
        yield Sample(
            id=row["task_id"],
            prompt=worded(row["prompt"]),
            reference={"canonical_solution": row["canonical_solution"], "problem": packed},
            metadata={
                "form": form,
                "entry_point": row["entry_point"],
                "max_tokens": DEMO_TOKENS if source.demo else MOST_TOKENS,
            },
        )


def rows(source: Source, name: str, file: str, version: str) -> list[dict[str, Json]]:
    """The data set's rows: the demo's, those under the data folder, or those that EvalPlus has fetched before.

    Raise DataMissing where there are none; EvalPlus's own files lie in a release, not on a hub.
    """
    files = (f"evalplus/{file}.jsonl", f"{file}.jsonl")
    if source.demo:
        return source.rows(name, demo=name)
    if found := source.file(*files):
        return read(Path(found))
    kept = Path(user_cache_dir("evalplus"), f"{file}-{version}.jsonl")
    override = os.environ.get(f"{name.partition('_')[0].upper()}_OVERRIDE_PATH")
    for path in (Path(override) if override else kept, kept):
        if path.is_file():
            return read(path)
    raise DataMissing(
        f"{name}: no {file}.jsonl under --data-dir, nor {kept}; put EvalPlus's release {version} there as "
        f"{files[0]}.gz, or have evalplus fetch it once: python -c 'import evalplus.data as d; d.get_{_getter(name)}()'"
    )


def read(path: Path) -> list[dict[str, Json]]:
    """Rows of EvalPlus's own files, in which -Infinity is an input like any other. Raise ConfigError for others."""
    try:
        # A whole number of any length is an input too, and a key's last value counts, as for EvalPlus itself.
        found = [values.parsed(line, "keep", True, True) for line in files.lines(path) if line.strip()]
    except ValueError as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
    if lacking := [field for field in FIELDS if any(field not in row for row in found)]:
        raise ConfigError(f"{path}: rows without {', '.join(lacking)}: not EvalPlus's own release")
    return found


def _getter(name: str) -> str:
    return "human_eval_plus" if name == "humaneval_plus" else name


def chat(problem: str) -> tuple[Message, ...]:
    """EvalPlus's instruction, and the reply it begins for the model: up to the code."""
    user, begun = wording()
    return (*_user(user, problem), {"role": "assistant", "content": f"{begun}\n```python\n"})


def api(problem: str) -> tuple[Message, ...]:
    """The instruction alone."""
    return _user(wording()[0], problem)


def bare(problem: str) -> str:
    """The problem as it stands, to be continued."""
    return problem.strip() + "\n"


def _user(instruction: str, problem: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": f"{instruction}\n```\n{problem.strip()}\n```\n"},)


@functools.cache
def wording() -> tuple[str, str]:
    """EvalPlus's instruction and its reply's first sentence, from the package's source: importing it takes seconds.

    Raise DataMissing where the source no longer has them.
    """
    spec = importlib.util.find_spec("evalplus")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse((folder / "codegen.py").read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        ):
            # The first of each name is the benchmark's own; those after it are for other kinds of runs.
            found.setdefault(node.targets[0].id, str(node.value.value))
    try:
        return found["instruction_prefix"], found["response_prefix"]
    except KeyError as error:
        raise DataMissing(f"evalplus: codegen.py has no {error} any more: install evalplus 0.3.1") from error


def ask(sample: Sample, replies: tuple[Reply, ...], stop: tuple[str, ...], draws: int = 1) -> list[Request]:
    """Once and greedily, or `draws` independent programs."""
    if replies:
        return []
    once = Request("complete", sample.prompt, max_tokens=sample.metadata["max_tokens"], stop=stop)
    if draws == 1:
        return [once]
    return [replace(once, temperature=TEMPERATURE, top_p=TOP_P, repeat=n) for n in range(draws)]


def metric(suite: str, k: int, draws: int) -> Metric:
    """The chance that one of k programs passes; over one program a problem, the share that pass."""
    aggregate: Callable[..., Estimate] = proportion if draws == 1 else mean
    return Metric(f"{suite}_pass@{k}", partial(passed, suite=suite, k=k), aggregate, (ROLE,))


def passed(item: Item, suite: str, k: int) -> Score:
    """The unbiased estimate from one problem's programs."""
    found = reading(item, ROLE)
    if found is None:
        return None
    counts: Mapping[str, Json] = found.details
    return float(pass_at_k([counts["n"]], [counts[suite]], k)[0])
