"""How likely each label was: read off the tokens at the place where the reply names one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engines.odds import odds
from tests.support.build import STEADY

Alternatives = dict[str, float]
"""Tokens and their probabilities at one place; the first one was chosen."""


def told(*places: Alternatives | str) -> dict[str, Any]:
    """`logprobs` of a choice as servers send it; a bare word is a token without alternatives."""
    return {"content": [_place({place: 1.0} if isinstance(place, str) else place) for place in places]}


def _place(alternatives: Alternatives) -> dict[str, Any]:
    tokens = [_token(token, probability) for token, probability in alternatives.items()]
    return tokens[0] | {"top_logprobs": sorted(tokens, key=lambda token: -token["logprob"])}


def _token(token: str, probability: float) -> dict[str, Any]:
    return {"token": token, "logprob": math.log(probability), "bytes": list(token.encode())}


def test_a_label_that_is_one_token_alone_is_as_likely_as_that_token() -> None:
    assert odds(("A", "B"), told({"A": 0.75, "B": 0.25})) == pytest.approx({"A": 0.75, "B": 0.25})


def test_the_reply_may_name_the_less_likely_label() -> None:
    assert odds(("A", "B"), told({"B": 0.25, "A": 0.75})) == pytest.approx({"A": 0.75, "B": 0.25})


def test_what_is_no_label_is_left_out_and_the_rest_adds_up_to_one() -> None:
    assert odds(("A", "B"), told({"A": 0.3, "The": 0.6, "B": 0.1})) == pytest.approx({"A": 0.75, "B": 0.25})


def test_a_blank_before_a_label_makes_no_difference() -> None:
    assert odds(("A", "B"), told({" A": 0.5, "A": 0.2, " B": 0.2, "B": 0.1})) == pytest.approx({"A": 0.7, "B": 0.3})


VERDICT = ("first", "second", "tie")


@pytest.mark.parametrize(
    "places",
    [
        ('{"', "verdict", '":', ' "', {"first": 0.6, "second": 0.3, "tie": 0.1}, '"}'),
        ('{"', "verdict", '":', {' "first': 0.6, ' "second': 0.3, ' "tie': 0.1}, '"}'),
        ('{"verdict":"', {"fi": 0.6, "sec": 0.3, "t": 0.1}, "rst", '"}'),
        ('{"why": "The \\"second\\" is first.", "verdict": "', {"first": 0.6, "second": 0.3, "tie": 0.1}, '"}'),
        ('{"first": 1, "verdict": "', {'first"}': 0.6, 'second"}': 0.3, "ti": 0.1}),
    ],
)  # fmt: skip
def test_a_label_within_json_is_found_where_it_is_a_value(places: tuple[Alternatives | str, ...]) -> None:
    assert odds(VERDICT, told(*places)) == pytest.approx({"first": 0.6, "second": 0.3, "tie": 0.1})


def test_labels_that_begin_alike_are_told_apart_where_they_part() -> None:
    places = ('"', {"answer": 0.9, "none": 0.1}, "_", {"2": 0.8, "1": 0.2}, '"')
    assert odds(("answer_1", "answer_2", "none"), told(*places)) == pytest.approx(
        {"answer_1": 0.18, "answer_2": 0.72, "none": 0.1}
    )


def test_a_label_that_begins_another_is_told_apart_by_where_it_ends() -> None:
    places = ('{"v": "', "A", {'"': 0.7, "A": 0.3}, "}")
    assert odds(("A", "AA"), told(*places)) == pytest.approx({"A": 0.7, "AA": 0.3})


def test_half_characters_are_told_apart_by_their_bytes() -> None:
    first, second = "甲".encode(), "乙".encode()
    half = {"token": "\ufffd", "logprob": math.log(0.9), "bytes": list(first[:2])}
    other = {"token": "\ufffd", "logprob": math.log(0.1), "bytes": list(second[:2])}
    rest = {"token": "\ufffd", "logprob": 0.0, "bytes": list(first[2:])}
    content = [half | {"top_logprobs": [half, other]}, rest | {"top_logprobs": [rest]}]
    assert odds(("甲", "乙"), {"content": content}) == pytest.approx({"甲": 0.9, "乙": 0.1})


@pytest.mark.parametrize(
    ("labels", "places"),
    [
        (("A", "B"), ("I cannot say.",)),
        (("A", "B"), ()),
        (("A", "B"), ({"Apple": 0.9, "B": 0.1},)),
        (("A", "B"), ('{"x": "A", "y": "B"}',)),  # which one decides?
        (("A", "AA"), ({"A": 0.9, "AA": 0.1},)),  # who knows whether it would have gone on
        (("one", "only", "two"), ({"two": 0.5, "o": 0.5},)),  # half of it could become either of two
        (("A", "B"), ('{"v": ', {'"A': 0.6, '"': 0.4}, '"}')),  # the other way to begin a string may lead to either
    ],
)
def test_what_cannot_be_known_is_none(labels: tuple[str, ...], places: tuple[Alternatives | str, ...]) -> None:
    assert odds(labels, told(*places)) is None


@pytest.mark.parametrize("nonsense", [None, [], {}, {"content": None}, {"content": [{"token": 1}]}, "yes", 7])
def test_nonsense_in_the_place_of_log_probabilities_is_no_odds_and_no_error(nonsense: object) -> None:
    assert odds(("A", "B"), nonsense) is None


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.integers(0, 2), st.integers(1, 5), st.booleans())
@settings(STEADY, max_examples=200)
def test_odds_are_the_same_however_labels_are_cut_into_tokens(
    weights: list[float], said: int, length: int, quoted: bool
) -> None:
    labels = ("first", "second", "tie")
    shares = [weight / sum(weights) for weight in weights]
    order = [said, *(number for number in range(3) if number != said)]
    place = {labels[number][:length]: shares[number] for number in order}
    rest = labels[said][length:]
    places = ['{"verdict": "' if quoted else "", place, rest, '"}' if quoted else ""]
    found = odds(labels, told(*(part for part in places if part)))
    assert found == pytest.approx(dict(zip(labels, shares, strict=True)))
