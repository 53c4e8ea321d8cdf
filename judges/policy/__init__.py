"""Policies, one file each: how many calls a pair is worth, and what they amount to.

`Call.other` is meant relative to one coin per pair, common to its judges: two judges asked with different `other` see
opposite orders. Errors of two judges correlate .50 in the same order and .25 in opposite ones (recorded judgments of
LLMBar, princeton-nlp/LLMBar), so a policy varies the judge and the order together.

Every policy but one-call settles on an answer only if it won both from the first place and from the second. Votes
alone are no guard: of three judges that always say "the first one", an unreadable reply in one order leaves five
votes of which three agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.records import Settled, Verdict


def support(answer: str, verdicts: Sequence[Verdict]) -> float | None:
    """How strongly the readable verdicts are for an answer, on average, in 0..1; None without readable verdicts.

    A verdict for it counts 1 and one against it -1, unless the engine tells how sure the judge was: then twice the
    probability of the answer, less 1. A tie counts 0, however sure.
    """
    leanings = [_leaning(answer, verdict) for verdict in verdicts if verdict.said != "unreadable"]
    return max(0.0, math.fsum(leanings) / len(leanings)) if leanings else None


def _leaning(answer: str, verdict: Verdict) -> float:
    if verdict.winner is None:
        return 0.0
    if verdict.probability is None:
        return 1.0 if verdict.winner == answer else -1.0
    stands_first = answer == (verdict.y if verdict.swapped else verdict.x)
    return (2 * verdict.probability - 1) * (1 if stands_first else -1)


def ahead(verdicts: Sequence[Verdict]) -> int:
    """Verdicts for x less verdicts for y; ties and unreadable ones count for neither."""
    return sum((verdict.winner == verdict.x) - (verdict.winner == verdict.y) for verdict in verdicts)


def leader(verdicts: Sequence[Verdict]) -> str | None:
    """The answer with more verdicts, if it won from both places; None if it did not, or if nobody is ahead."""
    lead = ahead(verdicts)
    if lead == 0:
        return None
    answer = verdicts[0].x if lead > 0 else verdicts[0].y
    return answer if from_both_places(answer, verdicts) else None


def from_both_places(answer: str, verdicts: Sequence[Verdict]) -> bool:
    """Whether an answer won at least once when it stood first and at least once when it stood second."""
    return {verdict.said for verdict in verdicts if verdict.winner == answer} == {"a", "b"}


def settled_on(answer: str, verdicts: Sequence[Verdict]) -> Settled:
    """The answer, and how strongly the verdicts support it."""
    return Settled(winner=answer, strength=support(answer, verdicts))


def undecided(verdicts: Sequence[Verdict], *, readable_would_help: bool = True) -> Settled:
    """Nothing was decided, and why.

    `unreadable` is a promise that asking again may help, so it is given only if the missing verdicts could have
    turned the outcome (`readable_would_help`), or if there is no other verdict to blame.
    """
    said = {verdict.said for verdict in verdicts}
    if said == {"unreadable"} or ("unreadable" in said and readable_would_help):
        return Settled(winner=None, strength=None, reason="unreadable")
    return Settled(winner=None, strength=None, reason="tie" if said <= {"tie", "unreadable"} else "disagreement")
