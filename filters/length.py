"""Drops pairs whose chosen answer is too short to teach anything, or too long to fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register


@register("filter")
class Length(Filter):
    """Keeps pairs whose chosen answer has at least so many characters, and at most so many.

    Source: the LLM Engineer's Handbook drops chosen answers below 100 characters.
    """

    use: Literal["length"] = "length"
    """Its name in a recipe."""
    at_least: int = Field(default=100, ge=0)
    """Fewest characters of the chosen answer."""
    at_most: int | None = Field(default=None, ge=1)
    """Most characters of the chosen answer; None for no bound."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: characters of the chosen answer. Codes: `too_short`, `too_long`."""
        for preference in preferences:
            length = len(preference.chosen_answer.text)
            code = self._fault(length)
            yield Decision(preference=preference.id, filter=self.use, keep=not code, code=code, measured=float(length))

    def _fault(self, length: int) -> str:
        if length < self.at_least:
            return "too_short"
        return "too_long" if self.at_most is not None and length > self.at_most else ""
