"""Drops pairs that hold keys, tokens, e-mail addresses or phone numbers. `mask` in a recipe keeps and masks them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register
from pipeline.text.private import KINDS, Kind, private


@register("filter")
class Private(Filter):
    """Keeps pairs in whose texts nothing private is found. What is found is counted and never shown.

    Source: keys of known services by detect-secrets, phone numbers by libphonenumber.
    """

    use: Literal["private"] = "private"
    """Its name in a recipe."""
    kinds: tuple[Kind, ...] = Field(default=KINDS, min_length=1)
    """What is looked for."""
    region: str | None = Field(default=None, pattern="^[A-Z]{2}$")
    """Country whose phone numbers are known without a country code, such as GB; by default only numbers with one."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: places found in instruction and both answers. Codes: `secret`, `email`, `phone`: the first kind."""
        for preference in preferences:
            texts = (
                preference.candidates.question,
                preference.chosen_answer.text,
                preference.rejected_answer.text,
            )
            found = [place.kind for text in texts for place in private(text, self.kinds, self.region)]
            code = next((kind for kind in KINDS if kind in found), "")
            yield self.decision(preference, float(len(found)), code)
