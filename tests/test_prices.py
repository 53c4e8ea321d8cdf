"""Prices: the recipe's own, the list's, a batch's half; unknown is never nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prices import Billing, Price, cost
from pipeline.records import Usage
from tests.support.build import STEADY

OPENAI = "https://api.openai.com/v1"
USAGE = Usage(prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=100_000)


def listed(model: str, billing: Billing = "tokens", provider: str = OPENAI, usage: Usage = USAGE) -> Decimal | None:
    return cost(usage, [model], provider, None, billing)


def test_the_list_knows_openais_models_and_their_cached_tokens() -> None:
    whole, cached = Usage(prompt_tokens=1_000_000), Usage(prompt_tokens=1_000_000, cached_tokens=1_000_000)
    full, less = listed("gpt-4o-mini", usage=whole), listed("gpt-4o-mini", usage=cached)
    assert full == Decimal("0.15")
    assert less is not None
    assert 0 < less < full


def test_a_batch_costs_half_of_the_list() -> None:
    full, half = listed("gpt-4o-mini"), listed("gpt-4o-mini", "batch")
    assert full is not None
    assert half == full / 2


def test_the_recipes_own_price_is_taken_as_it_stands_in_a_batch_too() -> None:
    price = Price(input=1, output=2)
    assert {cost(USAGE, ["m"], OPENAI, price, billing) for billing in ("tokens", "batch", "none")} == {Decimal("1.2")}


@pytest.mark.parametrize(("model", "provider"), [("nonesuch", OPENAI), ("gpt-4o-mini", "http://localhost:8000/v1")])
def test_what_is_on_no_list_has_no_price(model: str, provider: str) -> None:
    assert listed(model, provider=provider) is None


def test_what_nobody_bills_costs_nothing() -> None:
    assert listed("nonesuch", "none") == 0


def test_a_name_that_only_the_reply_gives_falls_back_on_the_one_that_was_asked_for() -> None:
    assert cost(USAGE, ["an-alias", "gpt-4o-mini"], OPENAI, None, "tokens") == listed("gpt-4o-mini")
    assert cost(USAGE, ["gpt-4o", "gpt-4o-mini"], OPENAI, None, "tokens") == listed("gpt-4o")


def test_counts_that_contradict_each_other_have_no_price() -> None:
    assert cost(Usage(prompt_tokens=1, cached_tokens=2), ["m"], OPENAI, Price(input=1, output=1), "tokens") is None


@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 1000), st.integers(0, 9999), st.integers(0, 9999))
@STEADY
def test_tokens_from_the_cache_have_their_own_price(
    fresh: float, cached: float, received: float, sent: int, completed: int
) -> None:
    price = Price(input=fresh, cached_input=cached, output=received)
    usage = Usage(prompt_tokens=sent, cached_tokens=sent // 3, completion_tokens=completed)
    expected = fresh * (sent - sent // 3) + cached * (sent // 3) + received * completed
    assert float(price.of(usage)) == pytest.approx(expected / 1e6, rel=1e-9, abs=1e-12)


def test_without_a_price_of_their_own_cached_tokens_cost_as_much_as_others() -> None:
    assert Price(input=3, output=0).of(USAGE) == 3
