"""The strongest judge in both orders; the others only if it contradicts itself.

The jury's first judge sees the pair in both orders. If it agrees with itself the pair is decided, by a lead of two
verdicts. If not, the others are asked one at a time, judge and order changing together, until one answer leads by two;
it stops as soon as no lead is possible any more, which changes no outcome.

What it costs, measured on recorded judgments of LLMBar (princeton-nlp/LLMBar; an undecided pair counts as half right;
the strongest judge found on 50 gold labels and then replayed on the other pairs):

                                              calls per decided    accuracy                 precision    yield
    466 human-labelled pairs, four judges     2.93 [2.73, 3.17]    .792 [.760, .825]        .810         .940
        less that of `full` (8.96 calls)                           +1.5 [+0.4, +2.7] points
    319 adversarial pairs, six judges         2.40 [2.26, 2.55]    .842 [.804, .877]        .843         .997
        less that of `full` (13.87 calls)                          +23.2 [+19.0, +27.7] points

Two calls are the rule and run side by side; the third and later ones wait for one another. "The first two agree, else
a third decides" is not enough: it loses 2.7 points on the first set, because the judges' errors are correlated. Picking
the strongest judge succeeds with .94 of the samples of 50 gold labels from the first set and with .99 of those of 100.

Use it when there are several judges. Name a calibration file, or put the judge that you trust most first: everything
hangs on it, since it decides four pairs of five alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from judges.calibration import Calibration, load_for_recipe
from judges.policy import ahead, leader, settled_on, undecided
from pipeline.errors import UserError
from pipeline.identity import digest
from pipeline.options import RecipePath
from pipeline.records import Settled, Verdict
from pipeline.registry import Call, Deliberation, Policy, register


@register("policy")
class Lead(Policy):
    """The strongest judge in both orders, others one at a time on disagreement, until one answer leads by two."""

    use: Literal["lead"] = "lead"
    """Its name in a recipe."""
    lead: int = Field(default=2, ge=2)
    """Verdicts by which the winner must be ahead. 1 is not offered: it would let a third judge's one verdict decide."""
    calibration: RecipePath | None = None
    """Calibration file that says which judge is strongest; without one the jury's own order does."""

    _calibration: Calibration | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _read_once(self) -> Self:
        self._calibration = load_for_recipe(self.calibration) if self.calibration else None
        return self

    @property
    def evidence_digest(self) -> str:
        """Digest of the calibration, if there is one."""
        return digest("calibration", self._calibration.model_dump(mode="json") if self._calibration else None)

    def deliberate(self, jury: Sequence[str]) -> Deliberation:
        """Two calls at once, then one at a time.

        Raises:
            UserError: the jury cannot lead by so much, or the calibration does not know one of the judges.
        """
        if self.lead > 2 * len(jury):
            raise UserError(
                f"a jury of {len(jury)} gives {2 * len(jury)} verdicts, never a lead of {self.lead}",
                where="judge.policy.lead",
                remedy="Lower it, or add a judge",
            )
        ranked = self._calibration.strongest_first(jury) if self._calibration else jury
        verdicts: list[Verdict] = []
        left = 2 * len(jury)
        for calls in _rounds(ranked):
            verdicts.extend((yield calls))
            left -= len(calls)
            if abs(ahead(verdicts)) >= self.lead and (winner := leader(verdicts)):
                return settled_on(winner, verdicts)
            if abs(ahead(verdicts)) + left < self.lead:
                break
        return self._undecided(verdicts, left)

    def _undecided(self, verdicts: Sequence[Verdict], left: int) -> Settled:
        unreadable = sum(verdict.said == "unreadable" for verdict in verdicts)
        return undecided(verdicts, readable_would_help=abs(ahead(verdicts)) + unreadable + left >= self.lead)


def _rounds(ranked: Sequence[str]) -> Iterator[list[Call]]:
    """The first judge in both orders, then each other judge once, in alternating order, then again the other way."""
    first, *others = ranked
    yield [Call(first, other=False), Call(first, other=True)]
    for again in (False, True):
        for place, judge in enumerate(others):
            yield [Call(judge, other=(place % 2 == 1) != again)]
