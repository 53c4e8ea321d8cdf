"""The meter: sums that do not depend on the order in which replies come, and prices that are not known."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.meter import Account, Meter
from pipeline.records import Bill, PromptRef, Reply, Usage
from tests.support.build import make_request

COUNT = st.integers(0, 10**6)
REPLIES = st.lists(
    st.builds(
        Reply,
        text=st.just(""),
        finish_reason=st.just("stop"),
        usage=st.builds(Usage, prompt_tokens=COUNT, cached_tokens=COUNT, completion_tokens=COUNT),
        cost_usd=st.none() | st.floats(0, 10).map(lambda cost: round(cost, 12)),
        model=st.just("m"),
    ),
    max_size=30,
)


def _bill(replies: list[Reply]) -> Bill:
    account = Account()
    for reply in replies:
        account.add(reply)
    return account.bill()


@given(REPLIES.flatmap(lambda replies: st.tuples(st.just(replies), st.permutations(replies))))
@settings(deadline=None)
def test_the_bill_is_the_same_to_the_last_digit_in_whatever_order_replies_come(
    orders: tuple[list[Reply], list[Reply]],
) -> None:
    assert _bill(orders[0]) == _bill(orders[1])


@given(REPLIES)
@settings(deadline=None)
def test_the_bill_is_the_sum_of_its_replies(replies: list[Reply]) -> None:
    bill = _bill(replies)
    known = [reply.cost_usd for reply in replies if reply.cost_usd is not None]
    assert bill.calls == len(replies)
    assert bill.unpriced == len(replies) - len(known)
    assert bill.prompt_tokens == sum(reply.usage.prompt_tokens for reply in replies)
    assert bill.cached_tokens == sum(reply.usage.cached_tokens for reply in replies)
    assert bill.completion_tokens == sum(reply.usage.completion_tokens for reply in replies)
    assert bill.cost_usd == float(sum((Fraction(Decimal(str(cost))) for cost in known), Fraction(0)))


def test_ten_dimes_are_a_dollar() -> None:
    dime = Reply(text="", finish_reason="stop", cost_usd=0.1, model="m")
    assert sum([0.1] * 10) != 1.0  # what floats would make of it
    assert _bill([dime] * 10).cost_usd == 1.0


def test_a_price_that_is_not_known_is_counted_and_not_taken_for_nothing() -> None:
    free, unknown = (Reply(text="", finish_reason="stop", cost_usd=cost, model="m") for cost in (0.0, None))
    assert (_bill([free]).unpriced, _bill([unknown]).unpriced) == (0, 1)


def test_what_was_used_and_what_was_paid_are_apart() -> None:
    meter = Meter()
    meter.used.add(Reply(text="", finish_reason="stop", cost_usd=1.0, model="m"))
    assert (meter.used.bill().calls, meter.paid.bill().calls) == (1, 0)
    assert Meter().used.bill() == _bill([])


def test_what_was_used_adds_up_over_engines_and_over_prompts_in_whatever_order_replies_come() -> None:
    asked = [
        make_request(f"{n}", engine=f"e{n % 2}", prompt=PromptRef(name=f"p{n % 3}", version="v")) for n in range(12)
    ]
    replies = [Reply(text="", finish_reason="stop", cost_usd=n / 10, model="m") for n in range(12)]
    sums = []
    for order in (range(12), range(11, -1, -1)):
        meter = Meter()
        for n in order:
            meter.use(asked[n], replies[n])
        sums.append((meter.used.bill(), meter.used_by(lambda at: at.engine), meter.used_by(lambda at: at.prompt)))
    assert sums[0] == sums[1]
    used, by_engine, by_prompt = sums[0]
    assert (list(by_engine), list(by_prompt)) == (["e0", "e1"], ["p0", "p1", "p2"])
    for parts in (by_engine, by_prompt):
        assert sum(part.calls for part in parts.values()) == used.calls == 12
        assert sum(Decimal(str(part.cost_usd)) for part in parts.values()) == Decimal(str(used.cost_usd))


def test_what_a_start_paid_includes_the_questions_whether_engines_are_well() -> None:
    meter = Meter()
    meter.paid.add(Reply(text="", finish_reason="stop", cost_usd=0.5, model="m"))
    meter.checks.add(Reply(text="", finish_reason="stop", cost_usd=None, model="m"))
    assert (meter.start().calls, meter.start().cost_usd, meter.start().unpriced) == (2, 0.5, 1)
    assert meter.paid.bill().calls == 1


def test_only_calls_that_had_not_to_wait_for_a_place_are_timed() -> None:
    meter = Meter()
    with meter.timing("one", places=1), meter.timing("one", places=1):
        pass
    assert meter.timings["one"].timed == 1
    with pytest.raises(KeyError), meter.timing("two", places=1):
        raise KeyError
    assert list(meter.seconds_per_call()) == ["one"]
    assert meter.timings["two"].under_way == 0
