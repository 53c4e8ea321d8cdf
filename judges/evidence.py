"""What a judge's words are worth, learnt from gold pairs.

A verdict's evidence is how much more often the judge says this when the first answer is the better one than when the
second is, as a log-likelihood ratio (Wald 1945, "Sequential tests of statistical hypotheses"). A judge that always says
"the first one" says so in both cases: its verdict is worth log 1 = 0. One that prefers the first answer but not always
has weak words for the first and strong ones for the second. One that is wrong more often than right has negative
evidence, which is evidence.

Where the engine tells how sure a judge was, that tells more: how much more often it is so sure when it is right than
when it is wrong. The bins are of equal size on the judge's own gold verdicts, since one model's .9 is another's .999,
and common to both words: six numbers for each would be too many for fifty labels. Counts are smoothed by one imagined
verdict of each kind (Laplace), those of bins by three that are spread as all are, so that a bin that nothing is known
of adds nothing. On simulated judges, who know how sure they are, it brings `sprt` 3 points of precision for one call
more per decided pair (benchmarks/judging.py; no recording at hand has probabilities).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from pydantic import Field

from judges.audit import Counts
from judges.gold import Trial
from pipeline.errors import UserError
from pipeline.records import Estimate, Record, Said, Verdict

SMOOTHING = 1.0
"""Imagined verdicts of each kind, for each judge and place of the better answer."""

BINS = 3
"""Most bins by how sure a judge was."""

AT_LEAST_IN_BIN = 10
"""Verdicts on gold pairs that a bin needs."""


class Chances(Record):
    """How often a judge says what, of the verdicts that can be read. They add up to 1."""

    a: float = Field(gt=0, lt=1)
    """The answer shown first."""
    b: float = Field(gt=0, lt=1)
    """The answer shown second."""
    tie: float = Field(gt=0, lt=1)
    """Neither."""


class Bin(Record):
    """How often a judge is so sure of what it says, of its verdicts that name an answer."""

    at_least: float
    """Margin from which a verdict belongs here, up to the next bin's: twice the probability of the answer that it names
    less 1. The first bin has -1."""
    right: float = Field(gt=0, lt=1)
    """Share of its right verdicts."""
    wrong: float = Field(gt=0, lt=1)
    """Share of its wrong verdicts."""

    @property
    def nats(self) -> float:
        """The log-likelihood ratio for the answer that is named, on top of what the word itself is worth."""
        return math.log(self.right / self.wrong)


class Evidence(Record):
    """What a judge's words are worth, by where the better answer stood."""

    first: Chances
    """What it says when the better answer stands first."""
    second: Chances
    """What it says when the better answer stands second."""
    bins: tuple[Bin, ...] = ()
    """The same by how sure it is, least first; none if the engine did not tell, or told too few."""

    @cached_property
    def nats(self) -> dict[Said, float]:
        """For each verdict the log-likelihood ratio that the answer shown first is better; 0 for an unreadable one."""
        return {
            "a": math.log(self.first.a / self.second.a),
            "b": math.log(self.first.b / self.second.b),
            "tie": math.log(self.first.tie / self.second.tie),
            "unreadable": 0.0,
        }

    def of(self, verdict: Verdict) -> float:
        """The log-likelihood ratio that the answer shown first is better, by how sure the judge was if that is told."""
        nats, margin = self.nats[verdict.said], margin_of(verdict)
        if margin is None or not self.bins:
            return nats
        inside = next(bin_ for bin_ in reversed(self.bins) if margin >= bin_.at_least)
        return nats + inside.nats if verdict.said == "a" else nats - inside.nats

    @cached_property
    def bounds(self) -> Span:
        """The most that one verdict can tell for the second answer, and for the first."""
        more = [0.0, *(bin_.nats for bin_ in self.bins)]
        told = [self.nats["tie"], *(self.nats["a"] + nats for nats in more), *(self.nats["b"] - nats for nats in more)]
        return Span(min(0.0, *told), max(0.0, *told))

    @cached_property
    def bits(self) -> float:
        """What one verdict is expected to tell of a pair about which nothing is known, in 0..1 bits."""
        sure = [(bin_.right, bin_.wrong) for bin_ in self.bins] or [(1.0, 1.0)]
        words = [(self.first.a * right, self.second.a * wrong) for right, wrong in sure]
        words += [(self.first.b * wrong, self.second.b * right) for right, wrong in sure]
        return math.fsum(
            chance / 2 * math.log2(2 * chance / (chance + other))
            for here, there in (*words, (self.first.tie, self.second.tie))
            for chance, other in ((here, there), (there, here))
        )


class Span(NamedTuple):
    """The ends of what one verdict can tell, in nats."""

    for_second: float
    for_first: float


def margin_of(verdict: Verdict) -> float | None:
    """Twice the probability of the answer that a verdict names, less 1; None if it names none or nobody told."""
    if verdict.probability is None or verdict.winner is None:
        return None
    return 2 * (verdict.probability if verdict.said == "a" else 1 - verdict.probability) - 1


def weights(trials: Iterable[Trial]) -> dict[str, float]:
    """Log-odds of each judge's accuracy, smoothed, the strongest judge first; ties of rank in the jury's order."""
    right: dict[str, float] = {}
    wrong: dict[str, float] = {}
    for trial in trials:
        for call, verdict in trial.verdicts.items():
            share = credit(verdict, trial.right)
            right[call.judge] = right.get(call.judge, SMOOTHING) + (share or 0.0)
            wrong[call.judge] = wrong.get(call.judge, SMOOTHING) + (0.0 if share is None else 1 - share)
    ranked = sorted(right, key=lambda judge: -right[judge] / wrong[judge])
    return {judge: math.log(right[judge] / wrong[judge]) for judge in ranked}


def evidence(trials: Iterable[Trial]) -> dict[str, Evidence]:
    """What each judge's words are worth, from smoothed counts."""
    heard: dict[str, list[_Heard]] = {}
    for trial in trials:
        for call, verdict in trial.verdicts.items():
            first_is_better = _first(verdict) == trial.right
            heard.setdefault(call.judge, []).append(_Heard(first_is_better, verdict.said, margin_of(verdict)))
    return {judge: _evidence(mine) for judge, mine in heard.items()}


class _Heard(NamedTuple):
    """As much of a verdict on a gold pair as its evidence depends on."""

    first_is_better: bool
    said: Said
    margin: float | None

    @property
    def right(self) -> bool:
        """Whether it names the better answer."""
        return self.said == ("a" if self.first_is_better else "b")


def _evidence(heard: Sequence[_Heard]) -> Evidence:
    counts = Counter((one.first_is_better, one.said) for one in heard)
    named = [one for one in heard if one.said in ("a", "b")]
    return Evidence(first=chances(counts, True), second=chances(counts, False), bins=_bins(named))


def chances(counts: Mapping[tuple[bool, Said], float], first_is_better: bool) -> Chances:
    """Smoothed shares of what was said where the better answer stood first, or second."""
    a, b, tie = (counts.get((first_is_better, said), 0.0) + SMOOTHING for said in _READABLE)
    total = a + b + tie
    return Chances(a=a / total, b=b / total, tie=tie / total)


def _bins(named: Sequence[_Heard]) -> tuple[Bin, ...]:
    """Bins of equal size, as many as there are verdicts for; none if one is without a margin, or all are alike."""
    margins = sorted(one.margin for one in named if one.margin is not None)
    number = min(BINS, len(margins) // AT_LEAST_IN_BIN)
    edges = {margins[len(margins) * part // number] for part in range(1, number)} - set(margins[:1])
    if not edges or len(margins) < len(named):
        return ()
    starts = [-1.0, *sorted(edges)]
    inside = [
        [one.right for one in named if one.margin is not None and start <= one.margin < end]
        for start, end in zip(starts, [*starts[1:], math.inf], strict=True)
    ]
    return tuple(
        Bin(at_least=start, right=_share(rights, True, inside), wrong=_share(rights, False, inside))
        for start, rights in zip(starts, inside, strict=True)
    )


def _share(rights: Sequence[bool], right: bool, inside: Sequence[Sequence[bool]]) -> float:
    """Of the right verdicts, or of the wrong ones, the share in this bin; imagined ones are spread as all are."""
    imagined = SMOOTHING * BINS
    everybody = [one for bin_ in inside for one in bin_]
    return (rights.count(right) + imagined * len(rights) / len(everybody)) / (everybody.count(right) + imagined)


_READABLE: tuple[Said, ...] = ("a", "b", "tie")


def _first(verdict: Verdict) -> str:
    """Id of the answer that stood first."""
    return verdict.y if verdict.swapped else verdict.x


def credit(verdict: Verdict, right: str) -> float | None:
    """1 for the better answer, 0 for the other, one half for a tie; None if it could not be read."""
    if verdict.said == "unreadable":
        return None
    return 0.5 if verdict.winner is None else float(verdict.winner == right)


def accuracies(trials: Sequence[Trial], seed: int) -> dict[str, Estimate]:
    """By judge, the most accurate first.

    Raises:
        UserError: nothing that a judge said could be read.
    """
    counts = Counts(seed)
    for trial in trials:
        for call, verdict in trial.verdicts.items():
            share = credit(verdict, trial.right)
            if share is not None:
                counts.add(trial.pair.pair_id, ("right", call.judge), share)
                counts.add(trial.pair.pair_id, ("readable", call.judge))
    found: dict[str, Estimate] = {}
    for judge in weights(trials):
        estimate = counts.ratio(("right", judge), ("readable", judge))
        if estimate is None:
            raise UserError(f"nothing that {judge} said of the gold pairs could be read", remedy="Leave it out")
        found[judge] = estimate
    return found
