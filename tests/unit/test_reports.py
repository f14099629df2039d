"""Report writers: the same run gives the same bytes, numbers agree, hostile texts stay texts."""

import importlib
import json
import math
import os
import re
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from attacks import PAYLOADS, everywhere
from lm_eval.result_schema import SampleResult
from lm_eval.utils import hash_string
from rich.console import Console
from run_fixture import alpaca, counted, judged_run, sample_run, written

from h3eval import registry
from h3eval.types import Composite, Estimate, Generation, Item, Reply, Run, Sample

NAMES = ("html", "lm_eval", "results", "terminal")
shared = importlib.import_module("h3eval.reports._shared")
text = importlib.import_module("h3eval.reports._text")
numbers = importlib.import_module("h3eval.reports._numbers")
samples = importlib.import_module("h3eval.reports._samples")


class Tags(HTMLParser):
    """Every start tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hostile", [False, True])
def test_the_same_run_gives_the_same_bytes(name: str, hostile: bool, tmp_path: Path) -> None:
    first = written(name, sample_run(12, hostile), tmp_path / "a")
    second = written(name, sample_run(12, hostile), tmp_path / "b")
    assert [file.name for file in first] == [file.name for file in second]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_run_can_be_reported(name: str, tmp_path: Path) -> None:
    assert all(file.exists() for file in written(name, Run("m", {}, (), (), {}), tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_without_samples_can_be_reported(name: str, tmp_path: Path) -> None:
    assert all(file.exists() for file in written(name, sample_run(0), tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_files_are_utf8_and_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    run = replace(sample_run(20, True), model="../../etc/\x00passwd")
    for file in written(name, run, tmp_path / "out"):
        file.read_text(encoding="utf-8")
        assert file.parent == tmp_path / "out"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", NAMES)
def test_items_are_read_at_most_once(name: str, tmp_path: Path) -> None:
    run, reads = counted(sample_run(5))
    written(name, run, tmp_path)
    assert set(reads.values()) <= {1}


@pytest.mark.parametrize("name", ["html", "lm_eval"])
def test_long_runs_are_not_held_in_memory(name: str, tmp_path: Path) -> None:
    def items() -> Iterator[Item]:
        for index in range(800):
            reply = Reply(f"{index} " * 10_000)
            yield Item(Sample(str(index), "?"), Generation(str(index), (reply,)), {})

    result = replace(alpaca(0, False), items=items, n_samples=800)
    run = Run("m", {}, (result,), (), {})
    written(name, run, tmp_path)
    tracemalloc.start()
    written(name, run, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6, f"{peak / 1e6:.0f} MB for 30 MB of answers"


# --- results.json --------------------------------------------------------------------------------


def test_results_hold_every_estimate_with_the_documented_keys(tmp_path: Path) -> None:
    run = sample_run(30)
    found = json.loads(written("results", run, tmp_path)[0].read_text())
    assert set(found) == {
        "schema_version", "run", "warnings", "missing", "estimates", "composites", "tasks", "failures", "costs",
        "manifest",
    }  # fmt: skip
    documented = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    for part in ("estimates", "composites", "tasks", "failures"):
        assert all(f"`{key}`" in documented for key in found[part][0])
    wanted = [(r.task, r.protocol, e.metric, e.value, e.n) for r in run.results for e in r.estimates]
    assert wanted == [
        tuple(each[key] for key in ("task", "protocol", "metric", "value", "n")) for each in found["estimates"]
    ]
    assert sum(each["primary"] for each in found["estimates"]) == len(run.results)
    assert found["manifest"] == run.manifest


def test_what_depends_on_interruptions_is_not_in_results(tmp_path: Path) -> None:
    run = sample_run(3)
    slower = {stage: {**spent, "seconds": 1e9, "calls": 10**6} for stage, spent in run.costs.items()}
    one, costs = written("results", run, tmp_path / "a")
    two, other_costs = written("results", replace(run, costs=slower), tmp_path / "b")
    assert one.read_bytes() == two.read_bytes()
    assert costs.read_bytes() != other_costs.read_bytes()
    assert json.loads(costs.read_text())["costs"] == run.costs


def test_values_that_are_no_numbers_are_null(tmp_path: Path) -> None:
    run = sample_run(3)
    odd = Estimate("m", math.nan, 1, 0, se=math.inf, ci=(math.nan, 1.0), details={"x": {"y": math.nan}})
    result = replace(run.results[0], estimates=(odd,), primary="m")
    whole = Composite("c", "", math.nan, parts={"a": math.inf})
    run = replace(run, results=(result,), composites=(whole,))
    raw = written("results", run, tmp_path)[0].read_text()
    found = json.loads(raw, parse_constant=lambda word: pytest.fail(f"{word} in results.json"))
    assert found["estimates"][0]["value"] is None
    assert found["estimates"][0]["ci"] == [None, 1.0]
    assert found["composites"][0]["parts"] == {"a": None}
    for name in ("html", "terminal", "lm_eval"):
        written(name, run, tmp_path)


def test_lone_surrogates_survive(tmp_path: Path) -> None:
    found = json.loads(written("results", sample_run(1, True), tmp_path)[0].read_text("utf-8"))
    assert "lone \ud800 surrogate" in found["warnings"]


# --- lm-eval's files -----------------------------------------------------------------------------


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def test_samples_have_lm_evals_keys_and_hashes(tmp_path: Path) -> None:
    written("lm_eval", sample_run(8), tmp_path)
    rows = lines(tmp_path / "samples_gsm8k.jsonl")
    assert len(rows) == 16
    assert all(set(SampleResult.__annotations__) <= set(row) for row in rows)
    first = rows[0]
    assert first["doc_hash"] == hash_string(json.dumps(first["doc"], indent=2, ensure_ascii=False))
    assert first["prompt_hash"] == hash_string(first["arguments"]["gen_args_0"]["arg_0"])  # type: ignore[index]
    assert first["target_hash"] == hash_string(str(first["target"]))
    assert [row["filter"] for row in rows[:2]] == ["strict-match", "flexible-extract"]
    assert [row["exact_match"] for row in rows[:4]] == [1.0, 1.0, 0.0, 0.0]
    assert first["metrics"] == ["exact_match"]
    assert first["resps"] == [["0 + 3 = 3\n#### 3"]]
    assert first["filtered_resps"] == ["3"]
    assert [row["doc_id"] for row in rows[:4]] == [0, 0, 1, 1]
    assert first["arguments"]["gen_args_0"]["arg_1"]["until"] == ["Question:"]  # type: ignore[index]


def test_choices_are_written_as_lm_eval_does(tmp_path: Path) -> None:
    written("lm_eval", sample_run(2), tmp_path)
    row = lines(tmp_path / "samples_arc_challenge.jsonl")[0]
    assert row["arguments"]["gen_args_1"]["arg_1"] == " carbon dioxide"  # type: ignore[index]
    assert row["resps"][0] == [["-3.25", "True"]]  # type: ignore[index]
    assert row["filtered_resps"][3] == ["-6.25", "False"]  # type: ignore[index]
    assert (row["acc"], row["acc_norm"], row["filter"], row["target"]) == (0.0, 1.0, "none", "1")


def test_failures_have_no_metrics_and_a_reason(tmp_path: Path) -> None:
    written("lm_eval", sample_run(20), tmp_path)
    silent = lines(tmp_path / "samples_beavertails_pku-700.jsonl")[5]
    assert silent["metrics"] == []
    assert silent["resps"] == []
    assert silent["h3eval_failure"]["reason"] == "timeout"  # type: ignore[index]
    unread = lines(tmp_path / "samples_alpaca_eval_v2.jsonl")[3]
    assert unread["metrics"] == []
    assert unread["h3eval_verdicts"]["alpaca_eval"]["reason"] == "unreadable"  # type: ignore[index]
    judged = lines(tmp_path / "samples_truthfulqa_joint.jsonl")[0]
    assert judged["metrics"] == ["truthfulqa_truth", "truthfulqa_info"]


def test_the_results_file_has_lm_evals_shape(tmp_path: Path) -> None:
    run = sample_run(8)
    file = written("lm_eval", run, tmp_path)[0]
    found = json.loads(file.read_text())
    gsm8k = found["results"]["gsm8k"]
    assert gsm8k["exact_match,strict-match"] == 0.25
    assert gsm8k["exact_match_stderr,strict-match"] == run.results[1].estimates[0].se
    assert found["results"]["xstest_gpt4"]["answer_rate,none"] is None
    assert found["higher_is_better"]["beavertails_pku-700"]["unsafe_rate"] is False
    assert found["results"]["beavertails_pku-700"]["unsafe_rate[drugs,weapons],none"] is not None
    assert found["versions"]["gsm8k"] == 3
    assert found["n-samples"]["gsm8k"] == {"original": 8, "effective": 8}
    rows = [row for row in lines(tmp_path / "samples_gsm8k.jsonl") if row["filter"] == "strict-match"]
    whole = "".join(f"{row['doc_hash']}{row['prompt_hash']}{row['target_hash']}" for row in rows)
    assert found["task_hashes"]["gsm8k"] == hash_string(whole)


# --- report.html ---------------------------------------------------------------------------------


def html(run: Run, folder: Path) -> str:
    return written("html", run, folder)[0].read_text(encoding="utf-8")


def test_every_number_of_results_stands_in_the_page(tmp_path: Path) -> None:
    run = sample_run(30)
    page = Tags(html(run, tmp_path))
    shown = {float(attrs["value"] or "") for tag, attrs in page.tags if tag == "data"}
    results = json.loads(written("results", run, tmp_path)[0].read_text())
    stored = [results["estimates"], results["composites"]]
    values = [each["value"] for part in stored for each in part if each["value"] is not None]
    ends = [end for part in stored for each in part for end in each["ci"] or ()]
    bounds = [end for each in results["estimates"] for end in each["bounds"] or ()]
    parts = [part for each in results["composites"] for part in each["parts"].values() if part is not None]
    assert {*values, *ends, *parts} <= shown
    assert shown <= {*values, *ends, *bounds, *parts}


def test_only_the_pages_own_elements_come_of_hostile_texts(tmp_path: Path) -> None:
    tame, wild = (Tags(html(sample_run(30, hostile), tmp_path)) for hostile in (False, True))
    assert {tag for tag, _ in wild.tags} - {tag for tag, _ in tame.tags} <= {"mark"}
    counts = Counter(tag for tag, _ in wild.tags)
    assert (counts["script"], counts["style"], counts["link"], counts["img"]) == (1, 1, 1, 0)
    assert not any(name.startswith("on") or name == "style" for _, attrs in wild.tags for name in attrs)
    links = {attrs["href"] for tag, attrs in wild.tags if tag == "a"}
    assert all(link and link.startswith("#") for link in links)


def test_the_page_asks_for_nothing_and_allows_nothing_else(tmp_path: Path) -> None:
    page = html(sample_run(10), tmp_path)
    assert "http://" not in page
    assert "https://" not in page
    policy = next(
        attrs["content"] or ""
        for tag, attrs in Tags(page).tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    )
    for part in ("default-src 'none'", "img-src data:", "base-uri 'none'", "form-action 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    source = registry.load("reports", "html").__class__.__module__
    for tag in ("style", "script"):
        inner = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        assert importlib.import_module(source)._source(inner) in policy


def test_a_page_of_a_long_run_shows_failures_first_and_an_even_spread(tmp_path: Path) -> None:
    result = judged_run(10_000).results[0]
    found = samples.shelf(result, "samples.jsonl", 10**9)
    assert (len(found.views), found.total, found.total_failed) == (200, 10_000, 1000)
    assert [view.failed for view in found.views] == [True] * 100 + [False] * 100
    places = [view.number for view in found.views[100:]]
    assert places == sorted(places)
    gaps = [after - before for before, after in pairwise(places)]
    assert places[0] <= 200
    assert places[-1] > 9800
    assert max(gaps) <= 250
    page = html(judged_run(10_000), tmp_path)
    assert "200 of 10,000 samples are shown" in page
    assert "samples_alpaca_eval_v2.jsonl" in page


def test_a_page_stays_small_whatever_the_answers(tmp_path: Path) -> None:
    def items() -> Iterator[Item]:
        for index in range(300):
            reply = Reply("\x00\u202e<&\"'" * 3_000)
            yield Item(Sample(str(index), "p" * 50_000), Generation(str(index), (reply,)), {})

    result = replace(alpaca(0, False), items=items, n_samples=300)
    page = html(Run("m", {}, (result,), (), {}), tmp_path)
    assert "46,001 of 50,000 bytes left out" in page
    assert len(page) < 5_000_000


def test_missing_parts_and_missing_values_are_explained(tmp_path: Path) -> None:
    page = html(sample_run(10), tmp_path)
    assert "no judge was given: h3eval judge RUN --judge xstest=BACKEND:MODEL" in page
    assert "xstest/gpt4: answer_rate" in page
    assert "not to be trusted" in page


# --- the terminal --------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [sample_run(10, True), everywhere(PAYLOADS)], ids=["sample", "everywhere"])
def test_no_control_character_reaches_the_terminal(run: Run, tmp_path: Path) -> None:
    console = Console(force_terminal=False, color_system=None, width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(registry.load("reports", "terminal").render(run))
    for shown in (console.export_text(), written("terminal", run, tmp_path)[0].read_text("utf-8")):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
        assert "[red]not red[/red]" in shown
        assert "\\x1b[2J" in shown


def test_the_terminal_shows_the_same_numbers(tmp_path: Path) -> None:
    shown = written("terminal", sample_run(60), tmp_path)[0].read_text("utf-8")
    assert "self_harm" not in shown
    for word in (
        "36.3% ↑",
        "[25.3%, 47.4%]",
        "32.7% … 42.7%",
        "… 2 categories",
        "17.5% ↓",
        "21.6%",
        "true_and_informative*!",
        "no judge was given",
    ):
        assert word in shown
