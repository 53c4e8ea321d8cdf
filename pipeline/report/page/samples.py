"""Pairs to browse: an even draw of all that were judged, with their article's context, votes and decisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from pipeline.identity import fraction
from pipeline.records import Answer, Article, Decision, Preference, Task, Verdict
from pipeline.store import DECISIONS, MANIFEST, PREFERENCES, Manifest, origins, read


class Side(NamedTuple):
    """An answer as the page shows it."""

    name: str
    """`chosen`, `rejected`, or `answer` where nothing was decided."""
    origin: str
    """Where it comes from."""
    model: str
    """Who wrote it, or chose its sentences."""
    text: str
    """The answer."""


class Part(NamedTuple):
    """A stretch of the article's text."""

    text: str
    """The text."""
    marked: bool
    """Whether it is in the excerpt."""


class Vote(NamedTuple):
    """A verdict as the page tells it."""

    judge: str
    """Who."""
    first: str
    """Which answer stood first."""
    said: str
    """For which it spoke, or tie, or unreadable."""
    reason: str
    """Why, if it was asked."""


class Sample(NamedTuple):
    """A pair as the page shows it."""

    id: str
    """Id of the preference."""
    fate: str
    """`kept`, or why not: `not decided: tie`, `dropped: length.too_short`."""
    kept: bool
    """Whether it is in the dataset."""
    instruction: str
    """What is asked."""
    sides: Sequence[Side]
    """Chosen, rejected, then any other answers."""
    origin: str
    """Origin of the chosen answer."""
    strength: str
    """As in Preference, to two places; empty without votes."""
    votes: Sequence[Vote]
    """What the judges said."""
    decisions: Sequence[Decision]
    """What the filters said."""
    context: Sequence[Part]
    """The passage that it was made from, its excerpt marked."""
    title: str
    """Title of the article."""
    source_id: str
    """Its id at its source."""
    link: str
    """Where it was published."""
    licence: str
    """Its licence."""


class Gathered(NamedTuple):
    """What the page knows of the pairs."""

    pairs: int
    """Pairs that were judged."""
    samples: Sequence[Sample]
    """Those that can be browsed, in the sources' order."""
    chosen: Sequence[int]
    """Characters of the chosen answers in the dataset."""
    rejected: Sequence[int]
    """Characters of the rejected answers in the dataset."""
    strengths: Sequence[float | None]
    """Strengths of the pairs in the dataset."""


def gather(folder: Path, at_most: int) -> Gathered:
    """Goes through a run's files once; holds numbers of all pairs, and texts of the samples alone."""
    pairs = Manifest.model_validate_json((folder / MANIFEST).read_bytes()).counts["judge"].seen
    wanted = at_most / pairs if pairs else 0.0
    samples: list[Sample] = []
    chosen, rejected, strengths = [], [], []
    articles = _Articles(folder)
    for preference, decisions in _with_decisions(folder):
        kept = preference.decided and all(decision.keep for decision in decisions)
        if kept:
            chosen.append(len(preference.chosen_answer.text))
            rejected.append(len(preference.rejected_answer.text))
            strengths.append(preference.strength)
        if len(samples) < at_most and (wanted >= 1 or fraction("sample", preference.id) < wanted):
            samples.append(_sample(preference, decisions, articles.find(preference)))
    return Gathered(pairs, samples, chosen, rejected, strengths)


class _Articles:
    """Finds articles in the order in which pairs ask for them: one at a time in memory."""

    def __init__(self, folder: Path) -> None:
        self._rest = origins(folder)
        self._last: Article | Task | None = None

    def find(self, preference: Preference) -> Article | Task:
        while self._last is None or self._last.id != preference.candidates.source.origin:
            self._last = next(self._rest)
        return self._last


def _with_decisions(folder: Path) -> Iterator[tuple[Preference, list[Decision]]]:
    groups = groupby(read(folder / DECISIONS, Decision), key=lambda decision: decision.preference)
    waiting = next(groups, None)
    for preference in read(folder / PREFERENCES, Preference):
        said: list[Decision] = []
        if waiting is not None and waiting[0] == preference.id:
            said = list(waiting[1])
            waiting = next(groups, None)
        yield preference, said


def _sample(preference: Preference, decisions: Sequence[Decision], article: Article | Task) -> Sample:
    chosen = preference.candidates.answer(preference.chosen) if preference.chosen else None
    return Sample(
        id=preference.id,
        fate=_fate(preference, decisions),
        kept=preference.decided and all(decision.keep for decision in decisions),
        instruction=preference.candidates.question,
        sides=_sides(preference),
        origin=chosen.origin if chosen else "",
        strength="" if preference.strength is None else f"{preference.strength:.2f}",
        votes=[_vote(verdict, preference) for verdict in preference.verdicts],
        decisions=decisions,
        context=list(_context(preference)),
        title=article.title,
        source_id=article.source_id,
        link=article.link,
        licence=article.licence,
    )


def _fate(preference: Preference, decisions: Sequence[Decision]) -> str:
    if not preference.decided:
        return f"not decided: {preference.reason}"
    no = next((decision for decision in decisions if not decision.keep), None)
    return f"dropped: {no.filter}.{no.code}" if no else "kept"


def _names(preference: Preference) -> dict[str, str]:
    """What the page calls each answer, by id: the pair first."""
    named = {preference.chosen: "chosen", preference.rejected: "rejected"} if preference.decided else {}
    others = [answer.id for answer in preference.candidates.answers if answer.id not in named]
    return {key: name for key, name in named.items() if key} | {
        answer_id: f"answer {number}" for number, answer_id in enumerate(others, start=1)
    }


def _sides(preference: Preference) -> list[Side]:
    return [_side(name, preference.candidates.answer(answer_id)) for answer_id, name in _names(preference).items()]


def _side(name: str, answer: Answer) -> Side:
    return Side(name, answer.origin, answer.model, answer.text)


def _vote(verdict: Verdict, preference: Preference) -> Vote:
    names = _names(preference)
    first = names[verdict.y if verdict.swapped else verdict.x]
    return Vote(verdict.judge, first, names[verdict.winner] if verdict.winner else verdict.said, verdict.reason)


def _context(preference: Preference) -> Iterator[Part]:
    """The chunk's text in parts, those of the excerpt marked; of a task all that was asked."""
    source = preference.candidates.source
    if isinstance(source, Task):
        yield Part(source.question, marked=False)
        return
    spans = sorted(
        {
            (span.start - source.start, span.end - source.start)
            for answer in preference.candidates.answers
            for span in answer.spans
        }
    )
    last = 0
    for start, end in spans:
        if start > last:
            yield Part(source.text[last:start], marked=False)
        if end > last:
            yield Part(source.text[max(start, last) : end], marked=True)
            last = end
    yield Part(source.text[last:], marked=False)
