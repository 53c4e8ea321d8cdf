"""Judging more than two answers: who stands where, who is asked what, and what is made of it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.policy.one_call import OneCall
from pipeline.recipe import JudgeSettings
from pipeline.records import Candidates, Reply, Request
from pipeline.registry import known
from pipeline.stages.judge import Judged, follows, judge
from tests.support.build import SENTENCES, Line, Saying, make_candidates, make_jury, make_several, shown, verdict

EXCERPT = f"{SENTENCES[2]} {SENTENCES[3]}"
FIVE = ("one dance", "two dances", "three dances", "four dances")
ORDER = ["three dances", EXCERPT, "one dance", "four dances", "two dances"]


def settings_with(*engines: str, label: str = "judge", policy: str = "both-orders", **rank: Any) -> JudgeSettings:
    """One pairwise judge per engine, this policy, and this ranking."""
    ranking = known("ranking")[rank.pop("use", "max-and-min")](**rank)
    made = make_jury(*engines, label=label)
    return made.model_copy(update={"rank": ranking, "policy": known("policy")[policy]()})


def by_quality(order: Sequence[str]) -> Any:
    """A judge that finds the text that stands earlier in this order, wherever it is shown."""

    def rule(request: Request) -> Line:
        seen = shown(request)
        return verdict("first" if order.index(seen.first) < order.index(seen.second) else "second")

    return rule


def judged(
    rule: Any, jury: JudgeSettings, candidates: Candidates, seed: int = 1, place: int = 0
) -> tuple[Judged, Saying]:
    ask = Saying(rule)
    return asyncio.run(judge(candidates, jury, seed, ask, place)), ask


def text_of(result: Judged, answer_id: str) -> str:
    return result.preference.candidates.answer(answer_id).text


# --- who stands where ---


@given(st.integers(2, 11), st.booleans())
def test_in_a_circle_everybody_stands_first_as_often_as_everybody_else(number: int, tie: bool) -> None:
    circle = [f"answer {n}" for n in range(number)]
    firsts: Counter[str] = Counter()
    for one, other in combinations(circle, 2):
        other_first = follows(one, other, circle, tie=tie)
        assert other_first != follows(other, one, circle, tie=not tie)
        firsts[other if other_first else one] += 1
    assert sum(firsts.values()) == number * (number - 1) / 2
    assert all((number - 1) / 2 - 0.5 <= firsts[answer] <= (number - 1) / 2 + 0.5 for answer in circle)


@pytest.mark.parametrize("number", [3, 4, 7])
def test_in_a_round_of_single_calls_no_answer_stands_first_more_often_than_another(number: int) -> None:
    candidates = make_several(*(f"answer {n}" for n in range(number - 1)))
    jury = settings_with("one", use="bradley-terry")
    seatings = set()
    for seed in range(6):
        _, ask = judged(lambda _: verdict("tie"), jury, candidates, seed)
        firsts = Counter(shown(request).first for request in ask.requests)
        assert len(ask.requests) == number * (number - 1) / 2
        assert all(abs(firsts[answer.text] - (number - 1) / 2) <= 0.5 for answer in candidates.answers)
        seatings.add(tuple(sorted((shown(request).first, shown(request).second) for request in ask.requests)))
    assert len(seatings) > 1  # the seed


def test_under_one_call_the_pairs_of_a_chunk_take_turns_at_showing_the_authors_words_first() -> None:
    pairs = [make_candidates(f"Question {number}?") for number in range(6)]
    for seed in range(8):
        firsts = []
        for place, pair in enumerate(pairs):
            _, ask = judged(lambda _: verdict("tie"), settings_with("one", policy="one-call"), pair, seed, place)
            (request,) = ask.requests
            firsts.append(shown(request).first == EXCERPT)
        assert firsts == [firsts[0], not firsts[0]] * 3
    assert OneCall().one_order


def test_two_answers_under_a_policy_that_sees_both_orders_stand_where_they_stood_whatever_their_place() -> None:
    for place in range(4):
        _, ask = judged(lambda _: verdict("tie"), settings_with("one"), make_candidates(), 1, place)
        _, first = judged(lambda _: verdict("tie"), settings_with("one"), make_candidates(), 1, 0)
        assert [request.id for request in ask.requests] == [request.id for request in first.requests]


def test_two_answers_are_settled_without_a_ranking() -> None:
    results = set()
    for use in known("ranking"):
        result, ask = judged(by_quality(ORDER[::-1]), settings_with("one", "two", use=use), make_several("one dance"))
        assert (result.preference.standings, result.preference.cycle) == ((), ())
        results.add((result.preference.model_dump_json(), tuple(request.id for request in ask.requests)))
    assert len(results) == 1


# --- who is asked what ---


@pytest.mark.parametrize("use", list(known("ranking")))
@pytest.mark.parametrize("policy", ["one-call", "both-orders", "lead", "full"])
def test_nobody_is_asked_the_same_twice_and_every_verdict_is_kept_once(use: str, policy: str) -> None:
    result, ask = judged(by_quality(ORDER), settings_with("one", "two", policy=policy, use=use), make_several(*FIVE))
    # two engines of one model make equal requests: told apart by the engine
    assert len({(request.engine, request.id) for request in ask.requests}) == len(ask.requests)
    assert len(result.preference.verdicts) == len(ask.requests)
    kept = {(item.judge, item.x, item.y, item.swapped) for item in result.preference.verdicts}
    assert len(kept) == len(result.preference.verdicts)


def test_a_knockout_asks_the_judge_whom_the_policy_would_ask_first_and_the_whole_jury_about_the_final_pair() -> None:
    result, ask = judged(by_quality(ORDER), settings_with("one", "two", "three"), make_several(*FIVE))
    final = {ORDER[0], ORDER[-1]}
    engines = {False: Counter[str](), True: Counter[str]()}
    for request in ask.requests:
        engines[{shown(request).first, shown(request).second} == final][request.engine] += 1
    assert engines[True] == {"one": 2, "two": 2, "three": 2}
    assert set(engines[False]) == {"one"}
    assert engines[False]["one"] <= 6
    assert (result.preference.chosen_answer.text, result.preference.rejected_answer.text) == (ORDER[0], ORDER[-1])
    assert len(result.preference.votes) == 6


@pytest.mark.parametrize("use", list(known("ranking")))
def test_what_is_stored_does_not_depend_on_who_is_quick(use: str) -> None:
    """Replies that come in any order give the same bytes."""
    candidates, jury, rule = make_several(*FIVE), settings_with("one", "two", use=use), by_quality(ORDER)
    told = []
    for seed in range(4):
        draw, ask = random.Random(seed), Saying(rule)

        async def slow(request: Request, draw: random.Random = draw, ask: Saying = ask) -> Reply:
            await asyncio.sleep(draw.random() / 200)
            return await ask(request)

        told.append(asyncio.run(judge(candidates, jury, 1, slow)).preference.model_dump_json())
    assert len(set(told)) == 1


# --- what is made of it ---


def test_the_standings_tell_how_everybody_came_in() -> None:
    result, _ = judged(by_quality(ORDER), settings_with("one", use="round-robin"), make_several(*FIVE))
    standings = result.preference.standings
    assert [text_of(result, item.answer) for item in standings] == ORDER
    assert [item.score for item in standings] == [4, 2, 0, -2, -4]
    assert [(item.won, item.lost, item.undecided) for item in standings] == [(4 - n, n, 0) for n in range(5)]


@pytest.mark.parametrize(
    ("rejected", "text"), [("worst", ORDER[-1]), ("near-mu-2sigma", ORDER[-1]), ("closest-clear-loser", ORDER[1])]
)
@pytest.mark.parametrize("use", ["round-robin", "bradley-terry"])
def test_whom_to_reject_is_the_recipes_choice(use: str, rejected: str, text: str) -> None:
    result, _ = judged(by_quality(ORDER), settings_with("one", use=use, rejected=rejected), make_several(*FIVE))
    assert result.preference.rejected_answer.text == text


def test_a_final_that_cannot_be_read_fails_with_the_requests_to_forget() -> None:
    def rule(request: Request) -> Line:
        final = {shown(request).first, shown(request).second} == {ORDER[0], ORDER[-1]}
        return "no JSON" if final else by_quality(ORDER)(request)

    result, ask = judged(rule, settings_with("one", use="bradley-terry"), make_several(*FIVE))
    assert result.loss is not None
    assert (result.loss.fate, result.loss.code) == ("failed", "unreadable.unparsable")
    assert set(result.loss.requests) < {request.id for request in ask.requests}
    assert result.preference.standings


def test_a_contradiction_between_calls_and_the_policy_is_dropped_and_says_so() -> None:
    """The first judge's single calls find a best and a worst; the rest of the jury thinks the opposite."""

    def rule(request: Request) -> Line:
        return by_quality(ORDER if request.engine == "one" else ORDER[::-1])(request)

    result, _ = judged(rule, settings_with("one", "two", "three"), make_several(*FIVE))
    assert result.loss is not None
    assert (result.loss.fate, result.loss.code) == ("dropped", "cycle")
    assert len(result.preference.cycle) > 2


# --- label: extracted ---


@pytest.mark.parametrize("use", list(known("ranking")))
@pytest.mark.parametrize("order", [ORDER, ORDER[::-1], [*ORDER[2:], *ORDER[:2]]])
def test_the_authors_words_are_chosen_and_the_worst_of_the_others_is_rejected(use: str, order: list[str]) -> None:
    result, _ = judged(by_quality(order), settings_with("one", "two", label="extracted", use=use), make_several(*FIVE))
    others = [text for text in order if text != EXCERPT]
    assert result.loss is None
    assert result.preference.chosen_answer.text == EXCERPT
    assert result.preference.rejected_answer.text == others[-1]
    assert result.preference.strength == float(order.index(EXCERPT) < order.index(others[-1]))


def test_without_a_jury_nobody_is_asked_and_any_of_the_others_may_be_rejected() -> None:
    rejected = Counter()
    for seed in range(60):
        result, ask = judged(lambda _: "", settings_with(label="extracted"), make_several(*FIVE), seed)
        assert ask.requests == []
        assert result.preference.chosen_answer.text == EXCERPT
        assert result.preference.strength is None
        rejected[result.preference.rejected_answer.text] += 1
    assert set(rejected) == set(FIVE)
    assert max(rejected.values()) < 30


def test_without_an_extracted_answer_there_are_no_authors_words_to_choose() -> None:
    several = make_several(*FIVE)
    generated = several.but(answers=several.answers[1:])
    result, ask = judged(by_quality(ORDER), settings_with("one", label="extracted"), generated)
    assert result.loss is not None
    assert (result.loss.code, ask.requests) == ("no_extracted_answer", [])
