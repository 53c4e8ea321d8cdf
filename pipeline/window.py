"""An async function mapped over many items: bounded, in order, with no barrier between one item and the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


async def in_order(
    work: Callable[[A], Awaitable[B]], items: Iterable[A], at_once: int, window: int
) -> AsyncGenerator[B, None]:
    """The result for each item, in the items' order.

    At most `at_once` items are worked on at a time. Results that are ready wait for slower ones before them; at most
    `window` items are taken from `items` ahead of the one that is waited for, so memory has a bound and a slow item
    holds nobody up until `window` others have overtaken it. Close the generator (`aclosing`) to stop the work.
    """
    slots = asyncio.Semaphore(at_once)

    async def one(item: A) -> B:
        async with slots:
            return await work(item)

    pending: deque[asyncio.Task[B]] = deque()
    try:
        for item in items:
            pending.append(asyncio.create_task(one(item)))
            if len(pending) >= window:
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
