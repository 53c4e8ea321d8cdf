"""Strengths that explain all matches best, after Bradley and Terry; then the chosen and the rejected answer in full.

An answer of strength s beats one of strength t with probability s / (s + t) (Bradley and Terry 1952, "Rank analysis of
incomplete block designs"). The strengths are found by Newman's iteration (2023, "Efficient computation of rankings from
pairwise comparisons", JMLR 24); the older algorithm MM (Hunter 2004) takes ten to fifty times the rounds. A tie is half
a win for each. One imagined tie of every answer with an average one keeps the strength of an answer that never lost
finite, and sets the scale.

By default every pair is one call, k(k - 1)/2 in all. Half of an answer's matches show it first (the judge stage sees
to it), so that a judge's liking for a place cancels out over the field, as it cannot in a knockout.

The library `choix` fits the same model, by MM and without ties, and brings 143 MB of scipy for the twenty lines below;
plain floats in a fixed order also give the same bytes on every start.

Use it where the middle of the field is wanted too: with one judge it takes half of the calls of `round-robin`, with
more judges less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

from judges.ranking import Rejected, Results, best_first, decided, in_line, nothing_won, objection, undecided
from pipeline.records import Verdict
from pipeline.registry import Contest, Match, Ranking, register

ROUNDS = 1_000
"""Most rounds; ten answers take about 60 and a millisecond, 66 answers took 374."""

CLOSE = 1e-9
"""Change of a log-strength below which a round has changed nothing."""

DIGITS = 6
"""Decimals of a score: far more than a few dozen verdicts can tell."""


@register("ranking")
class BradleyTerry(Ranking):
    """Every pair once, strengths fitted to all of them; the policy settles the strongest and the rejected one."""

    use: Literal["bradley-terry"] = "bradley-terry"
    """Its name in a recipe."""
    matches: Literal["call", "policy"] = "call"
    """What a pair is worth: one call, or what the policy makes of it."""
    rejected: Rejected = "worst"
    """Who is rejected: the worst, the one nearest to the mean score less two standard deviations, or the closest that
    loses clearly (the policy then settles the second best, the third and so on until one does)."""

    def contest(self, answers: Sequence[str], favourite: str | None = None) -> Contest:
        """All pairs at once, then the final, or several."""
        results = Results(answers)
        in_full = self.matches == "policy"
        played = yield [Match(one, other, in_full) for one, other in combinations(answers, 2)]
        results.hear(played)
        scores = log_strengths(answers, [verdict for match in played for verdict in match.verdicts])
        ranked = best_first(answers, scores, results)
        chosen = favourite or ranked[0]
        rejected, reason = ranked[-1], nothing_won(results)
        for rejected in self._line(favourite, ranked, scores):
            results.hear((yield [Match(chosen, rejected, in_full=True)]))
            reason = objection(results, chosen, rejected)
            if not reason:
                break
        standings = [results.standing(answer, scores[answer]) for answer in ranked]
        if reason and not favourite:
            return undecided(results, standings, reason)
        return decided(results, standings, chosen, rejected)

    def _line(self, favourite: str | None, ranked: Sequence[str], scores: Mapping[str, float]) -> list[str]:
        """Who meets the chosen one in full, until one loses: nobody as strong, unless a favourite is chosen anyway."""
        line = in_line(self.rejected, favourite or ranked[0], ranked, scores)
        line = line if self.rejected == "closest-clear-loser" else line[:1]
        return line if favourite else [answer for answer in line if scores[answer] < scores[ranked[0]]]

    def usual_calls(self, answers: int, in_full: int) -> int:
        """Every pair, and the final."""
        pairs = answers * (answers - 1) // 2
        return pairs * in_full if self.matches == "policy" else pairs + in_full


def log_strengths(answers: Sequence[str], verdicts: Iterable[Verdict]) -> dict[str, float]:
    """Natural logarithm of each answer's strength; 0 is average, a difference of 1 are odds of 2.7 to 1."""
    met: dict[str, list[_Met]] = {answer: [] for answer in answers}
    for verdict in verdicts:
        if verdict.said != "unreadable":
            for answer, other in ((verdict.x, verdict.y), (verdict.y, verdict.x)):
                won = 0.5 if verdict.winner is None else float(verdict.winner == answer)
                met[answer].append(_Met(other, won))
    strengths = dict.fromkeys(answers, 1.0)
    for _ in range(ROUNDS):
        changes = [_improve(answer, met[answer], strengths) for answer in answers]
        if max(changes) < CLOSE:
            break
    return {answer: round(math.log(strength), DIGITS) + 0.0 for answer, strength in strengths.items()}


class _Met(NamedTuple):
    """An opponent, and what was won against it: 1, 0, or 0.5 for a tie."""

    other: str
    won: float


def _improve(answer: str, met: Iterable[_Met], strengths: dict[str, float]) -> float:
    """Newman's step for one answer; gives by how much its log-strength changed."""
    own = strengths[answer]
    won = lost = 0.5 / (own + 1)  # the imagined tie with an answer of strength 1
    for other, share in met:
        won += share * strengths[other] / (own + strengths[other])
        lost += (1 - share) / (own + strengths[other])
    strengths[answer] = won / lost
    return abs(math.log(strengths[answer] / own))
