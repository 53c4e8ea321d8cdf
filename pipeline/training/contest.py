"""Win rate of the trained model against its reference: judges see both answers, each in both orders.

A judge that contradicts itself when the order changes counts one half. Longer answers win more often whatever they
say, so the rate at equal length stands beside it: a logistic model of the score by the difference of lengths (the
method of length-controlled AlpacaEval, Dubois et al. 2024, arXiv:2404.04475, here with one model pair and no
difficulty terms), read off where both are equally long. Intervals are by bootstrap over prompts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from judges.hearing import heard
from pipeline.identity import coin
from pipeline.records import Answer, Ask, Showing, Verdict
from pipeline.registry import Judge
from pipeline.training.data import Pair
from pipeline.training.measures import Estimated
from pipeline.training.words import words

DRAWS = 1_000
"""Bootstrap samples."""

RIDGE = 0.1
"""Pull of the length's weight towards 0, so that a few prompts that all agree do not send it to infinity."""


class Bout(NamedTuple):
    """What the judges made of one prompt."""

    score: float
    """1: the trained model won in every showing; 0: it lost in every one."""
    longer: float
    """Words of the trained model's answer less words of the reference's."""


async def contest(
    asked: Sequence[Pair],
    before: Sequence[str],
    after: Sequence[str],
    *,
    jury: Sequence[Judge],
    seed: int,
    ask: Ask,
) -> Estimated | None:
    """The win rate of `after` against `before` on the same prompts; None if nothing could be read.

    Args:
        asked: the prompts.
        before: the reference's answers, in order.
        after: the trained model's answers, in order.
        jury: the judges.
        seed: which answer stands first.
        ask: who answers the judges' requests.
    """
    pairs = [
        (pair, old, new) for pair, old, new in zip(asked, before, after, strict=True) if old.strip() and new.strip()
    ]
    polled = await asyncio.gather(*(_poll(*bout, jury=jury, seed=seed, ask=ask) for bout in pairs))
    bouts = [bout for bout, _ in polled if bout is not None]
    verdicts = [verdict for _, row in polled for verdict in row]
    if not bouts:
        return None
    return estimate(bouts, sum(verdict.said == "unreadable" for verdict in verdicts) / max(1, len(verdicts)))


async def _poll(
    pair: Pair, old: str, new: str, *, jury: Sequence[Judge], seed: int, ask: Ask
) -> tuple[Bout | None, list[Verdict]]:
    x, y = Answer(text=new, origin="generated"), Answer(text=old, origin="given")
    if new == old:
        return Bout(0.5, 0.0), []
    first = coin(seed, "contest", pair.id)
    showings = [
        Showing(pair=pair.id, instruction=pair.question, x=x, y=y, swapped=swapped) for swapped in (first, not first)
    ]
    verdicts = await asyncio.gather(*(heard(judge, showing, ask) for judge in jury for showing in showings))
    points = [_points(verdict) for verdict in verdicts if verdict.said != "unreadable"]
    longer = len(words(new)) - len(words(old))
    return Bout(sum(points) / len(points), longer) if points else None, list(verdicts)


def _points(verdict: Verdict) -> float:
    return 0.5 if verdict.winner is None else float(verdict.winner == verdict.x)


def estimate(bouts: Sequence[Bout], unreadable: float, seed: int = 0) -> Estimated:
    """The win rate, as measured and at equal length, with 95% intervals."""
    scores = np.array([bout.score for bout in bouts])
    longer = np.array([bout.longer for bout in bouts], float)
    scale = max(1.0, float(np.abs(longer).mean()))
    features = np.tanh(longer / scale)
    draws = np.random.default_rng(seed).integers(0, len(bouts), (DRAWS, len(bouts)))
    plain = scores[draws].mean(axis=1)
    controlled = [_at_equal_length(scores[draw], features[draw]) for draw in draws[: DRAWS // 4]]
    low, high = np.quantile(plain, (0.025, 0.975))
    low_controlled, high_controlled = np.quantile(controlled, (0.025, 0.975))
    return Estimated(
        judged=len(bouts),
        value=float(scores.mean()),
        low=float(low),
        high=float(high),
        controlled=_at_equal_length(scores, features),
        controlled_low=float(low_controlled),
        controlled_high=float(high_controlled),
        longer=float((longer > 0).mean()),
        unreadable=unreadable,
    )


def _at_equal_length(scores: np.ndarray, features: np.ndarray, steps: int = 25) -> float:
    """The logistic model's score where the difference of lengths is 0: Newton's method, a slight pull on both terms."""
    design = np.column_stack([np.ones_like(features), features])
    weights, pull = np.zeros(2), np.diag([1e-2, RIDGE])
    for _ in range(steps):
        fitted = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (scores - fitted) - pull @ weights
        bend = design.T @ (design * (fitted * (1 - fitted))[:, None]) + pull
        weights = weights + np.linalg.solve(bend, slope)
    return float(1 / (1 + np.exp(-weights[0])))
