"""How biased the judges were, from the verdicts of a run, with 95% intervals.

No gold is needed. Which answer stands first is drawn by a coin, so a judge without position bias names the first one
in half of its verdicts, whatever the answers are; ChatGPT does in .91 of them on FairEval's 66 pairs, GPT-4 in .62
there and in .51 on all 466 human-labelled pairs (recorded judgments of LLMBar, princeton-nlp/LLMBar).

Longer answers are often better ones, so a share of longer winners means nothing alone; it stands beside how often the
pair's winner, by gold or as settled, is the longer one. The rule "the longer wins" is right on .65 of those 466 pairs
and on .18 of LLMBar's adversarial ones. A jury whose share lies above the baseline likes length for its own sake.

Verdicts of one pair are not independent of one another, so intervals come from a cluster bootstrap (Cameron, Gelbach
and Miller 2008, "Bootstrap-based improvements for inference with clustered errors"): whole pairs are drawn with
replacement. All measures are ratios of sums over pairs, or made of such ratios; a replicate is a row of counts, how
often each pair was drawn, and one matrix product gives all sums of all replicates: 1,000 replicates over 10,000 pairs
and four judges take .3 s, after .4 s of counting.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from pipeline.records import Record, Verdict

if TYPE_CHECKING:
    from numpy import float64
    from numpy.random import Generator
    from numpy.typing import NDArray

    Numbers = NDArray[float64]

REPLICATES = 1000
"""Bootstrap samples: the ends of a 95% interval then wander by about a twentieth of its width."""

CELLS = 4_000_000
"""Numbers held at once while resampling: 32 MB."""


class Estimate(Record):
    """A measured number and its 95% interval."""

    value: float
    """As measured."""
    low: float
    """Lower end: the 2.5th percentile of the bootstrap."""
    high: float
    """Upper end: the 97.5th percentile of the bootstrap."""

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Resampled:
    """Sums over clusters: as counted, and of every bootstrap replicate."""

    def __init__(self, names: Mapping[Hashable, int], sums: Numbers) -> None:
        """Args: the column of each name; sums (1 + replicates, columns), the first row as counted."""
        self._names, self._sums = names, sums

    def sums(self, name: Hashable) -> Numbers:
        """The sum of one column in every replicate, shape (1 + replicates,); zeros for a name never counted."""
        return self._sums[:, self._names[name]] if name in self._names else self._sums[:, 0] * 0.0

    def ratio(self, numerator: Hashable, denominator: Hashable) -> Estimate | None:
        """The ratio of two sums; None if the denominator is 0."""
        import numpy as np  # noqa: PLC0415  a command that audits nothing need not wait for it

        with np.errstate(divide="ignore", invalid="ignore"):
            return self.estimate(self.sums(numerator) / self.sums(denominator))

    def estimate(self, values: Numbers) -> Estimate | None:
        """The estimate whose first value is as measured and whose others are replicates; None if undefined."""
        import numpy as np  # noqa: PLC0415  as above

        if not np.isfinite(values[0]):
            return None
        low, high = np.quantile(values[1:][np.isfinite(values[1:])], [0.025, 0.975])
        return Estimate(value=float(values[0]), low=float(low), high=float(high))


class Counts:
    """Numbers counted per cluster under any names, to be resampled by cluster."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._columns: dict[Hashable, dict[int, float]] = {}

    def add(self, cluster: str, name: Hashable, amount: float = 1.0) -> None:
        """Count an amount, 0 included: a cluster exists from its first mention on."""
        row = self._rows.setdefault(cluster, len(self._rows))
        column = self._columns.setdefault(name, {})
        column[row] = column.get(row, 0.0) + amount

    def resample(self, seed: int, replicates: int = REPLICATES) -> Resampled:
        """Sums of all columns, as counted and for clusters drawn with replacement."""
        import numpy as np  # noqa: PLC0415  as above

        table = np.zeros((len(self._rows), max(1, len(self._columns))))
        for place, column in enumerate(self._columns.values()):
            table[list(column), place] = list(column.values())
        draws = _drawn_sums(table, np.random.default_rng(seed), replicates)
        return Resampled({name: place for place, name in enumerate(self._columns)}, np.vstack([table.sum(0), draws]))


def _drawn_sums(table: Numbers, random: Generator, replicates: int) -> Numbers:
    """Column sums (replicates, columns) for rows drawn with replacement, a block of replicates at a time."""
    import numpy as np  # noqa: PLC0415  as above

    size = len(table)
    if size == 0:
        return np.zeros((replicates, table.shape[1]))
    block = max(1, CELLS // size)
    blocks = []
    for start in range(0, replicates, block):
        rows = range(min(block, replicates - start))
        drawn = [np.bincount(random.integers(0, size, size, dtype=np.int32), minlength=size) for _ in rows]
        blocks.append(np.array(drawn, dtype=np.float64) @ table)
    return np.vstack(blocks)


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


class JudgeAudit(Record):
    """How one judge behaved. A measure is None if there was nothing to measure it on."""

    verdicts: int
    """Verdicts of it, unreadable ones included."""
    first_share: Estimate | None
    """Of the verdicts that name an answer, the share that names the one shown first; fair is one half."""
    position_consistency: Estimate | None
    """Of the pairs that it read in both orders, the share on which it said the same of the answers."""
    longer_share: Estimate | None
    """Of the verdicts that name one of two answers of unequal length, the share that names the longer."""
    tie_share: Estimate | None
    """Of the readable verdicts, the share of ties."""
    unreadable_share: Estimate | None
    """Of all verdicts, the share that could not be read."""


class Agreement(Record):
    """How often two judges lean the same way."""

    judges: tuple[str, str]
    """Who."""
    share: Estimate | None
    """Of the pairs on which both lean to one side, over both orders, the share on which it is the same side."""


class Audit(Record):
    """How the judges of a run behaved."""

    pairs: int
    """Clusters that were audited."""
    judges: dict[str, JudgeAudit]
    """Each judge, in order of appearance."""
    longer_wins: Estimate | None
    """The baseline beside `longer_share`: of the pairs with a winner, the share where it is the longer answer."""
    agreements: tuple[Agreement, ...]
    """Every two judges."""
    effective_judges: Estimate | None
    """k judges with a mean correlation r of their votes are worth k / (1 + (k - 1) r) that vote independently (Kish
    1965, design effect). It counts agreement on the truth as dependence too, so it is a floor. On the 466
    human-labelled pairs 1.3 of 4 (by the errors against gold 1.4). None for fewer than two judges."""


def audit(items: Iterable[Item], seed: int = 2026, replicates: int = REPLICATES) -> Audit:
    """What the verdicts say of the judges. The same items and seed give the same intervals."""
    counts, judges, pairs = Counts(), dict[str, int](), set[str]()
    for item in items:
        pairs.add(item.pair)
        _count(item, counts)
        for verdict in item.verdicts:
            judges[verdict.judge] = judges.get(verdict.judge, 0) + 1
    sums = counts.resample(seed, replicates)
    couples = list(combinations(judges, 2))
    return Audit(
        pairs=len(pairs),
        judges={judge: _judge(judge, number, sums) for judge, number in judges.items()},
        longer_wins=sums.ratio("longer wins", "winner"),
        agreements=tuple(
            Agreement(judges=couple, share=sums.ratio(("agree", couple), ("both lean", couple))) for couple in couples
        ),
        effective_judges=_effective(list(judges), sums),
    )


def _judge(judge: str, verdicts: int, sums: Resampled) -> JudgeAudit:
    return JudgeAudit(
        verdicts=verdicts,
        first_share=sums.ratio(("first", judge), ("named", judge)),
        position_consistency=sums.ratio(("consistent", judge), ("both orders", judge)),
        longer_share=sums.ratio(("longer", judge), ("unequal", judge)),
        tie_share=sums.ratio(("tie", judge), ("readable", judge)),
        unreadable_share=sums.ratio(("unreadable", judge), ("verdict", judge)),
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


def _effective(judges: Sequence[str], sums: Resampled) -> Estimate | None:
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


Measure = Literal["first_share", "position_consistency", "longer_share", "tie_share", "unreadable_share"]

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
    }
    return estimates[measure]
