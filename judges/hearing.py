"""A judge's verdict whatever its engine did: what could not be delivered is an unreadable verdict, not an error."""

from __future__ import annotations

from pipeline.errors import RecordFailed
from pipeline.records import Ask, Showing, Verdict
from pipeline.registry import Judge


async def heard(judge: Judge, showing: Showing, ask: Ask) -> Verdict:
    """What a judge says of two answers; unreadable, with the reason, if its engine could not deliver."""
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
