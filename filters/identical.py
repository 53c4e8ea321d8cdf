"""Drops pairs whose two answers are the same: there is nothing to prefer, and the loss would push both ways."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register

QUOTES = frozenset("\"'“”„‟‘’‚‛«»‹›「」『』《》〈〉")
"""Quotation marks and apostrophes of every style."""

EMPHASIS = re.compile(r"(?<!\w)(\*{1,3}|_{1,3})(?=\S)(.{1,500}?)(?<=\S)\1(?!\w)")
"""Markdown's emphasis: the same marks around words. Neither `a * b` nor `*args` is."""

_MARKS = r"[-‐–—.,:;!?·¿¡。、؟،؛۔।॥։።፣]"

SENTENCE_MARKS = re.compile(rf"{_MARKS}(?<!{_MARKS}{_MARKS}){_MARKS}*+(?=[^\W\d]|[)\]}}]|$)")
"""Sentence marks and hyphens before a letter, a closing bracket or the end: in `-5`, `3.5` and `a != b` they count. It
begins with a mark, and looks back after it: that way round it is twice as quick."""


@register("filter")
class Identical(Filter):
    """Keeps pairs whose answers differ in more than case, blanks, quotes, sentence marks, emphasis and Unicode form.

    Source: 56 of 402 rows of a well-known tutorial's preference set have the same text on both sides.
    """

    use: Literal["identical"] = "identical"
    """Its name in a recipe."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: 1 if the answers are the same after normalising, else 0. Code: `same`."""
        for preference in preferences:
            same = normalised(preference.chosen_answer.text) == normalised(preference.rejected_answer.text)
            yield self.decision(preference, float(same), "same" if same else "")


def normalised(text: str) -> str:
    """The text folded in case and Unicode form (NFKC), without blanks, quotes, emphasis and sentence marks.

    Every other mark stays: in code and numbers it carries the meaning (`a / b`, `a % b`, `x[0]`).
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    folded = plain.casefold()
    if "*" in folded or "_" in folded:
        folded = EMPHASIS.sub(r"\2", folded)
    return SENTENCE_MARKS.sub("", folded.translate(_UNSEEN))


class _Unseen(dict[int, int | None]):
    """Quotes, blanks, line ends and marks that are not seen map to nothing; each character is looked up once."""

    def __missing__(self, code: int) -> int | None:
        unseen = chr(code) in QUOTES or unicodedata.category(chr(code))[0] in "ZC"
        self[code] = None if unseen else code
        return self[code]


_UNSEEN = _Unseen()
