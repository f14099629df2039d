"""Whole merges, folder to folder: what comes out, whatever the shards and threads, and what is refused."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from merging import family_of, merged_change, read_model, write_model
from safetensors.torch import save_file

from h3eval.cli import main
from h3eval.merge import methods, recipe

PARAMETERS: dict[str, dict[str, Any]] = {
    "weight_average": {},
    "rewarded_soup": {"weight": 0.3},
    "task_arithmetic": {"weight": 0.4, "lambda": 0.9},
    "ties": {"density": 0.3},
    "dare": {"density": 0.4},
    "dare_ties": {"density": 0.4},
    "della_linear": {"density": 0.4, "window": 0.3},
    "della_ties": {"density": 0.4},
    "breadcrumbs": {"density": 0.6, "gamma": 0.05},
    "breadcrumbs_ties": {"density": 0.6, "gamma": 0.05},
    "model_stock": {},
    "tsvm": {},
    "r_tsvm": {"gamma": 0.5},
}


def merge(tmp: Path, models: list[Path], method: str, /, *flags: str, out: str = "out", **keys: Any) -> Path:
    """Run the command on a recipe; the result's folder."""
    config = tmp / f"{out}.yaml"
    content = {"method": method, "base": str(models[0]), "models": [str(path) for path in models[1:]]}
    config.write_text(yaml.safe_dump({**content, "parameters": PARAMETERS[method], **keys}))
    assert main(["merge", str(config), "--out", str(tmp / out), *flags]) == 0
    return tmp / out


def refused(
    capsys: pytest.CaptureFixture[str], tmp: Path, models: list[Path], method: str, /, *flags: str, **keys: Any
) -> str:
    """What the command says when it refuses; nothing may be left where the result would be."""
    config = tmp / "refused.yaml"
    content = {"method": method, "base": str(models[0]), "models": [str(path) for path in models[1:]]}
    config.write_text(yaml.safe_dump({**content, "parameters": PARAMETERS.get(method, {}), **keys}))
    code = main(["merge", str(config), "--out", str(tmp / "bad"), *flags])
    assert code in (2, 6)
    assert not (tmp / "bad").exists()
    assert not [each for each in tmp.iterdir() if "unfinished" in each.name]
    return capsys.readouterr().err


def digests(folder: Path) -> dict[str, str]:
    """Digest of every tensor's bytes."""
    tensors = read_model(folder)
    return {name: hashlib.sha256(t.view(torch.uint8).numpy().tobytes()).hexdigest() for name, t in tensors.items()}


def test_every_method_has_been_tried_here() -> None:
    assert set(PARAMETERS) == set(methods.METHODS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_ties", "della_ties", "breadcrumbs", "model_stock"])
def test_results_are_those_of_a_merge_in_memory(tmp_path: Path, method: str, dtype: torch.dtype) -> None:
    models = family_of(tmp_path, dtype=dtype)
    # The names that masks depend on, as `merged_change` gives them.
    named = [{"path": str(path), "name": f"model{at}"} for at, path in enumerate(models[1:])]
    name = "model.layers.0.mlp.up_proj.weight"
    made = read_model(merge(tmp_path, models, method, models=named))[name]
    base, *others = (read_model(path)[name].float().numpy() for path in models)
    changes = np.stack([other - base for other in others])
    parameters = {{"lambda": "lambda_"}.get(key, key): value for key, value in PARAMETERS[method].items()}
    wanted = base + merged_change(method, changes, name=name, **parameters)
    assert made.dtype == dtype
    exact = torch.from_numpy(wanted.astype(np.float32)).to(dtype)
    assert torch.equal(made, exact)


@pytest.mark.parametrize("method", PARAMETERS)
def test_results_do_not_depend_on_shards_threads_or_order(tmp_path: Path, method: str) -> None:
    models = family_of(tmp_path)
    once = digests(merge(tmp_path, models, method, "--threads", "1"))
    again = digests(merge(tmp_path, models, method, "--threads", "5", "--shard-size", "3KB", out="again"))
    turned = digests(merge(tmp_path, [models[0], *models[:0:-1]], method, out="turned"))
    assert once == again == turned
    assert len(list((tmp_path / "again").glob("model-*.safetensors"))) == 4


def test_averages_are_rounded_once(tmp_path: Path) -> None:
    models = family_of(tmp_path)
    made = read_model(merge(tmp_path, models, "weight_average"))
    held = [read_model(path) for path in models[1:]]
    for name, value in made.items():
        exact = sum(each[name].double() for each in held) / 3
        assert torch.equal(value, exact.float().bfloat16())


def test_sharded_inputs_give_the_same_and_keep_their_layout(tmp_path: Path) -> None:
    models = family_of(tmp_path)
    cut = [write_model(tmp_path / "cut" / path.name, read_model(path), shards=2) for path in models]
    assert digests(merge(tmp_path, cut, "dare", out="two")) == digests(merge(tmp_path, models, "dare"))
    index = json.loads((tmp_path / "two" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in read_model(models[0]).values())


def test_global_trimming_keeps_the_models_density_and_not_each_tensors(tmp_path: Path) -> None:
    models = family_of(tmp_path, models=1)
    loud = read_model(models[1])
    base = read_model(models[0])
    name = "model.layers.0.self_attn.q_proj.weight"
    loud[name] = base[name] + 1
    write_model(models[1], loud)
    out = merge(tmp_path, models, "ties", parameters={"density": 0.2, "trim_scope": "global"})
    report = json.loads((out / "merge_report.json").read_text())
    assert report["summary"]["kept"]["variant0"] == pytest.approx(0.2, abs=0.001)
    assert report["tensors"][name]["kept"]["variant0"] == 1
    again = merge(
        tmp_path, models, "ties", "--threads", "3", out="b", parameters={"density": 0.2, "trim_scope": "global"}
    )
    assert digests(out) == digests(again)


def test_another_seed_is_another_merge_and_the_same_seed_the_same(tmp_path: Path) -> None:
    models = family_of(tmp_path)
    one = digests(merge(tmp_path, models, "dare", seed=1))
    assert one == digests(merge(tmp_path, models, "dare", "--seed", "1", out="b"))
    assert one != digests(merge(tmp_path, models, "dare", seed=2, out="c"))


def test_reports_are_the_same_for_every_run(tmp_path: Path) -> None:
    models = family_of(tmp_path)
    first = (merge(tmp_path, models, "ties") / "merge_report.json").read_bytes()
    second = (merge(tmp_path, models, "ties", "--threads", "3", out="b") / "merge_report.json").read_bytes()
    assert first == second
    report = json.loads(first)
    file = models[1] / "model.safetensors"
    held = {each["name"]: each["files"] for each in report["inputs"]}
    assert held["variant0"] == {"model.safetensors": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert all(0 <= facts["sign_conflicts"] <= 1 for facts in report["tensors"].values())
    assert "variant1" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("rslora", [False, True])
def test_adapters_are_their_products(tmp_path: Path, rslora: bool) -> None:
    models = family_of(tmp_path, models=1, dtype=torch.float32)
    module = "model.layers.0.mlp.up_proj"
    folder, left, right = tmp_path / "adapter", torch.randn(40, 4), torch.randn(4, 24)
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": rslora, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    prefix = f"base_model.model.{module}"
    save_file({f"{prefix}.lora_A.weight": right, f"{prefix}.lora_B.weight": left}, folder / "adapter_model.safetensors")
    made = read_model(merge(tmp_path, [models[0], folder], "task_arithmetic", parameters={"weight": 1.0}))
    for name, value in read_model(models[0]).items():
        change = (4.0 if rslora else 2.0) * (left.double() @ right.double()) if name == f"{module}.weight" else 0
        torch.testing.assert_close(made[name], (value.double() + change).float(), rtol=1e-6, atol=1e-6)


def test_tied_heads_are_left_to_the_embeddings(tmp_path: Path) -> None:
    models = family_of(tmp_path)
    for path in models:
        (path / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": True}))
    assert "lm_head.weight" not in read_model(merge(tmp_path, models, "ties"))


def grown(tmp_path: Path) -> list[Path]:
    """Models of which one has three more tokens."""
    models = family_of(tmp_path)
    held = read_model(models[1])
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        held[name] = torch.cat([held[name], torch.ones(3, 24, dtype=torch.bfloat16)])
    write_model(models[1], held)
    return models


def test_other_vocabularies_are_refused_unless_told_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = grown(tmp_path)
    assert "--embeddings intersect" in refused(capsys, tmp_path, models, "ties")
    base = read_model(models[0])
    shared = read_model(merge(tmp_path, models, "weight_average", "--embeddings", "intersect", out="shared"))
    kept = read_model(merge(tmp_path, models, "weight_average", "--embeddings", "base", out="kept"))
    name = "model.embed_tokens.weight"
    assert shared[name].shape == base[name].shape
    assert not torch.equal(shared[name], base[name])
    assert torch.equal(kept[name], base[name])
    larger = [models[1], models[2], models[3]]
    turned = read_model(merge(tmp_path, larger, "weight_average", "--embeddings", "intersect", out="turned"))
    assert torch.equal(turned[name][64:], torch.ones(3, 24, dtype=torch.bfloat16))


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = family_of(tmp_path)
    merge(tmp_path, models, "ties", "--dry-run")
    assert not (tmp_path / "out").exists()
    assert "5 merged, 0 copied" in capsys.readouterr().out


def test_flags_do_for_simple_merges(tmp_path: Path) -> None:
    base, *others = family_of(tmp_path)
    flags = [flag for path in others for flag in ("--model", f"{path},weight=0.5")]
    out = tmp_path / "flags"
    assert (
        main(
            ["merge", "--method", "dare_linear", "--base", str(base), *flags, "--set", "density=0.4", "--out", str(out)]
        )
        == 0
    )
    parameters = {"density": 0.4, "weight": 0.5}
    assert digests(out) == digests(merge(tmp_path, [base, *others], "dare", parameters=parameters))


def test_numbers_can_be_written_in_another_format(tmp_path: Path) -> None:
    models = family_of(tmp_path)
    out = merge(tmp_path, models, "ties", "--dtype", "float32")
    assert {tensor.dtype for tensor in read_model(out).values()} == {torch.float32}
    assert json.loads((out / "config.json").read_text())["dtype"] == "float32"


def broken(path: Path, change: Mapping[str, torch.Tensor | None]) -> None:
    """Write the model again with tensors changed, or (None) left out."""
    held = {**read_model(path), **change}
    write_model(path, {name: value for name, value in held.items() if value is not None})


NAME = "model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({NAME: None}, "variant0 lacks model.layers.0.mlp.up_proj.weight"),
        ({"more.weight": torch.ones(2)}, "more.weight"),
        ({NAME: torch.ones(40, 25, dtype=torch.bfloat16)}, "not the same architecture"),
        ({NAME: torch.full((40, 24), float("nan"), dtype=torch.bfloat16)}, "variant0 (or the base) holds NaN"),
        ({NAME: torch.full((40, 24), float("inf"), dtype=torch.bfloat16)}, "infinite"),
    ],
)
def test_models_that_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], told: str
) -> None:
    models = family_of(tmp_path)
    broken(models[1], change)
    assert told in refused(capsys, tmp_path, models, "dare")


def test_pickled_and_cut_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = family_of(tmp_path)
    file = models[1] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    assert "the file was cut" in refused(capsys, tmp_path, models, "ties")
    file.unlink()
    torch.save({}, models[1] / "pytorch_model.bin")
    assert "pickled" in refused(capsys, tmp_path, models, "ties")
    for junk in (b"", b"\xff" * 40, (4).to_bytes(8, "little") + b"{a}}"):
        file.write_bytes(junk)
        assert "not a safetensors file" in refused(capsys, tmp_path, models, "ties")


@pytest.mark.parametrize(
    ("method", "keys", "told"),
    [
        ("della", {}, "della_ties"),
        ("ties", {"parameters": {}}, "density is missing"),
        ("ties", {"parameters": {"density": 1.5}}, "not a number from 0 to 1"),
        ("ties", {"parameters": {"density": 0.5, "epsilon": 1}}, "epsilon: unknown"),
        ("ties", {"sed": 1}, "sed: unknown"),
        ("ties", {"base": None}, "base"),
        ("ties", {"parameters": {"density": 0.5, "weight": -1}}, "negative weights"),
        ("rewarded_soup", {"parameters": {"weight": 0}}, "sum to 0"),
        ("task_arithmetic", {"parameters": {}}, "weight is missing"),
        ("della_ties", {"parameters": {"density": 0.9}}, "between 0 and 1"),
        ("della_ties", {"parameters": {"density": 0.5, "window": 0.1, "epsilon": 0.1}}, "one of them"),
        ("ties", {"tokenizer": "nobody"}, "nobody"),
        ("ties", {"seed": "x"}, "seed"),
        ("ties", {"models": []}, "models"),
        ("slerp", {}, "no 'slerp'"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str, keys: dict[str, Any], told: str
) -> None:
    assert told in refused(capsys, tmp_path, family_of(tmp_path), method, **keys)


def test_two_models_of_one_name_need_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = family_of(tmp_path)
    assert "name" in refused(capsys, tmp_path, [models[0], models[1], models[1]], "ties")


def test_a_folder_that_holds_something_is_never_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = family_of(tmp_path)
    merge(tmp_path, models, "ties")
    before = digests(tmp_path / "out")
    assert main(["merge", str(tmp_path / "out.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert digests(tmp_path / "out") == before


def test_mergekits_schema_is_read_with_its_defaults() -> None:
    content = {
        "merge_method": "della", "base_model": "b", "dtype": "bfloat16", "tokenizer_source": "base",
        "models": [{"model": "b"}, {"model": "x", "parameters": {"weight": 0.5, "density": 0.5}}, {"model": "y"}],
        "parameters": {"int8_mask": True, "lambda": 1.1, "density": 0.6},
    }  # fmt: skip
    made = recipe.recipe(recipe.from_mergekit(content))
    assert made.chosen.name == "della_ties"
    assert made.paths == ("x", "y")
    assert made.chosen.shared == {"lambda": 1.1, "normalize": True, "rescale": "l1"}
    assert made.chosen.each == [
        {"weight": 0.5, "density": 0.5, "epsilon": 0.15}, {"weight": 1.0, "density": 0.6, "epsilon": 0.15}
    ]  # fmt: skip
    linear = {
        "merge_method": "linear",
        "models": [{"model": "x", "parameters": {"weight": 1}}, {"model": "y", "parameters": {"weight": 3}}],
    }
    assert recipe.recipe(recipe.from_mergekit(linear)).chosen.column("weight") == [1, 3]


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"slices": []}, "slices"),
        ({"merge_method": "slerp"}, "slerp"),
        ({"tokenizer_source": "union"}, "union"),
        ({"models": [{"model": "x", "parameters": {"weight": {"value": 1}}}]}, "not a number"),
    ],
)
def test_what_mergekit_has_and_h3eval_has_not_is_refused(extra: dict[str, Any], told: str) -> None:
    content = {
        "merge_method": "ties",
        "base_model": "b",
        "models": [{"model": "x", "parameters": {"weight": 1}}],
        **extra,
    }
    with pytest.raises(recipe.ConfigError, match=told):
        recipe.recipe(recipe.from_mergekit(content))
