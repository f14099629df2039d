"""`h3eval fuse` from its command line: experts with behaviours of their own, fused, trained, served and scored."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_fusion
import taught_experts
import tiny_models
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, TrainerCallback

from h3eval.cli import main
from h3eval.config import ModelSpec
from h3eval.fusion import training
from h3eval.fusion.aligning import align, alignment
from h3eval.fusion.checkpoints import Checkpoint
from h3eval.fusion.construction import construct
from h3eval.fusion.fusing import fuse
from h3eval.fusion.progress import Progress
from h3eval.fusion.rows import Encoder, encoded, rows
from h3eval.fusion.settings import Settings
from h3eval.types import Call, Request


@pytest.fixture(scope="module", params=["llama", pytest.param("mistral", marks=pytest.mark.slow)])
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(request.param)


@pytest.fixture(scope="module")
def files(work: Path) -> dict[str, Path]:
    return small_fusion.rows(work / "rows")


@pytest.fixture(scope="module")
def base(work: Path) -> Path:
    if work.name.startswith("mistral"):
        return tiny_models.mistral(work / "base", head_dim=32)
    return tiny_models.llama(work / "base", template=True, head_dim=32)


@pytest.fixture(scope="module")
def experts(work: Path, base: Path, files: dict[str, Path]) -> dict[str, str]:
    """Three aligned adapters, made by the command line."""
    for name, file in files.items():
        config = work / f"align-{name}.toml"
        config.write_text(taught_experts.ALIGN.format(base=base, file=file))
        assert main(["fuse", "align", str(config), "--out", str(work / name)]) == 0
    return {name: str(work / name) for name in files}


@pytest.fixture(scope="module", params=["h3fusion-gl-rl", "mocae-gl-rl"])
def fused(
    request: pytest.FixtureRequest, work: Path, base: Path, experts: dict[str, str], files: dict[str, Path]
) -> tuple[Path, dict[str, Any]]:
    config, out = work / f"{request.param}.toml", work / request.param
    text = taught_experts.FUSE.format(
        preset=request.param,
        base=base,
        experts="\n".join(f'{name} = "{folder}"' for name, folder in experts.items()),
        adapters=str(request.param.startswith("mocae")).lower(),
        data="".join(taught_experts.DATA.format(name=name, file=file) for name, file in files.items()),
    )
    config.write_text(text)
    assert main(["fuse", str(config), "--out", str(out)]) == 0
    return out, json.loads((out / "fusion_report.json").read_text())


def test_the_router_knows_held_out_prompts(fused: tuple[Path, dict[str, Any]]) -> None:
    routing = fused[1]["routing"]
    assert routing["calibration"]["accuracy"] >= 0.8
    assert routing["calibration"]["skill"] > 0
    for name, row in routing["activation"]["dimension"].items():
        shares = row["mean_probability"]
        assert max(shares, key=shares.__getitem__) == name
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)


def test_the_fusion_is_close_to_each_expert_and_better_than_their_average(
    fused: tuple[Path, dict[str, Any]], base: Path, experts: dict[str, str], files: dict[str, Path]
) -> None:
    model, average = AutoModelForCausalLM.from_pretrained(fused[0]), taught_experts.averaged(base, experts)
    for name, file in files.items():
        own = taught_experts.loss(taught_experts.whole(experts[name]), file, base)
        assert taught_experts.loss(model, file, base) < own + 0.3
        assert taught_experts.loss(model, file, base) < taught_experts.loss(average, file, base)


def test_the_folder_says_what_it_is(fused: tuple[Path, dict[str, Any]], base: Path) -> None:
    out, report = fused
    assert report["serving"]["format"] == "mixtral"
    assert type(AutoModelForCausalLM.from_pretrained(out)).__name__ == "MixtralForCausalLM"
    assert AutoTokenizer.from_pretrained(out).chat_template == AutoTokenizer.from_pretrained(base).chat_template
    assert "router" in (out / "README.md").read_text().lower()
    assert report["cost"]["seconds"]["train"] > 0
    assert report["cost"]["peak_resident_bytes"] > 0
    assert set(report["inputs"]) == {"base", *small_fusion.EXPERTS}
    assert not (out / "work").exists()
    for folder in report["serving"].get("adapters", []):
        assert (out / folder / "adapter_model.safetensors").is_file()


def test_the_same_command_again_does_nothing_and_other_settings_are_refused(
    fused: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = fused[0]
    before = (out / "fusion_report.json").stat().st_mtime_ns
    config = str(out.with_suffix(".toml"))
    assert main(["fuse", config, "--out", str(out)]) == 0
    assert (out / "fusion_report.json").stat().st_mtime_ns == before
    assert main(["fuse", config, "--out", str(out), "--set", "training.seed=7"]) == 2
    assert "other training" in capsys.readouterr().err


def test_h3eval_scores_it(fused: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    words = ["run", "--model", str(fused[0]), "--backend", "transformers", "--tasks", "beavertails,truthfulqa_mc"]
    assert main([*words, "--data", "demo", "--limit", "2", "--out", str(tmp_path / "run")]) in (0, 3)
    assert json.loads((tmp_path / "run" / "results.json").read_text())


def quick(base: Path, files: dict[str, Path], experts: dict[str, str], **how: Any) -> Settings:
    return small_fusion.asked("h3fusion", base, experts, files, training={"heldout": 0.25, **how})


def test_gating_sharpens_routing_and_drift_holds_weights(
    tmp_path: Path, base: Path, experts: dict[str, str], files: dict[str, Path]
) -> None:
    free = fuse(quick(base, files, experts), tmp_path / "free", print)
    gated = fuse(quick(base, files, experts, gating=2.0), tmp_path / "gated", print)
    held = fuse(quick(base, files, experts, drift=1.0), tmp_path / "held", print)
    brier = [each["routing"]["calibration"]["brier_sum"]["value"] for each in (gated, free)]
    assert brier[0] < brier[1]
    for name in experts:
        assert held["training"]["drift"][name] < 0.2 * free["training"]["drift"][name]


class Stop(TrainerCallback):
    """Stops a training the hard way."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("what", ["vectors", "lora"])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, base: Path, experts: dict[str, str], files: dict[str, Path], what: str
) -> None:
    asked = quick(base, files, experts, steps=8, save_every=3, what=what, gating=1.0)
    construct(asked, tmp_path / "made")
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoder = Encoder(tokenizer, "", 48, list(experts))
    data = encoded([row for source in asked.data for row in rows(source)], encoder)

    def trained(folder: str, progress: TrainerCallback) -> dict[str, torch.Tensor]:
        model = training.loaded(tmp_path / "made", asked.training)
        training.train(model, data, asked.training, tmp_path / folder, 2, progress)
        return dict(model.state_dict())

    at_once = trained("at-once", Progress(print))
    with pytest.raises(KeyboardInterrupt):
        trained("stopped", Stop(5))
    assert (tmp_path / "stopped" / "checkpoint-3").is_dir()
    resumed = trained("stopped", Progress(print))
    for name, weights in at_once.items():
        torch.testing.assert_close(resumed[name], weights, rtol=1e-5, atol=1e-6, msg=name)


def test_checkpointing_changes_memory_not_gradients(
    tmp_path: Path, base: Path, experts: dict[str, str], files: dict[str, Path]
) -> None:
    asked = quick(base, files, experts, steps=2, gating=1.0, drift=0.1)
    reports = [
        fuse(replace(asked, training=replace(asked.training, checkpointing=on)), tmp_path / str(on), print)
        for on in (True, False)
    ]
    drifts = [list(report["training"]["drift"].values()) for report in reports]
    assert drifts[0] == pytest.approx(drifts[1], rel=1e-4)


def test_a_fitted_temperature_is_served_and_measured_on_other_rows(
    tmp_path: Path, base: Path, experts: dict[str, str], files: dict[str, Path]
) -> None:
    training = {"heldout": 0.4, "steps": 12, "gating": 1.0, "calibrate": True}
    report = fuse(
        small_fusion.asked("mocae", base, experts, files, training=training), tmp_path / "out", print, keep=True
    )
    fitted = report["routing"]["temperature"]
    assert fitted["before"] == 0.7
    assert fitted["rows"] + report["routing"]["calibration"]["n"] == report["data"]["heldout_rows"]
    trained = Checkpoint(tmp_path / "out" / "work" / "trained")
    assert trained.config["mixture"]["temperature"] == fitted["fitted"]
    served = Checkpoint(tmp_path / "out").tensor("model.layers.0.block_sparse_moe.gate.weight")
    expected = trained.tensor("model.layers.0.mlp.router.weight") / fitted["fitted"]
    torch.testing.assert_close(served, expected)


@pytest.mark.parametrize("method", ["h3fusion", "mocae"])
def test_half_precision_trains_in_full(
    tmp_path: Path, base: Path, experts: dict[str, str], files: dict[str, Path], method: str
) -> None:
    """Frozen weights in bfloat16, trained ones in float32."""
    training = {"bf16": True, "steps": 6, "gating": 1.0, "drift": 1e-3, "what": "lora", "log_every": 1}
    asked = small_fusion.asked(method, base, experts, files, training=training)
    report = fuse(asked, tmp_path / "out", print)
    told = [row["loss"] for row in report["training"]["history"] if "loss" in row]
    assert told[-1] < told[0]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.float32


def test_the_published_behaviour_keeps_its_router_random(
    tmp_path: Path, base: Path, experts: dict[str, str], files: dict[str, Path]
) -> None:
    asked = quick(base, files, experts, steps=3, gating=1.0, drift=1e-3)
    asked = replace(asked, construction=replace(asked.construction, compat="h3fusion_code"))
    fuse(asked, tmp_path / "out", print, keep=True)
    made, trained = (Checkpoint(tmp_path / "out" / "work" / name) for name in ("construction", "trained"))
    name = "model.layers.0.mlp.router.weight"
    torch.testing.assert_close(made.tensor(name), trained.tensor(name), rtol=0, atol=0)
    assert "Don't deploy" in (tmp_path / "out" / "README.md").read_text()


def test_direct_preference_and_whole_weights(tmp_path: Path, base: Path) -> None:
    file = tmp_path / "preferences.jsonl"
    row = {"prompt": "why red cat", "chosen": "green blue", "rejected": "no river"}
    file.write_text("\n".join([json.dumps(row)] * 12))
    config = tmp_path / "dpo.toml"
    config.write_text(
        f'base = "{base}"\nobjective = "dpo"\nrank = 0\nsteps = 4\nbatch = 4\nlearning_rate = 1e-3\n'
        f'log_every = 1\n[[data]]\nfile = "{file}"\nformat = "preferences"\n'
    )
    report = align(alignment(str(config)), tmp_path / "out", print)
    assert report["losses"][-1] < report["losses"][0]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.model_type in ("llama", "mistral")


@pytest.mark.slow
def test_a_kill_loses_no_more_than_the_steps_since_the_last_checkpoint(
    tmp_path: Path, base: Path, experts: dict[str, str], files: dict[str, Path]
) -> None:
    config = tmp_path / "kill.toml"
    config.write_text(
        taught_experts.FUSE.format(
            preset="h3fusion-gl",
            base=base,
            experts="\n".join(f'{name} = "{folder}"' for name, folder in experts.items()),
            adapters="false",
            data="".join(taught_experts.DATA.format(name=name, file=file) for name, file in files.items()),
        )
    )
    words = [sys.executable, "-m", "h3eval.cli", "fuse", str(config), "--out", str(tmp_path / "out")]
    words += ["--set", "training.save_every=5", "--set", "training.steps=400", "--set", "training.log_every=5"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            if line.startswith("step 50/"):
                process.kill()
                break
    assert main([*words[3:]]) == 0
    report = json.loads((tmp_path / "out" / "fusion_report.json").read_text())
    assert report["training"]["history"][-1]["step"] == 400


@pytest.mark.vllm
def test_vllm_says_what_transformers_says(fused: tuple[Path, dict[str, Any]]) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    if json.loads((fused[0] / "config.json").read_text())["head_dim"] < 32:
        pytest.skip("vLLM on a CPU needs heads of 32")
    _same_in_vllm(fused[0], {})


@pytest.mark.vllm
def test_vllm_runs_the_code_that_comes_with_a_fusion(tmp_path: Path, base: Path) -> None:
    """No native layout holds similarity weights; experts move far here, so that a wrong one would show."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    experts = small_fusion.experts(base, tmp_path, size=0.3)
    options = {"gamma": [0.6, 0.3, 0.1], "router_bias": True, "distant": True}
    fuse(small_fusion.asked("mocae", base, experts, construction=options), tmp_path / "out", print)
    _same_in_vllm(tmp_path / "out", {"trust_remote_code": "yes"})


@pytest.mark.vllm
@pytest.mark.parametrize("method", ["h3fusion", "mocae"])
def test_vllm_loads_a_fusion_of_qwen(tmp_path: Path, method: str) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    # vLLM's attention on a CPU needs heads of 32.
    base = small_fusion.qwen(tmp_path / "base", Qwen2ForCausalLM, Qwen2Config, heads=1)
    report = fuse(small_fusion.asked(method, base, small_fusion.experts(base, tmp_path)), tmp_path / "out", print)
    assert report["serving"]["format"] == "qwen2_moe"
    _same_in_vllm(tmp_path / "out", {})


def _same_in_vllm(folder: Path, args: dict[str, str]) -> None:
    prompts = tiny_models.sentences(4, longest=12)
    requests = [Request("complete", each, max_tokens=8) for each in prompts]
    requests += [Request("loglikelihood", each, continuation=" red cat") for each in prompts]
    calls = [Call(str(place).encode(), request) for place, request in enumerate(requests)]
    found = []
    for name in ("vllm", "transformers"):
        kind = getattr(importlib.import_module(f"h3eval.backends.{name}"), name.capitalize())
        engine = kind(ModelSpec(name, str(folder), {"dtype": "float32", **args}))
        answers = {call.key: answer for call, answer in engine.answer(iter(calls), None)}
        engine.close()
        found.append([answers[call.key] for call in calls])
    for ours, theirs in zip(*found, strict=True):
        assert ours.text == theirs.text.rstrip("\ufffd")
        assert ours.is_greedy == theirs.is_greedy
        if theirs.logprob is not None:
            assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-3)
