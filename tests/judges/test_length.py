"""The baseline that asks nobody: the longer answer wins."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.length import Length
from pipeline.records import Verdict
from tests.support.build import STEADY, Script, make_showing


def measured(first: str, second: str, *, swapped: bool = False, **options: str) -> Verdict:
    return asyncio.run(Length.model_validate(options)(make_showing(first, second, swapped=swapped), Script()))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "said"), [("long", "lon", "a"), ("lon", "long", "b"), ("long", "size", "tie"), ("", "", "tie")]
)
def test_the_longer_answer_wins_wherever_it_stands_and_no_model_is_asked(
    first: str, second: str, said: str, swapped: bool
) -> None:
    result = measured(first, second, swapped=swapped)
    assert (result.said, result.requests, result.model, result.judge) == (said, (), "", "length")
    assert result.swapped is swapped
    assert result.reason == f"{len(first)} against {len(second)} characters"


def test_length_is_counted_in_characters_not_in_bytes() -> None:
    assert measured("蜜蜂跳舞", "dances").said == "b"


@given(st.text(), st.text())
@STEADY
def test_it_knows_no_position(first: str, second: str) -> None:
    opposite = {"a": "b", "b": "a", "tie": "tie"}
    assert measured(second, first).said == opposite[measured(first, second).said]


def test_it_has_a_name_like_every_judge_and_no_prompt() -> None:
    assert Length().label == "length"
    assert measured("a", "b", name="longest").judge == "longest"
    assert Length().prompts == ()
    Length().rehearse(make_showing("a", "b"))
