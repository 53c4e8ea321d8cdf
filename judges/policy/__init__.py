"""Policies, one file each: how many calls a pair is worth, and what they amount to."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.records import Verdict


def support(answer: str, verdicts: Sequence[Verdict]) -> float | None:
    """Share of readable verdicts for an answer less the share against it, in 0..1; None without readable verdicts."""
    winners = [verdict.winner for verdict in verdicts if verdict.said != "unreadable"]
    if not winners:
        return None
    against = sum(winner not in (answer, None) for winner in winners)
    return max(0.0, (winners.count(answer) - against) / len(winners))
