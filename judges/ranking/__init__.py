"""Rankings, one file each: which of several answers is chosen and which rejected, by comparing two at a time.

A policy deliberates about two answers; a ranking decides which two. It may ask for a match by one call, which is cheap
and as biased as the judge, or in full, which is what the policy makes of the two. Whatever single calls say, a pair is
decided only by a match in full between its two answers, so that what a policy promises of two answers (a judge that
always says "the first one" settles nothing) holds for ten.

Nobody loses by a tie or by a verdict that cannot be read: both answers stay where they were.

A jury may go round in circles (A beats B, B beats C, C beats A). A pair whose two answers lie on a cycle of matches in
full is not decided. Other cycles are only reported: single calls contradict one another often, and a cycle among the
answers in between says nothing of the first and the last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from statistics import fmean, pstdev
from typing import Literal

from judges.policy import support
from pipeline.records import Ranked, Standing
from pipeline.registry import Played

Rejected = Literal["worst", "near-mu-2sigma", "closest-clear-loser"]
"""Which answer is rejected, of those that lose to the chosen one.

`worst`: the one with the lowest score. `near-mu-2sigma`: the one whose score is nearest to the mean of all less two
standard deviations: with many answers the worst is often broken and teaches little (Xiao et al. 2025, "Finding the
Sweet Spot", arXiv 2502.16825); no score of five lies further from the mean than that, so up to five answers it is the
worst. `closest-clear-loser`: the one with the highest score that the policy still settles against: a hard case.
"""


class Results:
    """What the matches of a contest came to so far."""

    def __init__(self, answers: Iterable[str]) -> None:
        """Args: ids of the answers, in the order in which equals are named."""
        self.answers = tuple(answers)
        self._played: dict[frozenset[str], Played] = {}

    def hear(self, played: Iterable[Played]) -> None:
        """Remember matches; of two between the same answers the later counts."""
        for item in played:
            self._played[frozenset((item.match.one, item.match.other))] = item

    def between(self, one: str, other: str) -> Played | None:
        """The match of these two, if there was one."""
        return self._played.get(frozenset((one, other)))

    def won(self, answer: str) -> list[str]:
        """Whom an answer beat."""
        return [other for other in self.answers if self._winner(answer, other) == answer]

    def lost(self, answer: str) -> list[str]:
        """Who beat an answer."""
        return [other for other in self.answers if self._winner(answer, other) == other]

    def standing(self, answer: str, score: float | None) -> Standing:
        """An answer's own line."""
        won, lost = len(self.won(answer)), len(self.lost(answer))
        played = sum(answer in pair for pair in self._played)
        return Standing(answer=answer, score=score, won=won, lost=lost, undecided=played - won - lost)

    def chain(self, start: str, end: str, *, in_full: bool = False) -> tuple[str, ...]:
        """The shortest chain of answers from `start` to `end`, each of which beat the next; empty if there is none."""
        chains: deque[tuple[str, ...]] = deque([(start,)])
        seen = {start}
        while chains:
            chain = chains.popleft()
            if chain[-1] == end:
                return chain
            for beaten in self._beaten_by(chain[-1], in_full=in_full):
                if beaten not in seen:
                    seen.add(beaten)
                    chains.append((*chain, beaten))
        return ()

    def cycle(self, chosen: str, rejected: str) -> tuple[str, ...]:
        """Answers of which each beat the next and the last the first: with these two if they met, else any; or none."""
        for one, other in ((chosen, rejected), (rejected, chosen), *permutations(self.answers, 2)):
            if self._winner(one, other) == one and (chain := self.chain(other, one)):
                return chain
        return ()

    def unreadable(self) -> bool:
        """Whether a match came to nothing because a verdict could not be read."""
        return any(item.settled.reason == "unreadable" for item in self._played.values())

    def _winner(self, one: str, other: str) -> str | None:
        item = self.between(one, other)
        return item.settled.winner if item else None

    def _beaten_by(self, answer: str, *, in_full: bool) -> list[str]:
        beaten = self.won(answer)
        return [other for other in beaten if self._is_in_full(answer, other)] if in_full else beaten

    def _is_in_full(self, one: str, other: str) -> bool:
        item = self.between(one, other)
        return item is not None and item.match.in_full


def best_first(answers: Iterable[str], scores: Mapping[str, float], results: Results) -> list[str]:
    """Answers by score; of equals those first that lost less often, then by id: in no order that means anything."""
    return sorted(answers, key=lambda answer: (-scores[answer], len(results.lost(answer)), answer))


def in_line(rule: Rejected, chosen: str, ranked: Sequence[str], scores: Mapping[str, float]) -> list[str]:
    """Who is to be rejected, and who if not, by the rule; `ranked` holds all answers, the best first."""
    others = [answer for answer in ranked if answer != chosen]
    match rule:
        case "worst":
            return others[::-1]
        case "closest-clear-loser":
            return others
        case "near-mu-2sigma":
            wanted = fmean(scores.values()) - 2 * pstdev(scores.values())
            return sorted(others, key=lambda answer: (abs(scores[answer] - wanted), scores[answer]))


def objection(results: Results, chosen: str, rejected: str) -> str:
    """Why these two are no pair, after their match in full: a code; empty if they are one."""
    final = results.between(chosen, rejected)
    if final is None or not final.match.in_full:
        raise ValueError("a pair is decided by a match in full")
    if final.settled.winner is None:
        return final.settled.reason
    if final.settled.winner != chosen:
        return "cycle" if results.chain(chosen, rejected) else "contradiction"
    return "cycle" if results.chain(rejected, chosen, in_full=True) else ""


def undecided(results: Results, standings: Sequence[Standing], reason: str) -> Ranked:
    """No pair, and why; the standings stay as evidence."""
    cycle = results.cycle(standings[0].answer, standings[-1].answer)
    return Ranked(chosen=None, rejected=None, strength=None, reason=reason, standings=tuple(standings), cycle=cycle)


def decided(results: Results, standings: Sequence[Standing], chosen: str, rejected: str) -> Ranked:
    """The pair, and how strongly the verdicts of its own match support it."""
    final = results.between(chosen, rejected)
    return Ranked(
        chosen=chosen,
        rejected=rejected,
        strength=support(chosen, final.verdicts if final else ()),
        standings=tuple(standings),
        cycle=results.cycle(chosen, rejected),
    )


def nothing_won(results: Results) -> str:
    """Why nobody is ahead of anybody: a code."""
    if results.cycle(*results.answers[:2]):
        return "cycle"
    return "unreadable" if results.unreadable() else "tie"
