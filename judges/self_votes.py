"""Self votes alone never decide: whatever the policy, somebody who is no kin of the winner must agree.

A self vote is a verdict for an answer that a model of the judge's own family wrote, against one that it did not. It is
not thrown away: to leave such judges out altogether costs 4.5 points of accuracy (recorded judgments; see the audit's
`self_preference` for how much yours prefers its own). It just does not suffice. If all that speaks for the winner are
self votes, the judges that are no kin of either answer and were not heard are asked, one at a time and in both orders,
until their verdicts are for the winner on balance. A rule without a model, such as `length`, is no such judge.

With one model that writes and judges there is no such judge. Then the pairs that it gives to its own answer stay
undecided, and those that it gives to the author's words count: nobody suspects a vote against one's own. So a recipe
with a single model does make a dataset, of fewer pairs, whose labels no self-preference can have made. `pairwright
check` says so beforehand, and `self_votes: allow` turns it off; what is then decided rests on the judge's fairness,
which without a second judge nobody can measure.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from judges.policy import support
from pipeline.records import Settled, Verdict
from pipeline.registry import Call, Deliberation


def confirmed(talks: Deliberation, strangers: Sequence[str]) -> Deliberation:
    """A policy's talks about one pair, and what they settle only if others than the winner's kin agree.

    `strangers` are the judges, by label, that ask a model and are no kin of either answer.
    """
    heard: list[Verdict] = []
    settled = yield from _overheard(talks, heard)
    if settled.winner is None or not _alone(settled.winner, heard, strangers):
        return settled
    asked = {verdict.judge for verdict in heard}
    for judge in (judge for judge in strangers if judge not in asked):
        heard.extend((yield [Call(judge, other=False), Call(judge, other=True)]))
        if not _alone(settled.winner, heard, strangers):
            return settled.but(strength=support(settled.winner, heard))
    unread = any(verdict.said == "unreadable" and verdict.judge in strangers for verdict in heard)
    return Settled(winner=None, strength=None, reason="unreadable" if unread else "self_votes")


def _overheard(talks: Deliberation, heard: list[Verdict]) -> Generator[Sequence[Call], Sequence[Verdict], Settled]:
    """The talks as they are; every verdict is added to `heard`."""
    try:
        calls = next(talks)
        while True:
            verdicts = yield calls
            heard.extend(verdicts)
            calls = talks.send(verdicts)
    except StopIteration as end:
        settled: Settled = end.value
        return settled


def _alone(winner: str, verdicts: Sequence[Verdict], strangers: Sequence[str]) -> bool:
    """Whether the winner has self votes, and no majority among the verdicts of strangers and of the other's kin."""
    others = [v.winner for v in verdicts if v.judge in strangers or (v.own and v.own != (winner,))]
    against = sum(other not in (winner, None) for other in others)
    has_self_votes = any(verdict.self_vote and verdict.winner == winner for verdict in verdicts)
    return has_self_votes and others.count(winner) <= against
