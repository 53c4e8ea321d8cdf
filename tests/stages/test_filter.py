"""Filtering: every filter speaks of every preference, and the first that says no gives the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

import pytest

from filters.format import Format
from filters.grounded import Grounded
from filters.length import Length
from pipeline.records import Decision, Preference
from pipeline.registry import Filter
from pipeline.stages.filter import Spoken, decide, decide_on_whole, loss_by, side_by_side
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


# --- filters that must see the whole build ---


class EveryOther(Filter):
    """Goes through the preferences twice, and drops every other one."""

    use: Literal["every-other"] = "every-other"
    whole: ClassVar[bool] = True

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: how many there are."""
        count = float(len(list(preferences)))
        for index, preference in enumerate(preferences):
            yield self.decision(preference, count, "odd" if index % 2 else "")


def say(preference: Preference, filter_: str, *, keep: bool) -> Decision:
    return Decision(preference=preference.id, filter=filter_, keep=keep, code="" if keep else "no", measured=0)


def undecided(preference: Preference) -> Preference:
    return preference.but(chosen=None, rejected=None, strength=None, reason="tie")


def test_each_decided_preference_stands_beside_its_decisions() -> None:
    first, second, third, fourth = PREFERENCES
    decisions = [say(first, "f", keep=True), say(first, "g", keep=False), say(third, "f", keep=True)]
    found = list(side_by_side([first, undecided(second), third, fourth], decisions, 0))
    assert [(item.preference, len(item.decisions), item.kept) for item in found] == [
        (first, 2, False),
        (third, 1, True),
        (fourth, 0, True),
    ]


@pytest.mark.parametrize("wrong", ["missing", "of nobody", "out of order", "of an undecided one"])
def test_decisions_that_do_not_fit_stop_the_run(wrong: str) -> None:
    first, second, *_ = PREFERENCES
    one, two = say(first, "f", keep=True), say(second, "f", keep=True)
    preferences, decisions = [first, second], [one, two]
    if wrong == "missing":
        decisions = [one]
    elif wrong == "of nobody":
        decisions = [one, two, two.but(preference="f" * 16)]
    elif wrong == "out of order":
        decisions = [two, one]
    else:
        preferences = [first, undecided(second)]
    with pytest.raises(RuntimeError, match="decision"):
        list(side_by_side(preferences, decisions, 1))


def spoken() -> Iterator[Spoken]:
    for preference, keep in zip(PREFERENCES, [True, False, True, True], strict=True):
        yield Spoken(preference, (say(preference, "before", keep=keep),))


def test_a_filter_of_the_whole_hears_only_of_what_is_left_as_often_as_it_likes() -> None:
    found = list(decide_on_whole(EveryOther(), spoken))
    assert [[decision.filter for decision in item.decisions] for item in found] == [
        ["before", "every-other"],
        ["before"],
        ["before", "every-other"],
        ["before", "every-other"],
    ]
    assert [item.news for item in found] == [True, False, True, True]
    assert [item.kept for item in found] == [True, False, False, True]
    assert found[0].decisions[-1].measured == 3
    assert [item.preference for item in found] == PREFERENCES


@pytest.mark.parametrize("way", ["forgets", "repeats", "turns round", "invents", "says nothing"])
def test_a_filter_of_the_whole_that_does_not_keep_to_the_rules_stops_the_run(way: str) -> None:
    with pytest.raises(ValueError, match="did not decide once"):
        list(decide_on_whole(Strange.model_validate({"way": way}), spoken))
