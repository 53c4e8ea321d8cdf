"""Identical: two answers are the same if only case, blanks, punctuation or Unicode form tell them apart."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.identical import Identical
from pipeline.records import Decision
from tests.support.build import STEADY, make_pair

SAME = [
    ("Bees dance.", "Bees dance."),
    ("Bees dance.", "bees DANCE"),
    ("Bees dance.", "  Bees\n\tdance !  "),
    ("Bees dance.", "“Bees dance.”"),
    ("Bees dance.", "**Bees** _dance_."),
    ("Bees, dance.", "Bees: dance..."),
    ("It's so.", "It’s so."),
    ("café", "cafe\u0301"),
    ("ﬁne", "fine"),
    ("STRASSE", "Straße"),
    ("ＡＢＣ", "abc"),
    ("蜜蜂会跳舞。", "蜜蜂会跳舞！"),
    ("蜜蜂，会跳舞。", "蜜蜂会跳舞"),
    ("هل يرقص النحل؟", "هل يرقص النحل"),
    ("नाचती हैं।", "नाचती हैं"),
    ("co-operate", "cooperate"),
    ("Bees dance.They sing.", "Bees dance. They sing."),
    ("« Bees dance. »", "»Bees dance.«"),
    ("", " "),
    ("...", "!"),
]

DIFFERENT = [
    ("Bees dance.", "Bees sing."),
    ("Bees dance.", "Bees dance. They sing."),
    ("Bees dance.", ""),
    ("a < b", "a > b"),
    ("a <= b", "a < b"),
    ("a + b", "a = b"),
    ("a | b", "a ^ b"),
    ("$5", "€5"),
    ("2", "3"),
    ("🐝", "🐜"),
    ("蜜蜂", "黄蜂"),
    ("कि", "की"),  # vowel signs are marks, not letters
    ("סוף", "סוד"),
]

DIFFERENT_CODE = [
    ("a * b", "a / b"),
    ("a % b", "a & b"),
    ("a != b", "a = b"),
    ("x - 1", "x 1"),
    ("It is -5 degrees.", "It is 5 degrees."),
    ("It costs 3.5 euros.", "It costs 35 euros."),
    ("Write x[0].", "Write x(0)."),
    ("f(*args)", "f(args)"),
    ("snake_case", "snakecase"),
]
"""Marks that Unicode calls punctuation, and that carry all the meaning in code and numbers."""


def decision(chosen: str, rejected: str) -> Decision:
    (only,) = Identical()([make_pair(chosen, rejected)])
    return only


@pytest.mark.parametrize(("one", "two"), SAME)
def test_answers_that_say_the_same_are_dropped(one: str, two: str) -> None:
    for result in (decision(one, two), decision(two, one)):
        assert (result.keep, result.code, result.measured) == (False, "same", 1.0)


@pytest.mark.parametrize(("one", "two"), DIFFERENT + DIFFERENT_CODE)
def test_answers_that_say_something_else_are_kept(one: str, two: str) -> None:
    for result in (decision(one, two), decision(two, one)):
        assert (result.keep, result.code, result.measured) == (True, "", 0.0)


@given(st.text(max_size=50), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]), st.sampled_from([" ", "\n", "!", ""]))
@settings(STEADY, max_examples=200)
def test_no_text_differs_from_itself_in_another_form(text: str, form: str, tail: str) -> None:
    assert not decision(text, unicodedata.normalize(form, text) + tail).keep
