"""Everybody in both orders, each word for what it is worth: weights from gold, or from the jury's agreement.

As `full`, but verdicts are added up as log-likelihood ratios instead of heads, so that three weak judges do not outvote
a strong one, and one that is mostly wrong counts the other way round. The weights are frozen into the calibration file:

- `gold`: counted on gold pairs, by how sure the judge was where its engine tells;
- `agreement`: inferred by Dawid and Skene's method from what the jury agrees on, gold pairs as anchors and pairs that
  nobody labelled besides (judges/jury.py). It makes use of far more verdicts than gold has, and it is wrong where the
  judges share an error; then the calibration's guard has refused it, and so does the recipe.

What it costs with 50 gold labels, measured on recorded judgments of LLMBar (princeton-nlp/LLMBar; an undecided pair
counts as half right; 95% intervals by pairs; no pair is judged by weights that have seen its label):

                                              calls per decided       accuracy                 precision    yield
    466 human-labelled pairs, four judges
        gold                                  8.74 [8.53, 8.99]      .781 [.746, .816]        .807         .915
        agreement                             8.64 [8.44, 8.88]      .784 [.749, .818]        .806         .926
        full                                  8.96 [8.69, 9.26]      .777 [.743, .813]        .810         .893
    319 adversarial pairs, six judges
        gold                                 12.46 [12.30, 12.64]    .881 [.847, .914]        .895         .963
        agreement                            12.29 [12.13, 12.48]    .868 [.831, .905]        .877         .976
        full                                 13.87 [13.31, 14.52]    .610 [.561, .657]        .627         .865

The sum takes judges for independent, which they are not: its sign is good, its size is not, so the threshold is low.

Use it where every verdict is asked for anyway, as for an audit; where calls cost money, `sprt` goes by the same weights
and stops when they suffice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from judges.calibration import Calibration, load_for_recipe
from judges.evidence import Evidence
from judges.policy import from_both_places, settled_on, undecided
from pipeline.errors import UserError
from pipeline.identity import digest
from pipeline.options import RecipePath
from pipeline.records import Settled, Verdict
from pipeline.registry import Call, Deliberation, Policy, register

THRESHOLD = 0.5
"""Evidence in nats: odds of 1.6 to 1."""


@dataclass(frozen=True)
class WeightedVote:
    """The vote for evidence at hand; `Weighted` takes it from a calibration file."""

    evidence: Mapping[str, Evidence]
    """What the words of each judge are worth, by label."""
    threshold: float = THRESHOLD
    """As in Weighted."""

    def deliberate(self, jury: Sequence[str]) -> Deliberation:
        """All calls at once: they do not depend on one another."""
        most = 2 * sum(
            max(self.evidence[judge].bounds.for_first, -self.evidence[judge].bounds.for_second) for judge in jury
        )
        if most < self.threshold:
            return Settled(winner=None, strength=None, reason="no_evidence")
        verdicts = yield [Call(judge, other) for judge in jury for other in (False, True)]
        return self._settle(verdicts)

    def _settle(self, verdicts: Sequence[Verdict]) -> Settled:
        nats = sum(self._for_x(verdict) for verdict in verdicts)
        answer = verdicts[0].x if nats > 0 else verdicts[0].y
        if nats and abs(nats) >= self.threshold and from_both_places(answer, verdicts):
            return settled_on(answer, verdicts)
        return undecided(verdicts)

    def _for_x(self, verdict: Verdict) -> float:
        nats = self.evidence[verdict.judge].of(verdict)
        return -nats if verdict.swapped else nats


@register("policy")
class Weighted(Policy):
    """Every judge in both orders, its words weighed by gold labels or by the jury's agreement."""

    use: Literal["weighted"] = "weighted"
    """Its name in a recipe."""
    calibration: RecipePath
    """Calibration file, from `pairwright judge calibrate`."""
    weights: Literal["gold", "agreement"] = "gold"
    """What the weights are from: gold labels, or the jury's agreement with gold as anchors (Dawid-Skene), which is
    refused where agreement contradicts gold."""
    threshold: float = Field(default=THRESHOLD, gt=0)
    """Evidence that settles a pair: a log-likelihood ratio in nats."""

    _calibration: Calibration = PrivateAttr()

    @model_validator(mode="after")
    def _read_once(self) -> Self:
        self._calibration = load_for_recipe(self.calibration)
        if self.weights == "agreement":
            try:
                self._calibration.agreed_evidence([])
            except UserError as error:
                raise ValueError(str(error)) from error
        return self

    @property
    def evidence_digest(self) -> str:
        """Digest of the calibration."""
        return digest("calibration", self._calibration.model_dump(mode="json"))

    def deliberate(self, jury: Sequence[str]) -> Deliberation:
        """As WeightedVote. Raises UserError for a judge that the calibration does not know."""
        known = self._calibration
        weights = known.evidence(jury) if self.weights == "gold" else known.agreed_evidence(jury)
        return WeightedVote(weights, self.threshold).deliberate(jury)
