"""More than a hundred texts that attack a page or a terminal, and a run with each of them in every text it has."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from run_fixture import HOSTILE, alpaca, arc, beavertails, composites, manifest, spent, truthfulqa

from h3eval.types import Item, Run, TaskResult

RUNS = "window.hacked=1"
# What ends the place that a text stands in ...
BREAKS = ("", '">', "'>", "-->", "]]>", "</script>", "</title></style></textarea></pre>", "</option></select></svg>")
# ... and what then runs by itself on a page that does not mind, ...
ACTIVE = (
    f"<script>{RUNS}</script>",
    f"<script src='data:text/javascript,{RUNS}'></script>",
    f"<img src=x onerror='{RUNS}'>",
    f"<svg><animate onbegin='{RUNS}' attributeName=x></svg>",
    f"<details open ontoggle='{RUNS}'>",
    f"<input autofocus onfocus='{RUNS}'>",
    f"<p tabindex=0 style='animation:a' onanimationstart='{RUNS}' onmouseover='{RUNS}'>",
    f"<video><source onerror='{RUNS}'></video>",
    f"<iframe src='javascript:parent.{RUNS}'></iframe>",
)
# ... or is fetched, or only waits to be touched.
WAITING = (
    f"<object data='data:text/html,<script>parent.{RUNS}</script>'></object>",
    "<img src='https://evil.invalid/beacon.png'><style>@import 'https://evil.invalid/a.css';</style>",
    "<form action='https://evil.invalid/'><button autofocus>x</button></form>",
    f"<a href='javascript:{RUNS}' autofocus>x</a><math><mtext xlink:href='javascript:{RUNS}'>",
)
PAYLOADS = (*HOSTILE, *(end + element for element in (*ACTIVE, *WAITING) for end in BREAKS))

# Words of the format itself: values that must be one of a few, keys that readers look up.
CLOSED = {"dimension", "direction", "axis", "stage", "billed", "unit", "finish_reason"}
KEYS = {"role", "content", "doc", "helpful", "honest", "harmless", *spent(3, 0)}
KEYS |= {"judge", "version", "wording", "template_sha256", "spec", "identity", "self_judged"}


def everywhere(payloads: Sequence[str]) -> Run:
    """A run of four tasks a payload, which stands in all their texts; the last one is the model's name as well."""
    tasks = (alpaca(4, False), arc(2), truthfulqa(2), beavertails(6))
    results = tuple(spoiled(result, text) for text in payloads for result in tasks)
    return Run(
        payloads[-1],
        {"suite": payloads[0], **{text: spoiled(manifest("m", False), text) for text in payloads}},
        results,
        tuple(spoiled(each, text) for text in payloads for each in composites(False)),
        {text: spent(3, 0) for text in payloads},
        tuple(payloads),
        {text: text for text in payloads},
    )


def spoiled(value: Any, text: str) -> Any:
    """The same with this text in the place of every text, and of every key that is not the format's own."""
    if isinstance(value, str):
        return text
    if isinstance(value, Mapping):
        return {_key(key, text, place): spoiled(each, text) for place, (key, each) in enumerate(value.items())}
    if isinstance(value, tuple | list):
        return type(value)(spoiled(each, text) for each in value)
    if isinstance(value, TaskResult):
        return replace(_fields(value, text), items=_items(value.items, text))
    return _fields(value, text) if is_dataclass(value) else value


def _key(key: str, text: str, place: int) -> str:
    return key if key in KEYS else f"{text} {place}" if place else text


def _fields(value: Any, text: str) -> Any:
    return replace(value, **{
        each.name: spoiled(getattr(value, each.name), text) for each in fields(value) if each.name not in CLOSED
    })  # fmt: skip


def _items(items: Callable[[], Iterator[Item]], text: str) -> Callable[[], Iterator[Item]]:
    return lambda: (spoiled(item, text) for item in items())
