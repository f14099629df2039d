"""Recipes, h3eval's and mergekit's: each key is honoured or refused by name, at every depth; values are checked."""

from typing import Any

import pytest

from h3eval.commands.merging import folder
from h3eval.errors import ConfigError
from h3eval.merge import recipe

PLAIN: dict[str, Any] = {
    "merge_method": "ties",
    "base_model": "b",
    "models": [{"model": "x", "parameters": {"weight": 1}}],
}
OWN: dict[str, Any] = {"method": "ties", "base": "b", "models": ["x"], "parameters": {"density": 0.5}}


def model(**more: Any) -> dict[str, Any]:
    return {"models": [{"model": "x", **more}]}


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"slices": [{"sources": [{"model": "x", "layer_range": [0, 2]}]}]}, "^slices: layers of several models"),
        ({"modules": {"text": {}}}, "^modules: "),
        ({"chat_template": "auto"}, "^chat_template: the result has"),
        ({"tokenizer": {"source": "base", "tokens": {"<x>": {"source": "x"}}}}, "^tokenizer.tokens: "),
        ({"tokenizer": {"source": "base", "pad_to_multiple_of": 64}}, "^tokenizer.pad_to_multiple_of: "),
        ({"tokenizer": {"source": "union"}}, "union"),
        ({"tokenizer": {}}, "union"),
        ({"tokenizer": "base"}, "^tokenizer: 'base' is not a mapping"),
        ({"tokenizer": {"source": "base", "sauce": 1}}, "^tokenizer.sauce: unknown .did you mean source"),
        ({"tokenizer_source": "x"}, "'x': only base"),
        ({"tokenizer_source": "base", "tokenizer": {"source": "base"}}, "give one of them"),
        ({"tokenizer_source": {"model": "x"}}, "only base"),
        ({"base_model": {"model": "b", "lora": "c"}}, "^base_model: .* is not a text"),
        ({"base_modell": "b"}, "^base_modell: unknown .did you mean base_model"),
        ({"out_dtype": "float8"}, "^dtype: 'float8' is not one of"),
        ({"dtype": ["bfloat16"]}, "^dtype: "),
        ({"merge_method": ["ties"]}, "^merge_method: .* is not a text"),
        ({"merge_method": None}, "^merge_method: None is not one of"),
        (model(weight=0.5), "^models.weight: unknown"),
        (model(parameters={"weight": 1}, layer_range=[0, 2]), "^models.layer_range: unknown"),
        (model(parameters={"wieght": 1}), "^models.parameters.wieght: unknown .did you mean weight"),
        (model(parameters={"normalize": False}), "^models.parameters.normalize: unknown"),
        (model(parameters=[1]), "^models.parameters: "),
        ({"models": [{"model": {"model": "x", "lora": "y"}}]}, "^models.model: a mapping .lora, model"),
        ({"models": [{"name": "x"}]}, "^models.name: unknown"),
        ({"models": ["x", {"model": "b", "parameters": {"nothing": 1}}]}, "^models.parameters.nothing: unknown"),
        ({"models": {"x": {}}}, "^models: a list"),
        ({"parameters": {"rescale": 0.5}}, "^parameters.rescale: 0.5 is not true or false"),
        ({"parameters": {"rescale": "no"}}, "^parameters.rescale: 'no'"),
        ({"parameters": {"int8_mask": "yes"}}, "^parameters.int8_mask: 'yes'"),
        ({"parameters": {"normalize": 1}}, "^parameters.normalize: 1 is not true or false"),
        ({"parameters": {"t": 0.5}}, "^parameters.t: unknown"),
        ({"parameters": {"density": 1.2}}, "density: 1.2 is not a number from 0 to 1"),
        ({"parameters": {"density": {"value": 0.5}}}, "density: .* is not a number"),
        ({"parameters": {"density": [{"filter": "mlp", "value": 0.5, "more": 1}, {"value": 1}]}}, "each is a mapping"),
        ({"parameters": {"lambda": "1"}}, "lambda: '1' is not a number"),
        ({"parameters": {"lambda": float("nan")}}, "lambda: nan is not a number"),
    ],
)
def test_mergekits_keys_are_honoured_or_refused(extra: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        recipe.recipe(recipe.from_mergekit({**PLAIN, **extra}))


def test_what_is_null_is_not_given() -> None:
    empty = {"slices": None, "modules": None, "chat_template": None, "tokenizer": None, "tokenizer_source": None}
    made = recipe.recipe(recipe.from_mergekit({**PLAIN, **empty, "parameters": None}))
    assert made == recipe.recipe(recipe.from_mergekit(PLAIN))


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"tokeniser": "base"}, "^tokeniser: unknown .did you mean tokenizer"),
        ({"base": ["b"]}, "^base: .* is not a text"),
        ({"base": 7}, "^base: 7 is not a text"),
        ({"method": {"ties": 1}}, "^method: .* is not a text"),
        ({"method": None}, "no 'none'"),
        ({"tokenizer": {"source": "base"}}, "^tokenizer: .* is not a text"),
        ({"models": [{"path": "x", "wait": 1}]}, "^models.wait: unknown"),
        ({"models": [{"path": "x", "parameters": {"weight": 1}}]}, "^models.parameters: unknown"),
        ({"parameters": {"density": 0.5, "dencity": 1}}, "^parameters.dencity: unknown .did you mean density"),
        ({"parameters": {"density": 0.5, 1: 2}}, "^parameters.1: unknown"),
        ({"allow": "vocabulary"}, "^allow: 'vocabulary' is not a list of texts"),
        ({"allow": [1]}, "^allow: "),
        ({"notes": {"a": 1}}, "^notes: "),
        ({"embeddings": "union"}, "^embeddings: 'union' is not one of"),
    ],
)
def test_our_own_keys_are_honoured_or_refused(extra: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        recipe.recipe({**OWN, **extra})


@pytest.mark.parametrize("name", ["owner/model+owner/adapter", "owner/model@v2", "./here+there"])
def test_references_of_more_than_a_model_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"model\+adapter and model@revision are not read"):
        folder(name)
