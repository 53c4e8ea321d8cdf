"""From preferences to decisions, in two rounds; the first "no" gives the reason.

Filters that need no more than one preference speak of every decided one as it comes. Those that must see the whole
build (near-duplicates, balance) speak when all are there, one after the other, of what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from pipeline.records import Decision, Loss, Preference
from pipeline.registry import Filter


class Spoken(NamedTuple):
    """A decided preference and what has been said of it."""

    preference: Preference
    """What it is about."""
    decisions: tuple[Decision, ...]
    """In the order in which they were made."""
    news: bool = False
    """Whether the last decision was made just now."""

    @property
    def kept(self) -> bool:
        """Whether nobody said no."""
        return all(decision.keep for decision in self.decisions)


def side_by_side(preferences: Iterable[Preference], decisions: Iterable[Decision], at_least: int) -> Iterator[Spoken]:
    """Each decided preference with its decisions; both streams are in one order, and read one record at a time.

    Args:
        preferences: decided or not.
        decisions: on the decided ones.
        at_least: how many decisions there must be on each.

    Raises:
        RuntimeError: decisions that are missing, on none of the preferences, or out of order: our bug.
    """
    rest = iter(decisions)
    waiting = next(rest, None)
    for preference in preferences:
        if not preference.decided:
            continue
        said: list[Decision] = []
        while waiting is not None and waiting.preference == preference.id:
            said.append(waiting)
            waiting = next(rest, None)
        if len(said) < at_least:
            raise RuntimeError(f"the decisions on {preference.id} are missing")
        yield Spoken(preference, tuple(said))
    if waiting is not None:
        raise RuntimeError(f"there is a decision on {waiting.preference}, which is not decided or out of order")


class Left:
    """The preferences that are left, as often as anybody goes through them; they are read anew each time."""

    def __init__(self, spoken: Callable[[], Iterator[Spoken]]) -> None:
        """Args: reads all decided preferences."""
        self._spoken = spoken

    def __iter__(self) -> Iterator[Preference]:
        return (item.preference for item in self._spoken() if item.kept)


def decide_on_whole(filter_: Filter, spoken: Callable[[], Iterator[Spoken]]) -> Iterator[Spoken]:
    """Every decided preference once more, those that were left with the filter's decision added.

    Raises:
        ValueError: the filter did not give exactly one decision per preference, in order.
    """
    decisions = iter(filter_(Left(spoken)))
    for item in spoken():
        if not item.kept:
            yield item
            continue
        decision = next(decisions, None)
        _check(filter_, decision is not None and decision.preference == item.preference.id)
        assert decision is not None  # noqa: S101  just checked
        yield Spoken(item.preference, (*item.decisions, decision), news=True)
    _check(filter_, next(decisions, None) is None)


def _check(filter_: Filter, one_each: bool) -> None:
    if not one_each:
        raise ValueError(f"{type(filter_).__name__} did not decide once on each preference, in order")


def decide(preferences: Sequence[Preference], filters: Sequence[Filter]) -> list[list[Decision]]:
    """For each preference the decisions of all filters, in the filters' order.

    Raises:
        ValueError: a filter did not give exactly one decision per preference.
    """
    columns = [list(filter_(preferences)) for filter_ in filters]
    for filter_, column in zip(filters, columns, strict=True):
        _check(filter_, [decision.preference for decision in column] == [item.id for item in preferences])
    return [[column[index] for column in columns] for index in range(len(preferences))]


def loss_by(decisions: Sequence[Decision]) -> Loss | None:
    """Why a preference goes no further: the first filter that says no; None if none does."""
    for decision in decisions:
        if not decision.keep:
            return Loss(
                stage="filter",
                record=decision.preference,
                fate="dropped",
                code=f"{decision.filter}.{decision.code}",
                detail=f"measured {decision.measured:g}",
            )
    return None
