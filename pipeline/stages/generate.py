"""From a chunk or a task to candidates: asks a generator, and files one that gave none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pipeline.errors import RecordFailed
from pipeline.records import Ask, Candidates, Generated, Loss, Reply, Request, Unit
from pipeline.registry import Generator

STRIDE = 1_000
"""Draws that lie between two rounds: more than any generator makes of one prompt."""


async def generate(unit: Unit, generator: Generator, ask: Ask, rounds: int = 1) -> Generated:
    """What the generator made of the chunk or task, each candidate once, or its own Loss with the reason.

    In several rounds it is asked as often, each time for other draws of the same prompts.
    """
    made = await asyncio.gather(*(_made(unit, generator, _drawing(ask, number)) for number in range(rounds)))
    return _once_each(_together(unit, made))


def _drawing(ask: Ask, number: int) -> Ask:
    """The same `ask`, for draws that no earlier round has."""

    async def other(request: Request) -> Reply:
        return await ask(request.but(draw=request.draw + number * STRIDE))

    return other if number else ask


def _together(unit: Unit, made: Sequence[Generated]) -> Generated:
    """All rounds as one. The unit itself is lost only if every round came to nothing; else a round is."""
    lost = [loss for generated in made for loss in generated.losses if loss.stage == "generate"]
    answered = any(generated.candidates for generated in made)
    losses = [loss for generated in made for loss in generated.losses if loss.stage != "generate"]
    losses += [] if answered else lost[:1]
    of_rounds = lost if answered else lost[1:]
    losses += [loss.but(stage="parse", record=f"{unit.id}/round-{at}") for at, loss in enumerate(of_rounds, start=1)]
    return Generated(
        candidates=tuple(candidates for generated in made for candidates in generated.candidates),
        losses=tuple(losses),
        draws=sum(generated.draws for generated in made),
    )


async def _made(unit: Unit, generator: Generator, ask: Ask) -> Generated:
    try:
        return await generator(unit, ask)
    except RecordFailed as failure:
        loss = Loss(
            stage="generate",
            record=unit.id,
            fate="failed",
            code=failure.code,
            detail=failure.detail,
            requests=failure.requests,
        )
        return Generated(candidates=(), losses=(loss,))


def _once_each(generated: Generated) -> Generated:
    """The same candidates written twice in one reply are one; the second is dropped and counted."""
    unique: dict[str, Candidates] = {}
    for candidates in generated.candidates:
        unique.setdefault(candidates.id, candidates)
    repeats = [candidates for candidates in generated.candidates if unique[candidates.id] is not candidates]
    losses = [Loss(stage="parse", record=repeat.id, fate="dropped", code="repeated") for repeat in repeats]
    return generated.but(candidates=tuple(unique.values()), losses=(*generated.losses, *losses))
