"""Labels from a jury's agreement, and a guard that says when agreement means nothing.

Dawid and Skene (1979, "Maximum likelihood estimation of observer error-rates using the EM algorithm") take the truth
for what explains the judges' agreement best. That fails when the judges share an error. On LLMBar's 319 adversarial
pairs, where the wrong answer is the prettier one, six judges with a plain prompt reach .50 by majority and .245 by
Dawid-Skene, which concludes that the best judge (right in .81) is right in .40 (recorded judgments of LLMBar,
princeton-nlp/LLMBar, strategy Vanilla).

So gold labels come in twice. First, without them: what agreement alone concludes about each judge must not contradict
what gold says of it, or nothing is inferred at all. Then, with them: they stay fixed while the rest is inferred.
Anchors alone would hide the trouble: with 50 of them the example above comes out anywhere from .31 to .86.

The guard allows a margin beyond gold's 95% interval, because Dawid-Skene takes verdicts for independent that are not,
and so overrates judges even where its labels are good: on 466 human-labelled pairs it puts GPT-4 at .90, gold at .78.
Of 100 samples of 50 gold labels it refuses 100 on the adversarial pairs under plain prompts (Vanilla, Vanilla_NoRules),
1 under Metrics_Reference, where Dawid-Skene is right in .87, and 1 on the human-labelled pairs.

It needs all verdicts at once, and a policy settles one pair at a time, without I/O. So it is inferred when a jury is
calibrated, from the gold pairs and whatever the same judges said of others (a run's own verdicts, say), and what comes
of it is frozen into the calibration file: what each judge's words are worth, or the guard's refusal. The policy
`weighted` goes by it, and so the same verdicts settle a pair alike tonight and in a year.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from judges.evidence import SMOOTHING, Evidence, accuracies, chances
from judges.gold import Trial
from pipeline.errors import UserError
from pipeline.records import Estimate, Record, Said, Verdict

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Numbers = NDArray[float64]

AT_LEAST_GOLD = 20
"""Fewer gold pairs contradict nothing: the interval of an accuracy is then wider than .4."""

MARGIN = 0.1
"""How far an inferred accuracy may lie outside the interval that gold gives it."""

ROUNDS = 300
"""Most rounds of inference; it took at most 120 on the sets named above."""

CLOSE = 1e-6
"""Change of a probability below which a round has changed nothing."""

SURE = 50.0
"""Evidence in nats beyond which a probability is 0 or 1 in double precision."""


class Consensus(Record):
    """What a jury's verdicts amount to."""

    probability_of_x: dict[str, float]
    """For each pair the probability that x is the better answer; 0 or 1 for a gold pair."""
    inferred_accuracy: dict[str, float]
    """For each judge, on the pairs without gold."""
    evidence: dict[str, Evidence]
    """What each judge's words are worth, from all pairs, by what is known or inferred of them."""


def dawid_skene(
    verdicts: Mapping[str, Sequence[Verdict]], gold: Sequence[Trial], margin: float = MARGIN, seed: int = 2026
) -> Consensus:
    """Infer the better answers from the jury's agreement, with gold pairs as anchors.

    Args:
        verdicts: by pair; the verdicts of one pair agree on what x and y are.
        gold: pairs of which the better answer is known, with what the same judges said of them.
        margin: how far an inferred accuracy may lie outside gold's 95% interval, in 0..1.
        seed: draws the intervals.

    Raises:
        UserError: too little gold, a judge without any, or agreement contradicts gold.
    """
    if len(gold) < AT_LEAST_GOLD:
        raise UserError(f"{len(gold)} gold pairs cannot vouch for a jury", remedy=f"Give at least {AT_LEAST_GOLD}")
    anchors = {trial.pair.pair_id: trial for trial in gold}
    everything = {**verdicts, **{pair: tuple(trial.verdicts.values()) for pair, trial in anchors.items()}}
    votes = _Votes(everything)
    _refuse_contradiction(votes.accuracy(votes.infer({})), accuracies(gold, seed), margin)
    known = {pair: float(trial.right == votes.x[pair]) for pair, trial in anchors.items()}
    probability = votes.infer(known)
    return Consensus(
        probability_of_x={pair: float(probability[row]) for row, pair in enumerate(votes.pairs)},
        inferred_accuracy=votes.accuracy(probability, without=known),
        evidence=votes.evidence(probability),
    )


def _refuse_contradiction(inferred: Mapping[str, float], gold: Mapping[str, Estimate], margin: float) -> None:
    """Raises UserError, naming the judge that agreement and gold disagree about most."""
    missing = sorted(set(inferred) - set(gold))
    if missing:
        raise UserError(f"gold says nothing of judge {missing[0]!r}", remedy="Let it judge the gold pairs, too")
    beyond = {judge: max(gold[judge].low - share, share - gold[judge].high) for judge, share in inferred.items()}
    worst = max(beyond, key=lambda judge: beyond[judge])
    if beyond[worst] > margin:
        raise UserError(
            f"the jury's agreement contradicts gold: from agreement alone {worst} would be right in "
            f"{inferred[worst]:.2f} of its verdicts, on gold pairs it is in {gold[worst]}; its judges share an error, "
            "so that labels inferred from agreement would be wrong",
            remedy="Use policy sprt, whose weights come from gold alone, or better judges",
        )


_WORDS: tuple[Said, ...] = ("a", "b", "tie")


class _Votes:
    """All verdicts as arrays: one entry for each that can be read and names an answer, or none of the two."""

    def __init__(self, verdicts: Mapping[str, Sequence[Verdict]]) -> None:
        import numpy as np  # noqa: PLC0415  the registry loads this module with every recipe

        self.pairs = list(verdicts)
        self.x = {pair: said[0].x for pair, said in verdicts.items() if said}
        self.judges = sorted({verdict.judge for said in verdicts.values() for verdict in said})
        judge_number = {judge: number for number, judge in enumerate(self.judges)}
        readable = [(row, v) for row, pair in enumerate(self.pairs) for v in verdicts[pair] if v.said != "unreadable"]
        self.row = np.array([row for row, _ in readable], dtype=np.intp)
        self.judge = np.array([judge_number[v.judge] for _, v in readable], dtype=np.intp)
        self.x_first = np.array([not v.swapped for _, v in readable], dtype=bool)
        self.said = np.array([_WORDS.index(v.said) for _, v in readable], dtype=np.intp)
        self.credit_x = np.array([_credit_x(v) for _, v in readable], dtype=float)

    def infer(self, known: Mapping[str, float]) -> Numbers:
        """For each pair the probability that x is better; starts from the shares of the votes."""
        import numpy as np  # noqa: PLC0415  as above

        size = len(self.pairs)
        fixed = np.array([pair in known for pair in self.pairs])
        truth = np.array([known.get(pair, 0.5) for pair in self.pairs])
        heard = np.bincount(self.row, minlength=size)
        votes = np.bincount(self.row, weights=self.credit_x, minlength=size)
        probability = np.where(fixed, truth, (votes + 0.5) / (heard + 1))
        for _ in range(ROUNDS):
            nats = np.clip(self._nats(probability), -SURE, SURE)
            inferred = np.where(fixed, truth, 1 / (1 + np.exp(-nats)))
            change = float(np.abs(inferred - probability).max(initial=0.0))
            probability = inferred
            if change < CLOSE:
                break
        return probability

    def accuracy(self, probability: Numbers, without: Mapping[str, float] | None = None) -> dict[str, float]:
        """Expected share of right verdicts of each judge, a tie counting one half, on pairs not left out."""
        import numpy as np  # noqa: PLC0415  as above

        counted = np.array([pair not in (without or {}) for pair in self.pairs])[self.row]
        belief = probability[self.row]
        right = belief * self.credit_x + (1 - belief) * (1 - self.credit_x)
        total = np.bincount(self.judge, weights=counted, minlength=len(self.judges))
        shares = np.bincount(self.judge, weights=right * counted, minlength=len(self.judges)) / np.maximum(total, 1)
        return {judge: float(shares[number]) for number, judge in enumerate(self.judges) if total[number]}

    def evidence(self, probability: Numbers) -> dict[str, Evidence]:
        """What the words of each judge are worth, counted by how likely each answer is the better one."""
        found = {}
        for number, judge in enumerate(self.judges):
            counts: dict[tuple[bool, Said], float] = {}
            for entry in (self.judge == number).nonzero()[0]:
                belief = float(probability[self.row[entry]])
                for first_is_better in (True, False):
                    key = (first_is_better, _WORDS[self.said[entry]])
                    share = belief if self.x_first[entry] == first_is_better else 1 - belief
                    counts[key] = counts.get(key, 0.0) + share
            found[judge] = Evidence(first=chances(counts, True), second=chances(counts, False))
        return found

    def _nats(self, probability: Numbers) -> Numbers:
        """Evidence for x in each pair, from what each judge says depending on where the better answer stands."""
        import numpy as np  # noqa: PLC0415  as above

        first_is_better = np.where(self.x_first, probability[self.row], 1 - probability[self.row])
        shape, cell = (len(self.judges), 3), self.judge * 3 + self.said
        cells = math.prod(shape)
        first = np.bincount(cell, weights=first_is_better, minlength=cells).reshape(shape) + SMOOTHING
        second = np.bincount(cell, weights=1 - first_is_better, minlength=cells).reshape(shape) + SMOOTHING
        ratio = np.log(first / first.sum(1, keepdims=True)) - np.log(second / second.sum(1, keepdims=True))
        for_x = np.where(self.x_first, 1.0, -1.0) * ratio[self.judge, self.said]
        return np.bincount(self.row, weights=for_x, minlength=len(self.pairs)).astype(np.float64)


def _credit_x(verdict: Verdict) -> float:
    return 0.5 if verdict.winner is None else float(verdict.winner == verdict.x)
