"""How biased the judges were, from the verdicts of a run, with 95% intervals.

No gold is needed. Which answer stands first is drawn by a coin, so a judge without position bias names the first one
in half of its verdicts, whatever the answers are; ChatGPT does in .91 of them on FairEval's 66 pairs, GPT-4 in .62
there and in .51 on all 466 human-labelled pairs (recorded judgments of LLMBar, princeton-nlp/LLMBar).

Longer answers are often better ones, so a share of longer winners means nothing alone; it stands beside how often the
pair's winner, by gold or as settled, is the longer one. The rule "the longer wins" is right on .65 of those 466 pairs
and on .18 of LLMBar's adversarial ones. A jury whose share lies above the baseline likes length for its own sake.

Whether a judge prefers its own family's answers needs somebody to compare it with, since a family's answers may be the
better ones: gold, or else the other judges of the same pair.

Verdicts of one pair are not independent of one another, so intervals come from a cluster bootstrap (Cameron, Gelbach
and Miller 2008, "Bootstrap-based improvements for inference with clustered errors"), in its Poisson form (Chamandy et
al. 2012, "Estimating uncertainty for massive data streams"): every pair counts in every replicate as often as a
Poisson variable of mean 1 says, drawn from the pair's own name. All measures are ratios of sums over pairs, or made of
such ratios, so verdicts are added up as they come, in any order, and memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from pipeline.identity import digest
from pipeline.records import Agreement, Audit, Estimate, JudgeAudit, Record, Verdict

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Numbers = NDArray[float64]

TENTHS = 10
"""Bars of the histogram of strengths."""

REPLICATES = 1000
"""Bootstrap samples: the ends of a 95% interval then wander by about a twentieth of its width."""


class Counts:
    """Numbers counted per cluster under any names: their sums as counted, and in every replicate."""

    def __init__(self, seed: int, replicates: int = REPLICATES) -> None:
        """Args: what the replicates are drawn from; how many there are."""
        self._seed, self._replicates = seed, replicates
        self._sums: dict[Hashable, Numbers] = {}
        self._weights = lru_cache(maxsize=256)(self._draw)  # a pair's numbers mostly come one after another

    def add(self, cluster: str, name: Hashable, amount: float = 1.0) -> None:
        """Count an amount for a cluster; 0 makes the name known."""
        if name not in self._sums:
            self._sums[name] = self.sums(name)
        self._sums[name] += amount * self._weights(cluster)

    def sums(self, name: Hashable) -> Numbers:
        """The sum under a name, shape (1 + replicates,), the first as counted; zeros for a name never counted."""
        import numpy as np  # noqa: PLC0415  a command that audits nothing need not wait for it

        return self._sums[name] if name in self._sums else np.zeros(1 + self._replicates)

    def ratio(self, numerator: Hashable, denominator: Hashable) -> Estimate | None:
        """The ratio of two sums; None if the denominator is 0."""
        import numpy as np  # noqa: PLC0415  as above

        with np.errstate(divide="ignore", invalid="ignore"):
            return self.estimate(self.sums(numerator) / self.sums(denominator))

    def estimate(self, values: Numbers) -> Estimate | None:
        """The estimate whose first value is as measured and whose others are replicates; None if undefined."""
        import numpy as np  # noqa: PLC0415  as above

        if not np.isfinite(values[0]):
            return None
        low, high = np.quantile(values[1:][np.isfinite(values[1:])], [0.025, 0.975])
        return Estimate(value=float(values[0]), low=float(low), high=float(high))

    def _draw(self, cluster: str) -> Numbers:
        """How often a cluster counts: once as counted, and in each replicate a Poisson number of times."""
        import numpy as np  # noqa: PLC0415  as above

        random = np.random.Generator(np.random.PCG64(int(digest("cluster", [self._seed, cluster]), 16)))
        return np.concatenate(([1.0], random.poisson(1.0, self._replicates)))


@dataclass(frozen=True)
class Item:
    """What is audited of one pair."""

    pair: str
    """Its cluster: the pair's id, or its instruction's where several pairs share one."""
    verdicts: Sequence[Verdict]
    """Every verdict on it, readable or not."""
    lengths: Mapping[str, int]
    """Characters of each answer, by the answer's id."""
    winner: str | None = None
    """Id of the better answer, by gold or as settled; None if nobody knows."""
    gold: str | None = None
    """Id of the better answer if somebody who is no judge said so."""
    strength: float | None = None
    """How strongly the pair was decided, in 0..1; None if it was not, or without votes."""


def audit(items: Iterable[Item], seed: int = 2026, replicates: int = REPLICATES) -> Audit:
    """What the verdicts say of the judges. The same items and seed give the same intervals."""
    sums, judges, pairs, strengths = Counts(seed, replicates), dict[str, int](), 0, [0] * TENTHS
    for item in items:
        pairs += 1
        _count(item, sums)
        if item.strength is not None:
            strengths[min(int(item.strength * TENTHS), TENTHS - 1)] += 1
            sums.add(item.pair, "decided")
            sums.add(item.pair, "strength", item.strength)
        for verdict in item.verdicts:
            judges[verdict.judge] = judges.get(verdict.judge, 0) + 1
    couples = list(combinations(judges, 2))
    return Audit(
        pairs=pairs,
        judges={judge: _judge(judge, number, sums) for judge, number in judges.items()},
        longer_wins=sums.ratio("longer wins", "winner"),
        strengths=tuple(strengths),
        mean_strength=sums.ratio("strength", "decided"),
        agreements=tuple(
            Agreement(judges=couple, share=sums.ratio(("agree", couple), ("both lean", couple))) for couple in couples
        ),
        effective_judges=_effective(list(judges), sums),
    )


def _judge(judge: str, verdicts: int, sums: Counts) -> JudgeAudit:
    return JudgeAudit(
        verdicts=verdicts,
        first_share=sums.ratio(("first", judge), ("named", judge)),
        position_consistency=sums.ratio(("consistent", judge), ("both orders", judge)),
        longer_share=sums.ratio(("longer", judge), ("unequal", judge)),
        tie_share=sums.ratio(("tie", judge), ("readable", judge)),
        unreadable_share=sums.ratio(("unreadable", judge), ("verdict", judge)),
        self_votes=round(float(sums.sums(("self", judge))[0])),
        self_preference=sums.ratio(("prefers its own", judge), ("may prefer its own", judge)),
    )


def _count(item: Item, counts: Counts) -> None:
    longer = _longer(item.lengths)
    if longer and item.winner:
        counts.add(item.pair, "winner")
        counts.add(item.pair, "longer wins", item.winner == longer)
    by_judge: dict[str, list[Verdict]] = {}
    for verdict in item.verdicts:
        by_judge.setdefault(verdict.judge, []).append(verdict)
    for judge, verdicts in by_judge.items():
        _count_verdicts(item.pair, judge, verdicts, longer, counts)
        _count_consistency(item.pair, judge, verdicts, counts)
        _count_self_preference(item, judge, verdicts, counts)
    _count_agreement(item.pair, {judge: _leaning(verdicts) for judge, verdicts in by_judge.items()}, counts)


def _count_verdicts(pair: str, judge: str, verdicts: Sequence[Verdict], longer: str | None, counts: Counts) -> None:
    for verdict in verdicts:
        counts.add(pair, ("verdict", judge))
        if verdict.said == "unreadable":
            counts.add(pair, ("unreadable", judge))
            continue
        counts.add(pair, ("readable", judge))
        if verdict.said == "tie":
            counts.add(pair, ("tie", judge))
            continue
        counts.add(pair, ("named", judge))
        counts.add(pair, ("first", judge), verdict.said == "a")
        if longer:
            counts.add(pair, ("unequal", judge))
            counts.add(pair, ("longer", judge), verdict.winner == longer)


def _count_consistency(pair: str, judge: str, verdicts: Sequence[Verdict], counts: Counts) -> None:
    readable = [verdict for verdict in verdicts if verdict.said != "unreadable"]
    if len({verdict.swapped for verdict in readable}) > 1:
        counts.add(pair, ("both orders", judge))
        counts.add(pair, ("consistent", judge), len({verdict.winner for verdict in readable}) == 1)


def _count_self_preference(item: Item, judge: str, verdicts: Sequence[Verdict], counts: Counts) -> None:
    """How much more of its verdicts than of the others' are for its own family's answer, in one pair."""
    own = next((verdict.own for verdict in verdicts if verdict.own), ())  # a verdict that never came does not know
    if len(own) != 1:
        return
    counts.add(item.pair, ("self", judge), sum(verdict.self_vote for verdict in verdicts))
    others = [v for v in item.verdicts if v.judge != judge and v.own != own and v.model]  # a rule is no witness
    fair = float(item.gold == own[0]) if item.gold else _share(own[0], others)
    mine = _share(own[0], verdicts)
    if mine is not None and fair is not None:
        counts.add(item.pair, ("may prefer its own", judge))
        counts.add(item.pair, ("prefers its own", judge), mine - fair)


def _share(answer: str, verdicts: Sequence[Verdict]) -> float | None:
    """Share of the readable verdicts for an answer, a tie counting one half; None without any."""
    winners = [verdict.winner for verdict in verdicts if verdict.said != "unreadable"]
    return sum(0.5 if winner is None else winner == answer for winner in winners) / len(winners) if winners else None


def _leaning(verdicts: Sequence[Verdict]) -> float | None:
    """From 1, x every time, to -1, y every time; None without a readable verdict."""
    winners = [verdict.winner for verdict in verdicts if verdict.said != "unreadable"]
    if not winners:
        return None
    return (winners.count(verdicts[0].x) - winners.count(verdicts[0].y)) / len(winners)


def _count_agreement(pair: str, leanings: Mapping[str, float | None], counts: Counts) -> None:
    """The judges' sums of squares and products; which answer is x means nothing, so votes are not centred."""
    spoke = {judge: leaning for judge, leaning in leanings.items() if leaning is not None}
    for (one, left), (other, right) in combinations(spoke.items(), 2):
        couple = (one, other)
        counts.add(pair, ("product", frozenset(couple)), left * right)
        counts.add(pair, ("square", one, other), left * left)
        counts.add(pair, ("square", other, one), right * right)
        if left and right:
            for order in (couple, (other, one)):
                counts.add(pair, ("both lean", order))
                counts.add(pair, ("agree", order), left * right > 0)


def _effective(judges: Sequence[str], sums: Counts) -> Estimate | None:
    """Judges that never met on a pair count as independent: policies that stop early let few of them meet."""
    import numpy as np  # noqa: PLC0415  as above

    if len(judges) < 2:  # noqa: PLR2004  it takes two to agree
        return None
    total = sums.sums("no such column")
    couples = list(combinations(judges, 2))
    for one, other in couples:
        squares = sums.sums(("square", one, other)) * sums.sums(("square", other, one))
        product = sums.sums(("product", frozenset((one, other))))
        total = total + np.divide(product, np.sqrt(squares), out=np.zeros_like(product), where=squares > 0)
    correlation = np.clip(total / len(couples), 0.0, 1.0)
    return sums.estimate(len(judges) / (1 + (len(judges) - 1) * correlation))


def _longer(lengths: Mapping[str, int]) -> str | None:
    """Id of the longer answer; None if all are of one length."""
    if len(set(lengths.values())) < 2:  # noqa: PLR2004  two different lengths
        return None
    return max(lengths, key=lambda answer: lengths[answer])


Measure = Literal[
    "first_share", "position_consistency", "longer_share", "tie_share", "unreadable_share", "self_preference"
]

Bounds = Mapping[Measure, tuple[float, float]]
"""Lowest and highest value of a measure that is no cause for alarm, both included."""

USUAL: Bounds = {"first_share": (0.35, 0.65)}
"""GPT-4 lies inside on every set that was replayed; ChatGPT, PaLM2 and LLaMA2 lie outside on FairEval."""


class Alarm(Record):
    """A measure of a judge that is out of bounds beyond doubt."""

    judge: str
    """Who."""
    measure: Measure
    """What."""
    estimate: Estimate
    """How much of it."""
    at_least: float
    """Lower bound."""
    at_most: float
    """Upper bound."""

    def __str__(self) -> str:
        return f"{self.judge}: {self.measure} is {self.estimate}, outside {self.at_least:g} to {self.at_most:g}"


def alarms(audited: Audit, bounds: Bounds = USUAL) -> tuple[Alarm, ...]:
    """Every measure whose whole interval lies outside its bounds: too few verdicts raise no alarm."""
    found = []
    for judge, measured in audited.judges.items():
        for measure, (low, high) in bounds.items():
            estimate = _measure(measured, measure)
            if estimate and (estimate.high < low or estimate.low > high):
                found.append(Alarm(judge=judge, measure=measure, estimate=estimate, at_least=low, at_most=high))
    return tuple(found)


def _measure(measured: JudgeAudit, measure: Measure) -> Estimate | None:
    estimates: dict[Measure, Estimate | None] = {
        "first_share": measured.first_share,
        "position_consistency": measured.position_consistency,
        "longer_share": measured.longer_share,
        "tie_share": measured.tie_share,
        "unreadable_share": measured.unreadable_share,
        "self_preference": measured.self_preference,
    }
    return estimates[measure]
