"""Drops pairs that say A over B where another says B over A: one of them is wrong, and nobody knows which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from filters.identical import normalised
from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register


@register("filter")
class Contradicting(Filter):
    """Keeps pairs that no other pair contradicts: the same instruction and the same two answers, the other way round.

    Texts are compared apart from case, blanks, quotes and sentence marks. Both sides of a contradiction go.
    """

    use: Literal["contradicting"] = "contradicting"
    """Its name in a recipe."""
    whole: ClassVar[bool] = True

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: 1 if another pair says the opposite, else 0. Code: `other_way_round`."""
        leanings = [leaning(preference) for preference in preferences]
        said = set(leanings)
        for preference, (instruction, chosen, rejected) in zip(preferences, leanings, strict=True):
            found = (instruction, rejected, chosen) in said
            yield self.decision(preference, float(found), "other_way_round" if found else "")


def leaning(preference: Preference) -> tuple[int, int, int]:
    """Hashes of the normalised instruction, chosen and rejected answer: what is preferred to what, for what."""
    texts = preference.candidates.question, preference.chosen_answer.text, preference.rejected_answer.text
    instruction, chosen, rejected = (hash(normalised(text)) for text in texts)
    return instruction, chosen, rejected
