"""Drops pairs whose chosen answer does not begin and end like a sentence: the mark of an excerpt cut askew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register

SENTENCE_MARKS = frozenset(".!?…。！？．｡؟۔।॥։።᙮‼⁇⁈⁉")
"""What ends a sentence: Latin, CJK, Arabic, Urdu, Devanagari, Armenian and Ethiopic marks."""

OPENING = frozenset("\"'*_`¡¿([{«»‹›“”‘’„‚「『《〈（【〔")
"""What may stand before the first letter: quotes, brackets, inverted marks and Markdown emphasis. Swedish opens with
the quotes that English closes with, and German and Danish books with the ones that French closes with."""

CLOSING = frozenset("\"'*_`)]}«»‹›“”‘’」』》〉）】〕")
"""What may stand after the last sentence mark; German closes with the quotes that English opens with."""

BLANK_INSIDE_QUOTES = re.compile(r"(?<=[«‹])\s|\s(?=[»›])")
"""French sets a blank inside its quotes, mostly one that does not break the line."""


@register("filter")
class Format(Filter):
    """Keeps pairs whose chosen answer starts with an upper-case letter and ends with a sentence mark, in any script.

    Source: the LLM Engineer's Handbook's format filter, extended to scripts without case and to closing quotes.
    """

    use: Literal["format"] = "format"
    """Its name in a recipe."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: 1 if well formed, else 0. Codes: `start`, `end`."""
        for preference in preferences:
            code = _fault(preference.chosen_answer.text)
            yield self.decision(preference, float(not code), code)


def _fault(text: str) -> str:
    inner = BLANK_INSIDE_QUOTES.sub("", text).strip()
    if not _may_begin(inner.lstrip("".join(OPENING))[:1]):
        return "start"
    return "" if inner.rstrip("".join(CLOSING))[-1:] in SENTENCE_MARKS else "end"


def _may_begin(letter: str) -> bool:
    """Whether it is a letter in the form that a sentence begins with: a capital, or one that has no capital.

    By title case and not by category: Unicode counts Georgian's letters as small, with capitals for headlines only.
    """
    return letter.isalpha() and (letter.isupper() or letter == letter.title())
