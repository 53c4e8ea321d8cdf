"""Self votes alone never decide, whatever the policy: somebody who is no kin of the winner must agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from judges.policy.both_orders import BothOrders
from judges.policy.lead import Lead
from judges.policy.one_call import OneCall
from judges.self_votes import confirmed
from pipeline.records import Said, Settled, Verdict
from pipeline.registry import Call, Policy

KIN, STRANGER, OTHER, RULE = "kin", "stranger", "other", "length"
"""`kin` is of the family that wrote x; the others are of no family that wrote anything here; a rule asks no model."""

Rule = tuple[Said, Said]
"""What a judge says when x stands first, and when y does."""

FOR_X: Rule = ("a", "b")
FOR_Y: Rule = ("b", "a")
STUCK: Rule = ("a", "a")
TIE: Rule = ("tie", "tie")
LOST: Rule = ("unreadable", "unreadable")


def _talk(policy: Policy, rules: Mapping[str, Rule], own: tuple[str, ...] = ("x",)) -> tuple[Settled, list[Call]]:
    asked: list[Call] = []
    talks = confirmed(policy.deliberate(list(rules)), [judge for judge in rules if judge not in (KIN, RULE)])

    def answer(calls: Sequence[Call]) -> list[Verdict]:
        asked.extend(calls)
        return [
            Verdict(
                judge=call.judge,
                x="x",
                y="y",
                swapped=call.other,
                said=rules[call.judge][call.other],
                own=own if call.judge == KIN else (),
            )
            for call in calls
        ]

    try:
        calls = next(talks)
        while True:
            calls = talks.send(answer(calls))
    except StopIteration as end:
        settled: Settled = end.value
        return settled, asked


@pytest.mark.parametrize("policy", [BothOrders(), Lead(), OneCall()])
def test_a_judge_alone_decides_nothing_for_its_own_family_and_everything_against_it(policy: Policy) -> None:
    settled, _ = _talk(policy, {KIN: FOR_X})
    assert (settled.winner, settled.strength, settled.reason) == (None, None, "self_votes")
    assert _talk(policy, {KIN: FOR_Y})[0].winner == "y"


def test_a_judge_of_the_family_that_wrote_both_or_neither_decides_as_any_other() -> None:
    for own in ((), ("x", "y")):
        assert _talk(BothOrders(), {KIN: FOR_X}, own)[0].winner == "x"


def test_a_stranger_that_the_policy_did_not_hear_is_asked_in_both_orders() -> None:
    settled, asked = _talk(Lead(), {KIN: FOR_X, STRANGER: FOR_X})
    assert settled == Settled(winner="x", strength=1.0)
    assert asked[2:] == [Call(STRANGER, other=False), Call(STRANGER, other=True)]


@pytest.mark.parametrize(("rule", "winner"), [(FOR_X, "x"), (FOR_Y, None), (STUCK, None), (TIE, None)])
def test_it_must_agree_on_balance(rule: Rule, winner: str | None) -> None:
    settled, _ = _talk(Lead(), {KIN: FOR_X, STRANGER: rule})
    assert settled.winner == winner
    assert settled.reason == ("" if winner else "self_votes")


def test_strangers_are_asked_one_after_the_other_until_they_agree() -> None:
    settled, asked = _talk(Lead(), {KIN: FOR_X, STRANGER: TIE, OTHER: FOR_X, "last": FOR_X})
    assert settled.winner == "x"
    assert settled.strength == pytest.approx(4 / 6)  # the tie counts
    assert [call.judge for call in asked] == [KIN, KIN, STRANGER, STRANGER, OTHER, OTHER]


def test_a_stranger_that_cannot_be_read_is_asked_again_by_the_next_start() -> None:
    settled, _ = _talk(Lead(), {KIN: FOR_X, STRANGER: LOST})
    assert (settled.winner, settled.reason) == (None, "unreadable")


def test_nobody_is_asked_where_others_agree_already_or_nothing_was_decided() -> None:
    for rules, winner in (
        ({KIN: FOR_X, STRANGER: FOR_X}, "x"),
        ({STRANGER: FOR_X, KIN: FOR_X, OTHER: TIE}, "x"),
        ({KIN: TIE, STRANGER: FOR_Y}, "y"),
        ({KIN: FOR_X, STRANGER: FOR_Y}, None),
    ):
        settled, asked = _talk(BothOrders(), rules)
        assert settled.winner == winner
        assert len(asked) == 2 * len(rules)
        assert settled.reason != "self_votes"


def test_a_rule_without_a_model_is_no_witness() -> None:
    settled, asked = _talk(BothOrders(), {KIN: FOR_X, RULE: FOR_X})
    assert (settled.winner, settled.reason, len(asked)) == (None, "self_votes", 4)
    assert _talk(Lead(), {KIN: FOR_X, RULE: FOR_X})[1] == [Call(KIN, other=False), Call(KIN, other=True)]
