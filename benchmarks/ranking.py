"""What rankings of several answers cost and how often they are right, in simulation: `python benchmarks/ranking.py`.

No model is called. Answers have strengths drawn from a normal distribution; a judge names the better of two by Bradley
and Terry's model, with a liking for the answer that stands first, and calls close ones a tie. The real stage code draws
the orders, the real policies and rankings decide. Right is a pair whose chosen answer is truly better than the rejected
one; the best is found if the chosen one is the truly best. Ratios are what counts: the judge is made up, and its
accuracy with it. Exits 1 if something that is promised does not hold.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, pstdev
from typing import Any, Literal, NamedTuple

from pydantic import PrivateAttr

from judges.by_model import verdict
from judges.policy.both_orders import BothOrders
from judges.ranking.bradley_terry import BradleyTerry
from judges.ranking.max_and_min import MaxAndMin
from judges.ranking.round_robin import RoundRobin
from pipeline.identity import coin, fraction
from pipeline.recipe import JudgeSettings
from pipeline.records import (
    Answer,
    Ask,
    Candidates,
    Chunk,
    Preference,
    PromptRef,
    Reply,
    Request,
    Said,
    Showing,
    Verdict,
)
from pipeline.registry import Judge, Policy, Ranking
from pipeline.stages.judge import follows, in_turn, judge

QUESTIONS = 200
SPREAD = 1.5
"""Standard deviation of the answers' log-strengths: two of them then differ by odds of 5 to 1 on average."""
TIES = 0.25
"""Log-odds below which a judge sees no difference."""
LIKINGS = {"none": 0.0, "like GPT-4's, the first in .62": 0.8, "like ChatGPT's, the first in .91": 4.0}
"""How much a judge likes the first place, in log-odds: about the first-answer shares recorded on FairEval."""
RANKINGS: dict[str, Ranking] = {
    "max-and-min": MaxAndMin(),
    "bradley-terry": BradleyTerry(),
    "round-robin": RoundRobin(),
}


class Simulated(Judge):
    """A judge whose liking for the first place and whose noise are known."""

    use: Literal["simulated"] = "simulated"
    """Its name."""
    liking: float
    """For the first place, in log-odds."""
    _strengths: dict[str, float] = PrivateAttr(default_factory=dict)
    _seed: int = PrivateAttr(default=0)

    @property
    def label(self) -> str:
        """Its name."""
        return self.use

    async def __call__(self, showing: Showing, ask: Ask) -> Verdict:  # noqa: ARG002  it asks nobody
        """A draw from the model; the same for the same showing."""
        odds = self._strengths[showing.a] - self._strengths[showing.b] + self.liking
        chance = fraction("verdict", self._seed, showing.a, showing.b)
        heard = odds + math.log(max(chance, 1e-12) / (1 - chance))
        said: Said = "tie" if abs(heard) < TIES else "a" if heard > 0 else "b"
        return verdict(self, showing, said)


class Row(NamedTuple):
    """What a ranking came to over all questions."""

    calls: float
    """Per question."""
    per_pair: float
    """Calls per decided pair."""
    yielded: float
    """Share of questions with a pair."""
    right: float
    """Share of the pairs whose chosen answer is truly better."""
    best: float
    """Share of the pairs whose chosen answer is truly the best."""
    gap: float
    """Mean difference of true log-strength between chosen and rejected."""


class Promises:
    """Prints whether each holds, and remembers."""

    def __init__(self) -> None:
        self.broken = 0

    def holds(self, what: str, good: bool) -> None:
        """One line."""
        self.broken += not good
        print(f"  {'holds' if good else 'DOES NOT HOLD'}: {what}")


def main() -> None:
    """Print every table; exit 1 if a promise is broken."""
    promises = Promises()
    for liking in LIKINGS:
        _rankings(liking, promises)
    _whom_to_reject()
    _always_first(promises)
    _circle(promises)
    _turns(promises)
    sys.exit(1 if promises.broken else 0)


def _rankings(liking: str, promises: Promises) -> None:
    print(f"\n{QUESTIONS} questions, one judge, policy both-orders; liking for a place: {liking}")
    print("   k  ranking         calls  per pair  yield  right   best    gap   calls and right, of round-robin's")
    for number in (3, 5, 10):
        rows = {name: _row(number, LIKINGS[liking], BothOrders(), ranking) for name, ranking in RANKINGS.items()}
        yardstick = rows["round-robin"]
        for name, row in rows.items():
            cost = f"{row.calls:6.1f}  {row.per_pair:8.1f}  {row.yielded:5.2f}"
            ratio = f"{row.calls / yardstick.calls:5.2f}  {row.right / yardstick.right:5.3f}"
            print(f"  {number:2}  {name:14} {cost}  {row.right:5.3f}  {row.best:5.3f}  {row.gap:5.2f}   {ratio}")
        calls = rows["max-and-min"].calls / yardstick.calls
        most = {3: 0.9, 5: 0.5, 10: 0.2}[number]
        promises.holds(f"max-and-min takes {calls:.2f} of round-robin's calls, at most {most}", calls <= most)
        if LIKINGS[liking] > 1:
            continue  # few pairs are decided at all
        right = rows["max-and-min"].right / yardstick.right
        promises.holds(f"and its pairs are right {right:.3f} times as often, at least .97", right >= 0.97)


def _row(number: int, liking: float, policy: Policy, ranking: Ranking) -> Row:
    found = asyncio.run(_outcomes(number, liking, policy, ranking))
    pairs = [item for item in found if item.preference.decided]
    gaps = [item.gap for item in pairs]
    calls = sum(len(item.preference.verdicts) for item in found)
    return Row(
        calls=calls / len(found),
        per_pair=calls / max(1, len(pairs)),
        yielded=len(pairs) / len(found),
        right=fmean(gap > 0 for gap in gaps) if gaps else math.nan,
        best=fmean(item.is_best for item in pairs) if gaps else math.nan,
        gap=fmean(gaps) if gaps else math.nan,
    )


class _Outcome(NamedTuple):
    preference: Preference
    strengths: dict[str, float]

    @property
    def gap(self) -> float:
        return self.strengths[self.preference.chosen_answer.text] - self.strengths[self.preference.rejected_answer.text]

    @property
    def is_best(self) -> bool:
        return self.strengths[self.preference.chosen_answer.text] == max(self.strengths.values())


async def _outcomes(number: int, liking: float, policy: Policy, ranking: Ranking) -> list[_Outcome]:
    draw = random.Random(number)
    outcomes = []
    for question in range(QUESTIONS):
        strengths = {f"answer {question}.{place}": draw.gauss(0, SPREAD) for place in range(number)}
        simulated = Simulated(liking=liking)
        simulated._strengths, simulated._seed = strengths, question
        candidates = _candidates(f"Question {question}?", list(strengths))
        result = await judge(candidates, _settings(simulated, policy, ranking), 2026, _nobody)
        outcomes.append(_Outcome(result.preference, strengths))
    return outcomes


def _settings(simulated: Judge, policy: Policy, ranking: Ranking) -> JudgeSettings:
    JudgeSettings.model_rebuild(force=False)
    made = JudgeSettings(label="extracted")
    update: dict[str, Any] = {"label": "judge", "jury": (simulated,), "policy": policy, "rank": ranking}
    return made.model_copy(update=update)


def _candidates(instruction: str, texts: Sequence[str]) -> Candidates:
    return Candidates(
        instruction=instruction,
        answers=tuple(Answer(text=text, origin="generated") for text in texts),
        source=Chunk(article_id="0" * 16, start=0, end=1, text=".", sentences=()),
        prompt=PromptRef(name="none", version="0" * 16),
        requests=(),
    )


async def _nobody(request: Request) -> Reply:
    raise NotImplementedError(request)


def _whom_to_reject() -> None:
    print(f"\nWhom to reject: {QUESTIONS} questions of ten answers, a fair judge, policy both-orders")
    print("  ranking        rejected               calls  yield  right    gap")
    for rule in ("worst", "near-mu-2sigma", "closest-clear-loser"):
        for name, ranking in (
            ("bradley-terry", BradleyTerry(rejected=rule)),
            ("round-robin", RoundRobin(rejected=rule)),
        ):
            row = _row(10, 0.0, BothOrders(), ranking)
            print(f"  {name:14} {rule:20} {row.calls:7.1f}  {row.yielded:5.2f}  {row.right:5.3f}  {row.gap:5.2f}")


def _always_first(promises: Promises) -> None:
    print("\nA judge that always names the first answer")
    for name, ranking in RANKINGS.items():
        row = _row(5, 1e6, BothOrders(), ranking)
        promises.holds(f"{name}: settles {row.yielded * QUESTIONS:.0f} of {QUESTIONS} questions, 0", row.yielded == 0)


def _circle(promises: Promises) -> None:
    print("\nHow often an answer of ten stands first in a round of single calls: standard deviation")
    coins: list[int] = []
    circle: list[int] = []
    for question in range(QUESTIONS):
        ids = [f"{question}.{place}" for place in range(10)]
        seats = sorted(ids, key=lambda answer: fraction("seat", answer))
        firsts = {"coin": dict.fromkeys(ids, 0), "circle": dict.fromkeys(ids, 0)}
        for one, other in combinations(ids, 2):
            tie = coin("pair", one, other)
            firsts["coin"][other if tie else one] += 1
            firsts["circle"][other if follows(one, other, seats, tie=tie) else one] += 1
        coins.extend(firsts["coin"].values())
        circle.extend(firsts["circle"].values())
    print(f"  by a coin per pair {pstdev(coins):.2f}, in a circle {pstdev(circle):.2f}")
    promises.holds("in a circle at most .5", pstdev(circle) <= 0.5)


def _turns(promises: Promises) -> None:
    print("\nShare of 2,000 pairs, five a chunk, that show the author's words first: standard deviation over 200 seeds")
    coins, turns = [], []
    for seed in range(200):
        pairs = [(chunk, place) for chunk in range(400) for place in range(5)]
        coins.append(fmean(coin(seed, chunk, place) for chunk, place in pairs))
        turns.append(fmean(in_turn(seed, str(chunk), place) for chunk, place in pairs))
    print(f"  by a coin per pair {100 * pstdev(coins):.2f} points, in turn {100 * pstdev(turns):.2f}")
    promises.holds("in turn at most .6 points", pstdev(turns) <= 0.006)


if __name__ == "__main__":
    main()
