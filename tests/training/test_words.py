"""Words: how far two distributions are apart, which words moved, how a text repeats itself."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.words import Sides, counts, distance, moved, repetition, words

TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), min_size=1).map(" ".join)


def test_a_word_is_letters_and_digits_with_apostrophes_and_hyphens_within() -> None:
    assert words("Don't delve — it's 3 o’clock, state-of-the-art!") == [
        *("don't", "delve", "it's", "3", "o’clock", "state-of-the-art")
    ]


@given(TEXTS, TEXTS)
def test_the_distance_is_a_symmetric_number_from_0_to_1(left: str, right: str) -> None:
    one, other = counts([left]), counts([right])
    assert distance(one, other) == pytest.approx(distance(other, one))
    assert 0 <= distance(one, other) <= 1 + 1e-9
    assert distance(one, one) == pytest.approx(0, abs=1e-7)


@given(TEXTS, TEXTS, TEXTS)
def test_the_distance_keeps_the_triangle_inequality(a: str, b: str, c: str) -> None:
    first, second, third = (counts([text]) for text in (a, b, c))
    assert distance(first, third) <= distance(first, second) + distance(second, third) + 1e-9


def test_known_distances() -> None:
    assert distance(Counter("aabb"), Counter("ccdd")) == 1.0
    half = distance(Counter("aa"), Counter("ab"))
    assert half == pytest.approx(math.sqrt(0.5 * math.log2(1 / 0.75) + 0.5 * (0.5 * math.log2(0.5 / 0.75) + 0.5)))
    assert distance(Counter(), Counter("a")) == 1.0
    assert distance(Counter(), Counter()) == 0.0


def test_the_words_that_moved_most_come_first_with_their_shares() -> None:
    found = moved(Sides(chosen=["so"], rejected=["delve"], before=["delve delve x y"], after=["so so so x"]))
    assert [word.word for word in found] == ["so", "delve", "y"]
    assert (found[0].before, found[0].after, found[0].chosen, found[0].rejected) == (0, 750, 1000, 0)


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0), ("one two three", 0), ("a b c d e f g h", 0), ("a b c d a b c d", 0.2), ("x " * 10, 6 / 7)],
)
def test_repetition_is_the_share_of_stretches_that_occurred_before(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)
