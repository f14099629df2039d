"""The extras merge and fuse in one empty environment: models are made, and evaluated."""

import json
import shutil
from pathlib import Path

import pytest
import small_fusion
import taught_experts
from empty_machine import CONSTRAINED, Machine

pytestmark = pytest.mark.install
SHORT = ("--tasks", "xstest", "--data", "demo", "--limit", "2", "--judge", "xstest=refusal_keywords")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, wheel: Path, models: Path) -> Machine:
    made = Machine("merge, fuse", tmp_path_factory.mktemp("merge"))
    made.make(*CONSTRAINED, f"{wheel}[merge,fuse]")
    shutil.copytree(models, made.work / "models")
    return made


def test_models_are_merged_and_the_result_is_evaluated(machine: Machine) -> None:
    merging(machine)
    machine.done("run", "--model", "merged", *SHORT, "--out", "runs/merged")


def merging(machine: Machine) -> None:
    """docs/merge.md's commands: a recipe, the flags, a sweep."""
    (machine.work / "recipe.yaml").write_text(
        "method: dare_ties\nbase: models/base\nmodels:\n  - {path: models/helpful, weight: 0.6}\n"
        "  - {path: models/harmless, weight: 0.4}\nparameters: {density: 0.5}\n"
    )
    machine.done("merge", "recipe.yaml", "--dry-run")
    machine.done("merge", "recipe.yaml", "--out", "merged")
    assert (machine.work / "merged" / "model.safetensors").is_file()
    assert json.loads((machine.work / "merged" / "merge_report.json").read_text())["tensors"]
    (machine.work / "sweep.toml").write_text(
        'preferences = [[0.5, 0.5]]\n[merge]\nmethod = "rewarded_soup"\n'
        'models = ["models/helpful", "models/harmless"]\n'
    )
    flags = "--data demo --limit 2 --judge xstest=refusal_keywords"
    machine.done("sweep", "sweep.toml", "--tasks", "xstest", "--run-flags", flags, "--out", "sweep")
    assert (machine.work / "sweep" / "sweep.html").is_file()


def test_experts_are_made_and_fused_and_the_result_is_evaluated(machine: Machine) -> None:
    fusing(machine)


def fusing(machine: Machine) -> None:
    """docs/fusion.md's commands, as small as they get."""
    assert "h3fusion" in machine.done("fuse", "presets")
    align = taught_experts.ALIGN.format(base="models/base", file="models/rows/helpful.jsonl")
    (machine.work / "align.toml").write_text(align.replace("epochs = 6.0", "epochs = 1.0"))
    machine.done("fuse", "align", "align.toml", "--out", "expert")
    machine.done("run", "--model", "transformers:models/base,adapter=expert", *SHORT, "--out", "runs/adapted")
    experts = "".join(f'{name} = "models/{name}"\n' for name in small_fusion.EXPERTS)
    rows = [taught_experts.DATA.format(name=name, file=f"models/rows/{name}.jsonl") for name in small_fusion.EXPERTS]
    fuse = taught_experts.FUSE.format(
        preset="h3fusion-gl", base="models/base", experts=experts, adapters="false", data="".join(rows)
    )
    (machine.work / "fuse.toml").write_text(fuse)
    machine.done("fuse", "fuse.toml", "--out", "fused", "--set", "training.steps=4")
    machine.done("run", "--model", "fused", *SHORT, "--out", "runs/fused")
    machine.done("fuse", "activation", "fused", "--run", "runs/fused")
    assert (machine.work / "runs" / "fused" / "activation.json").is_file()


@pytest.mark.slow
def test_merge_alone(tmp_path: Path, wheel: Path, models: Path) -> None:
    machine = Machine("merge", tmp_path / "merge")
    machine.make(*CONSTRAINED, f"{wheel}[merge]")
    shutil.copytree(models, machine.work / "models")
    merging(machine)
    assert "h3eval[fuse]" in machine.refused("fuse", "presets")


@pytest.mark.slow
def test_fuse_alone(tmp_path: Path, wheel: Path, models: Path) -> None:
    machine = Machine("fuse", tmp_path / "fuse")
    machine.make(*CONSTRAINED, f"{wheel}[fuse]")
    shutil.copytree(models, machine.work / "models")
    fusing(machine)
    assert "h3eval[merge]" in machine.refused("merge", "recipe.yaml", "--out", "none")
