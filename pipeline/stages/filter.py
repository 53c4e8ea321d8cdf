"""From preferences to decisions: every filter speaks of every decided preference; the first "no" gives the reason."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.records import Decision, Loss, Preference
from pipeline.registry import Filter


def decide(preferences: Sequence[Preference], filters: Sequence[Filter]) -> list[list[Decision]]:
    """For each preference the decisions of all filters, in the filters' order.

    Raises:
        ValueError: a filter did not give exactly one decision per preference.
    """
    columns = [list(filter_(preferences)) for filter_ in filters]
    for filter_, column in zip(filters, columns, strict=True):
        if [decision.preference for decision in column] != [preference.id for preference in preferences]:
            raise ValueError(f"{type(filter_).__name__} did not decide once on each preference, in order")
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
