"""The longer answer wins: no model, no cost, and the baseline that stands beside every real judge."""

from __future__ import annotations

from typing import Literal

from judges.by_model import verdict
from pipeline.records import Ask, Showing, Verdict
from pipeline.registry import Judge, register


@register("judge")
class Length(Judge):
    """The longer answer wins, in characters; equal lengths are a tie. No model is asked.

    It is right on .644 of 466 human-labelled pairs (.591 FairEval, .613 LLMEval^2, .693 MT-Bench) and on .180 of the
    319 pairs of LLMBar's adversarial subsets, equal lengths counted as half right (LLMBar, arXiv 2310.07641, and the
    sets beside it in princeton-nlp/LLMBar). A judge that does not beat it on your pairs has learnt nothing but length.
    """

    use: Literal["length"] = "length"
    """Its name in a recipe."""

    @property
    def label(self) -> str:
        """How verdicts name it."""
        return self.name or self.use

    async def __call__(self, showing: Showing, ask: Ask) -> Verdict:  # noqa: ARG002  a judge is given it; no call
        """Which of two answers is longer."""
        first, second = len(showing.a), len(showing.b)
        return verdict(
            self,
            showing,
            "tie" if first == second else "a" if first > second else "b",
            reason=f"{first} against {second} characters",
        )
