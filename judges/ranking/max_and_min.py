"""A knockout for the best and one for the worst at once; then the two of them in full.

Finding both the maximum and the minimum of k takes 3k/2 - 2 comparisons, rounded up (Pohl 1972, "A sorting problem and
its complexity"): the first round of pairs serves both, then winners meet winners and losers meet losers. Each of these
is one call. Only the final between best and worst is the policy's, both orders and all.

An answer leaves the race for the best only by losing and the race for the worst only by winning. By a tie or a verdict
that cannot be read nobody leaves: the two do not meet again, and each meets others. So a jury of many ties costs more
calls, at most one per pair, and where several stay unbeaten, the one that won most often is taken.

What it costs and how often it is right, in simulation with one fair judge (benchmarks/ranking.py): .37 of the calls
of `round-robin` with five answers and .17 with ten, and its pairs are right as often. It pays in yield (.76 and .89 of
the instructions get a pair, by `round-robin` .99 and all) and in the best answer (it is the chosen one in .60 of the
pairs from ten answers, by `round-robin` in .73). A judge that names the first answer in .91 of its calls sends the
wrong two into the final, and the policy throws most of them out: a yield of .18. The middle of the field stays unknown,
so there is nothing but the worst to reject.

Use it unless you know why not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Literal

from judges.ranking import Results, decided, nothing_won, objection, undecided
from pipeline.records import Standing
from pipeline.registry import Contest, Match, Ranking, register


@register("ranking")
class MaxAndMin(Ranking):
    """Finds the best and the worst answer by single calls and lets the policy settle the two; the worst is rejected."""

    use: Literal["max-and-min"] = "max-and-min"
    """Its name in a recipe."""
    rejected: Literal["worst"] = "worst"
    """Who is rejected: it knows nobody else; `round-robin` and `bradley-terry` offer a choice."""

    def contest(self, answers: Sequence[str], favourite: str | None = None) -> Contest:
        """Rounds of single calls, as many at once as do not depend on one another, then the final."""
        results = Results(answers)
        while calls := list(_round(results, favourite)):
            results.hear((yield calls))
        best = favourite or max(_unbeaten(results), key=lambda answer: len(results.won(answer)))
        losers = [answer for answer in _winless(results, favourite) if answer != best]
        worst = max(losers, key=lambda answer: len(results.lost(answer)))
        if favourite is None and not results.won(best):
            return undecided(results, _standings(results, best, worst), nothing_won(results))
        results.hear((yield [Match(best, worst, in_full=True)]))
        standings = _standings(results, best, worst)
        if favourite is None and (reason := objection(results, best, worst)):
            return undecided(results, standings, reason)
        return decided(results, standings, best, worst)

    def usual_calls(self, answers: int, in_full: int) -> int:
        """3k/2 - 2 and the final."""
        return ceil(3 * answers / 2) - 2 + in_full


def _round(results: Results, favourite: str | None) -> Iterator[Match]:
    """Matches within each race between answers that have not met; nobody plays twice in a round."""
    busy: set[str] = set()
    for race in ([] if favourite else _unbeaten(results), _winless(results, favourite)):
        waiting = [answer for answer in race if answer not in busy]
        while waiting:
            one, *waiting = waiting
            rival = next((other for other in waiting if results.between(one, other) is None), None)
            if rival is not None:
                waiting.remove(rival)
                busy |= {one, rival}
                yield Match(one, rival, in_full=False)


def _unbeaten(results: Results) -> list[str]:
    """Those still in the race for the best."""
    return [answer for answer in results.answers if not results.lost(answer)]


def _winless(results: Results, favourite: str | None) -> list[str]:
    """Those still in the race for the worst."""
    return [answer for answer in results.answers if answer != favourite and not results.won(answer)]


def _standings(results: Results, best: str, worst: str) -> list[Standing]:
    """The best, those between in order of their wins, the worst."""
    between = [answer for answer in results.answers if answer not in (best, worst)]
    between.sort(key=lambda answer: len(results.lost(answer)) - len(results.won(answer)))
    return [results.standing(answer, None) for answer in (best, *between, worst)]
