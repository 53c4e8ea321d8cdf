"""Drops pairs that are too hard to be learnt from, or too easy to teach anything, by how torn the judges were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.records import Decision, Preference, Verdict
from pipeline.registry import Filter, register


@register("filter")
class Difficulty(Filter):
    """Keeps pairs whose difficulty lies within bounds: 0 if every judge is sure of the chosen answer, 1 if none knows.

    Source: pairs beyond a model's capacity hurt it, and dropping the hardest half gained 9 to 16% (Gao et al. 2025,
    arXiv 2502.09650), where difficulty is the validation loss of models trained for the purpose. What stands here is
    what a night has without them: the judges' own doubt, by their probabilities where the server tells them and by
    their votes elsewhere. How well it stands in has not been measured.
    """

    use: Literal["difficulty"] = "difficulty"
    """Its name in a recipe."""
    at_least: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Smallest difficulty."""
    at_most: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Largest difficulty."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Difficulty:
        if self.at_least > self.at_most:
            raise ValueError("at_least is above at_most")
        return self

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: the difficulty, 0 without votes. Codes: `too_hard`, `too_easy`."""
        for preference in preferences:
            measured = difficulty(preference)
            code = "too_hard" if measured > self.at_most else "too_easy" if measured < self.at_least else ""
            yield self.decision(preference, measured, code)


def difficulty(preference: Preference) -> float:
    """1 less the distance of the judges' mean belief in the chosen answer from a coin's, in 0..1; 0 without votes."""
    sides = {preference.chosen, preference.rejected}
    beliefs = [
        _belief(verdict, preference.chosen)
        for verdict in preference.verdicts
        if verdict.said != "unreadable" and {verdict.x, verdict.y} == sides
    ]
    return 1 - abs(2 * fmean(beliefs) - 1) if beliefs else 0.0


def _belief(verdict: Verdict, chosen: str | None) -> float:
    """How likely the chosen answer is the better one, as this verdict has it."""
    first = verdict.y if verdict.swapped else verdict.x
    if verdict.probability is not None:
        return verdict.probability if first == chosen else 1 - verdict.probability
    return 0.5 if verdict.winner is None else float(verdict.winner == chosen)
