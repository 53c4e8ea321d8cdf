"""Every pair of answers, settled by the policy: what the jury says of all of them, whatever it costs.

k answers make k(k - 1)/2 pairs: ten for five answers, forty-five for ten, each at the policy's price. An answer's score
is the number of answers that it beat less the number that beat it (Copeland 1951, "A reasonable social welfare
function"). The best is chosen; rejected is, by the rule, one of those that lost to it and lie on no cycle with it.

Use it for audits, and where the middle of the field is wanted too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

from judges.ranking import Rejected, Results, best_first, decided, in_line, objection, undecided
from pipeline.registry import Contest, Match, Ranking, register


@register("ranking")
class RoundRobin(Ranking):
    """Every pair by the policy; the answer that beats most others less those that beat it is chosen. For audits."""

    use: Literal["round-robin"] = "round-robin"
    """Its name in a recipe."""
    rejected: Rejected = "worst"
    """Who is rejected, of those that lose to the chosen one: the worst, the one nearest to the mean score less two
    standard deviations, or the closest that still loses clearly."""

    def contest(self, answers: Sequence[str], favourite: str | None = None) -> Contest:
        """All pairs at once: they do not depend on one another."""
        results = Results(answers)
        results.hear((yield [Match(one, other, in_full=True) for one, other in combinations(answers, 2)]))
        scores = {answer: float(len(results.won(answer)) - len(results.lost(answer))) for answer in answers}
        ranked = best_first(answers, scores, results)
        standings = [results.standing(answer, scores[answer]) for answer in ranked]
        chosen = favourite or ranked[0]
        line = in_line(self.rejected, chosen, ranked, scores)
        losers = [answer for answer in line if not objection(results, chosen, answer)]
        if losers or favourite:
            return decided(results, standings, chosen, (losers or line)[0])
        worst = next(answer for answer in reversed(ranked) if answer != chosen)
        return undecided(results, standings, objection(results, chosen, worst))

    def usual_calls(self, answers: int, in_full: int) -> int:
        """Every pair."""
        return answers * (answers - 1) // 2 * in_full
