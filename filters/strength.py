"""Drops pairs that the judges were of two minds about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register


@register("filter")
class Strength(Filter):
    """Keeps pairs whose votes lean far enough to one side. A pair without votes has no strength, and is kept.

    Source: ten points more of noisy pairs can cost thirty points of win rate (Gao et al. 2024, arXiv 2404.09824).
    """

    use: Literal["strength"] = "strength"
    """Its name in a recipe."""
    at_least: float = Field(default=0.5, gt=0, le=1)
    """Smallest share of the votes for the chosen answer less the share against it."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: the strength, 1 without votes. Code: `weak`."""
        for preference in preferences:
            strength = 1.0 if preference.strength is None else preference.strength
            yield self.decision(preference, strength, "weak" if strength < self.at_least else "")
