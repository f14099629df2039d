"""Corrections of XSTest's judged refusal rates, against values computed independently of h3eval.

The judge's rates, Rogan-Gladen, Lee, PPI, PPI++ and post-stratification with the answers of 5
models labelled by people, of which the first 80, 100 or 300 by hash count as labelled.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_labels import is_safe, labelled, refused, xstest

from h3eval.stats.correction import Rates, correlation, lee, post_stratified, ppi, rates, rogan_gladen
from h3eval.stats.estimates import Z95

TOLERANCE = 1e-6
ALL = "all answers"
NAMES = (
    "truth_all", "naive_judge_all", "labelled_only", "sensitivity", "specificity", "m1", "m0",
    "judged_rate_unlabelled", "rogan_gladen", "lee2025_ci95", "ppi", "ppi_ci95", "ppi_se_ddof1",
    "ppi++_lam", "ppi++", "ppi++_ci95", "ppi++_se_ddof1", "poststratified", "effective_n", "rho",
)  # fmt: skip
# Judge, answers, labels; then one value a name above.
TABLE: list[tuple[str, str, int, list[Any]]] = [
    ("gpt4_label", ALL, 100, [
        0.515111, 0.379556, (0.55, 0.05), 0.618182, 0.955556, 55, 45,
        0.380465, (0.58567, 0.072781, 0.443021, 0.728319), (0.442518, 0.737735),
        (0.570465, 0.045262), (0.481754, 0.659177), 0.045478,
        0.575934, (0.561787, 0.040496), (0.482415, 0.641158), 0.040696,
        (0.562052, 0.039696, 0.48425, 0.639855), 151.032237, 0.594647,
    ]),
    ("gpt4_label", ALL, 300, [
        0.515111, 0.379556, (0.51, 0.02891), 0.699346, 0.945578, 153, 147,
        0.378974, (0.503241, 0.036533, 0.431638, 0.574844), (0.432049, 0.577484),
        (0.505641, 0.02583), (0.455014, 0.556268), 0.025867,
        0.592865, (0.507416, 0.022702), (0.462921, 0.551911), 0.022737,
        (0.507424, 0.02277, 0.462796, 0.552053), 484.710547, 0.663099,
    ]),
    ("strmatch_label", ALL, 100, [
        0.515111, 0.440444, (0.55, 0.05), 0.781818, 0.977778, 55, 45,
        0.440465, (0.550612, 0.044691, 0.463019, 0.638205), (0.462027, 0.649213),
        (0.550465, 0.035967), (0.479971, 0.620959), 0.036133,
        0.728595, (0.550339, 0.033232), (0.485206, 0.615472), 0.03339,
        (0.550339, 0.033212, 0.485244, 0.615434), 224.116529, 0.76129,
    ]),
    ("strmatch_label", ALL, 300, [
        0.515111, 0.440444, (0.51, 0.02891), 0.810458, 0.972789, 153, 147,
        0.442564, (0.530297, 0.027041, 0.477297, 0.583297), (0.478453, 0.586833),
        (0.525897, 0.02168), (0.483405, 0.56839), 0.021708,
        0.688002, (0.520937, 0.019522), (0.482676, 0.559199), 0.01955,
        (0.521024, 0.019266, 0.483263, 0.558785), 656.670195, 0.791651,
    ]),
    ("strmatch_label", "llama2orig, safe prompts", 80, [
        0.596, 0.484, (0.5875, 0.055386), 0.680851, 0.909091, 47, 33,
        0.505882, (0.703414, 0.106914, 0.493866, 0.912962), (0.49872, 0.936364),
        (0.655882, 0.063258), (0.531898, 0.779867), 0.06358,
        0.387717, (0.614013, 0.048239), (0.519467, 0.708559), 0.048528,
        (0.614514, 0.046653, 0.523076, 0.705953), 104.30998, 0.58543,
    ]),
]  # fmt: skip
CASES = [
    pytest.param(judge, answers, n, name, golden, id=f"{judge}-{answers}-{n}-{name}")
    for judge, answers, n, values in TABLE
    for name, golden in zip(NAMES, values, strict=True)
]


@cache
def computed(data: Path, judge: str, answers: str, n: int) -> dict[str, Any]:
    rows = [row for row in xstest(data) if answers == ALL or (row["model"] == "llama2orig" and is_safe(row))]
    judged, truth = labelled(rows, judge, n)
    known = ~np.isnan(truth)
    rate, labels = float(judged[~known].mean()), truth[known]
    found = rates(judged[known], labels)
    gladen, interval = (method(rate, int((~known).sum()), found) for method in (rogan_gladen, lee))
    plain, tuned = (ppi(judged, truth, weight, published=True) for weight in (1.0, None))
    strata = post_stratified(judged, truth)
    return {
        "truth_all": refused(rows, "final_label").mean(),
        "naive_judge_all": judged.mean(),
        "labelled_only": (labels.mean(), labels.std(ddof=1) / n**0.5),
        "sensitivity": found.sensitivity,
        "specificity": found.specificity,
        "m1": found.positives,
        "m0": found.negatives,
        "judged_rate_unlabelled": rate,
        "rogan_gladen": (gladen.value, gladen.se, *gladen.ci),
        "lee2025_ci95": interval.ci,
        "ppi": (plain.value, plain.se),
        "ppi_ci95": plain.ci,
        "ppi_se_ddof1": ppi(judged, truth, 1.0).se,
        "ppi++_lam": tuned.weight,
        "ppi++": (tuned.value, tuned.se),
        "ppi++_ci95": tuned.ci,
        "ppi++_se_ddof1": ppi(judged, truth).se,
        # The golden interval is the delta method's; h3eval reports Wilson's within the verdicts.
        "poststratified": (strata.value, strata.se, strata.value - Z95 * strata.se, strata.value + Z95 * strata.se),
        "effective_n": tuned.effective_labels,
        "rho": correlation(judged[known], labels),
    }


@pytest.mark.parametrize(("judge", "answers", "n", "name", "golden"), CASES)
def test_golden(shared_data: Path, judge: str, answers: str, n: int, name: str, golden: Any) -> None:
    assert computed(shared_data, judge, answers, n)[name] == pytest.approx(golden, abs=TOLERANCE)


def test_post_stratification_and_ppi_plus_plus_agree(shared_data: Path) -> None:
    for judge in ("gpt4_label", "strmatch_label"):
        judged, truth = labelled(xstest(shared_data), judge, 300)
        assert post_stratified(judged, truth).value == pytest.approx(ppi(judged, truth).value, abs=1e-3)


def test_the_example_of_lees_repository() -> None:
    made = lee(0.4, 1000, Rates(0.7, 0.9, 200, 200))
    assert (made.value, *made.ci) == pytest.approx((0.166667, 0.056351, 0.262733), abs=TOLERANCE)
