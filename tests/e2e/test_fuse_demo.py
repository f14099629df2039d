"""Fusions of the demo's base model, Gemma 3 270M: GELU experts, one table of tokens, written with their own code."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_fusion
import taught_experts
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from h3eval.backends import _demo
from h3eval.cli import main
from h3eval.errors import BackendError
from h3eval.fusion.fusing import fuse

pytestmark = pytest.mark.slow
OWN_CODE = {"format": "code", "needs_remote_code": True, "code": "modeling_mixture.py"}


@pytest.fixture(scope="module")
def base() -> Path:
    try:
        return _demo.folder("demo:base")
    except BackendError as error:
        pytest.skip(str(error))


def test_identical_experts_of_a_real_model_are_the_model(tmp_path: Path, base: Path) -> None:
    experts = dict.fromkeys(small_fusion.EXPERTS, str(base))
    report = fuse(small_fusion.asked("h3fusion", base, experts, serve={"dtype": "float32"}), tmp_path / "out", print)
    assert report["serving"] == OWN_CODE
    ids = AutoTokenizer.from_pretrained(base)("Water boils at a hundred degrees, and", return_tensors="pt")["input_ids"]
    logits = []
    for folder, remote in ((base, False), (tmp_path / "out", True)):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=remote)
        with torch.no_grad():
            logits.append(model.eval()(ids).logits)
    assert float((logits[0] - logits[1]).abs().max() / logits[0].abs().max()) < 1e-5


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return taught_experts.spoken(tmp_path_factory.mktemp("spoken"))


@pytest.fixture(scope="module")
def experts(base: Path, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three adapters of the base model, made by the command line."""
    folder = tmp_path_factory.mktemp("experts")
    for name, file in files.items():
        config = folder / f"{name}.toml"
        config.write_text(taught_experts.ALIGN.format(base=base, file=file))
        gentle = ["--set", "learning_rate=1e-3", "--set", "epochs=3.0"]
        assert main(["fuse", "align", str(config), "--out", str(folder / name), *gentle]) == 0
    return {name: str(folder / name) for name in files}


@pytest.mark.parametrize("preset", ["h3fusion-gl-rl", "mocae-gl-rl"])
def test_a_real_model_learns_to_route(
    preset: str, base: Path, files: dict[str, Path], experts: dict[str, str], tmp_path: Path
) -> None:
    config, out = tmp_path / "fuse.toml", tmp_path / "fused"
    config.write_text(
        taught_experts.FUSE.format(
            preset=preset,
            base=base,
            experts="\n".join(f'{name} = "{folder}"' for name, folder in experts.items()),
            adapters="false",
            data="".join(taught_experts.DATA.format(name=name, file=file) for name, file in files.items()),
        )
    )
    assert main(["fuse", str(config), "--out", str(out), "--set", "training.learning_rate=1e-3"]) == 0
    report: dict[str, Any] = json.loads((out / "fusion_report.json").read_text())
    assert report["serving"] == OWN_CODE
    print(preset, report["routing"]["calibration"], report["cost"])
    assert report["routing"]["calibration"]["accuracy"] >= 0.8
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, trust_remote_code=True)
    average = taught_experts.averaged(base, experts)
    for name, file in files.items():
        own = taught_experts.loss(taught_experts.whole(experts[name]), file, base)
        fused, mean = (taught_experts.loss(each, file, base) for each in (model, average))
        print(f"{preset}, {name}: {fused:.3f} of the fusion, {own:.3f} of its expert, {mean:.3f} of the average")
        assert fused < own + 0.3
        assert fused < mean
