"""What every ranking keeps to, whatever the matches come to, and what each does that the others do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judges.ranking import Results, in_line
from judges.ranking.bradley_terry import BradleyTerry, log_strengths
from judges.ranking.max_and_min import MaxAndMin
from judges.ranking.round_robin import RoundRobin
from pipeline.identity import fraction
from pipeline.records import Ranked, Said, Settled, Verdict
from pipeline.registry import Match, Played, Ranking
from tests.support.build import STEADY

RANKINGS: dict[str, Ranking] = {
    "max-and-min": MaxAndMin(),
    "round-robin": RoundRobin(),
    "round-robin, near": RoundRobin(rejected="near-mu-2sigma"),
    "round-robin, closest": RoundRobin(rejected="closest-clear-loser"),
    "bradley-terry": BradleyTerry(),
    "bradley-terry, near": BradleyTerry(rejected="near-mu-2sigma"),
    "bradley-terry, closest": BradleyTerry(rejected="closest-clear-loser"),
    "bradley-terry, policy": BradleyTerry(matches="policy"),
}
EVERY = pytest.mark.parametrize("ranking", RANKINGS.values(), ids=RANKINGS)
IDS = tuple("pqrstuvwxyz")

Outcome = str | Literal["tie", "unreadable", "disagreement"]
Rule = Callable[[Match], Outcome]
"""Who wins a match, or why nobody does."""


class Contested(NamedTuple):
    """A contest and its end."""

    ranked: Ranked
    played: list[Played]

    @property
    def calls(self) -> list[Match]:
        """The matches by one call."""
        return [item.match for item in self.played if not item.match.in_full]

    @property
    def in_full(self) -> list[Match]:
        """The matches that the policy settled."""
        return [item.match for item in self.played if item.match.in_full]


def contested(ranking: Ranking, ids: Sequence[str], rule: Rule, favourite: str | None = None) -> Contested:
    """Lets a contest run, with a rule in the place of jury and policy; checks that it asks for nothing in vain."""
    talks = ranking.contest(ids, favourite)
    played: list[Played] = []
    try:
        matches = next(talks)
        while True:
            assert matches, "a round without a match"
            assert all(match.one != match.other and {match.one, match.other} <= set(ids) for match in matches)
            new = [play(match, rule(match)) for match in matches]
            played.extend(new)
            for in_full in (True, False):
                pairs = [frozenset(item.match[:2]) for item in played if item.match.in_full == in_full]
                assert in_full or len(set(pairs)) == len(pairs), "the same call twice"
            matches = talks.send(new)
    except StopIteration as end:
        return Contested(end.value, played)


def play(match: Match, outcome: Outcome) -> Played:
    """What a policy makes of an outcome: one verdict of a call, two of a match in full."""
    x, y = sorted(match[:2])
    said: Said = "tie" if outcome in ("tie", "disagreement") else "unreadable"
    verdicts = [
        Verdict(judge="j", x=x, y=y, swapped=swapped, said=("b" if (outcome == x) == swapped else "a"))
        if outcome in (x, y)
        else Verdict(judge="j", x=x, y=y, swapped=swapped, said=said)
        for swapped in ((False, True) if match.in_full else (False,))
    ]
    if outcome in (x, y):
        return Played(match, Settled(winner=outcome, strength=1.0), verdicts)
    return Played(match, Settled(winner=None, strength=None, reason=outcome), verdicts)


def oracle(order: Sequence[str]) -> Rule:
    """The answer that stands earlier wins."""
    return lambda match: min(match[:2], key=order.index)


@st.composite
def _scenes(draw: st.DrawFn) -> tuple[tuple[str, ...], Rule]:
    """Three to eight answers, and an outcome for each pair, by call and in full."""
    ids = IDS[: draw(st.integers(3, 8))]
    outcomes: dict[tuple[frozenset[str], bool], Outcome] = {}
    for one, other in combinations(ids, 2):
        for in_full in (True, False):
            words = [one, other, one, other, "tie", "unreadable", *(["disagreement"] if in_full else [])]
            outcomes[frozenset((one, other)), in_full] = draw(st.sampled_from(words))
    return ids, lambda match: outcomes[frozenset(match[:2]), match.in_full]


@EVERY
@given(scene=_scenes())
@settings(STEADY, max_examples=120)
def test_a_pair_is_only_what_a_match_in_full_settled(ranking: Ranking, scene: tuple[tuple[str, ...], Rule]) -> None:
    ids, rule = scene
    ranked, played = contested(ranking, ids, rule)
    assert sorted(item.answer for item in ranked.standings) == list(ids)
    if ranked.chosen is None:
        assert (ranked.rejected, ranked.strength) == (None, None)
        assert ranked.reason in {"tie", "unreadable", "disagreement", "cycle", "contradiction"}
        return
    assert ranked.rejected is not None
    assert ranked.reason == ""
    match = Match(ranked.chosen, ranked.rejected, in_full=True)
    assert rule(match) == ranked.chosen
    assert any(item.match.in_full and set(item.match[:2]) == set(match[:2]) for item in played)
    assert ranked.strength == 1


@EVERY
@given(scene=_scenes())
@settings(STEADY, max_examples=60)
def test_a_cycle_is_one_and_does_not_hold_a_pair_that_the_policy_ranks_both_ways(
    ranking: Ranking, scene: tuple[tuple[str, ...], Rule]
) -> None:
    ids, rule = scene
    ranked, played = contested(ranking, ids, rule)
    won = {frozenset(item.match[:2]): item for item in played}  # the later of two matches counts, as in Results
    for one, other in pairwise((*ranked.cycle, *ranked.cycle[:1])):
        assert won[frozenset((one, other))].settled.winner == one
    assert len(set(ranked.cycle)) == len(ranked.cycle) != 1
    results = Results(ids)
    results.hear(played)
    if ranked.chosen and ranked.rejected:
        assert not results.chain(ranked.rejected, ranked.chosen, in_full=True)


@EVERY
@given(scene=_scenes(), favourite=st.integers(0, 2))
@settings(STEADY, max_examples=60)
def test_a_favourite_is_always_chosen_and_another_answer_rejected(
    ranking: Ranking, scene: tuple[tuple[str, ...], Rule], favourite: int
) -> None:
    ids, rule = scene
    ranked, played = contested(ranking, ids, rule, ids[favourite])
    assert ranked.chosen == ids[favourite]
    assert ranked.rejected in set(ids) - {ids[favourite]}
    final = next(
        item for item in played if item.match.in_full and set(item.match[:2]) == {ranked.chosen, ranked.rejected}
    )
    assert ranked.strength == (
        None if final.settled.reason == "unreadable" else float(final.settled.winner == ids[favourite])
    )
    if isinstance(ranking, MaxAndMin):
        assert all(ids[favourite] not in item.match for item in played if not item.match.in_full)


@EVERY
@given(order=st.integers(3, 8).flatmap(lambda number: st.permutations(IDS[:number])))
@settings(STEADY, max_examples=40)
def test_an_oracle_jury_gives_the_best_and_whom_the_rule_wants(ranking: Ranking, order: list[str]) -> None:
    ranked, played = contested(ranking, sorted(order), oracle(order))
    assert ranked.chosen == order[0]
    closest = isinstance(ranking, RoundRobin | BradleyTerry) and ranking.rejected == "closest-clear-loser"
    near = isinstance(ranking, RoundRobin | BradleyTerry) and ranking.rejected == "near-mu-2sigma"
    if not near or len(order) <= 5:
        assert ranked.rejected == (order[1] if closest else order[-1])
    lost = Contested(ranked, played).ranked.standings
    assert [item.answer for item in lost][0 :: len(order) - 1] == [order[0], order[-1]]
    assert ranked.cycle == ()


@EVERY
@pytest.mark.parametrize("number", [3, 5, 8])
def test_ties_and_unreadable_verdicts_alone_decide_nothing_and_say_so(ranking: Ranking, number: int) -> None:
    for word in ("tie", "unreadable"):
        ranked, _ = contested(ranking, IDS[:number], lambda _, word=word: word)  # type: ignore[misc]
        assert (ranked.chosen, ranked.reason) == (None, word)


# --- max-and-min ---


@pytest.mark.parametrize("number", range(3, 12))
def test_max_and_min_finds_both_ends_with_three_calls_for_two_answers(number: int) -> None:
    ids = IDS[:number]
    contest = contested(MaxAndMin(), ids, oracle(sorted(ids, key=lambda answer: fraction(answer, number))))
    assert len(contest.calls) <= math.ceil(3 * number / 2) - 2
    assert len(contest.in_full) == 1
    assert MaxAndMin().usual_calls(number, 2) == math.ceil(3 * number / 2)


@given(scene=_scenes())
@settings(STEADY, max_examples=200)
def test_an_answer_leaves_a_race_only_by_a_verdict(scene: tuple[tuple[str, ...], Rule]) -> None:
    """The best never lost a call and the worst never won one; two answers in one race that have not met meet."""
    ids, rule = scene
    contest = contested(MaxAndMin(), ids, rule)
    calls = [item for item in contest.played if not item.match.in_full]
    won = {item.settled.winner for item in calls if item.settled.winner}
    lost = {answer for item in calls if item.settled.winner for answer in item.match[:2]} - won | {
        answer for item in calls for answer in item.match[:2] if item.settled.winner not in (None, answer)
    }
    best, worst = contest.ranked.standings[0].answer, contest.ranked.standings[-1].answer
    assert best not in lost
    assert worst not in won
    met = {frozenset(item.match[:2]) for item in calls}
    for race in (set(ids) - lost, set(ids) - won):
        assert all(frozenset(pair) in met for pair in combinations(race, 2))


def test_a_final_that_goes_the_other_way_is_a_contradiction_or_closes_a_cycle() -> None:
    tell = oracle(IDS[:4])
    upset, _ = contested(MaxAndMin(), IDS[:4], lambda match: match.other if match.in_full else tell(match))
    assert (upset.chosen, upset.reason) == (None, "cycle")  # p over q, q over s and s over p, or the like
    assert set(upset.cycle[:: len(upset.cycle) - 1]) == {"p", "s"}
    apart = {frozenset("pq"): "p", frozenset("rs"): "r", frozenset("pr"): "tie", frozenset("qs"): "tie"}
    found, _ = contested(
        MaxAndMin(), IDS[:4], lambda match: match.other if match.in_full else apart[frozenset(match[:2])]
    )
    assert found.reason in ("contradiction", "cycle")


# --- round-robin ---


def test_a_round_robin_is_one_round_of_every_pair_in_full() -> None:
    contest = contested(RoundRobin(), IDS[:6], oracle(IDS))
    assert {frozenset(match[:2]) for match in contest.in_full} == {frozenset(pair) for pair in combinations(IDS[:6], 2)}
    assert len(contest.played) == 15
    assert RoundRobin().usual_calls(6, 2) == 30


@pytest.mark.parametrize(("rule", "unclear", "rejected"), [("worst", "s", "r"), ("closest-clear-loser", "q", "r")])
def test_whoever_does_not_lose_clearly_is_not_rejected(
    rule: Literal["worst", "closest-clear-loser"], unclear: str, rejected: str
) -> None:
    """The answer p is the best; the jury contradicts itself on p and the one whom the rule would take first."""
    tell = oracle("pqrs")
    ranked = contested(
        RoundRobin(rejected=rule),
        "pqrs",
        lambda match: "disagreement" if {*match[:2]} == {"p", unclear} else tell(match),
    ).ranked
    assert (ranked.chosen, ranked.rejected) == ("p", rejected)


def test_a_circle_among_others_is_reported_and_costs_the_pair_nothing() -> None:
    beats = {"qr": "q", "rs": "r", "qs": "s"}

    def rule(match: Match) -> Outcome:
        pair = "".join(sorted(match[:2]))
        return "p" if "p" in pair else beats[pair]

    ranked = contested(RoundRobin(), "pqrs", rule).ranked
    assert ranked.chosen == "p"
    assert sorted(ranked.cycle) == ["q", "r", "s"]


def test_nobody_is_rejected_who_beats_somebody_that_beats_the_chosen_one() -> None:
    """P beats s, s beats q, q beats p: whatever p's score, s is no clear loser, and r is."""
    ids = "pqrstu"
    tell = oracle(ids)
    odd = {frozenset("qp"): "q", frozenset("sq"): "s"}
    ranked = contested(
        RoundRobin(rejected="closest-clear-loser"), ids, lambda match: odd.get(frozenset(match[:2]), tell(match))
    ).ranked
    assert ranked.chosen == "p"
    assert ranked.rejected not in ("q", "s", "r")  # r is beaten by p and beats s
    assert ranked.rejected == "t"


# --- bradley-terry ---


def _verdicts(ids: str, results: Sequence[tuple[int, int, str]]) -> list[Verdict]:
    return [
        Verdict(judge="j", x=ids[one], y=ids[other], swapped=False, said=said)  # type: ignore[arg-type]
        for one, other, said in results
        if one != other
    ]


PLAYED = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from(["a", "b", "tie", "unreadable"])), max_size=30
)


@given(PLAYED)
@settings(STEADY, max_examples=150)
def test_strengths_expect_of_each_answer_just_the_wins_that_it_has(results: list[tuple[int, int, str]]) -> None:
    """The likelihood's own condition at its maximum, with half a win for a tie and for the imagined match."""
    ids = "pqrst"
    verdicts = _verdicts(ids, results)
    strength = {answer: math.exp(score) for answer, score in log_strengths(ids, verdicts).items()}
    for answer in ids:
        won, expected = 0.5, strength[answer] / (strength[answer] + 1)
        for item in verdicts:
            if answer in (item.x, item.y) and item.said != "unreadable":
                other = item.y if answer == item.x else item.x
                won += 0.5 if item.winner is None else item.winner == answer
                expected += strength[answer] / (strength[answer] + strength[other])
        assert expected == pytest.approx(won, abs=1e-4)


def test_a_known_case_by_hand() -> None:
    """Two answers, one win, the imagined ties: s / (s + 1/s) + s / (s + 1) = 1.5, solved here by bisection."""
    low, high = 1.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        wins = middle / (middle + 1 / middle) + middle / (middle + 1)
        low, high = (middle, high) if wins < 1.5 else (low, middle)
    scores = log_strengths("pq", _verdicts("pq", [(0, 1, "a")]))
    assert scores["p"] == pytest.approx(math.log(low), abs=1e-5)
    assert scores["q"] == pytest.approx(-math.log(low), abs=1e-5)


@given(PLAYED, st.permutations("pqrst"))
@settings(STEADY, max_examples=40)
def test_strengths_do_not_depend_on_names_and_order(results: list[tuple[int, int, str]], names: list[str]) -> None:
    ours = log_strengths("pqrst", _verdicts("pqrst", results))
    renamed = log_strengths(names, _verdicts("".join(names), results))
    assert [renamed[name] for name in names] == pytest.approx([ours[name] for name in "pqrst"], abs=1e-5)


def test_the_policy_settles_one_after_the_other_until_the_closest_clear_loser_is_found() -> None:
    tell = oracle("pqrs")
    contest = contested(
        BradleyTerry(rejected="closest-clear-loser"),
        "pqrs",
        lambda match: "disagreement" if match.in_full and "q" in match else tell(match),
    )
    assert [set(match[:2]) for match in contest.in_full] == [set("pq"), set("pr")]
    assert contest.ranked.rejected == "r"


def test_only_unreadable_calls_are_told_apart_from_ties_and_cost_no_final() -> None:
    for word in ("tie", "unreadable"):
        contest = contested(BradleyTerry(), "pqr", lambda _, word=word: word)  # type: ignore[misc]
        assert contest.in_full == []
        assert contest.ranked.reason == word


# --- whom to reject ---


def test_near_mu_2sigma_is_not_the_outlier_but_who_stands_at_the_usual_lower_end() -> None:
    scores = {f"a{number}": float(number) for number in range(40)} | {"outlier": -400.0}
    ranked = sorted(scores, key=lambda answer: -scores[answer])
    mean = sum(scores.values()) / 41
    spread = math.sqrt(sum((score - mean) ** 2 for score in scores.values()) / 41)
    wanted = min(set(scores) - {"a39"}, key=lambda answer: abs(scores[answer] - (mean - 2 * spread)))
    assert in_line("near-mu-2sigma", "a39", ranked, scores)[0] == wanted
    assert wanted != "outlier"
    assert in_line("worst", "a39", ranked, scores)[0] == "outlier"
    assert in_line("closest-clear-loser", "a39", ranked, scores)[0] == "a38"


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=5))
def test_of_five_answers_or_fewer_the_one_near_mu_2sigma_is_the_worst(values: list[int]) -> None:
    scores = {f"a{number}": float(value) for number, value in enumerate(values)}
    ranked = sorted(scores, key=lambda answer: -scores[answer])
    first = in_line("near-mu-2sigma", ranked[0], ranked, scores)[0]
    assert scores[first] == min(scores[answer] for answer in ranked[1:])


def test_whoever_is_chosen_is_never_in_line_to_be_rejected() -> None:
    scores = {"p": 2.0, "q": 1.0, "r": 0.0}
    for chosen in scores:
        for rule in ("worst", "near-mu-2sigma", "closest-clear-loser"):
            line = in_line(rule, chosen, ["p", "q", "r"], scores)  # type: ignore[arg-type]
            assert sorted([chosen, *line]) == ["p", "q", "r"]
