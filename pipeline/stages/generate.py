"""From a chunk to candidates: asks a generator, and files a chunk that gave none."""

from __future__ import annotations

from pipeline.errors import RecordFailed
from pipeline.records import Ask, Candidates, Chunk, Generated, Loss
from pipeline.registry import Generator


async def generate(chunk: Chunk, generator: Generator, ask: Ask) -> Generated:
    """What the generator made of the chunk, each candidate once, or the chunk's own Loss with the reason."""
    try:
        return _once_each(await generator(chunk, ask))
    except RecordFailed as failure:
        loss = Loss(
            stage="generate",
            record=chunk.id,
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
