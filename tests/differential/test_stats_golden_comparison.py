"""Comparisons of real models on shared items, against values computed independently of h3eval.

XSTest: do two models refuse equally many of the 250 safe prompts, by people's labels? LLMBar: are
two prompts of one judge equally often right, over both orders of the answers?
"""

from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from golden_labels import is_safe, llmbar, refused, xstest

from h3eval.stats.comparison import benjamini_hochberg, holm, mcnemar, paired
from h3eval.stats.composite import Part, Preset, compose
from h3eval.types import Estimate, TaskResult

TOLERANCE = 1e-6
NAMES = ("diff", "se", "n10", "n01", "exact_p", "mid_p", "log10_p", "holm", "bh")
# One value a name above.
TABLE = [
    ("gpt4-llama2new", (-0.212, 0.030462, 8, 61, 0.0, 0.0, -10.489019, 0.0, 0.0)),
    ("gpt4-llama2orig", (-0.512, 0.033164, 3, 131, 0.0, 0.0, -34.433704, 0.0, 0.0)),
    ("gpt4-mistralguard", (-0.104, 0.025756, 9, 35, 0.000106, 6.6e-05, -3.974511, 0.000318, 0.000133)),
    ("gpt4-mistralinstruct", (0.068, 0.017854, 19, 2, 0.000221, 0.000121, -3.655112, 0.000318, 0.000221)),
    ("llama2new-llama2orig", (-0.3, 0.031686, 5, 80, 0.0, 0.0, -17.743337, 0.0, 0.0)),
    ("llama2new-mistralguard", (0.108, 0.027209, 38, 11, 0.000142, 9e-05, -3.847801, 0.000318, 0.000158)),
    ("llama2new-mistralinstruct", (0.28, 0.029013, 71, 1, 0.0, 0.0, -19.509807, 0.0, 0.0)),
    ("llama2orig-mistralguard", (0.408, 0.035485, 111, 9, 0.0, 0.0, -22.767184, 0.0, 0.0)),
    ("llama2orig-mistralinstruct", (0.58, 0.031278, 145, 0, 0.0, 0.0, -43.348319, 0.0, 0.0)),
    ("mistralguard-mistralinstruct", (0.172, 0.023916, 43, 0, 0.0, 0.0, -12.64326, 0.0, 0.0)),
]
CASES = [
    pytest.param(pair, name, golden, id=f"{pair}-{name}")
    for pair, values in TABLE
    for name, golden in zip(NAMES, values, strict=True)
]
JUDGES = [("diff", 0.107399), ("se_paired", 0.01588), ("se_unpaired", 0.02437), ("corr", 0.597718), ("z", 6.763078)]


@cache
def computed(data: Path) -> dict[str, dict[str, Any]]:
    rows = [row for row in xstest(data) if is_safe(row)]
    rates = {}
    for model in sorted({row["model"] for row in rows}):
        own = sorted((row for row in rows if row["model"] == model), key=lambda row: row["id"])
        rates[model] = refused(own, "final_label")
    made = {}
    for a, b in combinations(rates, 2):
        found = paired(rates[a], rates[b])
        test = mcnemar(int(found.only_a), int(found.only_b))
        values = (found.value, found.se, found.only_a, found.only_b, test.exact, test.mid_p, test.log10_exact)
        made[f"{a}-{b}"] = dict(zip(NAMES, values, strict=False))
    for name, adjust in (("holm", holm), ("bh", benjamini_hochberg)):
        adjusted = adjust([each["exact_p"] for each in made.values()])
        for each, p in zip(made.values(), adjusted, strict=True):
            each[name] = p
    return made


@pytest.mark.parametrize(("pair", "name", "golden"), CASES)
def test_xstest_models(shared_data: Path, pair: str, name: str, golden: float) -> None:
    assert computed(shared_data)[pair][name] == pytest.approx(golden, abs=TOLERANCE)


@pytest.mark.parametrize(("name", "golden"), JUDGES)
def test_llmbar_prompts_of_one_judge(shared_data: Path, name: str, golden: float) -> None:
    found = paired(llmbar(shared_data, "Metrics_Reference"), llmbar(shared_data, "Vanilla_NoRules"))
    assert found.n == 419
    values = {
        "diff": found.value,
        "se_paired": found.se,
        "se_unpaired": found.unpaired_se,
        "corr": found.correlation,
        "z": found.value / found.se,
    }
    assert values[name] == pytest.approx(golden, abs=TOLERANCE)


def test_mean_of_three_dimensions_of_different_prompts() -> None:
    """3H mean of 88.98, 66.67 and 40.65 with errors 1.10, 0.86 and 2.43."""
    wanted = {"helpful": (88.98, 1.10), "honest": (66.67, 0.86), "harmless": (40.65, 2.43)}
    results = [
        TaskResult(
            name, "p", 1, name, "m", "", (), (Estimate("m", mean, 100, 0, se=se, unit="percent"),), 100, {}, {},
            lambda: iter(()),
        )
        for name, (mean, se) in wanted.items()
    ]  # fmt: skip
    groups = {name: (Part(name, "m"),) for name in wanted}
    made = compose(Preset("3h", "", groups, dict.fromkeys(wanted, 1 / 3)), results)
    assert (made.value, made.se) == pytest.approx((65.433333, 0.934196), abs=TOLERANCE)
