"""Words of texts: how they are distributed, how far two distributions are apart, and how a text repeats itself."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.records import Record

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
"""A word: letters and digits, with apostrophes and hyphens within."""

STRETCH = 4
"""Words of a stretch that counts as repeated if it comes again."""


def words(text: str) -> list[str]:
    """Its words in lower case, in order."""
    return WORD.findall(text.lower())


def counts(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs."""
    return Counter(word for text in texts for word in words(text))


def distance(left: Counter[str], right: Counter[str]) -> float:
    """The Jensen-Shannon distance of two word distributions: 0 for equal ones, 1 for no word in common.

    The square root of the divergence with logarithms to base 2, a metric (Endres and Schindelin 2003). 1 if one side
    has no word at all.
    """
    if not left or not right:
        return 0.0 if left == right else 1.0
    names = sorted(left.keys() | right.keys())
    p, q = (np.array([side[name] for name in names], float) / side.total() for side in (left, right))
    return math.sqrt(max(0.0, _half(p, (p + q) / 2) + _half(q, (p + q) / 2)))


def _half(p: np.ndarray, middle: np.ndarray) -> float:
    seen = p > 0
    return float(0.5 * np.sum(p[seen] * np.log2(p[seen] / middle[seen])))


class Moved(Record):
    """A word whose share of all words changed."""

    word: str
    """The word."""
    before: float
    """Its share among the reference's words, per thousand."""
    after: float
    """Its share among the trained model's words, per thousand."""
    chosen: float
    """Its share in chosen answers, per thousand."""
    rejected: float
    """Its share in rejected answers, per thousand."""


class Sides(NamedTuple):
    """Four sets of texts on the same prompts."""

    chosen: Sequence[str]
    rejected: Sequence[str]
    before: Sequence[str]
    after: Sequence[str]


def moved(sides: Sides, at_most: int = 20) -> tuple[Moved, ...]:
    """The words whose share changed most between the reference's answers and the trained model's."""
    chosen, rejected, before, after = map(counts, sides)
    names = before.keys() | after.keys()
    change = {name: _share(after, name) - _share(before, name) for name in names}
    most = sorted(change, key=lambda name: (-abs(change[name]), name))[:at_most]
    return tuple(
        Moved(
            word=name,
            before=_share(before, name),
            after=_share(after, name),
            chosen=_share(chosen, name),
            rejected=_share(rejected, name),
        )
        for name in most
        if change[name]
    )


def _share(side: Counter[str], word: str) -> float:
    """Per thousand words."""
    return round(1_000 * side[word] / max(1, side.total()), 3)


def repetition(text: str) -> float:
    """Share of its 4-word stretches that occurred before in it; 0 for a text too short to repeat itself."""
    found = stretches(text, STRETCH)
    return 1 - len(set(found)) / len(found) if found else 0.0


def stretches(text: str, length: int) -> list[tuple[str, ...]]:
    """All stretches of that many words, in order."""
    found = words(text)
    return [tuple(found[start : start + length]) for start in range(len(found) - length + 1)]
