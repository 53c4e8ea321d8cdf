"""Atoms: the smallest stretches that a cut may separate, and what kind of cut stands before each.

A sentence, a heading, a code block, a table, a rule is one atom as long as it fits into a chunk. One that does not is
cut by semantic-text-splitter, at lines, sentences, words, and only then at grapheme clusters. Its offsets are code
points, but its time grows with the square of the text: 1,000,000 characters without a blank take it 9 s and 5,000,000
take it 227 s, so it sees a window of eight pieces at a time, and 5,000,000 take 0.2 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

from semantic_text_splitter import TextSplitter

from pipeline.text.blocks import Block, blocks
from pipeline.text.lines import runs, wrap_width
from pipeline.text.sentences import sentences
from pipeline.text.settings import ChunkSettings
from pipeline.text.stretch import Stretch, trimmed

CutKind = Literal["heading", "block", "line", "sentence", "stranding", "inside"]
"""Where a cut stands, best first: before a heading or after a rule; between blocks; between lines that
belong together, as list items do; between sentences; where it strands a heading at a chunk's end; inside an
atom that is longer than a chunk.
"""

LONGEST_CLUSTER = 32
"""Characters of the longest grapheme cluster that is sure to stay whole; a family of emoji has 11."""


class Atom(NamedTuple):
    """A stretch that no cut divides."""

    place: Stretch
    """Where it stands, without blanks at its ends."""
    cut: CutKind
    """What a cut before it would be."""


def atoms(text: str, settings: ChunkSettings) -> list[Atom]:
    """The atoms of an article, in order; together they hold every non-blank character. None is longer than a chunk."""
    found = list(blocks(text))
    width = wrap_width(text, [block.place for block in found if block.kind == "prose"])
    result: list[Atom] = []
    before: Block | None = None
    for block in found:
        result.extend(_fitting(text, _units(text, block, _cut(text, before, block), width), settings))
        before = block
    return result


def _cut(text: str, before: Block | None, block: Block) -> CutKind:
    """What a cut between two blocks would be."""
    if before is None or before.kind == "rule":
        return "heading"
    if before.kind == "heading":
        return "stranding"
    if block.kind == "heading":
        return "heading"
    if block.kind == "rule" or text[before.place.end - 1] in ":：":
        return "sentence"  # a rule closes what stands above it, and "as follows:" announces what stands below
    return "line" if before.group == block.group else "block"


def _units(text: str, block: Block, cut: CutKind, width: int) -> Iterator[Atom]:
    """What a person would call the block's sentences, however long; a cut before the first is given."""
    if block.kind != "prose":
        yield Atom(block.place, cut)
        return
    for run in runs(text, block.place, width, nested=block.nested):
        ends = [sentence.end for sentence in sentences(run.words)[:-1]]
        for start, end in pairwise([0, *ends, len(run.words)]):
            place = trimmed(text, run.place.start + start, run.place.start + end)
            if place:
                yield Atom(place, cut)
                cut = "sentence"
        cut = "line"


def _fitting(text: str, units: Iterator[Atom], settings: ChunkSettings) -> Iterator[Atom]:
    """The units, those longer than a chunk in pieces."""
    for unit in units:
        if unit.place.end - unit.place.start <= settings.at_most:
            yield unit
            continue
        cut = unit.cut
        for place in pieces(text, unit.place, piece_length(settings)):
            yield Atom(place, cut)
            cut = "inside"


def piece_length(settings: ChunkSettings) -> int:
    """Longest piece of what must be cut, in characters.

    A quarter of a chunk leaves the packing room. No piece is longer than the range of a chunk's length,
    since then any row of them can be packed; none is so short that it could split a grapheme cluster, or be
    one of too many.
    """
    room = min(settings.at_most // 4, settings.at_most - settings.at_least)
    return max(room, settings.at_most // 16, min(LONGEST_CLUSTER, settings.at_most))


def pieces(text: str, place: Stretch, length: int) -> Iterator[Stretch]:
    """The stretch in pieces of at most `length` characters, cut at the best places, without blanks at their ends."""
    splitter = TextSplitter(length, trim=False)
    start = place.start
    while start < place.end:
        end = min(start + 8 * length, place.end)
        parts = [len(part) for part in splitter.chunks(text[start:end])]
        for part in parts if end == place.end else parts[:-1]:
            piece = trimmed(text, start, start + part)
            if piece:
                yield piece
            start += part
