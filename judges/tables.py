"""A calibration as a person reads it in a terminal: who is to be trusted, and what each policy costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from judges.calibration import Calibration, PolicyScore
from pipeline.records import Estimate

Cells = Sequence[str]

NOT_KNOWN = "unknown"
"""For a price that is not known, which is not nothing."""


def table(calibration: Calibration) -> str:
    """The judges, the policies, and what the jury's agreement is worth; 95% intervals in brackets."""
    return "\n".join(_lines(calibration))


def _lines(found: Calibration) -> Iterator[str]:
    yield f"{found.pairs} gold pairs, {_counted(len(found.judges), 'judge')}, every pair in both orders."
    yield "In brackets 95% intervals, by pairs."
    yield ""
    yield from _aligned(("judge", "weight", "accuracy", "same twice", "names first", "names longer"), _judges(found))
    yield ""
    yield from _aligned(("judge", "ties", "unreadable", "prefers its own"), _habits(found))
    yield ""
    yield from _notes(found)
    yield ""
    rows = [*_alone(found), *found.policies]
    yield "Each judge alone, in both orders, and each policy; no pair is judged by what has seen its label."
    yield "Accuracy counts an undecided pair as half right; precision is of the pairs decided, yield their share."
    yield from _aligned(("", "accuracy", "precision", "yield"), map(_quality, rows))
    yield ""
    head = ("", "calls/decided", "calls/right", "USD per 1,000 decided", "USD per 1,000 right")
    yield from _aligned(head, map(_price, rows))
    if any(score.usd_per_decided is None for score in rows):
        yield "USD unknown: at least one call has no known price."


def _judges(found: Calibration) -> Iterator[Cells]:
    for name, judge in found.judges.items():
        shown = judge.behaviour
        shares = (judge.accuracy, shown.position_consistency, shown.first_share, shown.longer_share)
        yield (name, f"{judge.weight:+.2f}", *map(_percent, shares))


def _habits(found: Calibration) -> Iterator[Cells]:
    for name, judge in found.judges.items():
        shown = judge.behaviour
        yield (name, _percent(shown.tie_share), _percent(shown.unreadable_share), _points(shown.self_preference))


def _notes(found: Calibration) -> Iterator[str]:
    if found.longer_wins:
        yield f"The rule 'the longer wins' is right in {_percent(found.longer_wins)}."
    if found.effective_judges:
        yield f"The jury is worth {_number(found.effective_judges, 1)} judges that vote independently."
    if found.concord and found.concord.refused:
        yield f"weights: agreement is refused: {found.concord.refused}."
    elif found.concord:
        beside = f" and {_counted(found.concord.unlabelled, 'pair')} without gold" if found.concord.unlabelled else ""
        yield f"weights: agreement may be used (inferred from gold{beside}): it does not contradict gold."


def _alone(found: Calibration) -> Iterator[PolicyScore]:
    return (judge.alone for judge in found.judges.values() if judge.alone)


def _quality(score: PolicyScore) -> Cells:
    return (score.policy, *map(_percent, (score.accuracy, score.precision, score.yielded)))


def _price(score: PolicyScore) -> Cells:
    calls = (_number(estimate, 2) for estimate in (score.calls_per_decided, score.calls_per_right))
    dollars = (_dollars(estimate, score) for estimate in (score.usd_per_decided, score.usd_per_right))
    return (score.policy, *calls, *dollars)


def _percent(estimate: Estimate | None) -> str:
    return _shown(estimate, lambda value: f"{100 * value:.0f}", "%")


def _points(estimate: Estimate | None) -> str:
    return _shown(estimate, lambda value: f"{100 * value:+.0f}", " points")


def _number(estimate: Estimate | None, digits: int) -> str:
    return _shown(estimate, lambda value: f"{value:.{digits}f}")


def _dollars(estimate: Estimate | None, score: PolicyScore) -> str:
    if estimate is None and score.calls_per_decided is not None:
        return NOT_KNOWN
    return _shown(estimate, lambda value: f"{1000 * value:.3g}")


def _shown(estimate: Estimate | None, word: Callable[[float], str], unit: str = "") -> str:
    if estimate is None:
        return "-"
    return f"{word(estimate.value)}{unit} [{word(estimate.low)}, {word(estimate.high)}]"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _aligned(head: Cells, rows: Iterable[Cells]) -> Iterator[str]:
    """Columns as wide as their widest cell; names to the left, numbers to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for name, *cells in lines:
        numbers = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join([f"{name:<{widths[0]}}", *numbers]).rstrip()
