"""Replays drive the policies' own code, count every verdict once, and never judge a pair by what has seen it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest

from judges.gold import GoldPair, Trial
from judges.policy.full import Full
from judges.policy.lead import Lead
from judges.policy.one_call import OneCall
from judges.replay import (
    Outcome,
    Panel,
    accuracy_difference,
    compare,
    cross_replay,
    fits,
    folds,
    replay,
    samples,
    score,
)
from pipeline.errors import UserError
from pipeline.records import Said, Settled

JURY = ["good", "fair"]


def _trials(number: int, seed: int = 0) -> list[Trial]:
    draw, trials = random.Random(seed), []
    for index in range(number):
        pair = GoldPair(pair_id=str(index), prompt="p", a="one", b="two", gold=draw.choice(["a", "b"]))
        verdicts = []
        for judge, accuracy in (("good", 0.9), ("fair", 0.7)):
            for swapped in (False, True):
                right = draw.random() < accuracy
                said: Said = "a" if ((pair.gold == "b") == swapped) == right else "b"
                verdicts.append(pair.verdict(judge, said, swapped=swapped))
        trials.append(Trial.of(pair, verdicts))
    return trials


def _outcome(pair: str, right: bool | None, calls: int = 2, usd: float | None = None) -> Outcome:
    return Outcome(pair, Settled(winner=None, strength=None), calls, usd, right)


def test_figures_are_what_their_docstrings_say() -> None:
    found = score("p", [_outcome("1", True), _outcome("2", False), _outcome("3", None, 8), _outcome("4", True)])
    values = {name: getattr(found, name).value for name in ("accuracy", "precision", "yielded")}
    assert values == pytest.approx({"accuracy": 2.5 / 4, "precision": 2 / 3, "yielded": 3 / 4})
    assert found.calls_per_decided is not None
    assert found.calls_per_decided.value == pytest.approx(14 / 3)
    assert found.calls_per_right is not None
    assert found.calls_per_right.value == pytest.approx(14 / 2)
    assert found.pairs == 4


def test_a_policy_that_decides_nothing_is_half_right_at_no_known_price() -> None:
    found = score("p", [_outcome("1", None), _outcome("2", None)])
    assert found.accuracy is not None
    assert found.accuracy.value == 0.5
    assert found.calls_per_decided is None
    assert found.precision is None


def test_several_outcomes_of_one_pair_count_as_one() -> None:
    found = score("p", [_outcome("1", True), _outcome("1", True), _outcome("1", False), _outcome("2", False)])
    assert found.pairs == 2
    assert found.accuracy is not None
    assert found.accuracy.value == pytest.approx((2 / 3 + 0) / 2)


def test_a_difference_draws_the_same_pairs_for_both() -> None:
    outcomes = [_outcome(str(number), number % 3 == 0) for number in range(60)]
    same = accuracy_difference(outcomes, outcomes)
    assert same is not None
    assert (same.low, same.value, same.high) == (0, 0, 0)
    better = accuracy_difference([_outcome(str(number), True) for number in range(60)], outcomes)
    assert better is not None
    assert better.low > 0


def test_full_asks_for_everything_once_and_one_call_for_one_verdict_in_the_order_of_the_coin() -> None:
    trials = _trials(40)
    assert {outcome.calls for outcome in replay(Panel(Full(), JURY), trials)} == {4}
    once = replay(Panel(OneCall(), JURY), trials)
    assert {outcome.calls for outcome in once} == {1}
    assert once == replay(Panel(OneCall(), JURY), trials)
    assert once != replay(Panel(OneCall(), JURY), trials, seed=1)


def test_every_fold_judges_what_the_others_fit_and_all_pairs_are_judged_once() -> None:
    trials = _trials(23)
    judged: list[str] = []
    for split in folds(trials, 5):
        fitted, mine = ({trial.pair.pair_id for trial in part} for part in split)
        assert not fitted & mine
        assert len(fitted | mine) == 23
        judged.extend(mine)
    assert sorted(judged) == sorted(trial.pair.pair_id for trial in trials)
    with pytest.raises(UserError, match="4 gold pairs are too few"):
        folds(trials[:4], 5)


def test_no_pair_is_judged_by_what_was_fitted_on_it() -> None:
    trials = _trials(30)
    seen: list[set[str]] = []

    def spy(fitted: Sequence[Trial]) -> Panel:
        seen.append({trial.pair.pair_id for trial in fitted})
        return Panel(Lead(), JURY)

    splits = samples(trials, labels=10, repeats=7)
    outcomes = cross_replay(spy, splits)
    assert [len(fitted) for fitted in seen] == [10] * 7
    for number, fitted in enumerate(seen):
        mine = outcomes[20 * number : 20 * (number + 1)]
        assert not fitted & {outcome.pair_id for outcome in mine}


def test_the_strongest_judge_is_found_from_gold_whatever_the_jurys_order() -> None:
    trials = _trials(80)
    for jury in (JURY, JURY[::-1]):
        for name in ("lead", "one-call, best judge", "both-orders, best judge"):
            assert fits(jury)[name](trials).jury[0] == "good"


def test_every_policy_that_a_recipe_can_use_is_compared() -> None:
    rows = {row.policy: row for row in compare(_trials(60))}
    assert {name.split(",")[0] for name in rows} == {"one-call", "both-orders", "lead", "sprt", "weighted", "full"}
    assert all(row.pairs == 60 for row in rows.values())
    lead, full = rows["lead"], rows["full"]
    assert lead.calls_per_decided is not None
    assert full.calls_per_decided is not None
    assert lead.calls_per_decided.value < full.calls_per_decided.value


def test_a_hundred_thousand_recorded_verdicts_take_seconds() -> None:
    trials = _trials(500) * 80
    sprt = fits(JURY)["sprt"](trials[:500])
    started = time.process_time()
    verdicts = sum(outcome.calls for outcome in replay(sprt, trials))
    took = time.process_time() - started
    assert verdicts > 80_000
    assert took / verdicts * 100_000 < 10  # 2 s on an idle machine
