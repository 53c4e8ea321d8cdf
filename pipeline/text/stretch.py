"""A stretch of a text, light enough to make millions of them (a `Span` is checked and kept, this is neither)."""

from __future__ import annotations

from typing import NamedTuple


class Stretch(NamedTuple):
    """`text[start:end]`, half-open, in characters."""

    start: int
    """First character."""
    end: int
    """One past the last character."""


def trimmed(text: str, start: int, end: int) -> Stretch | None:
    """The stretch without blanks at its ends, or None if it is blank. Blank is what `str.isspace` says."""
    body = text[start:end]
    left = len(body) - len(body.lstrip())
    return Stretch(start + left, start + len(body.rstrip())) if left < len(body) else None
