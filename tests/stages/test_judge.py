"""Judging: the label is right whatever the order, and no bias of a judge becomes a label."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from judges.pairwise import Pairwise
from pipeline.errors import ProviderDown, RecordFailed
from pipeline.recipe import JudgeSettings
from pipeline.records import Candidates, Request
from pipeline.registry import known
from pipeline.stages.judge import Judged, judge
from tests.support.build import (
    ENGINES,
    SENTENCES,
    STEADY,
    Line,
    Saying,
    make_candidates,
    make_jury,
    make_reply,
    shown,
    verdict,
)

Word = Literal["first", "second", "tie", "?"]
Rule = Callable[[Request], Line]

EXTRACTED = f"{SENTENCES[2]} {SENTENCES[3]}"
GENERATED = "They use a kind of dance, which other bees can read."


def judged(rule: Rule, jury: JudgeSettings | None = None, pair: Candidates | None = None, seed: int = 1) -> Judged:
    return asyncio.run(judge(pair or make_candidates(), jury or make_jury("one"), seed, Saying(rule)))


def oracle(better: str) -> Rule:
    """A judge that always finds the better text, wherever it stands."""
    return lambda request: verdict("first" if shown(request).first == better else "second")


def by_engine(**rules: Rule) -> Rule:
    return lambda request: rules[request.engine](request)


def always(word: str) -> Rule:
    return lambda _: verdict(word)


def in_calls(*words: Word) -> Rule:
    """What a judge says in its first and its second call; "?" is what nobody can read, however often asked."""
    numbers: dict[str, int] = {}

    def rule(request: Request) -> Line:
        number = numbers.setdefault(shown(request).first, len(numbers))
        return verdict(words[number]) if words[number] != "?" else "no JSON"

    return rule


def chosen_text(result: Judged) -> str | None:
    return result.preference.chosen_answer.text if result.preference.decided else None


def seed_that_shows_first(text: str, pair: Candidates) -> int:
    """A seed with which the first call shows this text first."""
    for seed in range(100):
        first: list[str] = []

        def note(request: Request, first: list[str] = first) -> Line:
            first.append(shown(request).first)
            return verdict("tie")

        judged(note, pair=pair, seed=seed)
        if first[0] == text:
            return seed
    raise AssertionError(f"{text!r} is never shown first")


# --- label integrity ---

# Shown first in the first call: p, then q. Shown first in the second call: q, then p.
OUTCOMES: dict[tuple[Word, Word], tuple[str, str]] = {
    ("first", "second"): ("chosen", "p"),
    ("second", "first"): ("chosen", "q"),
    ("first", "first"): ("dropped", "disagreement"),
    ("second", "second"): ("dropped", "disagreement"),
    ("first", "tie"): ("dropped", "disagreement"),
    ("second", "tie"): ("dropped", "disagreement"),
    ("tie", "first"): ("dropped", "disagreement"),
    ("tie", "second"): ("dropped", "disagreement"),
    ("tie", "tie"): ("dropped", "tie"),
    ("?", "first"): ("failed", "unreadable.unparsable"),
    ("?", "second"): ("failed", "unreadable.unparsable"),
    ("?", "tie"): ("failed", "unreadable.unparsable"),
    ("first", "?"): ("failed", "unreadable.unparsable"),
    ("second", "?"): ("failed", "unreadable.unparsable"),
    ("tie", "?"): ("failed", "unreadable.unparsable"),
    ("?", "?"): ("failed", "unreadable.unparsable"),
}


@pytest.mark.parametrize(("words", "outcome"), OUTCOMES.items())
@pytest.mark.parametrize("shown_first", [EXTRACTED, GENERATED])
def test_two_verdicts_end_as_this_table_says_whichever_answer_is_shown_first(
    words: tuple[Word, Word], outcome: tuple[str, str], shown_first: str
) -> None:
    pair = make_candidates()
    places = {"p": shown_first, "q": GENERATED if shown_first == EXTRACTED else EXTRACTED}
    result = judged(in_calls(*words), pair=pair, seed=seed_that_shows_first(shown_first, pair))
    fate, what = outcome
    if fate == "chosen":
        assert result.loss is None
        assert result.preference.chosen_answer.text == places[what]
        assert result.preference.rejected_answer.text == places["q" if what == "p" else "p"]
        assert (result.preference.strength, result.preference.reason) == (1.0, "")
        return
    assert result.loss is not None
    assert (result.loss.stage, result.loss.fate, result.loss.code) == ("judge", fate, what)
    assert result.loss.record == result.preference.id
    assert (result.preference.chosen, result.preference.rejected) == (None, None)
    assert result.preference.strength is None
    assert result.preference.reason == what.split(".")[0]
    assert len(result.preference.verdicts) == 2  # kept as evidence


def test_the_table_holds_every_combination() -> None:
    assert len(OUTCOMES) == 4 * 4


TEXTS = st.text(min_size=1, max_size=30).map(lambda text: f"<{text}>")


@given(TEXTS, st.integers(), st.booleans(), st.sampled_from([("one",), ("one", "two"), ("one", "two", "three")]))
@settings(STEADY, max_examples=80)
def test_the_answer_that_an_oracle_prefers_always_is_the_chosen_one(
    generated: str, seed: int, authors: bool, engines: tuple[str, ...]
) -> None:
    better, worse = (EXTRACTED, generated) if authors else (generated, EXTRACTED)
    result = judged(oracle(better), make_jury(*engines), make_candidates(generated=generated), seed)
    assert result.preference.chosen_answer.text == better
    assert result.preference.rejected_answer.text == worse
    assert {item.winner for item in result.preference.verdicts} == {result.preference.chosen}


PLACES = st.dictionaries(st.sampled_from(list(ENGINES)), st.sampled_from(["first", "second"]), min_size=1)


@given(TEXTS, st.integers(), PLACES)
@settings(STEADY, max_examples=100)
def test_judges_that_always_name_the_same_place_settle_nothing(
    generated: str, seed: int, places: dict[str, str]
) -> None:
    rule = by_engine(**{engine: always(place) for engine, place in places.items()})
    result = judged(rule, make_jury(*places), make_candidates(generated=generated), seed)
    assert not result.preference.decided
    assert result.loss is not None
    assert (result.loss.fate, result.loss.code) == ("dropped", "disagreement")


# --- orders ---


def orders_of(pair: Candidates, jury: JudgeSettings, seed: int = 1) -> dict[str, list[str]]:
    """Per engine the texts shown first, in the order of the calls."""
    first: dict[str, list[str]] = {}

    def note(request: Request) -> Line:
        seen = shown(request)
        assert {seen.first, seen.second} == {answer.text for answer in pair.answers}
        assert seen.instruction == pair.instruction
        first.setdefault(request.engine, []).append(seen.first)
        return verdict("tie")

    judged(note, jury, pair, seed)
    return first


def test_each_judge_sees_each_order_once() -> None:
    for seed in range(20):
        for firsts in orders_of(make_candidates(), make_jury("one", "two", "three"), seed).values():
            assert sorted(firsts) == sorted([EXTRACTED, GENERATED])


def test_over_many_pairs_each_answer_is_shown_first_about_as_often() -> None:
    jury, chunk_pairs = make_jury("one"), [make_candidates(instruction=f"Question {number}?") for number in range(1000)]
    firsts = [orders_of(pair, jury)["one"][0] for pair in chunk_pairs]
    assert 400 <= firsts.count(EXTRACTED) <= 600
    by_id = [first == pair.answer(pair.answer_ids[0]).text for first, pair in zip(firsts, chunk_pairs, strict=True)]
    assert 400 <= by_id.count(True) <= 600


def test_which_answer_is_shown_first_depends_on_seed_and_pair_and_is_the_same_for_all_judges() -> None:
    pairs = [make_candidates(instruction=f"Question {number}?") for number in range(12)]
    jury = make_jury("one", "two")

    def drawn(seed: int, engine: str) -> list[str]:
        return [orders_of(pair, jury, seed)[engine][0] for pair in pairs]

    assert drawn(1, "one") == drawn(1, "one")
    assert len(set(drawn(1, "one"))) == 2  # the pair
    assert drawn(1, "one") != drawn(2, "one")  # the seed
    assert drawn(1, "one") == drawn(1, "two")  # so that a policy can ask another judge the other way round
    alone = [orders_of(pair, make_jury("two"), 1)["two"][0] for pair in pairs]
    assert alone == drawn(1, "two")  # who else is in the jury changes nothing


def test_the_order_in_which_candidates_list_their_answers_means_nothing() -> None:
    pair = make_candidates()
    turned = pair.but(answers=tuple(reversed(pair.answers)))
    for seed in range(10):
        assert orders_of(pair, make_jury("one"), seed) == orders_of(turned, make_jury("one"), seed)
        assert judged(oracle(EXTRACTED), pair=turned, seed=seed).preference.chosen_answer.text == EXTRACTED


def test_a_verdict_says_truly_which_answer_stood_first() -> None:
    seen: list[str] = []

    def note(request: Request) -> Line:
        seen.append(shown(request).first)
        return verdict("first")

    for seed in range(10):
        seen.clear()
        pair = make_candidates()
        for text, item in zip(seen, judged(note, pair=pair, seed=seed).preference.verdicts, strict=False):
            assert pair.answer(item.y if item.swapped else item.x).text == text
            assert item.winner is not None
            assert pair.answer(item.winner).text == text


# --- juries ---


@pytest.mark.parametrize(
    ("jury", "chosen", "strength", "code"),
    [
        ("EEE", EXTRACTED, 1.0, None),
        ("EEG", EXTRACTED, 1 / 3, None),
        ("GEG", GENERATED, 1 / 3, None),
        ("EG", None, None, "disagreement"),
        ("EEGG", None, None, "disagreement"),
        ("Ef", EXTRACTED, 0.5, None),
        ("Et", EXTRACTED, 0.5, None),
        ("Eu", EXTRACTED, 1.0, None),
        ("Guu", GENERATED, 1.0, None),
        ("fs", None, None, "disagreement"),
        ("tt", None, None, "tie"),
        ("tf", None, None, "disagreement"),
        ("tu", None, None, "unreadable.unparsable"),
        ("EGu", None, None, "unreadable.unparsable"),
    ],
)
def test_most_judges_that_stand_by_their_word_win_and_an_even_split_is_undecided(
    jury: str, chosen: str | None, strength: float | None, code: str | None
) -> None:
    kinds: dict[str, Rule] = {
        "E": oracle(EXTRACTED),
        "G": oracle(GENERATED),
        "f": always("first"),
        "s": always("second"),
        "t": always("tie"),
        "u": lambda _: "no JSON",
    }
    rules = dict(zip(("one", "two", "three", "four"), (kinds[kind] for kind in jury), strict=False))
    result = judged(by_engine(**rules), make_jury(*rules))
    assert chosen_text(result) == chosen
    assert result.preference.strength == (None if strength is None else pytest.approx(strength))
    assert (result.loss.code if result.loss else None) == code


def test_two_judges_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="name"):
        make_jury("one", "two", name="same")


def test_a_jury_of_nobody_is_refused_unless_the_authors_words_are_the_label() -> None:
    with pytest.raises(ValidationError, match="jury"):
        make_jury()
    assert make_jury(label="extracted").jury == ()


# --- verdicts that cannot be read ---


def test_a_pair_that_failed_because_of_a_judge_names_the_reason_and_the_requests_of_no_use() -> None:
    def rule(request: Request) -> Line:
        return "no JSON" if shown(request).first == EXTRACTED else verdict("first")

    ask = Saying(rule)
    result = asyncio.run(judge(make_candidates(), make_jury("one", attempts=3), 1, ask))
    assert result.loss is not None
    assert (result.loss.fate, result.loss.code) == ("failed", "unreadable.unparsable")
    assert "one: unparsable" in result.loss.detail
    useless = [request.id for request in ask.requests if shown(request).first == EXTRACTED]
    assert len(useless) == 3
    assert sorted(result.loss.requests) == sorted(useless)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("", "unreadable.empty"),
        (make_reply("No.", "refusal"), "unreadable.refused"),
        (make_reply("{", "length"), "unreadable.truncated"),
        (RecordFailed("http_500", "oh: dear"), "unreadable.http_500"),
        (RecordFailed("timeout", "no answer"), "unreadable.timeout"),
    ],
)
def test_a_verdict_that_did_not_come_makes_the_pair_failed_and_says_why(line: Line, code: str) -> None:
    result = judged(lambda _: line)
    assert result.loss is not None
    assert (result.loss.stage, result.loss.fate, result.loss.code) == ("judge", "failed", code)
    assert [item.said for item in result.preference.verdicts] == ["unreadable", "unreadable"]


def test_what_the_engine_answered_before_it_gave_up_is_among_the_requests_of_no_use() -> None:
    ask = Saying(lambda request: "no JSON" if request.attempt == 0 else RecordFailed("http_500", "oh dear"))
    result = asyncio.run(judge(make_candidates(), make_jury("one"), 1, ask))
    assert result.loss is not None
    assert sorted(result.loss.requests) == sorted(request.id for request in ask.requests if request.attempt == 0)


def test_an_unreadable_verdict_costs_a_decided_pair_nothing() -> None:
    result = judged(by_engine(one=oracle(GENERATED), two=lambda _: ""), make_jury("one", "two"))
    assert chosen_text(result) == GENERATED
    assert result.loss is None
    assert Counter(item.said == "unreadable" for item in result.preference.verdicts) == {True: 2, False: 2}


def test_a_provider_that_is_down_stops_the_run() -> None:
    def away(_: Request) -> Line:
        raise ProviderDown("gone")

    with pytest.raises(ProviderDown):
        judged(away)


# --- label: extracted ---


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("jury", "strength"),
    [
        ("", None),
        ("E", 1.0),
        ("G", 0.0),
        ("f", 0.0),
        ("t", 0.0),
        ("u", None),
        ("EE", 1.0),
        ("EG", 0.0),
        ("EEG", 1 / 3),
        ("GGE", 0.0),
        ("Eu", 1.0),
    ],
)
def test_the_authors_words_are_chosen_whatever_the_jury_says_and_the_jury_gives_the_strength(
    jury: str, strength: float | None, seed: int
) -> None:
    kinds: dict[str, Rule] = {
        "E": oracle(EXTRACTED),
        "G": oracle(GENERATED),
        "f": always("first"),
        "t": always("tie"),
        "u": lambda _: "",
    }
    rules = dict(zip(("one", "two", "three"), (kinds[kind] for kind in jury), strict=False))
    result = judged(by_engine(**rules), make_jury(*rules, label="extracted"), seed=seed)
    assert result.loss is None
    assert result.preference.chosen_answer.text == EXTRACTED
    assert result.preference.rejected_answer.text == GENERATED
    assert result.preference.strength == (None if strength is None else pytest.approx(strength))
    assert len(result.preference.verdicts) == 2 * len(jury)


def test_without_a_jury_nobody_is_asked() -> None:
    ask = Saying(always("first"))
    asyncio.run(judge(make_candidates(), make_jury(label="extracted"), 1, ask))
    assert ask.requests == []


def test_a_pair_without_an_extracted_answer_is_dropped_when_the_authors_words_are_the_label() -> None:
    pair = make_candidates()
    other = pair.answers[0].but(origin="generated", spans=())
    result = judged(always("first"), make_jury(label="extracted"), pair.but(answers=(other, pair.answers[1])))
    assert result.loss is not None
    assert (result.loss.fate, result.loss.code) == ("dropped", "no_extracted_answer")
    assert not result.preference.decided


# --- self votes ---


def _kin_pair() -> Candidates:
    """The generated answer is by a model of the judges' own family."""
    pair = make_candidates()
    extracted, generated = pair.answers
    return pair.but(answers=(extracted, generated.but(family="offline")))


@pytest.mark.parametrize("seed", range(4))
def test_a_judge_that_is_kin_to_the_writer_may_grant_the_pair_to_the_author_and_not_to_itself(seed: int) -> None:
    alone = make_jury("one")
    granted = judged(oracle(EXTRACTED), alone, _kin_pair(), seed)
    taken = judged(oracle(GENERATED), alone, _kin_pair(), seed)
    assert chosen_text(granted) == EXTRACTED
    assert taken.loss is not None
    assert (taken.loss.fate, taken.loss.code, taken.preference.strength) == ("dropped", "self_votes", None)
    assert [verdict.self_vote for verdict in taken.preference.verdicts] == [True, True]
    assert chosen_text(judged(oracle(GENERATED), alone.model_copy(update={"self_votes": "allow"}), _kin_pair())) == (
        GENERATED
    )


def test_the_label_of_the_authors_words_is_no_business_of_self_votes() -> None:
    settings = _with_a_stranger("lead").model_copy(update={"label": "extracted"})
    result = judged(oracle(GENERATED), settings, _kin_pair())
    assert chosen_text(result) == EXTRACTED
    assert result.preference.strength == 0
    assert len(result.preference.verdicts) == 2  # nobody is asked whether it agrees


def _with_a_stranger(policy: str) -> JudgeSettings:
    """Judge `one` is kin to the writer, judge `two` is not."""
    settings = make_jury("one", "two")
    one, two = settings.jury
    assert isinstance(two, Pairwise)
    stranger = two.model_copy(update={"engine": two.engine.but(family="qwen")})
    return settings.model_copy(update={"jury": (one, stranger), "policy": known("policy")[policy]()})


@pytest.mark.parametrize("policy", ["lead", "both-orders"])
def test_a_stranger_in_the_jury_is_asked_whether_it_agrees_with_a_self_vote(policy: str) -> None:
    settings = _with_a_stranger(policy)
    agreed = judged(by_engine(one=oracle(GENERATED), two=oracle(GENERATED)), settings, _kin_pair())
    assert chosen_text(agreed) == GENERATED
    assert Counter(verdict.judge for verdict in agreed.preference.verdicts) == {"one": 2, "two": 2}
    alone = judged(by_engine(one=oracle(GENERATED), two=always("tie")), settings, _kin_pair())
    assert alone.loss is not None
    assert alone.loss.code == "self_votes"
