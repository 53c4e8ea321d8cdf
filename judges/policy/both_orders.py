"""Swap and agree: every judge sees the pair in both orders, and only a judge that stands by its word has a vote.

It costs two calls per judge. It adds no accuracy, it adds precision on the pairs that it keeps: on 466 human-labelled
pairs .781 -> .836 at a yield of .84 (recorded judgments of LLMBar, princeton-nlp/LLMBar). A judge that always says
"the first one" contradicts itself on every pair and settles nothing.

Use it with one judge and without gold labels. With several judges `lead` decides more pairs for fewer calls.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

from judges.policy import settled_on, undecided
from pipeline.records import Settled, Verdict
from pipeline.registry import Call, Deliberation, Policy, register


@register("policy")
class BothOrders(Policy):
    """Every judge in both orders; a judge that contradicts itself has no vote; most votes win."""

    use: Literal["both-orders"] = "both-orders"
    """Its name in a recipe."""

    def deliberate(self, jury: Sequence[str]) -> Deliberation:
        """All calls at once: they do not depend on one another."""
        verdicts = yield [Call(judge, other) for judge in jury for other in (False, True)]
        return settle(verdicts)


def settle(verdicts: Sequence[Verdict]) -> Settled:
    """The answer with most votes; nothing if no judge agrees with itself, or if the votes are even."""
    votes = Counter(vote for vote in map(_vote, _by_judge(verdicts)) if vote)
    ranked = votes.most_common()
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return undecided(verdicts)
    return settled_on(ranked[0][0], verdicts)


def _by_judge(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.judge].append(verdict)
    return list(groups.values())


def _vote(verdicts: Sequence[Verdict]) -> str | None:
    """The answer that a judge named in both orders, or None."""
    winners = {verdict.winner for verdict in verdicts}
    return winners.pop() if len(verdicts) > 1 and len(winners) == 1 else None
