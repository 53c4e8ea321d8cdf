"""Pairs that every judge must know: who passes, who fails, and what nights say together."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.by_model import Language, ModelJudge
from judges.gold import GoldPair
from judges.notes import Notes
from judges.pairwise import Pairwise
from judges.rubric import Rubric
from judges.sentinels import TEXTS, Inspection, ask_all, drifts, fisher, inspected, sentinels
from pipeline.engines.offline import Offline
from pipeline.errors import RecordFailed
from pipeline.records import Reply, Request
from tests.support.build import ENGINES, WORKPLACE, Line, Saying, make_judge, make_reply, shown, verdict

NOISE = {text.noise for texts in TEXTS.values() for text in texts}
GOLD = [GoldPair(pair_id="g", prompt="How?", a="They sing.", b="They dance.", gold="b")]
LANGUAGES: list[Language] = ["en", "zh"]


def _asked(rule: Callable[[Request], Line], *, number: int = 3, gold: list[GoldPair] | None = None) -> Inspection:
    judge = make_judge(attempts=1)
    said = asyncio.run(ask_all(judge, sentinels(number, "en", gold or []), Saying(rule)))
    return inspected(judge, said, "2026-01-01T00:00:00+00:00", "run")


def _sound(request: Request) -> Line:
    """Names what is no noise; of equal answers the first."""
    return verdict("second" if shown(request).first in NOISE else "first")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("part", [Pairwise, Rubric, Notes])
@pytest.mark.parametrize("reference", ["none", "source"])
def test_the_offline_engine_passes_honestly(part: type[ModelJudge], language: Language, reference: str) -> None:
    options = {"engine": "one", "language": language, "reference": reference}
    judge = part.model_validate(options, context={"engines": ENGINES})

    async def inspect() -> Inspection:
        async with Offline()(WORKPLACE) as ask:
            return inspected(judge, await ask_all(judge, sentinels(9, language, []), ask), "", "")

    found = asyncio.run(inspect())
    assert (found.failure, found.right, found.told, found.verdicts) == ("", 12, 12, 18)


@pytest.mark.parametrize("language", LANGUAGES)
def test_noise_is_as_long_as_the_answer_and_says_nothing(language: Language) -> None:
    for text in TEXTS[language]:
        assert 0.8 < len(text.noise) / len(text.answer) < 1.25
        assert not set(text.noise.lower().split()) & set(text.answer.lower().split())


def test_three_sentinels_are_noise_an_answer_against_itself_and_gold_if_there_is_some() -> None:
    assert [one.kind for one in sentinels(3, "en", [])] == ["noise", "same", "noise"]
    assert [one.kind for one in sentinels(6, "en", GOLD)] == ["noise", "same", "gold", "noise", "same", "gold"]
    same = sentinels(2, "en", [])[1]
    assert same.x.text == same.y.text
    assert same.x.id != same.y.id
    assert sentinels(0, "en", GOLD) == []
    (*_, gold) = sentinels(3, "en", GOLD)
    assert {gold.x.id: gold.x.text, gold.y.id: gold.y.text}[gold.better or ""] == "They dance."


def test_a_sound_judge_passes_and_its_verdicts_are_counted() -> None:
    found = _asked(_sound)
    assert (found.failure, found.verdicts, found.named, found.unreadable) == ("", 6, 6, 0)
    assert (found.right, found.told) == (4, 4)
    assert found.first == 4  # one of each pair of noise, and both of the equal answers
    assert found.model == "script-1"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda r: verdict("first" if shown(r).first in NOISE else "second"), r"named the noise \(2 of 2\)"),
        (lambda _: verdict("first"), r"named the noise \(1 of 2\)"),
        (lambda _: verdict("tie"), r"called it a tie \(2 of 2\)"),
        (lambda _: "Sure, happy to help!", r"could not be read \(2 of 2\), asked twice; unparsable"),
    ],
)
def test_a_judge_that_cannot_tell_an_answer_from_noise_fails(rule: Callable[[Request], Line], words: str) -> None:
    failure = _asked(rule).failure
    assert "'Why does ice float on water?' against noise" in failure
    assert re.search(words, failure), failure


def test_one_slip_is_asked_once_more_and_the_second_time_counts() -> None:
    slips = iter([True])

    def rule(request: Request) -> Line:
        slip = shown(request).first in NOISE and next(slips, False)
        return verdict("first") if slip else _sound(request)

    found = _asked(rule)
    assert (found.failure, found.right) == ("", 4)


def test_neither_equal_answers_nor_gold_fail_a_judge() -> None:
    def rule(request: Request) -> Line:
        seen = shown(request)
        if seen.first == seen.second:
            return "no JSON"
        return (
            verdict("first" if seen.first == "They sing." else "second")
            if seen.instruction == "How?"
            else (_sound(request))
        )

    found = _asked(rule, gold=GOLD)
    assert (found.failure, found.unreadable, found.right, found.told) == ("", 2, 2, 4)


def test_what_the_engine_could_not_deliver_says_nothing_of_the_judge() -> None:
    found = _asked(lambda _: RecordFailed("http_500", "oh dear"))
    assert (found.failure, found.verdicts) == ("", 0)


def test_every_sentinel_is_asked_in_both_orders_with_the_judges_own_prompt() -> None:
    seen: list[Request] = []

    async def ask(request: Request) -> Reply:
        seen.append(request)
        line = _sound(request)
        assert isinstance(line, str)
        return make_reply(line)

    judge = make_judge(notes="Be exact.")
    asyncio.run(ask_all(judge, sentinels(1, "en", []), ask))
    assert {shown(request).first in NOISE for request in seen} == {True, False}
    assert all("Be exact." in request.messages[0].content for request in seen)


# --- over the nights ---


def _night(
    right: int, *, told: int = 4, first: int = 3, model: str = "m", judge: str = "j", setup: str = "s"
) -> Inspection:
    return Inspection(
        at="", run="", judge=judge, setup=setup, model=model,
        verdicts=6, named=6, first=first, unreadable=0, told=told, right=right,
    )  # fmt: skip


def test_a_judge_that_stays_what_it_was_does_not_drift() -> None:
    assert not list(drifts([_night(4)] * 60))
    assert not list(drifts([_night(4)]))
    assert not list(drifts([]))


def test_one_bad_night_proves_nothing_and_a_bad_week_does() -> None:
    good = [_night(4)] * 30
    assert not list(drifts([*good, _night(3)]))
    (words,) = drifts([*good, *[_night(2)] * 7])
    assert words.startswith("j: right on its sentinels in 14 of 28 verdicts over the last 7 starts, 120 of 120 before")


def test_a_growing_liking_for_the_first_place_is_a_drift() -> None:
    (words,) = drifts([*[_night(4, first=3)] * 30, *[_night(4, first=6)] * 7])
    assert "for the answer shown first in 42 of 42 verdicts" in words


def test_another_name_for_the_model_is_reported_at_once() -> None:
    (words,) = drifts([_night(4, model="m-05"), _night(4, model=""), _night(4, model="m-08")])
    assert words == "j: the model is now m-08, it was m-05"


def test_only_the_same_judge_set_up_alike_is_compared() -> None:
    past = [_night(4, judge="other"), _night(4, setup="other")] * 30
    assert not list(drifts([*past, *[_night(0)] * 7]))


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_fishers_test_is_symmetric_and_certain_of_nothing(a: int, b: int, c: int, d: int) -> None:
    p = fisher(a, a + b, c, c + d)
    assert 0 < p <= 1
    assert p == pytest.approx(fisher(c, c + d, a, a + b))
    assert p == pytest.approx(fisher(b, a + b, d, c + d))
    if a * (c + d) == c * (a + b):
        assert p == pytest.approx(1)


def test_fishers_test_gives_the_tea_ladys_number() -> None:
    assert fisher(3, 4, 1, 4) == pytest.approx(34 / 70)
    assert fisher(4, 4, 0, 4) == pytest.approx(2 / math.comb(8, 4))
    assert json.dumps(fisher(0, 0, 5, 9)) == "1.0"
