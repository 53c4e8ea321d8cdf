"""Drops pairs whose answers differ in a few characters: there is next to nothing to prefer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field
from rapidfuzz.fuzz import ratio

from filters.identical import normalised
from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register


@register("filter")
class NearIdentical(Filter):
    """Keeps pairs whose answers are unlike enough.

    Source: pairs of almost the same answers push the likelihood of both down; refusals of unsafe prompts fell from 74%
    to 33% (Razin et al. 2024, arXiv 2410.08847). Not for answers that were corrected on purpose (`revise`).
    """

    use: Literal["near-identical"] = "near-identical"
    """Its name in a recipe."""
    at_most: float = Field(default=0.9, gt=0, le=1)
    """Highest likeness of two answers: 1 less the insertions and deletions that make one of the other, as a share of
    the characters of both (normalised Indel distance)."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: the likeness, in 0..1. Code: `alike`."""
        for preference in preferences:
            measured = likeness(preference.chosen_answer.text, preference.rejected_answer.text)
            yield self.decision(preference, measured, "alike" if measured > self.at_most else "")


def likeness(one: str, other: str) -> float:
    """How like two texts are, in 0..1, apart from case, blanks, quotes and sentence marks."""
    return ratio(normalised(one), normalised(other)) / 100
