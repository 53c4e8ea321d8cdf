"""Drops pairs that say A over B where another says B over A: one of them is wrong, and nobody knows which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from filters.identical import normalised
from pipeline.identity import digest
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
        said = {leaning(*_texts(preference)) for preference in preferences}
        for preference in preferences:
            instruction, chosen, rejected = _texts(preference)
            found = leaning(instruction, rejected, chosen) in said
            yield self.decision(preference, float(found), "other_way_round" if found else "")


def _texts(preference: Preference) -> tuple[str, str, str]:
    return preference.candidates.instruction, preference.chosen_answer.text, preference.rejected_answer.text


def leaning(instruction: str, chosen: str, rejected: str) -> str:
    """Digest of which text is preferred to which, for what."""
    return digest("leaning", [normalised(text) for text in (instruction, chosen, rejected)])
