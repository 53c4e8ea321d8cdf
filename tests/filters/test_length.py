"""Length: counts characters of the chosen answer, and of nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.length import Length
from pipeline.records import Decision
from tests.support.build import STEADY, make_pair


def decision(chosen: str, rejected: str = "", **bounds: int | None) -> Decision:
    (only,) = Length.model_validate(bounds)([make_pair(chosen, rejected)])
    return only


@pytest.mark.parametrize(
    ("characters", "code"), [(0, "too_short"), (99, "too_short"), (100, ""), (101, ""), (1_000_000, "")]
)
def test_a_chosen_answer_has_at_least_a_hundred_characters_unless_told_otherwise(characters: int, code: str) -> None:
    assert decision("x" * characters).code == code


@given(st.text(max_size=30), st.text(max_size=30), st.integers(0, 30), st.none() | st.integers(1, 30))
@settings(STEADY, max_examples=200)
def test_both_bounds_are_included_and_the_number_measured_is_the_length(
    chosen: str, rejected: str, at_least: int, at_most: int | None
) -> None:
    result = decision(chosen, rejected, at_least=at_least, at_most=at_most)
    assert result.measured == len(chosen)
    assert result.keep == (at_least <= len(chosen) <= (len(chosen) if at_most is None else at_most))
    if not result.keep:
        assert result.code == ("too_short" if len(chosen) < at_least else "too_long")


@pytest.mark.parametrize("text", ["蜜蜂会跳舞。", "मधुमक्खी", "نحلة", "🐝🐝", "e\u0301"])
def test_characters_are_counted_whatever_the_script(text: str) -> None:
    assert decision(text, at_least=len(text), at_most=len(text)).keep


@pytest.mark.parametrize("bounds", [{"at_least": -1}, {"at_most": 0}, {"at_least": "many"}])
def test_bounds_that_make_no_sense_are_refused(bounds: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at_"):
        Length.model_validate(bounds)
