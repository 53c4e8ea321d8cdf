"""Everybody in both orders, the majority of all verdicts: the yardstick for the others.

It costs two calls per judge whatever they say. On 466 human-labelled pairs with four judges that is 8.96 calls per
decided pair at an accuracy of .777, with six judges on LLMBar's 319 adversarial pairs 13.87 at .610 (an undecided pair
counts as half right; recorded judgments of LLMBar, princeton-nlp/LLMBar). `lead` and `sprt` are no less accurate on
either for a third of the calls and less: weak judges outvote the strong one here. A margin buys precision dearly: at
4 of 8 verdicts .837 at a yield of .70, which one judge in both orders reaches (.836 at .84) for two calls.

Use it for audits and for `judge calibrate`, where every verdict is wanted for its own sake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from judges.policy import ahead, leader, settled_on, undecided
from pipeline.errors import UserError
from pipeline.records import Settled, Verdict
from pipeline.registry import Call, Deliberation, Policy, register


@register("policy")
class Full(Policy):
    """Every judge in both orders; the answer with most verdicts wins. For audits."""

    use: Literal["full"] = "full"
    """Its name in a recipe."""
    at_least_margin: int = Field(default=1, ge=1)
    """Verdicts by which the winner must be ahead, of two per judge."""

    def deliberate(self, jury: Sequence[str]) -> Deliberation:
        """All calls at once: they do not depend on one another.

        Raises:
            UserError: the jury has fewer verdicts than the margin asks for.
        """
        if self.at_least_margin > 2 * len(jury):
            raise UserError(
                f"a jury of {len(jury)} gives {2 * len(jury)} verdicts, never a margin of {self.at_least_margin}",
                where="judge.policy.at_least_margin",
                remedy="Lower it, or add a judge",
            )
        verdicts = yield [Call(judge, other) for judge in jury for other in (False, True)]
        return _settle(verdicts, self.at_least_margin)


def _settle(verdicts: Sequence[Verdict], at_least_margin: int) -> Settled:
    margin = abs(ahead(verdicts))
    winner = leader(verdicts)
    if winner and margin >= at_least_margin:
        return settled_on(winner, verdicts)
    unreadable = sum(verdict.said == "unreadable" for verdict in verdicts)
    return undecided(verdicts, readable_would_help=margin + unreadable >= at_least_margin)
