"""`h3eval export` and `h3eval.load` on a stored run; the headline of a hostile one in Debian's Chromium."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from browsing import Visit, hacked
from readme_task import answers, capitals
from run_fixture import sample_run
from small_runs import h3eval

from h3eval import registry

N = 40
LOADING = """
import json, h3eval
run = h3eval.load("run", include_path="mine")
told = {
    "manifest": run.manifest,
    "samples": json.loads(run.samples.to_json(orient="records")),
    "value": float(run.estimates[run.estimates.primary.astype(bool)].value.iloc[0]),
    "html": run._repr_html_(),
    "repr": repr(run),
}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = capitals(tmp_path_factory.mktemp("runs"), N)
    made = h3eval(
        "run", "--include-path", "mine", "--tasks", "capitals", "--data-dir", "data", "--out", "run",
        "--model", answers(place, "few", {*range(30)}, N), cwd=place,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return place


def test_exports_are_extra(folder: Path) -> None:
    names = {file.name for file in (folder / "run").iterdir()}
    assert {"report.html", "results.json", "summary.txt"} <= names
    assert not names & {"samples.jsonl", "samples.parquet", "headline.html", "data", ".eval_results"}


def test_a_stored_run_is_exported(folder: Path) -> None:
    names = ("jsonl", "parquet", "every_eval_ever", "notebook")
    told = h3eval("export", "run", "--format", ",".join(names), "--out", "out", "--include-path", "mine", cwd=folder)
    assert told.returncode == 0, told.stderr
    found = [Path(line.removeprefix("written: ")) for line in told.stderr.splitlines()]
    assert [file.name for file in found if file.parent == Path("out")] == [
        "samples.jsonl", "estimates.jsonl", "samples.parquet", "estimates.parquet", "headline.html",
    ]  # fmt: skip
    samples = pq.read_table(folder / "out" / "samples.parquet").to_pylist()
    assert (len(samples), sum(row["score"] for row in samples)) == (N, 30.0)
    assert len((folder / "out" / "samples.jsonl").read_text().splitlines()) == N
    record = json.loads((folder / found[4]).read_text())
    (result,) = (each for each in record["evaluation_results"] if each["metric_config"]["metric_name"] == "accuracy")
    assert result["score_details"]["score"] == 0.75
    assert str(folder) not in json.dumps(record)
    refused = h3eval(
        "export", "run", "--format", "hf_eval_results", "--out", "out/hf", "--include-path", "mine", cwd=folder
    )
    assert refused.returncode == 2
    assert "no task of this run has both a value and a data set on the Hugging Face Hub" in refused.stderr
    listed = h3eval("ls", "reports", cwd=folder).stdout
    assert all(name in listed for name in (*names, "hf_eval_results"))


def test_a_stored_run_is_loaded(folder: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-c", LOADING], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    results = json.loads((folder / "run" / "results.json").read_text())
    assert told["manifest"] == results["manifest"]
    assert told["value"] == results["estimates"][0]["value"] == 0.75
    assert len(told["samples"]) == N
    assert {row["role"] for row in told["samples"]} == {"rule"}
    assert '<data value="0.75">75.0%</data>' in told["html"]
    assert told["repr"] == "<h3eval run 'run' of 'outputs:few.jsonl': 1 tasks>"


def test_a_notebook_can_show_it(folder: Path) -> None:
    formatters = pytest.importorskip("IPython.core.formatters", reason="IPython is not installed")
    script = f"import sys; sys.path[:0] = {sys.path!r}\n{LOADING.partition('told')[0]}"
    script += (
        "from IPython.core.formatters import DisplayFormatter\nprint(json.dumps(DisplayFormatter().format(run)[0]))"
    )
    assert formatters.DisplayFormatter
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert "75.0%" in told["text/html"]
    assert told["text/plain"].startswith("<h3eval run")


def test_a_hostile_headline_runs_nothing_and_fetches_nothing(visit: Visit, tmp_path: Path) -> None:
    """As a notebook would show it: on a page without a policy of its own."""
    text = registry.load("reports", "notebook").fragment(sample_run(30, True))
    cell = tmp_path / "cell.html"
    cell.write_text(f"<!doctype html><meta charset=utf-8><title>cell</title>{text}")
    page = visit.open(cell)
    visit.unfold()
    assert visit.asked == [cell.as_uri()]
    assert visit.complaints == []
    assert not hacked(page)
    assert page.locator("script, img, iframe, a").count() == 0
