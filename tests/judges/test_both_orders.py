"""The policy both-orders, on verdicts alone: who has a vote, what the votes amount to, and how strongly."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judges.policy import support
from judges.policy.both_orders import BothOrders
from pipeline.records import Said, Settled, Verdict
from tests.support.build import STEADY

SAID: tuple[Said, ...] = get_args(Said)

OPPOSITE: dict[Said, Said] = {"a": "b", "b": "a", "tie": "tie", "unreadable": "unreadable"}


def settled(says: dict[str, tuple[Said, Said]], first_swapped: dict[str, bool] | None = None) -> Settled:
    """What the policy makes of a jury that says this in its first and its second call."""
    talks = BothOrders().deliberate(list(says))
    calls = next(talks)
    verdicts = [
        Verdict(
            judge=call.judge,
            x="x",
            y="y",
            swapped=call.other != (first_swapped or {}).get(call.judge, False),
            said=says[call.judge][call.other],
        )
        for call in calls
    ]
    with pytest.raises(StopIteration) as end:
        talks.send(verdicts)
    result: Settled = end.value.value
    return result


def for_x(swapped: bool = False) -> tuple[Said, Said]:
    """A judge that stands by x, in both orders."""
    return ("b", "a") if swapped else ("a", "b")


def for_y(swapped: bool = False) -> tuple[Said, Said]:
    """A judge that stands by y, in both orders."""
    return for_x(not swapped)


ALWAYS_FIRST: tuple[Said, Said] = ("a", "a")
TIE: tuple[Said, Said] = ("tie", "tie")
MUTE: tuple[Said, Said] = ("unreadable", "unreadable")
PAIRS = st.tuples(st.sampled_from(SAID), st.sampled_from(SAID))
JURIES = st.dictionaries(st.sampled_from("abcdefg"), PAIRS, min_size=1, max_size=7)


def test_every_judge_is_asked_in_each_order_once_and_all_at_once() -> None:
    calls = next(BothOrders().deliberate(["one", "two", "three"]))
    assert sorted(calls) == sorted(product(["one", "two", "three"], [False, True]))


@pytest.mark.parametrize(
    ("jury", "winner", "strength", "reason"),
    [
        ([for_x()], "x", 1.0, ""),
        ([for_y()], "y", 1.0, ""),
        ([ALWAYS_FIRST], None, None, "disagreement"),
        ([("b", "b")], None, None, "disagreement"),
        ([("a", "tie")], None, None, "disagreement"),
        ([("tie", "b")], None, None, "disagreement"),
        ([TIE], None, None, "tie"),
        ([MUTE], None, None, "unreadable"),
        ([("a", "unreadable")], None, None, "unreadable"),
        ([("unreadable", "tie")], None, None, "unreadable"),
        # several judges: only those that stand by their word have a vote, and most votes win
        ([for_x(), for_x(), for_y()], "x", 1 / 3, ""),
        ([for_x(), for_y(), for_y()], "y", 1 / 3, ""),
        ([for_x(), for_x(), for_x()], "x", 1.0, ""),
        ([for_x(), ALWAYS_FIRST], "x", 0.5, ""),
        ([for_x(), TIE], "x", 0.5, ""),
        ([for_x(), MUTE], "x", 1.0, ""),
        ([for_x(), MUTE, MUTE], "x", 1.0, ""),
        ([for_x(), ("a", "unreadable")], "x", 1.0, ""),
        ([for_x(), ("b", "unreadable")], "x", 1 / 3, ""),
        ([for_x(), ("b", "tie"), ("b", "tie"), ("b", "tie")], "x", 0.0, ""),
        # an even split decides nothing
        ([for_x(), for_y()], None, None, "disagreement"),
        ([for_x(), for_y(), TIE], None, None, "disagreement"),
        ([for_x(), for_y(), ALWAYS_FIRST], None, None, "disagreement"),
        ([for_x(), for_y(), MUTE], None, None, "unreadable"),
        ([TIE, TIE], None, None, "tie"),
        ([TIE, ALWAYS_FIRST], None, None, "disagreement"),
        ([TIE, MUTE], None, None, "unreadable"),
        ([ALWAYS_FIRST, ALWAYS_FIRST, ALWAYS_FIRST], None, None, "disagreement"),
    ],
)
def test_a_jury_settles_a_pair_as_this_table_says(
    jury: list[tuple[Said, Said]], winner: str | None, strength: float | None, reason: str
) -> None:
    result = settled({str(number): says for number, says in enumerate(jury)})
    assert (result.winner, result.reason) == (winner, reason)
    assert result.strength == (None if strength is None else pytest.approx(strength))


@given(st.dictionaries(st.text(max_size=3), st.sampled_from(["a", "b"]), min_size=1, max_size=9), st.data())
@settings(STEADY, max_examples=200)
def test_a_jury_of_judges_that_always_name_the_same_place_settles_nothing(
    places: dict[str, Said], data: st.DataObject
) -> None:
    first = {judge: data.draw(st.booleans()) for judge in places}
    result = settled({judge: (place, place) for judge, place in places.items()}, first)
    assert (result.winner, result.strength, result.reason) == (None, None, "disagreement")


@given(JURIES, st.lists(st.sampled_from(["a", "b"]), max_size=4), st.data())
@settings(STEADY, max_examples=200)
def test_judges_that_always_name_the_same_place_never_change_who_wins(
    says: dict[str, tuple[Said, Said]], places: list[Said], data: st.DataObject
) -> None:
    first = {judge: data.draw(st.booleans()) for judge in says}
    biased: dict[str, tuple[Said, Said]] = {f"biased {number}": (place, place) for number, place in enumerate(places)}
    assert settled(says | biased, first).winner == settled(says, first).winner


@given(JURIES, st.data())
@settings(STEADY, max_examples=200)
def test_it_does_not_matter_which_order_comes_first(says: dict[str, tuple[Said, Said]], data: st.DataObject) -> None:
    swapped = {judge: data.draw(st.booleans()) for judge in says}
    turned = {judge: (two, one) if swapped[judge] else (one, two) for judge, (one, two) in says.items()}
    assert settled(turned, swapped) == settled(says)


@given(JURIES)
@settings(STEADY, max_examples=200)
def test_exchanging_the_answers_exchanges_the_winner_and_nothing_else(says: dict[str, tuple[Said, Said]]) -> None:
    plain = settled(says)
    mirrored = settled({judge: (OPPOSITE[one], OPPOSITE[two]) for judge, (one, two) in says.items()})
    assert mirrored == plain.but(winner={"x": "y", "y": "x"}.get(plain.winner or ""))


@given(JURIES)
@settings(STEADY, max_examples=200)
def test_unreadable_verdicts_are_neither_for_nor_against(says: dict[str, tuple[Said, Said]]) -> None:
    readable = {judge: pair for judge, pair in says.items() if "unreadable" not in pair}
    whole = settled(says)
    if readable:
        assert whole.winner == settled(readable).winner
    else:
        assert whole.winner is None
    if whole.winner is None and len(readable) < len(says):
        assert whole.reason == "unreadable"


@given(JURIES)
@settings(STEADY, max_examples=200)
def test_there_is_a_winner_with_a_strength_or_a_reason_why_not(says: dict[str, tuple[Said, Said]]) -> None:
    result = settled(says)
    if result.winner is None:
        assert result.strength is None
        assert result.reason in {"disagreement", "tie", "unreadable"}
    else:
        assert result.reason == ""
        assert result.strength is not None
        assert 0 <= result.strength <= 1


def verdicts_for(*winners: str) -> Sequence[Verdict]:
    said: dict[str, Said] = {"x": "a", "y": "b", "tie": "tie", "unreadable": "unreadable"}
    return [Verdict(judge="j", x="x", y="y", swapped=False, said=said[winner]) for winner in winners]


@pytest.mark.parametrize(
    ("winners", "strength"),
    [
        ([], None),
        (["unreadable"], None),
        (["x"], 1.0),
        (["x", "unreadable"], 1.0),
        (["x", "tie"], 0.5),
        (["tie"], 0.0),
        (["x", "y"], 0.0),
        (["x", "x", "y", "tie"], 0.25),
        (["y", "y"], 0.0),
    ],
)
def test_support_is_the_share_for_an_answer_less_the_share_against_it(
    winners: list[str], strength: float | None
) -> None:
    assert support("x", verdicts_for(*winners)) == strength
