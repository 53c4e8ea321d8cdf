"""What calls cost: by a recipe's own price, or by the one on genai-prices' list.

A price that is not known is None and never 0. Nothing is known of a server at an address of its own: what answers
there may be a gateway to a provider who bills. Whoever runs it says `price: {input: 0, output: 0}`.

Not so for an engine that the pipeline itself runs on this machine (the embedded one, a managed vLLM): nobody sends a
bill for its tokens, so they cost 0. What the machine costs by the hour is the user's to know; as a `price:` it counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.options import Options
from pipeline.records import Usage

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

MILLION = 10**6

SMALLEST = Decimal("1e-12")
"""Dollars are kept to this digit: below any price of a single token, and a float holds it exactly enough to add up."""

HALF = Decimal("0.5")
"""What a batch costs of the list's price, at OpenAI and Anthropic alike."""

Billing = Literal["tokens", "batch", "none"]
"""How an engine's calls are billed: by the token, at a batch's price, or by nobody."""


class Price(Options):
    """What tokens cost, in US dollars per million, as they are billed for this engine."""

    input: float = Field(ge=0)
    """Tokens sent."""
    output: float = Field(ge=0)
    """Tokens received."""
    cached_input: float | None = Field(default=None, ge=0)
    """Tokens sent that the server had in its cache; by default as much as others."""

    def of(self, usage: Usage) -> Decimal:
        """What a call costs in US dollars."""
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = usage.prompt_tokens - usage.cached_tokens
        parts = ((self.input, fresh), (cached, usage.cached_tokens), (self.output, usage.completion_tokens))
        return sum((Decimal(str(rate)) * tokens for rate, tokens in parts), Decimal(0)) / MILLION


def cost(usage: Usage, models: Iterable[str], provider: str, price: Price | None, billing: Billing) -> Decimal | None:
    """What a call costs in US dollars; None if it cannot be known.

    Args:
        usage: its tokens.
        models: the model's names, the surest first: as the provider named it in the reply, as it was asked for.
        provider: the server's address.
        price: the recipe's own price, which goes before all others and is taken as it stands, in a batch too.
        billing: how the engine is billed.
    """
    if usage.cached_tokens > usage.prompt_tokens:
        return None
    if price is not None:
        return price.of(usage).quantize(SMALLEST)
    if billing == "none":
        return Decimal(0)
    listed = next((found for model in models if (found := _listed(usage, model, provider)) is not None), None)
    return None if listed is None else (listed * (HALF if billing == "batch" else 1)).quantize(SMALLEST)


def _listed(usage: Usage, model: str, provider: str) -> Decimal | None:
    from genai_prices import Usage as Counted  # noqa: PLC0415  a tenth of a second, for those who ask a price

    found = _found(model, provider)
    if found is None:
        return None
    counted = Counted(
        input_tokens=usage.prompt_tokens, cache_read_tokens=usage.cached_tokens, output_tokens=usage.completion_tokens
    )
    return found.model.calc_price(counted, found.provider).total_price


@lru_cache(maxsize=1024)
def _found(model: str, provider: str) -> PriceCalculation | None:
    """A model's place on the list, or None; looked up once, since looking takes longer than reckoning."""
    from genai_prices import Usage as Counted  # noqa: PLC0415  a tenth of a second, for those who ask a price
    from genai_prices import calc_price  # noqa: PLC0415  as above

    try:
        return calc_price(Counted(input_tokens=1, output_tokens=1), model, provider_api_url=provider)
    except LookupError:
        return None


def no_price(name: str, model: str, provider: str) -> str:
    """What a budget has against an engine whose price nobody knows, and the remedy."""
    return (
        f"a budget needs to know what engine {name!r} costs, and {model!r} at {provider} is on no price list. Write "
        f"price: {{input: ..., output: ...}} (US dollars per million tokens) under engines.{name}; "
        "0 and 0 for a server of your own"
    )
