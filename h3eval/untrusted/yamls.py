"""YAML from outside: plain values only, each key once, bounded however often a part is referred to."""

import math
import re
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from h3eval.errors import ConfigError
from h3eval.text import visible
from h3eval.untrusted import files
from h3eval.untrusted.messages import cut, shown

LONGEST = 256 * 1024
"""Bytes of a file; recipes have a few hundred."""
DEEPEST = 40
MOST = 2 * files.MIB
"""Nodes and characters in all, counted as often as they are referred to."""
PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}
WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
DIGITS = 18


class Plain(yaml.SafeLoader):
    """Builds strings, numbers, booleans, null, lists and mappings with text as keys; nothing else.

    A date is a text, as the name of a model may be one. Numbers that YAML 1.1 reads in another base (010, 1:30) are
    refused: whoever wrote them meant something else.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = 0
        self.weights: dict[int, int] = {}
        """By node: how much it holds, with all that it refers to."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self.depth += 1
        if self.depth > DEEPEST:
            raise refused(f"nested more than {DEEPEST} deep", mark)
        alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None:
            if alias and id(node) not in self.weights:
                raise refused("a value that contains itself", mark)
            self._weigh(node)
        return node

    def _weigh(self, node: Node) -> None:
        weight = 1
        if isinstance(node, ScalarNode):
            weight += len(node.value)
        elif isinstance(node, SequenceNode):
            weight += sum(self.weights[id(each)] for each in node.value)
        elif isinstance(node, MappingNode):
            weight += sum(self.weights[id(each)] for pair in node.value for each in pair)
        if weight > MOST:
            raise refused("too much in all: it refers to its own parts again and again", node.start_mark)
        self.weights[id(node)] = weight

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        if node.tag not in PLAIN:
            kind = visible(cut(node.tag.removeprefix("tag:yaml.org,2002:"), 80))
            raise refused(f"a value of the kind {kind}: only plain ones are read", node.start_mark)
        if isinstance(node, MappingNode):
            self._check_keys(node)
        if node.tag.endswith(":int") and isinstance(node, ScalarNode):
            return _whole(node)
        value = super().construct_object(node, deep)
        if isinstance(value, float) and ":" in node.value:
            raise refused(f"{shown(node.value)} is a number to the base of 60: write it in quotes", node.start_mark)
        if isinstance(value, float) and not math.isfinite(value):
            raise refused(f"{node.value} is not a number that can be used", node.start_mark)
        return value

    def _check_keys(self, node: MappingNode) -> None:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag.endswith(":merge"):
                continue
            if not isinstance(key, ScalarNode) or not key.tag.endswith(":str"):
                raise refused(f"a key that is no text{_named(key)}", key.start_mark)
            if key.value in seen:
                raise refused(f"the key {shown(key.value)} comes twice", key.start_mark)
            seen.add(key.value)


# Dates and the like stay text, whatever they look like.
Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _named(key: Node) -> str:
    return f": {shown(key.value)}; write it in quotes" if isinstance(key, ScalarNode) else ""


def _whole(node: ScalarNode) -> int:
    if not WHOLE.fullmatch(node.value):
        raise refused(
            f"{shown(node.value)} can be read in two ways: a decimal number, or text in quotes", node.start_mark
        )
    if len(node.value) > DIGITS:
        raise refused(f"a number of {len(node.value)} digits", node.start_mark)
    return int(node.value)


def refused(what: str, mark: Any) -> yaml.MarkedYAMLError:
    """An error of YAML's own kind at a place."""
    return yaml.MarkedYAMLError(problem=what, problem_mark=mark)


def parsed(text: str) -> Any:
    """A YAML document. Raise ValueError of one line."""
    try:
        return yaml.load(text, Plain)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = " ".join(filter(None, (error.context, error.problem)))
        raise ValueError(where + visible(cut(what, 300))) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(cut(" ".join(str(error).split()), 300)) from error


def file(path: Path) -> Any:
    """The document in a file. Raise ConfigError naming the file and the line."""
    text = files.text(path, LONGEST)
    try:
        return parsed(text)
    except ValueError as error:
        raise ConfigError(f"{path}: can't be read as YAML: {error}") from error
