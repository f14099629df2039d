"""Experts that differ beside their weights: refused by name, or told in report, card and progress."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import small_fusion
import tiny_models
from adapted import adapter

from h3eval.errors import ConfigError
from h3eval.fusion.construction import parts
from h3eval.fusion.fusing import fuse


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("fitting") / "base")


@pytest.fixture
def experts(base: Path, tmp_path: Path) -> dict[str, str]:
    made = small_fusion.experts(base, tmp_path)
    for folder in made.values():
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(base / name, folder)
    return made


def edit(file: Path, change: Any) -> None:
    held = json.loads(file.read_text())
    change(held)
    file.write_text(json.dumps(held))


def turned(held: dict[str, Any]) -> None:
    vocabulary = held["model"]["vocab"]
    one, other = list(vocabulary)[300:302]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


def test_experts_that_agree_are_not_told_of(base: Path, experts: dict[str, str]) -> None:
    assert parts(small_fusion.asked("mocae", base, experts)).notes == []


def test_an_expert_of_other_tokens_is_refused(base: Path, experts: dict[str, str]) -> None:
    edit(Path(experts["honest"]) / "tokenizer.json", turned)
    with pytest.raises(ConfigError, match="2 token ids mean other tokens in base and in honest: 300 is"):
        parts(small_fusion.asked("mocae", base, experts))
    # Embeddings of the base alone are no mixture of rows.
    told = parts(small_fusion.asked("mocae", base, experts, construction={"rest": "base"})).notes
    assert len(told) == 1
    assert "2 token ids" in told[0]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"rms_norm_eps": 1e-5}, "honest: rms_norm_eps is 1e-05, the base's is 1e-06"),
        ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, r"honest: rope_parameters is .*500000\.0"),
        ({"attention_bias": True}, r"honest: the weights lack .*k_proj\.bias"),
    ],
)
def test_an_expert_of_another_computation_is_refused(
    base: Path, experts: dict[str, str], values: dict[str, Any], says: str
) -> None:
    edit(Path(experts["honest"]) / "config.json", lambda held: held.update(values))
    with pytest.raises(ConfigError, match=says):
        parts(small_fusion.asked("mocae", base, experts))


def test_a_negated_model_is_looked_at_too(base: Path, experts: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(experts["honest"], tmp_path / "bad")
    edit(tmp_path / "bad" / "config.json", lambda held: held.update(rms_norm_eps=1e-5))
    asked = small_fusion.asked("mocae", base, experts, construction={"negate": {"honest": str(tmp_path / "bad")}})
    with pytest.raises(ConfigError, match="bad: rms_norm_eps is 1e-05"):
        parts(asked)


def test_what_is_told_is_told_everywhere(base: Path, experts: dict[str, str], tmp_path: Path) -> None:
    for name in ("helpful", "honest"):
        (Path(experts[name]) / "chat_template.jinja").write_text("{{ messages }}")
    told: list[str] = []
    report = fuse(small_fusion.asked("mocae", base, experts), tmp_path / "out", told.append)
    (line,) = report["warnings"]
    assert line.startswith("chat template: none in base, as in the result; one of 14 characters")
    assert line.endswith("in helpful and honest")
    assert f"note: {line}" in told
    assert f"- Note: {line}" in (tmp_path / "out" / "README.md").read_text()


def test_an_experts_adapter_is_read_as_a_merge_reads_it(base: Path, experts: dict[str, str], tmp_path: Path) -> None:
    folder = adapter(base, tmp_path / "lora")
    edit(folder / "adapter_config.json", lambda held: held.update(lora_bias=True))
    with pytest.raises(ConfigError, match="lora_bias"):
        parts(small_fusion.asked("mocae", base, {**experts, "honest": str(folder)}))
    edit(folder / "adapter_config.json", lambda held: held.update(lora_bias=False, base_model_name_or_path="o/other"))
    far = {"distant": True}
    have = parts(small_fusion.asked("mocae", base, {**experts, "honest": str(folder)}, construction=far))
    assert "trained on o/other" in "".join(have.notes)
