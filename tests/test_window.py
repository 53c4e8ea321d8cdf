"""The window: order, bounds and an end, whatever the work does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.window import in_order

PATIENCE = 20.0
"""Seconds after which a test that would hang fails instead; nothing here takes one of them."""


@given(
    turns=st.lists(st.integers(0, 12), max_size=40),
    at_once=st.integers(1, 8),
    window=st.integers(1, 12),
)
@settings(max_examples=200, deadline=None)
def test_results_come_in_the_items_order_and_both_bounds_always_hold(
    turns: list[int], at_once: int, window: int
) -> None:
    taken = at_work = most_at_work = 0

    def items() -> Iterator[tuple[int, int]]:
        nonlocal taken
        for number, count in enumerate(turns):
            taken += 1
            yield number, count

    async def work(item: tuple[int, int]) -> int:
        nonlocal at_work, most_at_work
        at_work += 1
        most_at_work = max(most_at_work, at_work)
        for _ in range(item[1]):
            await asyncio.sleep(0)
        at_work -= 1
        return item[0]

    async def consume() -> list[int]:
        results: list[int] = []
        async for result in in_order(work, items(), at_once, window):
            assert taken <= len(results) + window  # ahead of the one that was waited for
            results.append(result)
        return results

    assert asyncio.run(consume()) == list(range(len(turns)))
    assert most_at_work <= at_once
    assert taken == len(turns)


def test_as_many_are_at_work_as_may_be() -> None:
    async def main() -> list[int]:
        meeting = asyncio.Barrier(4)

        async def work(item: int) -> int:
            await meeting.wait()  # passes only if four are here together
            return item

        async with asyncio.timeout(PATIENCE):
            return [result async for result in in_order(work, range(8), at_once=4, window=4)]

    assert asyncio.run(main()) == list(range(8))


def test_a_slow_item_keeps_nobody_from_working_until_the_window_is_full() -> None:
    async def main() -> list[int]:
        others_done = asyncio.Event()
        done = 0

        async def work(item: int) -> int:
            nonlocal done
            if item == 0:
                await others_done.wait()
            done += 1
            if done == 9:
                others_done.set()
            return item

        async with asyncio.timeout(PATIENCE):
            return [result async for result in in_order(work, range(30), at_once=2, window=10)]

    assert asyncio.run(main()) == list(range(30))


def test_a_result_is_handed_on_while_later_ones_are_still_at_work() -> None:
    async def main() -> int:
        async def work(item: int) -> int:
            if item:
                await asyncio.Event().wait()  # for ever
            return item

        async with asyncio.timeout(PATIENCE), aclosing(in_order(work, range(5), at_once=5, window=5)) as results:
            return await anext(results)

    assert asyncio.run(main()) == 0


def test_an_error_surfaces_in_its_turn_and_all_other_work_is_cancelled() -> None:
    async def main() -> tuple[list[int], set[int]]:
        results: list[int] = []
        cancelled: set[int] = set()

        async def work(item: int) -> int:
            if item == 2:
                raise ZeroDivisionError
            if item > 2:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.add(item)
                    raise
            return item

        async def consume() -> None:
            async for result in in_order(work, range(100), at_once=4, window=6):
                results.append(result)  # noqa: PERF401  what came before the error counts

        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ZeroDivisionError):
                await consume()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return results, cancelled

    results, cancelled = asyncio.run(main())
    assert results == [0, 1]
    assert cancelled
    assert cancelled <= set(range(3, 8))


def test_an_error_of_the_items_themselves_surfaces_and_the_work_is_cancelled() -> None:
    def items() -> Iterator[int]:
        yield 0
        yield 1
        raise ZeroDivisionError

    async def main() -> None:
        async def work(_item: int) -> int:
            await asyncio.Event().wait()
            return 0

        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ZeroDivisionError):
                await anext(in_order(work, items(), at_once=4, window=6))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_closing_cancels_all_work_and_waits_until_it_has_cleaned_up() -> None:
    async def main() -> tuple[set[int], set[int]]:
        begun: set[int] = set()
        cleaned: set[int] = set()

        async def work(item: int) -> int:
            if item:
                begun.add(item)
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)
                    cleaned.add(item)
            return item

        async with asyncio.timeout(PATIENCE):
            results = in_order(work, range(100), at_once=3, window=8)
            await anext(results)
            await asyncio.sleep(0)
            await results.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return begun, cleaned

    begun, cleaned = asyncio.run(main())
    assert begun
    assert cleaned == begun


def test_stopping_the_consumer_stops_the_work_that_it_waits_for() -> None:
    async def main() -> bool:
        stopped = False
        begun = asyncio.Event()

        async def work(item: int) -> int:
            nonlocal stopped
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped = True
            return item

        async def consume() -> None:
            async with aclosing(in_order(work, range(3), at_once=1, window=1)) as results:
                async for _ in results:
                    pass

        consumer = asyncio.create_task(consume())
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            consumer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await consumer
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return stopped

    assert asyncio.run(main())
