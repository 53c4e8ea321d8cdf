"""Filtering: every filter speaks of every preference, and the first that says no gives the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import pytest

from filters.format import Format
from filters.grounded import Grounded
from filters.length import Length
from pipeline.records import Decision, Preference
from pipeline.registry import Filter
from pipeline.stages.filter import decide, loss_by
from tests.support.build import make_pair

PREFERENCES = [make_pair(text, "Rejected.") for text in ("A sentence.", "a fragment", "Short!", "also a fragment")]


class Strange(Filter):
    """A filter that does not keep to the rules."""

    use: Literal["strange"] = "strange"
    way: Literal["forgets", "repeats", "turns round", "invents", "says nothing"]

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """As its way is."""
        ids = [preference.id for preference in preferences]
        said = {
            "forgets": ids[:-1],
            "repeats": [*ids, ids[-1]],
            "turns round": ids[::-1],
            "invents": [*ids[:-1], "f" * 16],
            "says nothing": [],
        }[self.way]
        return (Decision(preference=id_, filter=self.use, keep=True, measured=0) for id_ in said)


def test_for_each_preference_there_are_the_decisions_of_all_filters_in_their_order() -> None:
    filters = [Format(), Length(at_least=7), Grounded()]
    rows = decide(PREFERENCES, filters)
    assert [[decision.filter for decision in row] for row in rows] == [["format", "length", "grounded"]] * 4
    assert [{decision.preference for decision in row} for row in rows] == [{item.id} for item in PREFERENCES]
    assert [[decision.keep for decision in row] for row in rows] == [
        [True, True, True],
        [False, True, True],
        [True, False, True],
        [False, True, True],
    ]


def test_every_filter_speaks_even_of_what_another_has_dropped() -> None:
    ((first, second),) = decide([make_pair("no", "x")], [Format(), Length()])
    assert (first.keep, second.keep) == (False, False)


def test_the_first_filter_that_says_no_gives_the_reason_and_the_number() -> None:
    ((*row,),) = decide([make_pair("no", "x")], [Grounded(), Length(), Format()])
    loss = loss_by(row)
    assert loss is not None
    assert (loss.stage, loss.fate, loss.code, loss.detail) == ("filter", "dropped", "length.too_short", "measured 2")
    assert loss.record == row[0].preference


def test_what_every_filter_keeps_is_not_lost() -> None:
    (row,) = decide([PREFERENCES[0]], [Format(), Grounded()])
    assert loss_by(row) is None
    assert loss_by([]) is None


def test_without_filters_there_are_no_decisions_and_without_preferences_no_rows() -> None:
    assert decide(PREFERENCES, []) == [[], [], [], []]
    assert decide([], [Format()]) == []


@pytest.mark.parametrize("way", ["forgets", "repeats", "turns round", "invents", "says nothing"])
def test_a_filter_that_does_not_decide_once_on_each_preference_in_order_is_our_bug(way: str) -> None:
    with pytest.raises(ValueError, match="Strange"):
        decide(PREFERENCES, [Format(), Strange.model_validate({"way": way})])
