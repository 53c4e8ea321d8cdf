"""Drawing answers: one request for each, so that one that fails costs the others nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Annotated, NamedTuple

from pydantic import Field

from pipeline.asking import ask_until_read
from pipeline.errors import RecordFailed
from pipeline.identity import digest
from pipeline.records import Answer, Ask, Loss, Request

Temperature = Annotated[float, Field(ge=0, le=2)]
"""Spread of a model's words."""


class Further(NamedTuple):
    """An answer that was drawn, and the requests that it took."""

    answer: Answer
    requests: tuple[str, ...]


async def draw(
    request: Request, family: str, ask: Ask, attempts: int, read: Callable[[str], str] = str.strip
) -> Further | RecordFailed:
    """An answer, or why there is none: one that failed costs its instruction nothing else.

    `read` makes the answer of a reply; what it raises RecordFailed or ValueError for is asked again.
    """
    try:
        asked = await ask_until_read(read, request, ask, attempts)
    except RecordFailed as failure:
        return failure
    if asked.value is None:  # a refusal stays in the ledger: asked again, the model would decline again, and be paid
        return RecordFailed(asked.code, asked.detail, () if asked.code == "refused" else asked.requests)
    answer = Answer(
        text=asked.value, origin="generated", model=asked.reply.model, family=family, sampling=request.sampling
    )
    return Further(answer, asked.requests)


def failed_draws(record: str, failures: Mapping[int, RecordFailed]) -> Iterator[Loss]:
    """The losses of draws that failed, by their numbers from 1."""
    for number, failure in failures.items():
        yield Loss(
            stage="draw",
            record=f"{record}/{number}",
            fate="failed",
            code=failure.code,
            detail=failure.detail,
            requests=failure.requests,
        )


def same_answers(record: str, numbers: Iterable[int]) -> Iterator[Loss]:
    """The losses of draws that said what another answer says already."""
    for number in numbers:
        yield Loss(stage="draw", record=f"{record}/{number}", fate="dropped", code="same_answer")


def mark(text: str) -> str:
    """A mark for the fence around a text: it stands nowhere in it, so that no text can close its own fence."""
    marks = (digest("fence", [text, turn], length=8) for turn in count())
    return next(found for found in marks if found not in text)
