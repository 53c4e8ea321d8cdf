"""Questions and their answers, Q and A1 to Ak, in a file that a person can read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.records import Preference
from pipeline.store import ANSWERS, PREFERENCES, read, writing

TWO = 2
"""Answers that need no such file: the dataset shows both."""


def write_answers(folder: Path, answers_each: int) -> None:
    """Write `answers.md` beside the stage files, if more than two answers compete; one question at a time.

    Raises:
        UserError: it cannot be written.
    """
    if answers_each <= TWO:
        return
    path = folder / ANSWERS
    with writing(path), path.open("w", encoding="utf-8") as file:
        for preference in read(folder / PREFERENCES, Preference):
            file.write("\n".join(_told(preference)) + "\n\n")


def _told(preference: Preference) -> Iterator[str]:
    candidates = preference.candidates
    places = {standing.answer: place for place, standing in enumerate(preference.standings, start=1)}
    fates = {preference.chosen: "chosen", preference.rejected: "rejected"}
    yield f"## Q {preference.id}\n\n{candidates.question}\n"
    for number, answer in enumerate(candidates.answers, start=1):
        sampling = answer.sampling
        facts = [
            answer.model or answer.origin,
            f"temperature {sampling.temperature:g}" if sampling and sampling.temperature is not None else "",
            f"place {places[answer.id]} of {len(places)}" if answer.id in places else "",
            fates.get(answer.id, ""),
        ]
        yield f"**A{number}** ({', '.join(filter(None, facts))})\n\n{answer.text}\n"
