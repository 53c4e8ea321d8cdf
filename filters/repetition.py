"""Drops pairs in which an answer goes round in circles: the mark of a model that lost its thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register
from pipeline.text.words import words

STRETCH = 5
"""Words in a row that count as said again."""

ENOUGH = 30
"""Fewest words of which a share says anything."""


@register("filter")
class Repetition(Filter):
    """Keeps pairs whose answers do not say the same words again and again.

    Source: the repetition rules of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1), there for web pages: at most
    15% of characters in repeated stretches of five words. Answers hold lists and code, so that the bound is wider.
    """

    use: Literal["repetition"] = "repetition"
    """Its name in a recipe."""
    at_most: float = Field(default=0.3, ge=0, lt=1)
    """Largest share of an answer's stretches of five words that may have come before in it."""
    answers: Literal["both", "chosen"] = "chosen"
    """Which answers are looked at: a rejected answer that repeats itself teaches not to."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: the larger share of the answers that are looked at. Code: `repeats`."""
        for preference in preferences:
            shares = [repeated(preference.chosen_answer.text)]
            if self.answers == "both":
                shares.append(repeated(preference.rejected_answer.text))
            yield self.decision(preference, max(shares), "repeats" if max(shares) > self.at_most else "")


def repeated(text: str) -> float:
    """Share of a text's stretches of five words that stood in it before; 0 for fewer than thirty words."""
    said = words(text)
    if len(said) < ENOUGH:
        return 0.0
    stretches = list(zip(*(said[place:] for place in range(STRETCH)), strict=False))
    return 1 - len(set(stretches)) / len(stretches)
