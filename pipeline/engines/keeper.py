"""Keeps a server of our own alive for as long as a run asks it something.

    asleep ── first request ──> starting ── healthy ──> ready ── ends, or hangs ──> starting again, `restarts` times

It starts no sooner than something must be asked: a run whose replies are all in the ledger needs no GPU, and a
dataset can be rebuilt on any machine. Requests that are under way when the server ends wait for the next one and are
asked again; only when none comes does the run stop, and the next start resumes.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self, TypeVar

from tqdm import tqdm

from pipeline.engines.child import Child, Log, running
from pipeline.engines.vllm_log import Trouble, phase, why
from pipeline.errors import ProviderDown, RecordFailed, UserError
from pipeline.records import Ask, Reply, Request

HERE = "127.0.0.1"

PAUSE = 0.25
"""Seconds between two looks at a server that is starting; at one that runs, `hangs_after` has at least four looks."""

LOOK_EVERY = 5.0
"""Seconds between two looks at a server that runs, at the most."""

ANSWER_WITHIN = 10.0
"""Seconds for one answer about its health."""

T = TypeVar("T")


class Launch(NamedTuple):
    """How a server is started, and how much is expected of it."""

    title: str
    """What it is called on screen."""
    command: Callable[[int], list[str]]
    """What to run, by the port that it shall listen on."""
    environment: Callable[[str], dict[str, str]]
    """All environment variables, by the key that it shall ask for."""
    connect: Callable[[str, str], AbstractAsyncContextManager[Ask]]
    """Who asks it, by its base URL and its key."""
    start_within: float
    """Seconds until it must answer."""
    hangs_after: float
    """Seconds without a sign of health after which it is ended."""
    restarts: int
    """How often it is started again."""


class _Life:
    """One start of the server, from its first sign of health to its end."""

    def __init__(self, ask: Ask, port: int) -> None:
        self.ask, self.port = ask, port
        self.over: asyncio.Future[Trouble] = asyncio.get_running_loop().create_future()
        """Done when it has ended: why."""


class _NotStarted(Exception):  # noqa: N818  not an error yet: it may be tried again
    """The server ended before it was ready."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        super().__init__(trouble.what)


class Keeper:
    """A server that is there whenever something is asked, within bounds."""

    def __init__(self, launch: Launch, log: Log) -> None:
        """Args: how to start it; where it says what it says."""
        self._launch, self._log = launch, log
        self._keeping: asyncio.Task[NoReturn] | None = None

    async def __aenter__(self) -> Self:
        self._now: asyncio.Future[_Life] = asyncio.get_running_loop().create_future()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The server is gone when this returns."""
        if self._keeping:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def ask(self, request: Request) -> Reply:
        """The reply of this server, or of the one that comes after it.

        Raises:
            RecordFailed: a server that is well has none.
            UserError, ProviderDown: it does not start, or not any more.
        """
        while True:
            life = await self._living()
            try:
                reply = await before(life.over, life.ask(request))
            except (RecordFailed, ProviderDown) as failure:
                if await self._survived(life, failure):
                    raise
            else:
                if reply is not None:
                    return reply

    async def _living(self) -> _Life:
        """The server, once it is ready. Raises what ended the keeping if there will be none."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep(), name=self._launch.title)
        now = self._now  # another takes its place as soon as this life is over
        either: set[asyncio.Future[Any]] = {now, self._keeping}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return now.result() if now.done() else await self._keeping

    async def _survived(self, life: _Life, failure: RecordFailed | ProviderDown) -> bool:
        """Whether a server is well that could not answer: then it is the request's fault and not its own."""
        if not life.over.done() and not await healthy(life.port):
            await asyncio.wait({life.over}, timeout=PAUSE)  # whoever watches it says what became of it
            return False
        if isinstance(failure, ProviderDown):
            self._end(life, Trouble(f"it answers no request ({failure.what})", "Look at its log", lasting=False))
        return not life.over.done()

    def _end(self, life: _Life, trouble: Trouble) -> None:
        """From here on requests wait for the next one."""
        if not life.over.done():
            self._now = asyncio.get_running_loop().create_future()
            life.over.set_result(trouble)

    async def _keep(self) -> NoReturn:
        """Starts the server, and again when it ends, as often as may be."""
        was_ready = False
        for left in reversed(range(self._launch.restarts + 1)):
            try:
                async with self._life() as life:
                    was_ready = True
                    trouble = await life.over
            except _NotStarted as failure:
                trouble = failure.trouble
                if not was_ready and not trouble.chance:
                    raise self._failed("does not start", trouble, was_ready=False) from failure
            if left:
                _say(f"{self._launch.title}: {trouble.what}; it is started again, {left} more times at the most")
        raise self._failed("ended, and is not started again", trouble, was_ready=was_ready)

    def _failed(self, how: str, trouble: Trouble, *, was_ready: bool) -> UserError | ProviderDown:
        lasting = trouble.lasting and not was_ready
        kind = UserError if lasting else ProviderDown
        remedy = trouble.remedy if lasting else f"{trouble.remedy}. The same command again resumes: nothing is lost"
        return kind(f"{self._launch.title} {how}: {trouble.what}", where=str(self._log.path), remedy=remedy)

    @asynccontextmanager
    async def _life(self) -> AsyncIterator[_Life]:
        launch, port, key = self._launch, free_port(), secrets.token_urlsafe(32)
        async with running(launch.command(port), launch.environment(key), self._log) as child:
            with _shown(launch.title, self._log) as show:
                await self._until_healthy(child, port, show)
            async with launch.connect(f"http://{HERE}:{port}/v1", key) as ask:
                life = _Life(ask, port)
                watching = asyncio.create_task(self._watch(life, child))
                self._now.set_result(life)
                try:
                    yield life
                finally:
                    watching.cancel()

    async def _until_healthy(self, child: Child, port: int, show: Callable[[], None]) -> None:
        end = time.monotonic() + self._launch.start_within
        while not await healthy(port):
            if time.monotonic() > end:
                what = f"it was not ready within {self._launch.start_within:g} s ({phase(self._log.said())})"
                raise _NotStarted(Trouble(what, "Raise `start_within`, or look at its log", lasting=False))
            show()
            await asyncio.wait({child.ended}, timeout=PAUSE)
            if child.ended.done():
                raise _NotStarted(why(self._log.said(), child.ended.result()))

    async def _watch(self, life: _Life, child: Child) -> None:
        """Sees that the server has ended, or hangs."""
        limit, seen = self._launch.hangs_after, time.monotonic()
        while not life.over.done():
            await asyncio.wait({child.ended}, timeout=min(LOOK_EVERY, limit / 4))
            if child.ended.done():
                self._end(life, why(self._log.said(), child.ended.result()))
            elif await healthy(life.port, min(ANSWER_WITHIN, limit)):
                seen = time.monotonic()
            elif time.monotonic() - seen > limit:
                what = f"it hung: no sign of health for {limit:g} s"
                self._end(life, Trouble(what, "Look at its log", lasting=False))


async def before(end: asyncio.Future[Any], work: Awaitable[T]) -> T | None:
    """What comes of some work, or None if the end comes first: then the work is cancelled, or its failure forgotten."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
        failed = not task.done() or task.cancelled() or task.exception() is not None
        return None if failed and end.done() else task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        port: int = probe.getsockname()[1]
        return port


async def healthy(port: int, within: float = ANSWER_WITHIN) -> bool:
    """Whether the server at this port says that it is well. By hand, since proxies have no business here."""
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection(HERE, port)
            try:
                writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, ValueError):  # TimeoutError is an OSError; a line too long for HTTP is a ValueError
        return False


@contextmanager
def _shown(title: str, log: Log) -> Iterator[Callable[[], None]]:
    """A line when a server is started and one when it is ready; between them, on a terminal, what it is doing."""
    began = time.monotonic()
    _say(f"{title}: starting, its log is {log.path}")
    quiet = not sys.stderr.isatty()
    with tqdm(total=1, bar_format="{desc}", leave=False, disable=quiet, file=sys.stderr) as line:

        def show() -> None:
            if not quiet:
                line.set_description_str(f"{title}: {phase(log.said())}, {time.monotonic() - began:.0f} s")

        yield show
    _say(f"{title}: ready after {time.monotonic() - began:.0f} s")


def _say(line: str) -> None:
    """Also in the middle of a progress bar."""
    tqdm.write(line, file=sys.stderr)
