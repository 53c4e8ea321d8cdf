"""Drops pairs until length alone no longer says which answer is chosen."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register

Share = Annotated[float, Field(ge=0, le=1)]


@register("filter")
class Balance(Filter):
    """Keeps as many pairs as it can while the share whose chosen answer is the longer one lies within bounds.

    Of the side that is too many, those go first whose lengths differ most: they teach length best. Pairs of equal
    length stay. What goes depends on the whole build, so that a later night may keep what this one drops.

    Source: training at matched lengths gained up to 20% (Park et al. 2024, arXiv 2403.19159).
    """

    use: Literal["balance"] = "balance"
    """Its name in a recipe."""
    whole: ClassVar[bool] = True
    longer_share: tuple[Share, Share] = (0.4, 0.6)
    """Lowest and highest share of pairs, of those of unequal lengths, whose chosen answer is the longer one."""

    @model_validator(mode="after")
    def _bounds_that_can_be_met(self) -> Balance:
        low, high = self.longer_share
        if low > high or not high > 0 or not low < 1:
            raise ValueError("the lower bound comes first, below 1; the higher one is above 0")
        return self

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: the logarithm (base 2) of chosen characters to rejected ones, one added to both.

        Codes, by what there is too much of: `longer_chosen`, `shorter_chosen`.
        """
        surplus = self._surplus([(_leaning(preference), preference.id) for preference in preferences])
        for preference in preferences:
            measured = _leaning(preference)
            code = "" if preference.id not in surplus else "longer_chosen" if measured > 0 else "shorter_chosen"
            yield self.decision(preference, measured, code)

    def _surplus(self, leanings: list[tuple[float, str]]) -> set[str]:
        """Ids of the pairs that are too many."""
        longer = sorted((leaning for leaning in leanings if leaning[0] > 0), reverse=True)
        shorter = sorted(leaning for leaning in leanings if leaning[0] < 0)
        low, high = self.longer_share
        too_many = len(longer) - _at_most(len(shorter), high)
        too_few = len(shorter) - _at_most(len(longer), 1 - low)
        return {id_ for _, id_ in [*longer[: max(0, too_many)], *shorter[: max(0, too_few)]]}


def _at_most(others: int, share: float) -> int:
    """How many there may be beside so many others without being a larger share of all."""
    return math.floor(others * share / (1 - share) + 1e-9) if share < 1 else sys.maxsize


def _leaning(preference: Preference) -> float:
    chosen, rejected = len(preference.chosen_answer.text), len(preference.rejected_answer.text)
    return math.log2((chosen + 1) / (rejected + 1))
