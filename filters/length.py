"""Drops pairs whose answers are too short to teach anything, too long to fit, or told apart by their length alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register

Characters = Annotated[int, Field(ge=1)]


@register("filter")
class Length(Filter):
    """Keeps pairs whose answers, and the ratio of their lengths, lie within bounds; by default only a floor.

    Source: the LLM Engineer's Handbook drops chosen answers below 100 characters. Bounds on the ratio: a length that
    gives the answer away is learnt instead of it (Park et al. 2024, arXiv 2403.19159).
    """

    use: Literal["length"] = "length"
    """Its name in a recipe."""
    at_least: int = Field(default=100, ge=0)
    """Fewest characters of the chosen answer."""
    at_most: Characters | None = None
    """Most characters of the chosen answer; None for no bound."""
    rejected_at_least: int = Field(default=0, ge=0)
    """Fewest characters of the rejected answer."""
    rejected_at_most: Characters | None = None
    """Most characters of the rejected answer; None for no bound."""
    ratio: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] | None = None
    """Lowest and highest ratio of the chosen answer's characters to the rejected one's; None for no bound."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Length:
        if self.ratio and self.ratio[0] > self.ratio[1]:
            raise ValueError("the lower bound of the ratio comes first")
        return self

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: characters of the chosen answer; or what is out of bounds, the rejected one's or the ratio.

        Codes: `too_short`, `too_long`, `rejected_too_short`, `rejected_too_long`, `ratio`.
        """
        for preference in preferences:
            chosen, rejected = len(preference.chosen_answer.text), len(preference.rejected_answer.text)
            code, measured = self._fault(chosen, rejected)
            yield self.decision(preference, measured, code)

    def _fault(self, chosen: int, rejected: int) -> tuple[str, float]:
        if code := _outside(chosen, self.at_least, self.at_most):
            return code, float(chosen)
        if code := _outside(rejected, self.rejected_at_least, self.rejected_at_most):
            return f"rejected_{code}", float(rejected)
        ratio = chosen / max(1, rejected)
        if self.ratio and not self.ratio[0] <= ratio <= self.ratio[1]:
            return "ratio", ratio
        return "", float(chosen)


def _outside(length: int, at_least: int, at_most: int | None) -> str:
    if length < at_least:
        return "too_short"
    return "too_long" if at_most is not None and length > at_most else ""
