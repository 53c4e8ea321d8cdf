r"""Which line breaks mean something: prose as runs that a sentence may cross, whatever its line breaks.

Articles come both ways. Some are wrapped at a column (71 of the 76 measured, at 76 to 78), so that a break says
nothing and "fine-\ntuning" is one word; in others every line is a paragraph. A break was made by wrapping
if the next word would not have fitted; any other was meant, and ends the sentence, unless the next line
goes on in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.text.stretch import Stretch

LONGEST_WRAP = 120
"""Columns. Nobody wraps prose wider than this: a longer line is a paragraph in itself."""

_LINE = re.compile(r"[^\r\n]+")
_FIRST_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]|\S+")
_LETTER = re.compile(r"[^\W\d_]")
_ITEM = re.compile(r"[ \t]*(?:(?:>|[-+*]|\d{1,9}[.)])(?:[ \t]+|$))+")
_QUOTED = re.compile(r"(?:[ \t]*>)+")


class Run(NamedTuple):
    """Prose between two meant line breaks."""

    place: Stretch
    """Where it stands, markers included."""
    words: str
    """Its text, as long as its place, with line breaks and the markers of lists and quotations as blanks."""


class _Line(NamedTuple):
    """A line without its break."""

    start: int
    words: str


def wrap_width(text: str, places: Iterable[Stretch]) -> int:
    """The column at which the prose at these places is wrapped; 0 if no line of it is followed by another.

    Nine tenths of the lines that are followed by another are at most as long: a stray long link does not
    count.
    """
    lengths: list[int] = []
    for place in places:
        inner = [len(line.words.rstrip()) for line in _lines(text, place)][:-1]
        lengths.extend(length for length in inner if length <= LONGEST_WRAP)
    return sorted(lengths)[len(lengths) * 9 // 10] if lengths else 0


def runs(text: str, place: Stretch, width: int, *, nested: bool) -> Iterator[Run]:
    """The runs of one block of prose, in order. `nested`: its lines begin with markers of lists or quotations."""
    kept: list[_Line] = []
    for number, raw in enumerate(_lines(text, place)):
        line = _unmarked(raw, first=number == 0) if nested else raw
        if kept and _meant(kept[-1].words, line.words.lstrip(), width):
            yield _run(kept, raw.start)
            kept = []
        kept.append(line)
    if kept:
        yield _run(kept, place.end)


def _lines(text: str, place: Stretch) -> Iterator[_Line]:
    """The lines of a stretch that hold something."""
    for found in _LINE.finditer(text, place.start, place.end):
        yield _Line(found.start(), found[0])


def _unmarked(line: _Line, *, first: bool) -> _Line:
    """The line with its markers as blanks: list items and quotations on the first line, then quotations only."""
    marker = (_ITEM if first else _QUOTED).match(line.words)
    length = marker.end() if marker else 0
    return _Line(line.start, " " * length + line.words[length:])


def _meant(line: str, after: str, width: int) -> bool:
    """Whether the break after this line was meant and not made by wrapping at this width."""
    letter = _LETTER.search(after)
    word = _FIRST_WORD.match(after)
    if not letter or not word or after[0].islower():
        return False
    if line.endswith(("  ", "\\")) or len(line.rstrip()) > LONGEST_WRAP:
        return True
    return len(line.rstrip()) + 1 + len(word[0]) <= width


def _run(lines: list[_Line], end: int) -> Run:
    """The lines as one run that reaches to `end`."""
    start = at = lines[0].start
    parts: list[str] = []
    for line in lines:
        parts += [" " * (line.start - at), line.words]
        at = line.start + len(line.words)
    return Run(Stretch(start, end), "".join(parts).ljust(end - start))
