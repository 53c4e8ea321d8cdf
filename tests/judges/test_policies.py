"""What every policy keeps to, whatever the judges say, and what each does that the others do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from judges.calibration import fit, save
from judges.evidence import Bin, Chances, Evidence
from judges.gold import GoldPair, Trial
from judges.policy import support
from judges.policy.both_orders import BothOrders
from judges.policy.full import Full
from judges.policy.lead import Lead
from judges.policy.one_call import OneCall
from judges.policy.sprt import SequentialTest, Sprt
from judges.policy.weighted import Weighted, WeightedVote
from judges.replay import Deliberates
from pipeline.errors import UserError
from pipeline.records import Said, Settled, Verdict
from pipeline.registry import Call

Sayings = dict[Call, Said]
SAID: tuple[Said, ...] = ("a", "b", "tie", "unreadable")
SIZES = st.integers(1, 6)
GOOD = Evidence(first=Chances(a=0.8, b=0.15, tie=0.05), second=Chances(a=0.15, b=0.8, tie=0.05))


def _jury(size: int) -> list[str]:
    return [f"judge {number}" for number in range(size)]


def _calls(size: int) -> list[Call]:
    return [Call(judge, other) for judge in _jury(size) for other in (False, True)]


@st.composite
def _chances(draw: st.DrawFn) -> Chances:
    parts = [draw(st.floats(0.01, 1)) for _ in range(3)]
    return Chances(**{said: part / sum(parts) for said, part in zip(("a", "b", "tie"), parts, strict=True)})


EVIDENCE = st.builds(Evidence, first=_chances(), second=_chances())


@st.composite
def _policies(draw: st.DrawFn, size: int, *, with_one_call: bool = False) -> Deliberates:
    """Any policy with any options and any evidence that make sense for a jury of this size."""
    tables = {judge: draw(EVIDENCE) for judge in _jury(size)}
    choices: list[st.SearchStrategy[Deliberates]] = [
        st.just(BothOrders()),
        st.builds(Lead, lead=st.integers(2, 2 * size)),
        st.builds(Full, at_least_margin=st.integers(1, 2 * size)),
        st.builds(SequentialTest, evidence=st.just(tables), threshold=st.floats(0.01, 4), early_reject=st.booleans()),
        st.builds(WeightedVote, evidence=st.just(tables), threshold=st.floats(0.01, 4)),
    ]
    return draw(st.one_of([*choices, *([st.just(OneCall())] if with_one_call else [])]))


@st.composite
def _scenes(draw: st.DrawFn, *, with_one_call: bool = False) -> tuple[Deliberates, list[str], Sayings, bool]:
    """A policy, its jury, what each call will say, and the pair's coin."""
    size = draw(SIZES)
    sayings = {call: draw(st.sampled_from(SAID)) for call in _calls(size)}
    return draw(_policies(size, with_one_call=with_one_call)), _jury(size), sayings, draw(st.booleans())


def _talk(
    policy: Deliberates, jury: Sequence[str], say: Callable[[Call, bool], Said], *, coin: bool, ids: str = "xy"
) -> tuple[Settled, list[Verdict], list[Call]]:
    """Lets a policy talk; `say` is told the call and whether y stands first. Checks that every call is a new one."""
    talks = policy.deliberate(jury)
    asked: list[Call] = []
    heard: list[Verdict] = []
    try:
        calls = next(talks)
        while True:
            new = [
                Verdict(
                    judge=call.judge,
                    x=ids[0],
                    y=ids[1],
                    swapped=call.other != coin,
                    said=say(call, call.other != coin),
                )
                for call in calls
            ]
            asked.extend(calls)
            heard.extend(new)
            assert calls, "a round without a call"
            assert len(set(asked)) == len(asked), "the same judge in the same order twice"
            assert len(asked) <= 2 * len(jury)
            calls = talks.send(new)
    except StopIteration as end:
        settled: Settled = end.value
        return settled, heard, asked


@given(_scenes(with_one_call=True))
def test_asks_no_judge_twice_in_one_order_and_ends_with_a_winner_or_a_reason(
    scene: tuple[Deliberates, list[str], Sayings, bool],
) -> None:
    policy, jury, sayings, coin = scene
    settled, heard, asked = _talk(policy, jury, lambda call, _: sayings[call], coin=coin)
    assert (settled.winner is None) == (settled.reason in {"unreadable", "tie", "disagreement", "no_evidence"})
    assert {call.judge for call in asked} <= set(jury)
    if settled.winner is None:
        assert settled.strength is None
    else:
        assert settled.strength == support(settled.winner, heard)
    assert (settled.reason == "no_evidence") == (not asked)


@given(_scenes(with_one_call=True))
def test_exchanging_x_and_y_everywhere_exchanges_the_winner(
    scene: tuple[Deliberates, list[str], Sayings, bool],
) -> None:
    policy, jury, sayings, coin = scene
    ours, *_ = _talk(policy, jury, lambda call, _: sayings[call], coin=coin)
    theirs, *_ = _talk(policy, jury, lambda call, _: sayings[call], coin=coin, ids="yx")
    assert theirs.winner == {"x": "y", "y": "x", None: None}[ours.winner]
    assert (theirs.reason, theirs.strength) == (ours.reason, ours.strength)


@given(_scenes(with_one_call=True))
def test_naming_the_answers_the_other_way_round_changes_nothing(
    scene: tuple[Deliberates, list[str], Sayings, bool],
) -> None:
    """The same showings, with x called y: `swapped` turns, and so does the coin."""
    policy, jury, sayings, coin = scene
    ours, *_ = _talk(policy, jury, lambda call, _: sayings[call], coin=coin)
    theirs, *_ = _talk(policy, jury, lambda call, _: sayings[call], coin=not coin, ids="yx")
    assert theirs == ours


@given(_scenes(), st.sets(st.sampled_from(_calls(6))), st.sampled_from(["unreadable", "tie"]))
def test_a_jury_that_always_names_the_first_answer_settles_nothing_whatever_else_goes_wrong(
    scene: tuple[Deliberates, list[str], Sayings, bool], lost: set[Call], instead: Said
) -> None:
    policy, jury, _, coin = scene
    settled, *_ = _talk(policy, jury, lambda call, _: instead if call in lost else "a", coin=coin)
    assert settled.winner is None


@given(st.booleans())
def test_one_call_believes_a_judge_that_always_names_the_first_answer(coin: bool) -> None:
    settled, *_ = _talk(OneCall(), ["only"], lambda *_: "a", coin=coin)
    assert settled.winner == ("y" if coin else "x")
    assert settled.strength == 1


@given(_scenes(with_one_call=True))
def test_unreadable_verdicts_alone_settle_nothing_and_say_so(
    scene: tuple[Deliberates, list[str], Sayings, bool],
) -> None:
    policy, jury, _, coin = scene
    settled, _, asked = _talk(policy, jury, lambda *_: "unreadable", coin=coin)
    assert settled.winner is None
    assert settled.reason == ("unreadable" if asked else "no_evidence")


@given(_scenes(with_one_call=True))
def test_ties_alone_are_a_tie_and_never_a_win(scene: tuple[Deliberates, list[str], Sayings, bool]) -> None:
    policy, jury, _, coin = scene
    if isinstance(policy, SequentialTest):
        policy = SequentialTest(dict.fromkeys(jury, GOOD), early_reject=policy.early_reject)
    if isinstance(policy, WeightedVote):
        policy = WeightedVote(dict.fromkeys(jury, GOOD))
    settled, *_ = _talk(policy, jury, lambda *_: "tie", coin=coin)
    assert (settled.winner, settled.reason) == (None, "tie")


@given(SIZES, st.booleans(), st.sampled_from("xy"), st.data())
def test_an_oracle_jury_always_gives_the_oracles_answer(size: int, coin: bool, right: str, data: st.DataObject) -> None:
    policies: list[Deliberates] = [
        OneCall(),
        BothOrders(),
        Lead(),
        Full(),
        Full(at_least_margin=2 * size),
        SequentialTest(dict.fromkeys(_jury(size), GOOD)),
        SequentialTest(dict.fromkeys(_jury(size), GOOD), early_reject=True),
        WeightedVote(dict.fromkeys(_jury(size), GOOD)),
    ]
    settled, heard, _ = _talk(data.draw(st.sampled_from(policies)), _jury(size), _oracle(right), coin=coin)
    assert settled.winner == right
    assert settled.strength == 1
    assert {verdict.winner for verdict in heard} == {right}


def _oracle(right: str) -> Callable[[Call, bool], Said]:
    return lambda _, swapped: "a" if (right == "y") == swapped else "b"


@given(SIZES, st.booleans(), st.sampled_from("xy"), st.data())
def test_one_unreadable_verdict_never_turns_an_oracle_jury_round(
    size: int, coin: bool, right: str, data: st.DataObject
) -> None:
    lost = data.draw(st.sampled_from(_calls(size)))
    policy = data.draw(_policies(size))
    if isinstance(policy, SequentialTest):
        policy = SequentialTest(dict.fromkeys(_jury(size), GOOD))
    if isinstance(policy, WeightedVote):
        policy = WeightedVote(dict.fromkeys(_jury(size), GOOD))
    tell = _oracle(right)
    settled, *_ = _talk(
        policy, _jury(size), lambda call, swapped: "unreadable" if call == lost else tell(call, swapped), coin=coin
    )
    assert settled.winner in (right, None)
    assert settled.winner or settled.reason in ("unreadable", "disagreement")


def _scripted(*script: Said) -> Callable[[Call, bool], Said]:
    said = iter(script)
    return lambda *_: next(said)


def test_lead_asks_nobody_else_if_the_first_judge_agrees_with_itself() -> None:
    settled, _, asked = _talk(Lead(), _jury(4), _scripted("a", "b"), coin=False)
    assert settled.winner == "x"
    assert asked == [Call("judge 0", other=False), Call("judge 0", other=True)]


def test_lead_varies_judge_and_order_together_after_a_contradiction() -> None:
    _, _, asked = _talk(Lead(), _jury(4), lambda *_: "a", coin=False)
    assert asked[2:] == [
        Call("judge 1", other=False),
        Call("judge 2", other=True),
        Call("judge 3", other=False),
        Call("judge 1", other=True),
        Call("judge 2", other=False),
        Call("judge 3", other=True),
    ]


def test_lead_stops_when_the_calls_left_cannot_make_one() -> None:
    settled, _, asked = _talk(Lead(), _jury(4), _scripted("a", "a", "a", "a", "a", "a", "tie"), coin=False)
    assert (settled.winner, settled.reason, len(asked)) == (None, "disagreement", 7)


def test_lead_is_reached_by_two_more_verdicts() -> None:
    settled, _, asked = _talk(Lead(), _jury(3), _scripted("a", "a", "a", "b"), coin=False)
    assert settled.winner == "x"  # x, y, then x from the first place and x from the second
    assert len(asked) == 4
    assert settled.strength == pytest.approx(0.5)


def test_full_wants_the_margin_that_it_was_told() -> None:
    for margin, winner in ((2, "x"), (3, None)):
        settled, *_ = _talk(Full(at_least_margin=margin), _jury(2), _scripted("a", "b", "a", "a"), coin=False)
        assert settled.winner == winner


def test_a_margin_is_missed_for_unreadable_verdicts_only_if_they_could_have_made_it() -> None:
    close, *_ = _talk(Full(at_least_margin=2), _jury(2), _scripted("a", "a", "a", "unreadable"), coin=False)
    far, *_ = _talk(Full(at_least_margin=4), _jury(2), _scripted("a", "a", "a", "unreadable"), coin=False)
    assert (close.reason, far.reason) == ("unreadable", "disagreement")


@pytest.mark.parametrize(("policy", "size"), [(Lead(lead=3), 1), (Full(at_least_margin=5), 2)])
def test_a_jury_that_is_too_small_for_the_margin_is_an_error(policy: Deliberates, size: int) -> None:
    with pytest.raises(UserError, match="Lower it, or add a judge"):
        _talk(policy, _jury(size), lambda *_: "a", coin=False)


def test_sprt_asks_the_most_telling_judge_first_and_passes_over_one_that_tells_nothing() -> None:
    weak = Evidence(first=Chances(a=0.6, b=0.35, tie=0.05), second=Chances(a=0.35, b=0.6, tie=0.05))
    stuck = Evidence(first=Chances(a=0.9, b=0.05, tie=0.05), second=Chances(a=0.9, b=0.05, tie=0.05))
    tables = {"judge 0": stuck, "judge 1": weak, "judge 2": GOOD}
    _, _, asked = _talk(SequentialTest(tables, threshold=1), _jury(3), lambda *_: "tie", coin=False)
    assert [call.judge for call in asked[:2]] == ["judge 2", "judge 2"]
    assert {call.judge for call in asked} == {"judge 1", "judge 2"}


def test_sprt_gives_up_at_the_first_conflict_if_told_so() -> None:
    tables = dict.fromkeys(_jury(3), GOOD)
    patient, _, many = _talk(SequentialTest(tables), _jury(3), _scripted("a", "a", "a", "b", "b"), coin=False)
    hasty, _, two = _talk(SequentialTest(tables, early_reject=True), _jury(3), lambda *_: "a", coin=False)
    assert patient.winner
    assert len(many) > 2
    assert (hasty.winner, hasty.reason, len(two)) == (None, "disagreement", 2)


def test_sprt_asks_nobody_if_no_verdict_could_suffice() -> None:
    settled, _, asked = _talk(SequentialTest({"judge 0": GOOD}, threshold=9), _jury(1), lambda *_: "a", coin=False)
    assert (settled.reason, asked) == ("no_evidence", [])


def _calibration(tmp_path: Path, trials: list[Trial]) -> Path:
    path = tmp_path / "calibration.json"
    save(fit(trials), path)
    return path


def test_policies_read_a_calibration_file_once_and_follow_it(tmp_path: Path, trials_of_two: list[Trial]) -> None:
    path = _calibration(tmp_path, trials_of_two)
    policies: list[Deliberates] = [Lead(calibration=path), Sprt(calibration=path)]
    weighted = Weighted(calibration=path, weights="gold")
    path.unlink()
    settled, _, asked = _talk(weighted, ["blind", "sighted"], _oracle("y"), coin=True)
    assert (settled.winner, len(asked)) == ("y", 4)
    for policy in policies:
        settled, _, asked = _talk(policy, ["blind", "sighted"], _oracle("y"), coin=True)
        assert settled.winner == "y"
        assert [call.judge for call in asked] == ["sighted", "sighted"]


def test_a_judge_that_was_not_calibrated_is_an_error_that_names_it(tmp_path: Path, trials_of_two: list[Trial]) -> None:
    path = _calibration(tmp_path, trials_of_two)
    for policy in (Lead(calibration=path), Sprt(calibration=path), Weighted(calibration=path)):
        with pytest.raises(UserError, match=r"no judge 'sightd'\. Did you mean 'sighted'"):
            _talk(policy, ["sightd"], lambda *_: "a", coin=False)


def test_a_calibration_that_is_missing_or_broken_is_reported_with_the_recipes_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="pairwright judge calibrate"):
        Sprt(calibration=tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ValidationError, match="no calibration file"):
        Lead(calibration=tmp_path / "broken.json")


@pytest.fixture(name="trials_of_two")
def _trials_of_two() -> list[Trial]:
    """Ten gold pairs; one judge always sees the better answer, the other always names the first."""
    pairs = [GoldPair(pair_id=str(n), prompt="p", a="one", b="another", gold="a" if n % 2 else "b") for n in range(10)]
    return [
        Trial.of(
            pair,
            [
                pair.verdict("blind" if blind else "sighted", said, swapped=swapped)
                for blind in (True, False)
                for swapped in (False, True)
                for said in (_said(pair, blind=blind, swapped=swapped),)
            ],
        )
        for pair in pairs
    ]


def _said(pair: GoldPair, *, blind: bool, swapped: bool) -> Said:
    return "a" if blind or (pair.gold == "b") == swapped else "b"


def _sure(said: Said, probability: float | None, *, swapped: bool = False) -> Verdict:
    return Verdict(judge="j", x="x", y="y", swapped=swapped, said=said, probability=probability)


@pytest.mark.parametrize(
    ("verdicts", "strength"),
    [
        ([_sure("a", None), _sure("b", None, swapped=True)], 1.0),
        ([_sure("a", 0.75), _sure("b", 0.25, swapped=True)], 0.5),
        ([_sure("a", 0.75), _sure("b", None, swapped=True)], 0.75),
        ([_sure("a", 0.9), _sure("a", 0.6, swapped=True)], 0.3),
        ([_sure("tie", 0.99), _sure("a", 1.0)], 0.5),
        ([_sure("unreadable", None), _sure("a", 0.8)], 0.6),
        ([_sure("b", 0.1), _sure("a", 0.6)], 0.0),
    ],
)
def test_strength_is_how_sure_the_verdicts_are_on_average(verdicts: list[Verdict], strength: float) -> None:
    assert support("x", verdicts) == pytest.approx(strength)


WEAK = Evidence(first=Chances(a=0.55, b=0.4, tie=0.05), second=Chances(a=0.4, b=0.55, tie=0.05))
PERVERSE = Evidence(first=GOOD.second, second=GOOD.first)


def test_a_strong_judge_is_not_outvoted_by_three_weak_ones() -> None:
    jury = _jury(4)
    tables = {judge: GOOD if judge == "judge 0" else WEAK for judge in jury}

    def say(call: Call, swapped: bool) -> Said:
        return _oracle("x" if call.judge == "judge 0" else "y")(call, swapped)

    assert _talk(Full(), jury, say, coin=False)[0].winner == "y"
    assert _talk(WeightedVote(tables), jury, say, coin=False)[0].winner == "x"


def test_a_judge_that_is_mostly_wrong_counts_the_other_way_round_but_never_alone() -> None:
    """It needs somebody who says so from both places: evidence against an answer is no verdict for the other."""
    tables = {"judge 0": PERVERSE, "judge 1": WEAK}

    def say(call: Call, swapped: bool) -> Said:
        return _oracle("x" if call.judge == "judge 0" else "y")(call, swapped)

    assert _talk(WeightedVote(tables), _jury(2), say, coin=False)[0].winner == "y"
    assert _talk(WeightedVote({"judge 0": PERVERSE}), _jury(1), _oracle("x"), coin=False)[0].winner is None


def test_a_word_that_a_judge_was_sure_of_weighs_more() -> None:
    sure = Bin(at_least=0.9, right=0.8, wrong=0.1)
    graded = WEAK.but(bins=(Bin(at_least=-1, right=0.2, wrong=0.9), sure))
    for probability, weight in ((0.99, 1.0), (0.6, -1.0), (None, 0.0)):
        said = Verdict(judge="j", x="x", y="y", swapped=False, said="a", probability=probability)
        told = graded.of(said) - WEAK.of(said)
        assert (told > 0) - (told < 0) == weight
        other = said.but(said="b", probability=None if probability is None else 1 - probability)
        assert graded.of(other) == pytest.approx(-graded.of(said))
    assert graded.bits > WEAK.bits
    assert graded.bounds.for_first == pytest.approx(WEAK.nats["a"] + sure.nats)


@given(EVIDENCE, st.floats(0, 1), st.sampled_from(SAID), st.booleans())
def test_no_verdict_tells_more_than_the_bounds_say(
    table: Evidence, probability: float, said: Said, graded: bool
) -> None:
    if graded:
        table = table.but(bins=(Bin(at_least=-1, right=0.3, wrong=0.6), Bin(at_least=0.5, right=0.7, wrong=0.4)))
    nats = table.of(Verdict(judge="j", x="x", y="y", swapped=True, said=said, probability=probability))
    assert table.bounds.for_second - 1e-9 <= nats <= table.bounds.for_first + 1e-9


def test_weights_by_agreement_are_refused_with_the_recipe_where_the_guard_refused_them(
    tmp_path: Path, trials_of_two: list[Trial]
) -> None:
    path = _calibration(tmp_path, trials_of_two)
    Weighted(calibration=path)
    with pytest.raises(ValidationError, match=r"refuses weights by agreement: 10 gold pairs cannot vouch for a jury"):
        Weighted(calibration=path, weights="agreement")
