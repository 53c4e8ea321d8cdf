"""Markdown's blocks with their places: headings, code, tables, rules, and prose.

Plain text is Markdown without marks, so every article takes this path. markdown-it-py is CommonMark to the letter plus
tables and gives line ranges. Only its block rules run: the inline rules take half of its time and say nothing about
places. It takes hostile input well: its nesting is bounded (20), 200,000 headings take it 2.5 s, 100,000 one-character
lines 0.5 s.

Three departures from CommonMark, since the result must cover every character of the article: link definitions count as
prose (the parser would swallow them); a heading that is underlined and longer than a line is prose with a rule beneath,
as in a letter or front matter; HTML is prose too, but for tables, code and comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline.text.stretch import Stretch, trimmed

BlockKind = Literal["heading", "prose", "code", "table", "rule"]

_KINDS: dict[str, BlockKind] = {
    "heading_open": "heading",
    "paragraph_open": "prose",
    "fence": "code",
    "code_block": "code",
    "table_open": "table",
    "hr": "rule",
    "html_block": "prose",
}
_WHOLE_HTML = re.compile(r"\s*<(?:pre|script|style|textarea|table|!--)", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n?|\n")


class Block(NamedTuple):
    """One leaf of the Markdown tree."""

    place: Stretch
    """Where it stands, markers such as `- ` and `> ` included, without blanks at its ends."""
    kind: BlockKind
    """What it is."""
    group: int
    """Number of the top-level block that it belongs to: items of one list share it."""
    nested: bool
    """Whether it stands in a list or a quotation, so that its lines begin with markers."""


class _Leaf(NamedTuple):
    """A block as the parser saw it."""

    line: int
    kind: BlockKind
    group: int
    nested: bool


def _parser() -> MarkdownIt:
    """CommonMark's blocks and tables, nothing else."""
    parser = MarkdownIt("commonmark").enable("table").disable("reference")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


_PARSER = _parser()


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a Markdown text, in order; together they hold every non-blank character.

    A line that belongs to no block (an empty list item) goes with the block before it, or else the one after.
    """
    starts = [0, *(end.end() for end in _LINE_END.finditer(text))]
    leaves = list(_leaves(_PARSER.parse(text), text, starts))
    firsts = [0, *(starts[leaf.line] for leaf in leaves[1:]), len(text)]
    for leaf, (start, end) in zip(leaves, pairwise(firsts), strict=True):
        place = trimmed(text, start, end)
        if place:
            yield Block(place, leaf.kind, leaf.group, leaf.nested)


def _leaves(tokens: list[Token], text: str, starts: list[int]) -> Iterator[_Leaf]:
    """Tokens that hold text, with the number of their top-level ancestor."""
    group, line = 0, -1
    for token in tokens:
        group += token.level == 0 and token.nesting >= 0
        if token.type in _KINDS and token.map and token.map[0] > line:
            line = token.map[0]
            yield _Leaf(line, _kind(token, text[starts[line] : starts[line] + 20]), group, token.level > 0)
    if line < 0:
        yield _Leaf(0, "prose", group, nested=True)


def _kind(token: Token, opening: str) -> BlockKind:
    """What a block is to us, from its token and its first characters."""
    if token.type == "html_block" and _WHOLE_HTML.match(opening):
        return "code"
    lines = token.map[1] - token.map[0] if token.map else 0
    if token.type == "heading_open" and token.markup in {"=", "-"} and lines > 2:  # noqa: PLR2004  title, underline
        return "prose"
    return _KINDS[token.type]
