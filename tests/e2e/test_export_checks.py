"""An export that does not compute what its sources do is refused with the number, and leaves nothing that loads."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_fusion
import tiny_architectures
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from h3eval.checkpoints import cutting, equality
from h3eval.checkpoints.loading import loaded
from h3eval.cli import main
from h3eval.errors import ConfigError, UsageError
from h3eval.fusion import checking, memory
from h3eval.fusion.checkpoints import Checkpoint
from h3eval.fusion.construction import construct
from h3eval.fusion.fusing import fuse
from h3eval.fusion.saving import check_saved, waiting
from h3eval.fusion.serving import export, size
from h3eval.merge import checking as merge_checking
from h3eval.merge.plan import plan
from h3eval.merge.recipe import recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_architectures.made("llama", tmp_path_factory.mktemp("export") / "base", num_hidden_layers=4)


@pytest.fixture(scope="module")
def experts(base: Path) -> dict[str, str]:
    return small_fusion.experts(base, base.parent)


def changed(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def finished(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("config.json", "fusion_report.json", "model.safetensors"))


@pytest.mark.parametrize("method", ["h3fusion", "mocae"])
def test_a_fusion_says_what_was_compared(
    method: str, base: Path, experts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve = {"adapters": True} if method == "mocae" else {"dtype": "bfloat16"}
    said: list[str] = []
    report = fuse(small_fusion.asked(method, base, experts, serve=serve), tmp_path / "out", said.append)
    rows = report["serving"]["check"]["measured"]
    with_whom = {(row["with"], row["dtype"]) for row in rows}
    names = [*(f"{name}'s own" for name in experts), "the trained module's"]
    names += [f"the adapter {name}'s" for name in experts if method == "mocae"]
    assert with_whom == {(name, dtype) for name in names for dtype in ("float32", "bfloat16")}
    assert all(row["apart"] <= row["limit"] for row in rows)
    assert "checked against its sources" in said[-1]
    size = report["serving"]["size"]
    stored = Checkpoint(tmp_path / "out")
    assert size["parameters"] == sum(stored.tensor(name).numel() for name in stored.names)
    assert size["bytes"] == sum(stored.tensor(name).nbytes for name in stored.names)
    assert any("keeps them low-rank" in line for line in said) == (method == "mocae")


def test_an_export_that_differs_leaves_nothing_that_loads(base: Path, experts: dict[str, str], tmp_path: Path) -> None:
    """A fusion that was stopped, and whose construction lost a setting since."""
    out, asked = tmp_path / "out", small_fusion.asked("h3fusion", base, experts)
    with pytest.raises(KeyboardInterrupt):
        fuse(asked, out, stopping)
    made = out / "work" / "construction"
    construct(asked, made)
    (made / "built.json").write_text(json.dumps({"form": Checkpoint(made).config["mixture"]}))
    changed(made, rms_norm_eps=0.5)
    with pytest.raises(equality.Differs, match=r"differ from helpful's own by [\d.]+ of their size") as refused:
        fuse(asked, out, print)
    assert "\n" not in str(refused.value)
    assert not finished(out)
    assert not (out / "work" / "served").exists()
    changed(made, rms_norm_eps=1e-6)
    fuse(asked, out, print)
    assert finished(out)


def stopping(line: str) -> None:
    raise KeyboardInterrupt


def test_a_construction_is_looked_at_before_it_is_trained(base: Path, experts: dict[str, str], tmp_path: Path) -> None:
    asked = small_fusion.asked("h3fusion", base, experts)
    construct(asked, tmp_path / "made")
    checking.check_construction(asked, tmp_path / "made", CPU)
    rope = {"rope_theta": 1e6, "rope_type": "default"}
    changed(tmp_path / "made", rope_parameters=rope)
    with pytest.raises(equality.Differs, match="helpful's own"):
        checking.check_construction(asked, tmp_path / "made", CPU)


SPOILT: dict[str, dict[str, Any]] = {
    "another base of the rotary positions": {"rope_theta": 777.0, "rope_parameters": None},
    "one expert a token": {"num_experts_per_tok": 1},
    "an epsilon": {"rms_norm_eps": 0.1},
    "a window": {"sliding_window": 4},
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_configuration_is_seen(name: str, base: Path, experts: dict[str, str], tmp_path: Path) -> None:
    asked = small_fusion.asked("h3fusion", base, experts)
    construct(asked, tmp_path / "made")
    export(tmp_path / "made", tmp_path / "served")
    changed(tmp_path / "served", **SPOILT[name])
    with pytest.raises(equality.Differs, match="differ from"):
        checking.check(asked, tmp_path / "made", tmp_path / "served", "mixtral", CPU)


def test_three_layers_stand_for_a_model_that_does_not_fit(
    base: Path, experts: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's memory is the one thing that is pretended here."""
    asked = small_fusion.asked("mocae", base, experts, serve={"adapters": True})
    construct(asked, tmp_path / "made")
    whole = checking.ROOM * 2 * 4 * size(tmp_path / "made", "mixtral")["parameters"]
    monkeypatch.setattr(memory, "available", lambda device: 0.95 * whole)
    report = fuse(asked, tmp_path / "out", print)
    assert report["serving"]["check"]["layers"] == "first two and last"
    assert len(report["serving"]["check"]["measured"]) == 14
    monkeypatch.setattr(memory, "available", lambda device: 10)
    with pytest.raises(UsageError, match="GB even for three of its layers"):
        fuse(asked, tmp_path / "other", print)
    assert not finished(tmp_path / "other")


def test_a_merge_that_does_not_fit_is_checked_on_three_layers(
    base: Path, experts: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    lora = adapter(base, tmp_path / "lora")
    elements = sum(each.numel() for each in AutoModelForCausalLM.from_pretrained(base).parameters())
    room = SimpleNamespace(available=0.95 * 2 * merge_checking.ROOM * 4 * elements)
    monkeypatch.setattr(merge_checking.psutil, "virtual_memory", lambda: room)
    words = ["merge", "--method", "task_arithmetic", "--base", str(base), "--model", f"{lora},weight=0.6"]
    words += ["--model", f"{experts['honest']},weight=0.5", "--check", "--no-page", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "first two and last layers" in capsys.readouterr().err


def test_a_cut_keeps_the_first_two_layers_and_the_last(base: Path, tmp_path: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    cut = loaded(cutting.cut_folder(base, config, tmp_path / "cut"), torch.float32)
    whole = AutoModelForCausalLM.from_pretrained(base)
    assert len(cut.model.layers) == 3
    for mine, theirs in zip(cut.model.layers, [whole.model.layers[at] for at in (0, 1, 3)], strict=True):
        for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_what_a_training_saved_is_read_back(base: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    with waiting(tmp_path) as folder:
        model.save_pretrained(folder)
        assert [row["dtype"] for row in check_saved(model, folder)] == ["float32", "bfloat16"]
    assert (tmp_path / "config.json").is_file()
    (tmp_path / "again").mkdir()
    with pytest.raises(equality.Differs, match="trained model's"):
        spoilt(model, tmp_path / "again")
    assert not list((tmp_path / "again").iterdir())


def spoilt(model: Any, out: Path) -> None:
    with waiting(out) as folder:
        model.save_pretrained(folder)
        changed(folder, rms_norm_eps=0.5)
        check_saved(model, folder)


def adapter(base: Path, folder: Path) -> Path:
    torch.manual_seed(4)
    how = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), how).save_pretrained(folder)
    return folder


def test_a_merge_of_adapters_is_what_peft_makes_of_them(
    base: Path, experts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = adapter(base, tmp_path / "lora")
    words = ["merge", "--method", "task_arithmetic", "--base", str(base), "--model", f"{folder},weight=1", "--check"]
    assert main([*words, "--no-page", "--out", str(tmp_path / "one")]) == 0
    assert "logits are lora's own" in capsys.readouterr().err
    words += ["--model", f"{experts['honest']},weight=0.5", "--set", "lambda=0.7"]
    assert main([*words, "--no-page", "--dtype", "bfloat16", "--out", str(tmp_path / "two")]) == 0
    assert "same sum" in capsys.readouterr().err


def test_parents_with_different_settings_are_refused_by_check(
    base: Path, experts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(experts["honest"], tmp_path / "other"))
    changed(other, rope_parameters={"rope_theta": 5e5, "rope_type": "default"})
    words = ["merge", "--method", "ties", "--base", str(base), "--set", "density=0.5", "--model", experts["helpful"]]
    assert main([*words, "--model", str(other), "--check", "--no-page", "--out", str(tmp_path / "out")]) == 2
    assert "rope_parameters.rope_theta is 500000.0 in other" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


@pytest.mark.parametrize("spoil", ["weight", "missing"])
def test_a_spoilt_merge_is_refused_with_the_number(
    spoil: str, base: Path, experts: dict[str, str], tmp_path: Path
) -> None:
    paths = [experts["helpful"], experts["honest"]]
    models = [{"path": path, "weight": weight} for path, weight in zip(paths, (0.25, 0.75), strict=True)]
    made = plan(recipe({"method": "rewarded_soup", "models": models}), {path: Path(path) for path in paths})
    # The plain mean is another model than the one that was asked for.
    words = ["merge", "--method", "weight_average", *(word for path in paths for word in ("--model", path))]
    assert main([*words, "--no-page", "--out", str(tmp_path / "out")]) == 0
    if spoil == "weight":
        with pytest.raises(equality.Differs, match=r"the same sum, made in memory by [\d.]+"):
            merge_checking.check(tmp_path / "out", made)
    else:
        changed(tmp_path / "out", num_hidden_layers=5)
        for folder in made.models:
            assert isinstance(folder, merge_checking.Checkpoint)
        with pytest.raises(ConfigError, match="num_hidden_layers is 4 in"):
            merge_checking.check(tmp_path / "out", made)
