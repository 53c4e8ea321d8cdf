"""Drops pairs whose extracted answer is not what the article says at the places that it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pipeline.records import Answer, Chunk, Decision, Preference, Unit
from pipeline.registry import Filter, register


@register("filter")
class Grounded(Filter):
    """Keeps pairs whose extracted answers equal the article's text at their spans, character by character.

    Source: 0 of 402 extracted answers of a well-known tutorial's set stand in any of its articles.
    """

    use: Literal["grounded"] = "grounded"
    """Its name in a recipe."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: share of the extracted answers that are verbatim, 1 if there are none. Code: `not_verbatim`."""
        for preference in preferences:
            candidates = preference.candidates
            extracted = [answer for answer in candidates.answers if answer.origin == "extracted"]
            verbatim = [answer for answer in extracted if is_verbatim(answer, candidates.source)]
            share = len(verbatim) / len(extracted) if extracted else 1.0
            yield self.decision(preference, share, "" if share == 1.0 else "not_verbatim")


def is_verbatim(answer: Answer, source: Unit) -> bool:
    """Whether the answer is the source's text at its spans, joined by a space, and every span lies in the source."""
    if not isinstance(source, Chunk):
        return False
    inside = all(source.start <= span.start and span.end <= source.end for span in answer.spans)
    texts = (source.text[span.start - source.start : span.end - source.start] for span in answer.spans)
    return bool(answer.spans) and inside and answer.text == " ".join(texts)
