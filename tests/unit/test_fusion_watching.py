"""Whom a finished fusion asks: the same of what is served as of what was constructed, and a run's report shows it."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_fusion
import tiny_models
import torch
from transformers import AutoTokenizer

from h3eval import registry
from h3eval.cli import main
from h3eval.errors import ConfigError
from h3eval.fusion import watching
from h3eval.fusion.fusing import fuse
from h3eval.fusion.modeling_mixture import mixtures
from h3eval.fusion.settings import Training
from h3eval.fusion.training import loaded

PROMPTS: list[tuple[Any, str, str]] = [
    ("the cat sees", "helpful", "one/a"),
    ([{"role": "user", "content": "why red dog house"}], "honest", "two/b"),
    ("what is the capital of France", "helpful", "one/a"),
    ("river", "harmless", "three/c"),
]


@pytest.fixture(scope="module", params=["llama", "qwen2", "gemma3"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained fusion of a native layout, or with code, whose construction is kept."""
    work = tmp_path_factory.mktemp(request.param)
    base = small_fusion.BASES[request.param](work / "base")
    how = {"temperature": 0.5, "top_k": 1}
    asked = small_fusion.asked("h3fusion", base, small_fusion.experts(base, work), construction=how)
    fuse(asked, work / "out", print, keep=True)
    return work / "out"


def test_what_is_served_asks_as_what_was_constructed(folder: Path) -> None:
    served = watching.activation(folder, PROMPTS, small_fusion.EXPERTS, batch=2)
    made = watching.activation(folder / "work" / "construction", PROMPTS, small_fusion.EXPERTS, batch=3)
    assert served["prompts"] == 4
    assert {name: row["n"] for name, row in served["activation"]["task"].items()} == {
        "one/a": 2,
        "two/b": 1,
        "three/c": 1,
    }
    for kind in ("dimension", "task"):
        for label, row in served["activation"][kind].items():
            other = made["activation"][kind][label]
            for key in ("mean_probability", "likeliest", "in_top_k"):
                assert row[key] == pytest.approx(other[key], abs=2e-5)
                assert sum(row[key].values()) == pytest.approx(1, abs=1e-4)
            assert len(row["mean_probability_by_layer"]) == 3
            assert "loss" not in row


def test_a_prompts_shares_are_its_own_whatever_stands_beside_it(folder: Path) -> None:
    text = PROMPTS[2][0]
    alone = watching.activation(folder, [PROMPTS[2]], small_fusion.EXPERTS)["activation"]["task"]["one/a"]
    model = loaded(folder / "work" / "construction", Training(bf16=False))
    layers = mixtures(model)
    for layer in layers:
        layer.watched = True
    ids = AutoTokenizer.from_pretrained(folder.parent / "base")(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        model(ids)
    plain = torch.stack([layer.logits.softmax(-1) for layer in layers if layer.logits is not None]).mean((0, 1, 2))
    assert list(alone["mean_probability"].values()) == pytest.approx(plain.tolist(), abs=2e-5)
    beside = watching.activation(folder, [PROMPTS[3], PROMPTS[2]], small_fusion.EXPERTS)["activation"]["task"]
    assert beside["one/a"]["mean_probability"] == pytest.approx(alone["mean_probability"], abs=2e-5)


def test_a_model_without_routers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a fusion"):
        watching.activation(tiny_models.llama(tmp_path / "plain"), PROMPTS, small_fusion.EXPERTS)


def test_a_runs_report_shows_whom_its_model_asked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["run", "--model", f"transformers:{folder}", "--model-args", "trust_remote_code=yes"]
    words += ["--tasks", "truthfulqa_mc,arc_challenge", "--data", "demo", "--limit", "3", "--out", str(run)]
    assert main(words) == 0
    assert "Expert activation" not in (run / "report.html").read_text()
    assert main(["fuse", "activation", str(folder), "--run", str(run)]) == 0
    found = json.loads((run / "activation.json").read_text())
    assert found["prompts"] == 6
    page = (run / "report.html").read_text()
    assert "Expert activation" in page
    assert "time to construct" in page
    for rows in found["activation"].values():
        for row in rows.values():
            assert all(f'<data value="{value!r}">' in page for value in row["mean_probability"].values())
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text() == page
    (run / "activation.json").write_text(json.dumps({**found, "weights": "00" * 32}))
    assert main(["report", str(run)]) == 0
    assert "Expert activation" not in (run / "report.html").read_text()
    capsys.readouterr()
    assert main(["fuse", "activation", str(folder.parent / "base"), "--run", str(run)]) == 2
    assert "no fusion_report.json" in capsys.readouterr().err
    assert main(["fuse", "activation", str(folder)]) == 2
    assert "--run is missing" in capsys.readouterr().err


def test_reports_of_models_are_not_of_a_run() -> None:
    kinds = {name: getattr(registry.load("reports", name), "of", "run") for name in ("merge", "fusion", "sweep")}
    assert kinds == {"merge": "merge", "fusion": "fusion", "sweep": "sweep"}
