"""Canonical JSON, ids and coins: the same everywhere and for ever, since ledgers and published rows rest on them."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.identity import canonical_json, coin, digest, fraction

Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def _backwards(value: object) -> object:
    """The same value with the keys of every mapping put in the other way round."""
    if isinstance(value, dict):
        return {key: _backwards(inner) for key, inner in reversed(value.items())}
    return [_backwards(inner) for inner in value] if isinstance(value, list) else value


@given(Json)
@settings(deadline=None)
def test_the_order_of_keys_never_changes_the_text(value: object) -> None:
    assert canonical_json(_backwards(value)) == canonical_json(value)


@given(Json)
@settings(deadline=None)
def test_the_text_holds_the_whole_value_so_that_two_values_never_share_one(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@given(Json)
@settings(deadline=None)
def test_the_text_is_one_line_of_unescaped_utf_8_without_blanks_between_its_parts(value: object) -> None:
    text = canonical_json(value)
    assert "\n" not in text
    assert text == canonical_json(json.loads(text))
    assert canonical_json({"ключ": ["é", "中"]}) == '{"ключ":["é","中"]}'


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_number_that_json_has_no_word_for_is_refused_wherever_it_stands(number: float, depth: int) -> None:
    value: object = number
    for _ in range(depth):
        value = {"inner": [value]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError):
        canonical_json({"a", "b"})


@given(st.text(), st.text(), Json)
@settings(deadline=None)
def test_equal_values_of_different_kinds_never_share_an_id(one: str, other: str, value: object) -> None:
    assert (digest(one, value) == digest(other, value)) == (one == other)


@given(Json, st.integers(1, 64))
@settings(deadline=None)
def test_a_digest_is_as_many_hexadecimal_digits_as_asked_for_and_a_shorter_one_begins_it(
    value: object, length: int
) -> None:
    text = digest("kind", value, length=length)
    assert len(text) == length
    assert set(text) <= set("0123456789abcdef")
    assert digest("kind", value, length=64).startswith(text)


def test_ids_are_the_same_in_every_version_since_ledgers_are_kept_under_them() -> None:
    assert digest("Article", {"text": "Bees dance."}) == "8ddf6e8a3a22464a"
    assert digest("fence", ["é", "中", None, 1.5]) == "753da385c7be1f42"
    assert fraction("seed", 2026, "pair") == 0.3802827547935914


def test_fractions_fall_evenly_over_many_parts() -> None:
    buckets = Counter(int(fraction(2026, "pair", number) * 20) for number in range(20_000))
    expected = 20_000 / 20
    chi_square = sum((buckets[bucket] - expected) ** 2 / expected for bucket in range(20))
    assert set(buckets) == set(range(20))
    assert chi_square < 43.8  # one in a thousand at 19 degrees of freedom; the inputs are fixed


def test_neighbouring_parts_have_unrelated_fractions() -> None:
    values = [fraction("row", number) for number in range(4_001)]
    rises = sum(later > earlier for earlier, later in pairwise(values))
    assert abs(rises - 2_000) < 100  # 18.3 is one standard deviation


@given(st.lists(st.text() | st.integers()))
@settings(deadline=None)
def test_a_fraction_lies_from_0_up_to_but_not_1_and_never_changes(parts: list[object]) -> None:
    assert 0 <= fraction(*parts) < 1
    assert fraction(*parts) == fraction(*parts)


def test_the_places_of_the_parts_count() -> None:
    assert fraction("a", "b") != fraction("b", "a") != fraction("ab") != fraction("ab", "")


def test_a_coin_is_fair_and_falls_alike_for_the_same_parts() -> None:
    throws = [coin(7, "pair", number, "judge") for number in range(10_000)]
    assert throws == [coin(7, "pair", number, "judge") for number in range(10_000)]
    assert abs(sum(throws) - 5_000) < 200  # four standard deviations; the inputs are fixed


@pytest.mark.parametrize("other", [(8, "judge"), (7, "another")])
def test_coins_of_another_seed_or_judge_are_independent(other: tuple[int, str]) -> None:
    alike = sum(coin(7, number, "judge") == coin(other[0], number, other[1]) for number in range(10_000))
    assert abs(alike - 5_000) < 200
