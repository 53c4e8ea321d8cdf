"""Bias is measured as it is, with intervals that hold what they promise, and alarms only beyond doubt."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.audit import Bounds, Counts, Item, alarms, audit
from pipeline.records import Audit, Estimate, Said, Verdict

LENGTHS = {"x": 100, "y": 200}


def _verdict(said: Said, *, swapped: bool = False, judge: str = "j") -> Verdict:
    return Verdict(judge=judge, x="x", y="y", swapped=swapped, said=said)


def _both(said: Said, then: Said, judge: str = "j") -> list[Verdict]:
    return [_verdict(said, judge=judge), _verdict(then, swapped=True, judge=judge)]


def _audit(pairs: Sequence[Sequence[Verdict]], winner: str | None = None) -> Audit:
    return audit(Item(str(number), verdicts, LENGTHS, winner) for number, verdicts in enumerate(pairs))


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def test_every_measure_is_the_share_that_its_docstring_says() -> None:
    pairs = [_both("a", "b"), _both("a", "a"), _both("tie", "tie"), _both("b", "unreadable"), _both("tie", "a")]
    found = _audit(pairs).judges["j"]
    assert found.verdicts == 10
    assert _value(found.first_share) == pytest.approx(4 / 6)
    assert _value(found.position_consistency) == pytest.approx(2 / 4)  # the pair that was read once does not count
    assert _value(found.longer_share) == pytest.approx(3 / 6)  # y: second when not swapped, first when swapped
    assert _value(found.tie_share) == pytest.approx(3 / 9)
    assert _value(found.unreadable_share) == pytest.approx(1 / 10)


def test_longer_answers_stand_beside_the_rule_that_longer_wins() -> None:
    items = [Item(str(n), _both("b", "a"), LENGTHS, winner) for n, winner in enumerate(["x", "y", "y", None])]
    items.append(Item("equal", _both("a", "b"), {"x": 5, "y": 5}, "x"))
    found = audit(items)
    assert _value(found.longer_wins) == pytest.approx(2 / 3)
    assert _value(found.judges["j"].longer_share) == 1


def test_what_cannot_be_measured_is_none() -> None:
    found = _audit([[_verdict("unreadable")]])
    measured = found.judges["j"]
    assert measured.first_share is measured.position_consistency is measured.longer_share is measured.tie_share is None
    assert _value(measured.unreadable_share) == 1
    assert found.effective_judges is None
    assert audit([]).judges == {}


def test_judges_that_always_agree_are_worth_one_and_judges_that_do_not_are_worth_more() -> None:
    draw = random.Random(1)
    sayings: list[tuple[Said, Said]] = [("a", "b"), ("b", "a")]
    alike, apart = [], []
    for _ in range(400):
        mine = draw.choice(sayings)
        alike.append(_both(*mine, judge="one") + _both(*mine, judge="two"))
        apart.append(_both(*mine, judge="one") + _both(*draw.choice(sayings), judge="two"))
    assert _value(_audit(alike).effective_judges) == pytest.approx(1)
    assert _value(_audit(alike).agreements[0].share) == 1
    assert _value(_audit(apart).effective_judges) == pytest.approx(2, abs=0.2)
    assert _value(_audit(apart).agreements[0].share) == pytest.approx(0.5, abs=0.1)


@given(st.lists(st.lists(st.tuples(st.sampled_from(["a", "b", "tie", "unreadable"]), st.booleans()), max_size=4)))
def test_exchanging_x_and_y_changes_no_measure(pairs: list[list[tuple[Said, bool]]]) -> None:
    def items(x: str, y: str) -> list[Item]:
        return [
            Item(str(n), [Verdict(judge="j", x=x, y=y, swapped=swapped, said=said) for said, swapped in pair], LENGTHS)
            for n, pair in enumerate(pairs)
        ]

    ours, theirs = audit(items("x", "y"), replicates=20).judges, audit(items("y", "x"), replicates=20).judges
    for judge, row in ours.items():
        assert row.but(longer_share=None) == theirs[judge].but(longer_share=None)


def test_the_same_items_and_seed_give_the_same_intervals() -> None:
    pairs = [_both("a", "b"), _both("a", "a"), _both("b", "b")] * 10
    assert _audit(pairs) == _audit(pairs)


def test_an_interval_holds_the_truth_about_as_often_as_it_says_and_counts_pairs_not_verdicts() -> None:
    """Each pair's ten verdicts are one fact told ten times: intervals over verdicts would hold it in half the cases."""
    held = 0
    for seed in range(200):
        draw = random.Random(seed)
        counts = Counts(seed, 300)
        for pair in range(60):
            counts.add(str(pair), "hits", 10 * (draw.random() < 0.3))
            counts.add(str(pair), "all", 10)
        estimate = counts.ratio("hits", "all")
        assert estimate is not None
        held += estimate.low <= 0.3 <= estimate.high
    assert 0.88 <= held / 200 <= 0.99


def test_pairs_of_one_instruction_are_drawn_together() -> None:
    apart = audit(Item(str(n), [_verdict("a" if n % 2 else "b")], LENGTHS) for n in range(40))
    together = audit(Item("one", [_verdict("a" if n % 2 else "b")], LENGTHS) for n in range(40))
    assert (apart.pairs, together.pairs) == (40, 40)
    few, many = together.judges["j"].first_share, apart.judges["j"].first_share
    assert few is not None
    assert many is not None
    assert few.low == few.high == 0.5
    assert many.low < 0.5 < many.high


def test_an_alarm_needs_the_whole_interval_out_of_bounds() -> None:
    biased = _audit([_both("a", "a")] * 40 + [_both("a", "b")] * 10)
    (alarm,) = alarms(biased)
    assert (alarm.judge, alarm.measure) == ("j", "first_share")
    assert "outside 0.35 to 0.65" in str(alarm)
    assert not alarms(_audit([_both("a", "a")] * 2 + [_both("a", "b")]))  # three pairs prove nothing
    assert not alarms(_audit([_both("a", "b")] * 50))
    assert [found.measure for found in alarms(biased, {"position_consistency": (0.8, 1.0)})] == ["position_consistency"]


def test_the_order_in_which_pairs_come_changes_no_interval() -> None:
    pairs = [Item(str(n), [_verdict("a" if n % 3 else "b")], LENGTHS) for n in range(40)]
    assert audit(pairs).judges["j"] == audit(reversed(pairs)).judges["j"]


# --- its own family ---


def _witness(said: Said, judge: str = "other") -> Verdict:
    """By another model."""
    return _verdict(said, judge=judge).but(model="m")


def _of_kin(said: Said, *, judge: str = "kin", swapped: bool = False) -> Verdict:
    """By a judge whose family wrote x."""
    return Verdict(judge=judge, x="x", y="y", swapped=swapped, said=said, own=("x",))


def test_self_preference_is_what_a_judge_gives_its_own_family_beyond_what_others_give_it() -> None:
    pairs = [
        [_of_kin("a"), _witness("b")],  # 1 against 0
        [_of_kin("a"), _witness("a"), _witness("tie", "third")],  # 1 against 3/4
        [_of_kin("tie"), _witness("a")],  # 1/2 against 1
        [_of_kin("a")],  # nobody to compare with
        [_of_kin("a"), _verdict("b", judge="length")],  # a rule without a model
        [_of_kin("unreadable"), _witness("b")],
        [_of_kin("unreadable").but(own=()), _of_kin("b", swapped=True), _witness("a")],  # 1 against 1
        [_of_kin("a"), _of_kin("b", judge="cousin")],  # of one family, no witness
    ]
    found = _audit(pairs).judges
    assert _value(found["kin"].self_preference) == pytest.approx((1 + 0.25 - 0.5 + 0) / 4)
    assert found["kin"].self_votes == 6
    assert found["other"].self_preference is None
    assert found["cousin"].self_votes == 0


def test_gold_is_a_better_witness_than_other_judges_and_what_was_settled_is_none() -> None:
    verdicts = [_of_kin("a"), _witness("a")]
    assert _value(audit([Item("1", verdicts, LENGTHS, "y", gold="y")]).judges["kin"].self_preference) == 1
    assert _value(audit([Item("1", verdicts, LENGTHS, "y")]).judges["kin"].self_preference) == 0
    assert audit([Item("1", verdicts[:1], LENGTHS, "x")]).judges["kin"].self_preference is None


def test_a_judge_of_the_family_of_both_answers_prefers_neither() -> None:
    both = _of_kin("a").but(own=("x", "y"))
    found = audit([Item("1", [both, _witness("b")], LENGTHS)]).judges["kin"]
    assert (found.self_votes, found.self_preference) == (0, None)


def test_self_preference_raises_an_alarm_only_beyond_doubt() -> None:
    preferring = [[_of_kin("a"), _witness("b")]] * 30
    bounds: Bounds = {"self_preference": (-0.1, 0.1)}
    (alarm,) = alarms(_audit(preferring), bounds)
    assert (alarm.judge, alarm.measure) == ("kin", "self_preference")
    mixed = [[_of_kin("a"), _witness("b" if n % 2 else "a")] for n in range(4)]
    assert not alarms(_audit(mixed), bounds)


# --- how strongly ---


def test_strengths_are_counted_in_tenths_and_averaged_over_what_was_decided() -> None:
    strengths = [0.0, 0.05, 0.1, 0.95, 1.0, None]
    found = audit(Item(str(n), [_verdict("a")], LENGTHS, strength=strength) for n, strength in enumerate(strengths))
    assert found.strengths == (2, 1, 0, 0, 0, 0, 0, 0, 0, 2)
    assert _value(found.mean_strength) == pytest.approx(2.1 / 5)
    assert audit([]).mean_strength is None
