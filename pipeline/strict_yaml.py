"""YAML as a recipe needs it: every key and item with its line, and none of YAML's surprises.

YAML reads `on` as true, `2024-01-01` as a day and `.inf` as a number, takes the last of two equal keys, and allows
lists that hold themselves. Here keys are text as written, days are text, and the rest is refused with its line.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipeline.errors import UserError

Place = tuple[int | str, ...]
"""The keys and item numbers that lead to a value."""

_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_DAY = "tag:yaml.org,2002:timestamp"
_PLAIN = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "merge"))


class Mapping(NamedTuple):
    """What a YAML file says."""

    data: dict[str, Any]
    """Keys are text; values are text, numbers, booleans, None, lists and mappings."""
    lines: dict[Place, int]
    """The line of every key and item, counted from 1."""


def dotted(place: Place) -> str:
    """A place as people write it: `filters[0].at_least`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.lstrip(".") or "recipe"


def read_mapping(text: str, path: Path) -> Mapping:
    """The mapping in a text; `path` names it in messages.

    Raises:
        UserError: it is not YAML, no mapping, or says something that a recipe cannot mean.
    """
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            remedy = "`pairwright init` writes one to start from"
            raise UserError("a recipe is a mapping of keys to values", where=str(path), remedy=remedy)
        walk = _Walk(path)
        walk.visit(root, ())
        return Mapping(loader.construct_document(root), walk.lines)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _not_yaml(f"the character {error.character!r} may not stand in it", f"{path}:{line}") from error
    except yaml.MarkedYAMLError as error:
        where = f"{path}:{error.problem_mark.line + 1}" if error.problem_mark else str(path)
        raise _not_yaml(error.problem or "broken", where) from error


def _not_yaml(why: str, where: str) -> UserError:
    return UserError(f"not YAML: {why}", where=where, remedy="Check the indentation and the quotes")


class _Walk:
    """Visits every node before anything is made of it: notes its line, and refuses what cannot be meant."""

    def __init__(self, path: Path) -> None:
        self.lines: dict[Place, int] = {}
        self._path = path
        self._open: list[yaml.Node] = []

    def visit(self, node: yaml.Node, place: Place) -> None:
        if any(node is outer for outer in self._open):
            raise self._refused(node, place, "it holds itself", "Write it out")
        self._open.append(node)
        if isinstance(node, yaml.MappingNode):
            self._mapping(node, place)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self.lines[(*place, index)] = value.start_mark.line + 1
                self.visit(value, (*place, index))
        else:
            self._scalar(node, place)
        self._open.pop()

    def _mapping(self, node: yaml.MappingNode, place: Place) -> None:
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._refused(key, place, "a key is a word", "Text in braces or brackets needs quotes")
            if key.value in seen:
                raise self._refused(
                    key, (*place, key.value), f"the key {key.value!r} stands here twice", "Keep one of them"
                )
            seen.add(key.value)
            key.tag = key.tag if key.tag == _MERGE else _TEXT
            self.lines[(*place, key.value)] = key.start_mark.line + 1
            self.visit(value, (*place, key.value))

    def _scalar(self, node: yaml.Node, place: Place) -> None:
        node.tag = _TEXT if node.tag == _DAY else node.tag
        if node.tag not in _PLAIN:
            raise self._refused(
                node, place, f"not YAML: {node.tag!r} is no kind of value here", "Write the value itself"
            )
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except ValueError as error:
            raise self._refused(node, place, f"{node.value!r} is not what it is said to be", "Mend it") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise self._refused(node, place, f"{node.value!r} is no number to count with", "Write a number")
        if any("\ud800" <= mark <= "\udfff" for mark in node.value):
            raise self._refused(node, place, "half a character", "Write the whole one")

    def _refused(self, node: yaml.Node, place: Place, what: str, remedy: str) -> UserError:
        where = f"{self._path}:{node.start_mark.line + 1}: {dotted(place)}"
        return UserError(what, where=where, remedy=remedy)
