"""The win rate: both orders, ties and contradictions as halves, and what length alone would win."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pipeline.records import Request
from pipeline.training.contest import Bout, contest, estimate
from pipeline.training.data import Pair, pair
from pipeline.training.measures import Estimated
from tests.support.build import Saying, make_judge, shown, verdict

PROMPTS = [pair({"prompt": f"{n}?", "chosen": "c", "rejected": "r", "id": str(n)}, "p") for n in range(24)]


def held(rule: Callable[[Request], str], new: list[str], old: list[str], asked: list[Pair]) -> Estimated | None:
    jury = [make_judge("one")]
    return asyncio.run(contest(asked, old, new, jury=jury, seed=1, ask=Saying(rule)))


def first_with(word: str) -> Callable[[Request], str]:
    return lambda request: verdict("first" if word in shown(request).first else "second")


def test_a_judge_that_always_finds_the_trained_model_gives_it_every_prompt() -> None:
    won = held(first_with("new"), ["new one"] * 24, ["old one"] * 24, PROMPTS)
    assert won is not None
    assert (won.value, won.low, won.high, won.judged, won.unreadable) == (1, 1, 1, 24, 0)
    assert won.controlled > 0.9


def test_a_judge_that_always_names_the_first_says_nothing() -> None:
    won = held(lambda _request: verdict("first"), ["new one"] * 24, ["old one"] * 24, PROMPTS)
    assert won is not None
    assert (won.value, won.low, won.high) == (0.5, 0.5, 0.5)


def test_each_prompt_is_shown_in_both_orders() -> None:
    ask = Saying(lambda _request: verdict("tie"))
    asyncio.run(contest(PROMPTS[:5], ["o"] * 5, ["n"] * 5, jury=[make_judge("one")], seed=1, ask=ask))
    firsts = [shown(request).first for request in ask.requests]
    assert len(firsts) == 10
    assert firsts.count("n") == 5


def test_equal_answers_are_a_tie_without_a_call_and_empty_ones_are_left_out() -> None:
    ask = Saying(lambda _request: verdict("first"))
    texts = ["same", ""]
    won = asyncio.run(contest(PROMPTS[:2], texts, texts, jury=[make_judge("one")], seed=1, ask=ask))
    assert ask.requests == []
    assert won is not None
    assert (won.judged, won.value) == (1, 0.5)


def test_unreadable_verdicts_are_counted_and_give_no_points() -> None:
    assert held(lambda _request: "no JSON", ["n"] * 3, ["o"] * 3, PROMPTS[:3]) is None


def test_at_equal_length_a_judge_that_only_counts_words_is_worth_one_half() -> None:
    bouts = [Bout(1.0, 20 + n % 7) for n in range(60)] + [Bout(0.0, -20 - n % 7) for n in range(20)]
    by_length = estimate(bouts, 0.0)
    assert by_length.value == pytest.approx(0.75)
    assert by_length.controlled == pytest.approx(0.5, abs=0.15)
    assert by_length.longer == pytest.approx(0.75)


def test_a_preference_that_has_nothing_to_do_with_length_stays() -> None:
    bouts = [Bout(float(n % 4 != 0), (n * 7) % 11 - 5) for n in range(200)]
    rate = estimate(bouts, 0.0)
    assert rate.controlled == pytest.approx(rate.value, abs=0.03)
    assert rate.low < rate.value < rate.high
