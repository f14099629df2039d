"""The seed papers' own tables: which printed averages are their own parts' averages, by our composites.

001 is the merging benchmark (arXiv 2502.06876, its tables 3 to 12), 002 TrinityX (its tables 2 to 6). Each row's
columns become estimates, the preset's composite is held against the printed one to the last printed digit,
and the rows that don't add up are named: all of them, and no other. Numbers are as the papers print them; table
and row names are their own.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from h3eval import config
from h3eval.stats.composite import Part, Preset, compose, preset
from h3eval.stats.estimates import Direction
from h3eval.types import Estimate, TaskResult

CENT = Decimal("0.01")
COLUMNS_001 = {
    "Math": "math", "GSM8K": "gsm8k", "ARC-E": "arc_easy", "ARC-C": "arc_challenge", "MMLU": "mmlu",
    "MBPP_Plus": "mbpp_plus", "HumanEval_Plus": "humaneval_plus", "MT-Bench": "mt_bench",
    "HaluEval_Wild": "halueval_wild", "Salad_Bench": "saladbench", "OR-Bench": "or_bench",
}  # fmt: skip
AVERAGES_001 = {"helpful": "Helpful_Avg", "honest": "Honest_Avg", "harmless": "Harmless_Avg"}
ABLATION = {"helpful": "Helpfulness", "honest": "Honesty", "harmless": "Harmlessness"}
COLUMNS_002 = {"WR": "alpaca_eval", "TI": "truthfulqa", "SS": "beavertails"}
MISSING = ("-", "—", "")


@dataclass(frozen=True)
class Row:
    """One printed row, its numbers as decimals; None where the paper gives none."""

    table: str
    method: str
    values: dict[str, Decimal | None]

    @property
    def name(self) -> str:
        return f"{self.table}: {self.method}"


def rows(shared_data: Path, table: str) -> Iterator[Row]:
    (file,) = (shared_data / "seed_tables").glob(f"{table}_*.csv")
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            setting = row.pop("Setting", "")
            method = " | ".join(filter(None, (setting, row.pop("Method"))))
            yield Row(table, method, {key: None if v in MISSING else Decimal(v) for key, v in row.items()})


def measured(part: Part, value: Decimal | None) -> TaskResult:
    """A task's result with the printed number: rates are proportions, as our tasks have them."""
    unit = {"mt_bench": "points", "alpaca_eval": "percent"}.get(part.task, "proportion")
    scaled = None if value is None else float(value) / (100 if unit == "proportion" else 1)
    direction: Direction = "lower" if part.metric == "unsafe_rate" else "higher"
    found = Estimate(part.metric, scaled, 100, 0, unit=unit, direction=direction)
    protocol = part.protocol or "any"
    return TaskResult(
        part.task, protocol, 1, "helpful", part.metric, "", (), (found,), 100, {}, {}, lambda: iter(())
    )  # fmt: skip


def rounded(value: float) -> Decimal:
    """To two digits, half up, of the number that was meant: floats are a little off."""
    return Decimal(f"{value:.9f}").quantize(CENT, ROUND_HALF_UP)


def seed(name: str) -> Preset:
    return preset(name, config.composites()[name], {})


OFF_001: dict[str, dict[str, tuple[str, str]]] = {
    "table3: 3H Mixture Full Training (ArmoRM)": {
        "Helpful_Avg": ("60.24", "59.94"), "Harmless_Avg": ("69.02", "67.12"), "AVG": ("61.59", "60.85"),
    },
    "table3: 3H Mixture Training (Hummer)": {
        "Helpful_Avg": ("60.35", "60.05"), "Harmless_Avg": ("73.21", "71.11"), "AVG": ("63.05", "62.25"),
    },
    "table3: DELLA Ties": {"AVG": ("63.57", "63.66")},
    "table4: 3H Mixture Full Training (ArmoRM)": {"Harmless_Avg": ("78.32", "78.33"), "AVG": ("60.85", "60.86")},
    "table4: Weight Average": {"AVG": ("60.50", "60.05")},
    "table4: DARE Ties": {"Helpful_Avg": ("42.49", "42.44"), "AVG": ("61.49", "61.27")},
    "table4: DELLA": {
        "Helpful_Avg": ("42.35", "42.36"), "Harmless_Avg": ("77.78", "80.78"), "AVG": ("60.38", "61.38"),
    },
    "table5: Continual DPO Training Stage3": {"Helpful_Avg": ("58.72", "58.47"), "AVG": ("64.34", "64.26")},
    "table5: Weight Average": {"AVG": ("62.85", "62.86")},
    "table5: DARE": {"AVG": ("64.90", "64.91")},
    "table5: TSVM": {"Harmless_Avg": ("81.79", "81.91"), "AVG": ("64.91", "65.11")},
    "table10: Continual DPO Training Stage3": {"AVG": ("60.52", "60.55")},
    "table10: Task Arithmetic": {"AVG": ("60.15", "60.16")},
    "table11: Hummer (best mixture training)": {
        "Helpful_Avg": ("60.35", "60.05"), "Harmless_Avg": ("73.21", "71.11"), "AVG": ("63.05", "62.25"),
    },
}  # fmt: skip
"""What is printed, and what the row's own columns give."""
SIZES_001 = {"table3": 21, "table4": 21, "table5": 16, "table10": 16, "table11": 4, "table12": 4}


@pytest.mark.parametrize("table", SIZES_001)
def test_the_merging_benchmarks_averages(table: str, shared_data: Path) -> None:
    """Half up at each step, as the paper rounds: first the dimensions, then the mean of the rounded three."""
    parts = {part.task: part for group in seed("seed001").groups.values() for part in group}
    found: dict[str, dict[str, tuple[str, str]]] = {}
    printed = list(rows(shared_data, table))
    for row in printed:
        made = compose(seed("seed001"), [measured(parts[task], row.values[c]) for c, task in COLUMNS_001.items()])
        assert made.value is not None
        groups = {name: rounded(value) for name, value in made.parts.items() if value is not None}
        whole = rounded(sum(seed("seed001").weights[name] * float(value) for name, value in groups.items()))
        assert abs(float(whole) - made.value) <= 0.01
        ours = {AVERAGES_001[name]: value for name, value in groups.items()} | {"AVG": whole}
        off = {name: (str(row.values[name]), str(value)) for name, value in ours.items() if row.values[name] != value}
        found |= {row.name: off} if off else {}
    assert found == {name: off for name, off in OFF_001.items() if name.startswith(f"{table}: ")}
    assert len(printed) == SIZES_001[table]


def test_most_of_the_merging_benchmarks_rows_add_up() -> None:
    """68 of 82, as notes on the paper have found by other code; 4 more are off by one in the last digit."""
    assert sum(SIZES_001.values()) - len(OFF_001) == 68
    hundredths = [name for name, off in OFF_001.items() if all(distance(*pair) <= CENT for pair in off.values())]
    assert len(hundredths) == 4


def distance(printed: str, ours: str) -> Decimal:
    return abs(Decimal(printed) - Decimal(ours))


@pytest.mark.parametrize("table", ["table6", "table7"])
def test_the_ablations_average_their_printed_dimensions(table: str, shared_data: Path) -> None:
    printed = list(rows(shared_data, table))
    weights = seed("seed001").weights
    for row in printed:
        values = {name: row.values[column] for name, column in ABLATION.items()}
        assert (
            rounded(sum(weights[name] * float(value or "nan") for name, value in values.items())) == row.values["Avg"]
        )
    assert len(printed) == 6


OFF_002: dict[str, tuple[str, str]] = {
    "s002_table2: Base Model | Proposed (w/ Mistral-7B)": ("45.38", "40.05"),
    "s002_table2: Base Model | Proposed (w/ Gemma-7B)": ("43.58", "37.59"),
    "s002_table2: Base Model | Proposed (w/ DeepSeek-7B)": ("45.66", "40.33"),
    "s002_table2: Helpfulness | Proposed (w/ Mistral-7B)": ("47.76", "42.43"),
    "s002_table2: Helpfulness | Proposed (w/ Gemma-7B)": ("46.52", "40.42"),
    "s002_table2: Helpfulness | Proposed (w/ DeepSeek-7B)": ("48.54", "43.21"),
    "s002_table2: Harmlessness | Proposed (w/ Mistral-7B)": ("49.29", "44.55"),
    "s002_table2: Harmlessness | Proposed (w/ Gemma-7B)": ("47.01", "42.00"),
    "s002_table2: Harmlessness | Proposed (w/ DeepSeek-7B)": ("50.02", "45.77"),
    "s002_table2: Honesty | Proposed (w/ Mistral-7B)": ("50.82", "47.59"),
    "s002_table2: Honesty | Proposed (w/ Gemma-7B)": ("48.96", "45.11"),
    "s002_table2: Honesty | Proposed (w/ DeepSeek-7B)": ("51.73", "48.91"),
    "s002_table3: MoCaE | H3Fusion": ("26.70", "27.15"),
    "s002_table3: MoCaE + GL | H3Fusion": ("46.96", "28.56"),
    "s002_table3: MoCaE + GL + RL | H3Fusion": ("48.36", "29.02"),
    "s002_table3: MoCaE + GL + RL | Proposed (w/ Mistral-7B)": ("45.35", "46.85"),
    "s002_table3: Fine-Tuning + MoCaE | Proposed (w/ Mistral-7B)": ("51.84", "49.84"),
    "s002_table3: Fine-Tuning + MoCaE | Proposed (w/ Gemma-7B)": ("49.17", "47.17"),
    "s002_table3: Fine-Tuning + MoCaE | Proposed (w/ DeepSeek-7B)": ("52.09", "50.17"),
    "s002_table6: Base Model | Proposed (w/ Mistral-7B)": ("40.24", "33.57"),
    "s002_table6: Base Model | Proposed (w/ Gemma-7B)": ("38.17", "31.50"),
    "s002_table6: Base Model | Proposed (w/ DeepSeek-7B)": ("41.74", "35.54"),
    "s002_table6: MoCaE | Proposed (w/ Mistral-7B)": ("44.73", "38.07"),
    "s002_table6: MoCaE | Proposed (w/ Gemma-7B)": ("42.52", "35.19"),
    "s002_table6: MoCaE | Proposed (w/ DeepSeek-7B)": ("46.21", "39.54"),
    "s002_table6: MoCaE + GL | Proposed (w/ Mistral-7B)": ("49.40", "42.74"),
    "s002_table6: MoCaE + GL | Proposed (w/ Gemma-7B)": ("47.58", "39.58"),
    "s002_table6: MoCaE + GL | Proposed (w/ DeepSeek-7B)": ("51.23", "44.57"),
    "s002_table6: MoCaE + GL + RL | Proposed (w/ Mistral-7B)": ("52.63", "45.97"),
    "s002_table6: MoCaE + GL + RL | Proposed (w/ Gemma-7B)": ("50.02", "43.02"),
    "s002_table6: MoCaE + GL + RL | Proposed (w/ DeepSeek-7B)": ("54.53", "47.86"),
    "s002_table6: Fine-Tuning + MoCaE | Proposed (w/ Mistral-7B)": ("56.34", "49.67"),
    "s002_table6: Fine-Tuning + MoCaE | Proposed (w/ Gemma-7B)": ("53.89", "47.22"),
    "s002_table6: Fine-Tuning + MoCaE | Proposed (w/ DeepSeek-7B)": ("57.85", "51.18"),
}
"""TrinityX's rows whose printed average is neither rounded nor cut (WR + TI - SS) / 3, with what that is."""
CUT_002 = {
    "s002_table2: Base Model | Proposed (w/ LLaMA-2-7B)",
    "s002_table2: Honesty | Proposed (w/ LLaMA-2-7B)",
    "s002_table3: Fine-Tuning + MoCaE | Proposed (w/ LLaMA-2-7B)",
    "s002_table3: MoCaE + GL + RL | Proposed (w/ Gemma-7B)",
    "s002_table3: MoCaE + GL | Proposed (w/ LLaMA-2-7B)",
    "s002_table3: MoCaE | Proposed (w/ DeepSeek-7B)",
    "s002_table3: MoCaE | Proposed (w/ LLaMA-2-7B)",
    "s002_table4: With Task Vector | w/ MoCaE",
    "s002_table4: With Task Vector | w/ MoCaE + GL",
    "s002_table4: With Task Vector | w/o MoCaE + GL",
}
"""Those that are cut after two digits instead of rounded."""
PARTLY_002 = {
    "s002_table2: Helpfulness | RAHF": ("29.14", "29.15"),
    "s002_table2: Harmlessness | Aligner": ("6.06", "6.07"),
    "s002_table2: Honesty | Aligner": ("1.30", "1.30"),
}
"""Those that lack numbers: the printed average counts them as zero, ours is missing."""


def trinity(shared_data: Path) -> tuple[dict[str, tuple[str, str]], set[str], dict[str, tuple[str, str]], int]:
    parts = {part.task: part for group in seed("seed002").groups.values() for part in group}
    off, cut, partly = {}, set(), {}
    printed = [row for k in (2, 3, 4, 6) for row in rows(shared_data, f"s002_table{k}")]
    for row in printed:
        made = compose(seed("seed002"), [measured(parts[task], row.values[c]) for c, task in COLUMNS_002.items()])
        theirs = row.values["Avg"]
        if made.value is None:
            wr, ti, ss = (row.values[name] or Decimal(0) for name in ("WR", "TI", "SS"))
            partly[row.name] = str(theirs), str(rounded(float((wr + ti - ss) / 3)))
        elif rounded(made.value) == theirs:
            continue
        elif Decimal(f"{made.value:.9f}").quantize(CENT, ROUND_DOWN) == theirs:
            cut.add(row.name)
        else:
            off[row.name] = str(theirs), str(rounded(made.value))
    return off, cut, partly, len(printed)


def test_trinitys_averages(shared_data: Path) -> None:
    off, cut, partly, printed = trinity(shared_data)
    assert off == OFF_002
    assert cut == CUT_002
    assert partly == PARTLY_002
    assert (printed, printed - len(off)) == (75, 41)


def test_two_of_them_add_the_unsafe_rate_instead_of_subtracting(shared_data: Path) -> None:
    for row in rows(shared_data, "s002_table3"):
        if row.method in ("MoCaE + GL | H3Fusion", "MoCaE + GL + RL | H3Fusion"):
            added = sum((row.values[name] or Decimal(0) for name in ("WR", "TI", "SS")), Decimal(0)) / 3
            assert abs(added - (row.values["Avg"] or Decimal(0))) <= CENT


def counts(values: list[Decimal], n: int) -> int:
    """How many percentages are whole counts out of n, to the second digit, rounded or cut."""
    shares = {Decimal(k) * 100 / n for k in range(n + 1)}
    printed = {share.quantize(CENT, how) for share in shares for how in (ROUND_HALF_UP, ROUND_DOWN)}
    return sum(value in printed for value in values)


@pytest.mark.parametrize(("column", "n", "test_set"), [("ARC-C", 295, 1172), ("ARC-E", 567, 2376)])
def test_arc_was_asked_on_development_questions(column: str, n: int, test_set: int, shared_data: Path) -> None:
    """Why our preset takes `letters-dev`: 74 numbers, of which chance would fit a share of 2n in 10,000."""
    tables = ("table3", "table4", "table5", "table10")
    values = [value for table in tables for row in rows(shared_data, table) if (value := row.values[column])]
    assert len(values) == 74
    assert counts(values, n) >= 65
    assert counts(values, test_set) <= 74 * 2 * test_set / 10_000


def test_h3fusion_counted_harm_on_500_rows(shared_data: Path) -> None:
    """Why `h3fusion` has 500 rows of BeaverTails, where TrinityX's table 1 says 3,021: all eight numbers of H3Fusion's
    are counts out of 500; of TrinityX's own, few fit 500, 3,021 or 1,733, the number of unsafe rows."""
    printed = [row for k in (2, 3) for row in rows(shared_data, f"s002_table{k}")]
    values: dict[bool, list[Decimal]] = {True: [], False: []}
    for row in printed:
        if (rate := row.values["SS"]) is not None:
            values["H3Fusion" in row.method].append(rate)
    assert (counts(values[True], 500), len(values[True])) == (8, 8)
    assert max(counts(values[False], n) for n in (500, 1733, 3021)) < 0.75 * len(values[False])
