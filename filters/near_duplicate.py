"""Drops pairs that say almost what another pair says: a corpus that repeats itself is learnt by heart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register
from pipeline.text.near import Near, signature


@register("filter")
class NearDuplicate(Filter):
    """Keeps the first of pairs that are almost the same, in the order of the sources.

    Source: near-duplicates of instructions and of answers are removed from most public sets, by MinHash (Lee et al.
    2022, arXiv 2107.06499, with a likeness of 0.8). Without this filter, held-out pairs may have a twin in training;
    see `split`.
    """

    use: Literal["near-duplicate"] = "near-duplicate"
    """Its name in a recipe."""
    whole: ClassVar[bool] = True
    of: Literal["pair", "instruction", "chosen"] = "pair"
    """What is compared: the instruction and both answers, or one of them alone."""
    likeness: float = Field(default=0.8, ge=0.5, le=1)
    """Jaccard likeness of two texts' stretches of three words from which they count as almost the same."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: the likeness to an earlier pair, 0 if there is none. Code: `seen`."""
        seen: Near[str] = Near(self.likeness)
        for preference in preferences:
            mark = signature(*self._compared(preference))
            found = seen.find(mark)
            if found is None:
                seen.remember(preference.id, mark)
            yield self.decision(preference, found[1] if found else 0.0, "seen" if found else "")

    def _compared(self, preference: Preference) -> tuple[str, ...]:
        instruction, chosen = preference.candidates.question, preference.chosen_answer.text
        if self.of == "instruction":
            return (instruction,)
        return (chosen,) if self.of == "chosen" else (instruction, chosen, preference.rejected_answer.text)
