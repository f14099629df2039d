"""Files in forms that others collect: Every Eval Ever's record, and .eval_results for the Hugging Face Hub.

Every Eval Ever's own validator is the judge where its package is installed (it wants Python 3.12 and an older
huggingface_hub); the facts of its schema 0.3.0 that our record must meet are checked here in any case.
"""

import json
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from run_fixture import HOSTILE, manifest, sample_run, written

from h3eval.errors import UsageError
from h3eval.types import Run

ROOT = Path(__file__).parents[2]
hub = import_module("h3eval.reports._hub")
eee = import_module("h3eval.reports.every_eval_ever")
hf = import_module("h3eval.reports.hf_eval_results")


@pytest.fixture(autouse=True)
def one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")


def record(run: Run, folder: Path) -> tuple[Path, dict[str, Any]]:
    (file,) = written("every_eval_ever", run, folder)
    content: dict[str, Any] = json.loads(file.read_text("utf-8"), parse_constant=pytest.fail)
    return file, content


# --- Every Eval Ever -----------------------------------------------------------------------------

REQUIRED = {
    "schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info", "eval_library",
    "evaluation_results",
}  # fmt: skip
ALLOWED = REQUIRED | {"evaluation_timestamp", "detailed_evaluation_results"}
FILE = r"data/h3eval/[^/]+/[^/]+/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.json"


@pytest.mark.parametrize("hostile", [False, True])
def test_the_record_meets_the_schemas_facts(hostile: bool, tmp_path: Path) -> None:
    file, found = record(sample_run(20, hostile), tmp_path)
    assert re.fullmatch(FILE, file.relative_to(tmp_path).as_posix())
    assert set(found) >= REQUIRED
    assert set(found) <= ALLOWED
    assert found["schema_version"] == "0.3.0"
    assert found["retrieved_timestamp"] == "1790000000"
    source, model = found["source_metadata"], found["model_info"]
    assert source["source_type"] in ("documentation", "evaluation_run")
    assert source["evaluator_relationship"] in ("first_party", "third_party", "collaborative", "other")
    assert isinstance(source["source_organization_name"], str)
    assert {*found["eval_library"]} >= {"name", "version"}
    assert {*model} >= {"name", "id", "additional_details"}
    assert model["id"].split("/") == [*file.relative_to(tmp_path).parts[2:4]]
    assert model["additional_details"]["deployment_type"] in ("self_deployed", "externally_managed", "unknown")
    assert model["additional_details"]["model_availability"] in ("open_weights", "closed_weights", "unknown")
    for result in found["evaluation_results"]:
        meets_the_facts(result)
    assert texts_only(found) > 10


def meets_the_facts(result: dict[str, Any]) -> None:
    assert {*result} >= {"evaluation_name", "source_data", "metric_config", "score_details"}
    data, metric, score = result["source_data"], result["metric_config"], result["score_details"]["score"]
    assert data["source_type"] in ("hf_dataset", "url", "other")
    assert ("hf_repo" in data) == (data["source_type"] == "hf_dataset")
    assert isinstance(metric["lower_is_better"], bool)
    assert isinstance(score, float)
    if "score_type" in metric:
        assert metric["score_type"] == "continuous"
        assert metric["min_score"] <= score <= metric["max_score"]
    unsure = result["score_details"]["uncertainty"]
    assert {*unsure} <= {"standard_error", "confidence_interval", "num_samples"}
    assert isinstance(unsure["num_samples"], int)
    assert isinstance(unsure.get("standard_error", {"value": 0.0})["value"], float)
    if interval := unsure.get("confidence_interval"):
        assert (interval["confidence_level"], interval["lower"] <= interval["upper"]) == (0.95, True)


def texts_only(value: Any) -> int:
    """How many blocks of details there are, all of whose values are texts without lone surrogates."""
    if isinstance(value, list):
        return sum(map(texts_only, value))
    if not isinstance(value, dict):
        return 0
    found = [each for key, each in value.items() if key in ("additional_details", "details")]
    for each in found:
        assert all(isinstance(text, str) for text in each.values())
        assert "".join(each.values()).encode("utf-8")
    return len(found) + sum(map(texts_only, value.values()))


@pytest.mark.parametrize("hostile", [False, True])
def test_their_own_validator_accepts_it(hostile: bool, tmp_path: Path) -> None:
    pytest.importorskip("every_eval_ever", reason="every-eval-ever is not installed (pip install --no-deps)")
    core = import_module("every_eval_ever.validator.validation_core")
    jsonschema = import_module("jsonschema")
    schema = import_module("every_eval_ever.schema").schema_json("eval.schema.json")
    assert schema["version"] == "0.3.0"
    file, found = record(sample_run(20, hostile), tmp_path)
    jsonschema.Draft7Validator(schema).validate(found)
    place = file.relative_to(tmp_path).as_posix()
    report = core.validate_file(file, repo_path=place, run_semantic_checks=True)
    assert (report.valid, report.errors, report.warnings) == (True, [], [])


def test_every_score_is_results_jsons_and_what_has_none_is_named(tmp_path: Path) -> None:
    run = sample_run(30)
    whole = json.loads(written("results", run, tmp_path)[0].read_text())["estimates"]
    _, found = record(run, tmp_path)
    assert [
        (
            each["evaluation_result_id"], each["score_details"]["score"],
            each["score_details"]["uncertainty"]["num_samples"], each["metric_config"]["lower_is_better"],
        )
        for each in found["evaluation_results"]
    ] == [
        (f"{each['task']}/{each['protocol']}:{each['metric']}", each["value"], each["n"], each["direction"] == "lower")
        for each in whole
        if each["value"] is not None
    ]  # fmt: skip
    named = json.loads(found["source_metadata"]["additional_details"]["not_scored"])
    assert named["xstest/gpt4: answer_rate"].startswith("no judge was given")
    assert len(named) == sum(each["value"] is None for each in whole) == 2
    unsafe = next(each for each in found["evaluation_results"] if each["evaluation_name"] == "beavertails/pku-700")
    assert unsafe["score_details"]["details"]["n_failed"] == "2"
    assert unsafe["source_data"]["hf_repo"] == "PKU-Alignment/BeaverTails-Evaluation"
    assert json.loads(unsafe["metric_config"]["additional_details"]["judges"])["beaver_dam"]["judge"] == "beaver_dam"


def test_another_judges_numbers_are_another_record(tmp_path: Path) -> None:
    run = sample_run(20)
    first, _ = record(run, tmp_path)
    changed = replace(run.results[0].estimates[0], value=0.9)
    other = replace(run.results[0], estimates=(changed, *run.results[0].estimates[1:]))
    second, _ = record(replace(run, results=(other, *run.results[1:])), tmp_path)
    assert first.parent == second.parent
    assert first.name != second.name


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("google/gemma-3-270m-it", "google/gemma-3-270m-it"),
        ("transformers:google/gemma-3-270m-it", "google/gemma-3-270m-it"),
        ("vllm:/home/someone/secret/merged", "vllm/merged"),
        ("transformers:../runs/x/merged/", "transformers/merged"),
        ("openai:gpt-4.1,base_url=http://10.0.0.1/v1", "openai/gpt-4.1"),
        ("imported:alpaca-7b", "imported/alpaca-7b"),
        ("transformers:demo", "transformers/demo"),
        ("data/model", "local/model"),
        ("demo", "local/demo"),
    ],
)
def test_a_models_name_tells_no_folder_and_no_host(model: str, name: str) -> None:
    assert hub.model_name(replace(sample_run(0), model=model)) == name


@pytest.mark.parametrize("model", [*HOSTILE, "", "/", "a/../..", "x:y/con", "\x00"])
def test_any_models_name_is_two_safe_parts(model: str) -> None:
    parts = hub.model_name(replace(sample_run(0), model=model)).split("/")
    assert len(parts) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", part) for part in parts)


def test_a_broken_clock_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH=yesterday"):
        written("every_eval_ever", sample_run(1), tmp_path)


# --- Hugging Face --------------------------------------------------------------------------------


def entries(run: Run, folder: Path) -> dict[str, dict[str, Any]]:
    """File name to its one entry."""
    found = {file: yaml.safe_load(file.read_text("utf-8")) for file in written("hf_eval_results", run, folder)}
    assert {file.parent for file in found} == {folder / ".eval_results"}
    assert all(len(each) == 1 for each in found.values())
    return {file.stem: each[0] for file, each in found.items()}


def whole(run: Run) -> Run:
    """The run without its limit."""
    return replace(run, manifest={**run.manifest, "options": {}})


def test_the_first_samples_are_not_the_benchmark(tmp_path: Path) -> None:
    found = entries(sample_run(20), tmp_path)["gsm8k_lm-eval"]
    assert found["dataset"]["task_id"] == "lm-eval-first60"
    assert "the first 60 samples only" in found["notes"]


@pytest.mark.parametrize("hostile", [False, True])
def test_the_hubs_own_library_reads_every_file(hostile: bool, tmp_path: Path) -> None:
    run = sample_run(30, hostile)
    found = entries(whole(run), tmp_path)
    assert [*found] == [
        "alpaca_eval_v2", "gsm8k_lm-eval", "arc_challenge_lm-eval", "truthfulqa_joint", "beavertails_pku-700",
    ]  # fmt: skip
    read = dict(zip(found, parse_eval_result_entries([*found.values()]), strict=True))
    gsm8k = read["gsm8k_lm-eval"]
    assert (gsm8k.dataset_id, gsm8k.task_id, gsm8k.dataset_revision) == ("openai/gsm8k", "gsm8k", None)
    estimates = json.loads(written("results", run, tmp_path)[0].read_text())["estimates"]
    primary = {f"{each['task']}_{each['protocol']}": each["value"] for each in estimates if each["primary"]}
    for name, each in read.items():
        assert each.value == pytest.approx(100 * primary[name], abs=1e-9)
        assert "\n" not in each.notes
    assert "2 not scored: between" in read["beavertails_pku-700"].notes
    assert read["beavertails_pku-700"].notes.endswith("; lower is better; judged by beaver_dam")
    assert read["truthfulqa_joint"].notes.endswith("the model judged itself")


def test_hostile_notes_are_one_text(tmp_path: Path) -> None:
    run = sample_run(20)
    for attack in (*HOSTILE, "a: b\n- !!python/object:os.system x\n---\n&a *a # c", "NO", "1.10", "\x85\u2028\ufeff"):
        judged = replace(run.results[0].estimates[0], judge=attack)
        result = replace(run.results[0], estimates=(judged,))
        notes = entries(replace(run, results=(result,)), tmp_path)["alpaca_eval_v2"]["notes"]
        assert isinstance(notes, str)
        assert notes.startswith("h3eval 0.1.0 alpaca_eval/v2: win_rate, percent; 95 % interval")
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]", notes)


def test_what_is_known_of_a_judge_is_told(tmp_path: Path) -> None:
    result = sample_run(20).results[4]
    judged = replace(result.estimates[0], calibration="uncalibrated")
    found = entries(replace(sample_run(0), results=(replace(result, estimates=(judged,)),)), tmp_path)
    assert found["beavertails_pku-700"]["notes"].endswith("judged by beaver_dam (uncalibrated)")


def test_files_say_where_a_data_set_is_no_known_benchmark(tmp_path: Path) -> None:
    for file in written("hf_eval_results", whole(sample_run(20)), tmp_path):
        assert file.read_text().startswith("#") == (file.stem != "gsm8k_lm-eval")


def test_the_commit_that_was_read_is_named(tmp_path: Path) -> None:
    told = {**manifest("m", False), "data": {"hub:openai/gsm8k:main:test": "ab" * 20}}
    found = entries(replace(sample_run(20), manifest=told), tmp_path)
    assert found["gsm8k_lm-eval"]["dataset"]["revision"] == "ab" * 20
    assert "revision" not in found["beavertails_pku-700"]["dataset"]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (Run("m", {}, (), (), {}), "no task of this run has both"),
        (sample_run(0), "no task of this run has both"),
        (replace(sample_run(9), manifest={"options": {"data": "demo"}}), "made on the demo's samples"),
    ],
)
def test_what_can_not_be_published_is_refused(run: Run, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        written("hf_eval_results", run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_subset_is_of_the_same_data_set_and_says_so(tmp_path: Path) -> None:
    run = sample_run(20)
    parts = [replace(each, protocol=f"{each.protocol}-subset20-seed7") for each in (run.results[1], run.results[4])]
    found = entries(replace(run, results=tuple(parts)), tmp_path)
    assert [each["dataset"]["id"] for each in found.values()] == [
        "openai/gsm8k", "PKU-Alignment/BeaverTails-Evaluation",
    ]  # fmt: skip
    assert all("-subset20-seed7: " in each["notes"] for each in found.values())


def test_data_sets_are_those_the_tasks_read() -> None:
    ours = "".join(file.read_text("utf-8") for file in (ROOT / "tasks").glob("*.py"))
    places = Path(lm_eval.__file__).parent / "tasks"
    folders = ("arc", "gsm8k", "hendrycks_math", "minerva_math", "mmlu/default", "truthfulqa")
    theirs = "".join(
        file.read_text("utf-8") for name in folders for file in (places / name).iterdir() if file.is_file()
    )
    names = {file.stem for file in (ROOT / "tasks").glob("[a-z]*.py")}
    for task, repository in hub.DATASETS.items():
        assert task.partition("/")[0] in names
        assert f'"{repository}"' in ours or f"dataset_path: {repository}\n" in theirs
