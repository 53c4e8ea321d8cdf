"""What a run asked for and what it paid, counted where replies come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from pipeline.records import Bill, Reply


@dataclass
class Account:
    """Adds up replies. Dollars are added as decimals: the sum does not depend on the order in which replies come."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    unpriced: int = 0
    dollars: Decimal = Decimal(0)

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        self.calls += 1
        self.prompt_tokens += reply.usage.prompt_tokens
        self.cached_tokens += reply.usage.cached_tokens
        self.completion_tokens += reply.usage.completion_tokens
        if reply.cost_usd is None:
            self.unpriced += 1
        else:
            self.dollars += Decimal(str(reply.cost_usd))

    def bill(self) -> Bill:
        """The sums so far."""
        return Bill(
            calls=self.calls,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            cost_usd=float(self.dollars),
            unpriced=self.unpriced,
        )


@dataclass
class Meter:
    """Two accounts: `used` is the same however often a run was interrupted, `paid` is what this start cost."""

    used: Account = field(default_factory=Account)
    paid: Account = field(default_factory=Account)
