"""Drops pairs whose two answers are the same: there is nothing to prefer, and the loss would push both ways."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register


@register("filter")
class Identical(Filter):
    """Keeps pairs whose answers differ in more than case, blanks, punctuation and Unicode form.

    Source: 56 of 402 rows of a well-known tutorial's preference set have the same text on both sides.
    """

    use: Literal["identical"] = "identical"
    """Its name in a recipe."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: 1 if the answers are the same after normalising, else 0. Code: `same`."""
        for preference in preferences:
            same = normalised(preference.chosen_answer.text) == normalised(preference.rejected_answer.text)
            yield Decision(
                preference=preference.id,
                filter=self.use,
                keep=not same,
                code="same" if same else "",
                measured=float(same),
            )


def normalised(text: str) -> str:
    """Letters, digits and symbols only, folded in case and Unicode form (NFKC).

    Symbols stay, since `a < b` and `a > b` are not the same answer.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(mark for mark in folded if unicodedata.category(mark)[0] in "LNMS")
