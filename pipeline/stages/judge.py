"""From candidates to a preference: draws the order, polls the jury, lets the policy settle.

Position belongs here and nowhere else. A judge sees a first and a second answer; which is which is a hash of the
seed and the pair, and a policy's next call for the pair may take the opposite order. The hash knows no judge: errors
of two judges correlate .50 in the same order and .25 in opposite ones, so a policy must be able to say "another judge,
the other way round". What an answer is (`x`, `y`:
sorted by id, since the order of candidates means nothing) and where it stands (`a`, `b`) never mix.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from judges.policy import support
from pipeline.errors import RecordFailed
from pipeline.identity import coin
from pipeline.recipe import JudgeSettings
from pipeline.records import Answer, Ask, Candidates, Loss, Preference, Settled, Showing, Verdict
from pipeline.registry import Call, Deliberation, Judge


@dataclass(frozen=True)
class Judged:
    """A preference, and the Loss that goes with it if nothing was decided."""

    preference: Preference
    loss: Loss | None


async def judge(candidates: Candidates, settings: JudgeSettings, seed: int, ask: Ask) -> Judged:
    """The jury's preference between two candidates.

    A verdict that cannot be read, or that the engine could not deliver, decides nothing: if the pair stays undecided
    because of it, the pair has failed and a later run asks again; if the jury just disagrees, it is dropped.
    """
    x, y = sorted(candidates.answers, key=lambda answer: answer.id)
    jury = {judge.label: judge for judge in settings.jury}

    async def poll(call: Call) -> Verdict:
        showing = Showing(
            pair=candidates.id,
            instruction=candidates.instruction,
            source=candidates.source.text,
            x=x,
            y=y,
            swapped=coin(seed, candidates.id) != call.other,
        )
        return await _verdict(jury[call.judge], showing, ask)

    verdicts: tuple[Verdict, ...] = ()
    settled = Settled(winner=None, strength=None)
    if jury:
        verdicts, settled = await _deliberate(settings.policy.deliberate(list(jury)), poll)
    if settings.label == "extracted":
        settled = _by_origin(x, y, verdicts)
    return _preference(candidates, verdicts, settled)


async def _deliberate(
    talks: Deliberation, poll: Callable[[Call], Awaitable[Verdict]]
) -> tuple[tuple[Verdict, ...], Settled]:
    """Asks for what the policy wants, as often as it wants, all calls of a round at once."""
    verdicts: tuple[Verdict, ...] = ()
    try:
        calls = next(talks)
        while True:
            new = await asyncio.gather(*(poll(call) for call in calls))
            verdicts = (*verdicts, *new)
            calls = talks.send(new)
    except StopIteration as end:
        return verdicts, end.value


async def _verdict(judge: Judge, showing: Showing, ask: Ask) -> Verdict:
    try:
        return await judge(showing, ask)
    except RecordFailed as failure:
        return Verdict(
            judge=judge.label,
            x=showing.x.id,
            y=showing.y.id,
            swapped=showing.swapped,
            said="unreadable",
            reason=str(failure),
            requests=failure.requests,
        )


def _by_origin(x: Answer, y: Answer, verdicts: tuple[Verdict, ...]) -> Settled:
    """The author's own words win; the verdicts only measure how a jury sees it."""
    extracted = [answer.id for answer in (x, y) if answer.origin == "extracted"]
    if len(extracted) != 1:
        return Settled(winner=None, strength=None, reason="no_extracted_answer")
    return Settled(winner=extracted[0], strength=support(extracted[0], verdicts))


def _preference(candidates: Candidates, verdicts: tuple[Verdict, ...], settled: Settled) -> Judged:
    loser = next((answer.id for answer in candidates.answers if answer.id != settled.winner), None)
    preference = Preference(
        candidates=candidates,
        verdicts=verdicts,
        chosen=settled.winner,
        rejected=loser if settled.winner else None,
        strength=settled.strength,
        reason=settled.reason,
    )
    return Judged(preference, None if preference.decided else _loss(preference))


def _loss(preference: Preference) -> Loss:
    unreadable = [verdict for verdict in preference.verdicts if verdict.said == "unreadable"]
    if preference.reason != "unreadable":
        return Loss(stage="judge", record=preference.id, fate="dropped", code=preference.reason)
    return Loss(
        stage="judge",
        record=preference.id,
        fate="failed",
        code=f"unreadable.{unreadable[0].reason.split(':')[0]}",
        detail="; ".join(f"{verdict.judge}: {verdict.reason}" for verdict in unreadable),
        requests=tuple(
            request
            for verdict in unreadable
            if not verdict.reason.startswith("refused")  # it would decline again, and be paid again
            for request in verdict.requests
        ),
    )
