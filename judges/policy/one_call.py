"""One judge, one order, taken at its word.

It costs one call and inherits the judge's whole position bias: with the answers in a random order, ChatGPT names the
first one in .91 of its verdicts on FairEval's 66 pairs and GPT-4 in .62 (fair is .50), and nothing in the data then
tells a preference from a place. On 466 human-labelled pairs GPT-4's single verdicts are right in .784 of the cases,
against .836 of those on which it agrees with itself (recorded judgments of LLMBar, princeton-nlp/LLMBar).

Use it to try a prompt, never for a dataset that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from judges.policy import settled_on, undecided
from pipeline.registry import Call, Deliberation, Policy, register


@register("policy")
class OneCall(Policy):
    """The jury's first judge, in one order only: cheap, and as biased as that judge is."""

    use: Literal["one-call"] = "one-call"
    """Its name in a recipe."""

    @property
    def one_order(self) -> bool:
        """It is the only policy that never sees the other order."""
        return True

    def deliberate(self, jury: Sequence[str]) -> Deliberation:
        """One call."""
        verdicts = yield [Call(jury[0], other=False)]
        winner = verdicts[0].winner
        return settled_on(winner, verdicts) if winner else undecided(verdicts)
