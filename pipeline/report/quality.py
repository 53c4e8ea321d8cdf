"""What is wrong with a dataset, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.records import Outlook, Quality

MARKS: dict[Outlook, str] = {"good": "good ", "look": "LOOK ", "unfit": "UNFIT"}


def told(quality: Quality, name: str, worth: str) -> str:
    """A line for each measure, the rows to look at below it, and what so many pairs are good for."""
    return "\n".join(_lines(quality, name, worth))


def _lines(quality: Quality, name: str, worth: str) -> Iterator[str]:
    yield f"{name}: {quality.outlook}"
    for measure in quality.measures:
        yield f"  {MARKS[measure.outlook]}  {measure.name:<16} {measure.words}"
        if measure.rows and measure.outlook != "good":
            yield f"         {'':<16} such as {', '.join(measure.rows)}"
    yield worth
