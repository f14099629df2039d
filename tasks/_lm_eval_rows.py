"""lm-eval's task objects on rows that we read, split by split, when lm-eval first asks for one."""

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import datasets
import jinja2
from lm_eval.api.task import ConfigurableTask

from h3eval.datasets import KnownRow, Origin, misfit
from h3eval.errors import ConfigError, DataMissing
from h3eval.types import Json, Source

Row = dict[str, Json]
MISFITS = (
    jinja2.TemplateError, ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What lm-eval's code raises on data that is not what it expects."""
LOCAL: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("openai/gsm8k", "main"): {"train": "gsm8k/train.jsonl", "test": "gsm8k/test.jsonl"},
    ("allenai/ai2_arc", "ARC-Challenge"): {
        "train": "arc/ARC-Challenge-Train.jsonl",
        "validation": "arc/ARC-Challenge-Dev.jsonl",
        "test": "arc/ARC-Challenge-Test.jsonl",
    },
    ("allenai/ai2_arc", "ARC-Easy"): {
        "train": "arc/ARC-Easy-Train.jsonl",
        "validation": "arc/ARC-Easy-Dev.jsonl",
        "test": "arc/ARC-Easy-Test.jsonl",
    },
    ("truthfulqa/truthful_qa", "multiple_choice"): {"validation": "truthfulqa/mc_task_v0.json"},
    ("HuggingFaceH4/MATH-500", "default"): {"test": "math/math500_test.jsonl"},
}
"""Where the data sets' own releases lie under a data folder, by hub name and configuration."""
POOLED: Mapping[str, Mapping[str, str]] = {
    "cais/mmlu": {"dev": "mmlu/dev.jsonl", "validation": "mmlu/val.jsonl", "test": "mmlu/test.jsonl"},
    "EleutherAI/hendrycks_math": {"test": "math/test_5000.jsonl"},
}
"""The same, for releases that hold all configurations in one file a split."""
MATH_TYPES = {
    "algebra": "Algebra",
    "counting_and_probability": "Counting & Probability",
    "geometry": "Geometry",
    "intermediate_algebra": "Intermediate Algebra",
    "number_theory": "Number Theory",
    "prealgebra": "Prealgebra",
    "precalculus": "Precalculus",
}
COLUMNS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "cais/mmlu": ("subject", {}),
    "EleutherAI/hendrycks_math": ("type", MATH_TYPES),
}
"""The column that names a row's configuration, with its names where they differ from the hub's."""

NAMED = ("doc_to_text", "doc_to_target", "doc_to_choice")
"""Keys of a task file that may be a column's bare name."""
NAME = re.compile(r"[A-Za-z_]\w*")

# Bars over a thousand rows say nothing, 57 times.
datasets.disable_progress_bars()


class Splits(dict[str, Any]):
    """A data set as lm-eval indexes it: name of a split to its rows. Raise DataMissing."""

    def __init__(self, source: Source, hub: str, config: str | None, demo: str) -> None:
        super().__init__()
        self._source, self._hub, self._config, self._demo = source, hub, config, demo
        self.origins: list[Origin] = []
        """Where the rows came from that were read so far."""

    def __missing__(self, split: str) -> Any:
        files = local_files(self._hub, self._config, split)
        read = self._source.rows(self._hub, self._config, split, files=files, demo=self._demo)
        self.origins += [row.origin for row in read[:1] if isinstance(row, KnownRow)]
        found = rows_of(self._hub, self._config, read)
        if not found:
            raise DataMissing(f"{self._hub}: no rows of {self._config or 'it'} in the split {split}")
        self[split] = table([hub_form(row) for row in found])
        return self[split]


class OneDoc(dict[str, Any]):
    """Every split holds the same one row: enough to score an answer to it."""

    def __init__(self, doc: Row) -> None:
        super().__init__()
        self._doc = doc

    def __missing__(self, split: str) -> Any:
        return table([self._doc])


def local_files(hub: str, config: str | None, split: str) -> tuple[str, ...]:
    """Names to look for under a data folder: the known release, else `HUB/CONFIG/SPLIT.jsonl`."""
    known = (POOLED.get(hub) or LOCAL.get((hub, config or ""), {})).get(split)
    folders = [f"{hub}/{config}", hub] if config else [hub]
    plain = [f"{folder}/{split}.{form}" for folder in folders for form in ("jsonl", "json")]
    return (known, *plain) if known else tuple(plain)


def rows_of(hub: str, config: str | None, rows: list[Row]) -> list[Row]:
    """The rows of one configuration, where a column of the data set says which that is."""
    column, names = COLUMNS.get(hub, ("", {}))
    wanted = names.get(config or "", config)
    return [row for row in rows if row.get(column, wanted) == wanted]


def hub_form(row: Row) -> Row:
    """A row of TruthfulQA's release, where choices map to labels, in the hub's form; others as they are."""
    return {key: _choices(value) if key in ("mc1_targets", "mc2_targets") else value for key, value in row.items()}


def _choices(targets: Json) -> Json:
    if "choices" in targets:
        return targets
    return {"choices": list(targets), "labels": list(targets.values())}


def table(rows: list[Row]) -> Any:
    """Rows as the library lm-eval's code expects. Raise DataMissing where they have no common form."""
    try:
        return datasets.Dataset.from_list(rows)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataMissing(f"rows that make no table: {error}") from error


class RowsTask(ConfigurableTask):  # type: ignore[misc]
    """lm-eval's task on given rows; `rows` is None where only lm-eval's own loader can read them."""

    def __init__(self, config: Mapping[str, Any], rows: dict[str, Any] | None, shots: int) -> None:
        self.splits, self.shots = rows, shots
        super().__init__(config=copy.deepcopy(dict(config)) | {"num_fewshot": shots})

    def download(self, *args: Any, **kwargs: Any) -> None:
        """Called by lm-eval's constructor."""
        if self.splits is None:
            super().download(*args, **kwargs)
        else:
            self.dataset = self.splits

    def fewshot_docs(self) -> Any:
        """Rows to draw examples from: none are read where none are drawn."""
        return super().fewshot_docs() if self.shots else None

    @property
    def filters(self) -> list[Any]:
        """lm-eval's filter pipelines, each with its name."""
        return list(self._filters)

    def shape(self) -> dict[str, Json]:
        """What lm-eval has learnt from the data set and needs when it scores."""
        return {
            "features": list(self.features),
            "multiple_input": self.multiple_input,
            "multiple_target": self.multiple_target,
        }

    def reshape(self, shape: Mapping[str, Json]) -> None:
        """Know what a task on the whole data set knew."""
        self.features = list(shape["features"])
        self.multiple_input = shape["multiple_input"]
        self.multiple_target = shape["multiple_target"]


@contextmanager
def fitting(name: str, splits: Mapping[str, Any] | None) -> Iterator[None]:
    """Raise DataMissing, with the split and what it lacks, where lm-eval's code can't use the rows."""
    try:
        yield
    except MISFITS as error:
        raise misfit(f"{name}: lm-eval can't use the data", error, getattr(splits, "origins", [])) from error


def loaded(config: Mapping[str, Any], source: Source, shots: int, demo: str) -> RowsTask:
    """The task on its data. Raise DataMissing, and ConfigError for more examples than there are."""
    name = config["task"]
    own_loader = config.get("custom_dataset") or set(config.get("dataset_kwargs") or ()) - {"trust_remote_code"}
    if own_loader and source.demo:
        raise DataMissing(f"no demo samples ship for {name}; use --data real")
    hub, part = str(config.get("dataset_path")), config.get("dataset_name")
    splits = None if own_loader else Splits(source, hub, part, demo)
    with fitting(name, splits):
        task = RowsTask(config, splits, shots)
        for key in NAMED:
            column = config.get(key)
            # To lm-eval a name that no column has is text that every row shares: all answers would be wrong.
            if isinstance(column, str) and NAME.fullmatch(column) and column not in task.features:
                raise KeyError(column)
    # One more is drawn, lest the question be among its own examples.
    spare = task.fewshot_cfg.split is not None and task.fewshot_cfg.split == task.config.test_split
    if shots and len(task.sampler.fewshot_docs()) < shots + spare:
        there = len(task.sampler.fewshot_docs())
        raise ConfigError(f"{name}: --num_fewshot {shots}: there are only {there} examples to draw from")
    return task
