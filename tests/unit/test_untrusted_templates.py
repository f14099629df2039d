"""Chat templates are rendered as transformers does it; one that loops, swells or reads files harms one sample."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from jinja2 import TemplateError

from h3eval.backends._prompts import Prompts
from h3eval.errors import BackendError
from h3eval.types import Request
from h3eval.untrusted import templates

TALKS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "hi \ud800 <end> \u2028"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "a\n"}, {"role": "assistant", "content": "b "}],
    [{"role": "user", "content": [{"type": "text", "text": "typed"}]}],
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_models.tokenizer(tmp_path_factory.mktemp("tokenizer"), template=True)


@pytest.fixture
def templated(tokenizer: Any) -> Iterator[Any]:
    yield tokenizer
    tokenizer.chat_template = tiny_models.TEMPLATE


def test_the_text_is_what_transformers_makes(templated: Any) -> None:
    loops = "{% for m in messages %}{{ loop.index }}{{ m | tojson }}{{ strftime_now('%Y') }}{% endfor %}{{ x }}"
    for template in (tiny_models.TEMPLATE, loops, "{{ bos_token }}{{ messages[0].content }}"):
        templated.chat_template = template
        for talk in TALKS:
            for options in ({"add_generation_prompt": True}, {"x": "given", "add_generation_prompt": False}):
                wanted = templated.apply_chat_template(talk, tokenize=False, **options)
                assert templates.rendered(templated, talk, **options) == wanted
    templated.chat_template = tiny_models.TEMPLATE
    begun = {"add_generation_prompt": False, "continue_final_message": True}
    assert templates.rendered(templated, TALKS[1], **begun) == templated.apply_chat_template(
        TALKS[1], tokenize=False, **begun
    )


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", templates.TooMuch),
        ("{{ 'A' * 10**9 }}", templates.TooMuch),
        ("{{ '%1000000000d' % 1 }}", templates.TooMuch),
        ("{{ 'a' | center(10**9) }}", templates.TooMuch),
        ("{{ [0] * 10**9 }}", templates.TooMuch),
        ("{{ 'A' * 10**8 }}", templates.TooMuch),
        (
            "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
            templates.TooMuch,
        ),
        ("{% include '/etc/passwd' %}", templates.Broken),
        ("{% import 'x' as y %}", templates.Broken),
        ("{% extends 'x' %}", templates.Broken),
        ("{% for %}", templates.Broken),
        ("{{ 'a' | nosuchfilter }}", templates.Broken),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", TemplateError),
        ("{{ " + "(" * 500 + "1" + ")" * 500 + " }}", TemplateError),
        ("{{ range(10**9) | list }}", TemplateError),
        ("{{ ''.__class__.__mro__ }}", TemplateError),
        ("{{ cycler.__init__.__globals__.os.system('id') }}", TemplateError),
        ("{{ raise_exception('only users') }}", TemplateError),
        ("{{ (10 ** 5000) | string }}", TemplateError),
        ("{{ 1 / 0 }}", TemplateError),
        ("{{ nobody.knows.this }}", TemplateError),
    ],
)
def test_templates_that_mean_harm(
    templated: Any, monkeypatch: pytest.MonkeyPatch, template: str, error: type[Exception]
) -> None:
    templated.chat_template = template
    with pytest.raises(error) as caught:
        templates.rendered(templated, TALKS[0], add_generation_prompt=True)
    assert len(str(caught.value)) < 500
    templated.chat_template = tiny_models.TEMPLATE
    assert "hi" in templates.rendered(templated, TALKS[0], add_generation_prompt=True)


def test_a_broken_template_is_known_before_anything_is_asked(templated: Any) -> None:
    for template, says in (("{% include 'x' %}", "broken"), ("{{ 'A' * 10**9 }}", "more than 512 MiB")):
        templated.chat_template = template
        with pytest.raises(BackendError, match=f"model m: the chat template .*{says}"):
            Prompts(templated, 100, name="m")
    for odd in ({"a": "x", "b": "y"}, 5):
        templated.chat_template = odd
        with pytest.raises(BackendError, match=r"model m: .*chat template"):
            Prompts(templated, 100, name="m")


def test_one_that_harms_only_some_conversations_fails_those(templated: Any) -> None:
    templated.chat_template = (
        "{% if 'boom' in messages[0].content %}{{ 'A' * 10**9 }}{% endif %}" + tiny_models.TEMPLATE
    )
    prompts = Prompts(templated, 1_000, name="m")
    ask = [Request("complete", ({"role": "user", "content": text},), max_tokens=4) for text in ("fine", "boom")]
    assert prompts.complete(ask[0]).ids
    for _ in range(templates.MOST_FAILURES):
        with pytest.raises(TemplateError, match="more than 512 MiB"):
            prompts.complete(ask[1])
    with pytest.raises(BackendError, match="went over its limits 3 times"):
        prompts.complete(ask[0])


def test_what_the_template_prints_or_leaves_behind_harms_no_other(templated: Any, tmp_path: Path) -> None:
    templated.chat_template = "{% set messages = [] %}{{ messages }}"
    assert templates.rendered(templated, TALKS[0], add_generation_prompt=True) == "[]"
    templated.chat_template = "{{ messages[0]['content'] }}"
    assert templates.rendered(templated, TALKS[0], add_generation_prompt=True) == TALKS[0][0]["content"]
