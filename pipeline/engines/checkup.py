"""One cheap question to every engine, before the first request of a night that is not in the ledger.

So a wrong key, a model that is not there, or a judge's server that is away is known before the writer is paid. A start
that has nothing to ask asks nothing here either. The questions are not kept: tomorrow's answer may be another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TextIO

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.asking import read_json, request_to
from pipeline.errors import PairwrightError, ProviderDown, RecordFailed, UserError
from pipeline.identity import digest
from pipeline.meter import Meter
from pipeline.records import Ask, Message, PromptRef, Rendered, ResponseSchema, Sampling
from pipeline.registry import Engine

WORDS = 'Are you ready? Answer with JSON and nothing else: {"ready": true}'

ENOUGH = 512
"""Tokens that a model may take: half a dozen, unless it thinks first."""


class _Ready(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid")

    ready: bool


NAME = "ready"
"""Name of the form that is asked for, by which a server in a test knows the question."""

SCHEMA = ResponseSchema(name=NAME, json_schema=_Ready.model_json_schema())

RENDERED = Rendered(
    messages=(Message(role="user", content=WORDS),), prompt=PromptRef(name="checkup", version=digest("prompt", WORDS))
)


class Checkup:
    """Asks every engine once whether it is ready, when the first request goes out."""

    def __init__(
        self, engines: Mapping[str, Engine], samplings: Mapping[str, Sampling], ask: Ask, meter: Meter, stream: TextIO
    ) -> None:
        """Make ready; nothing is asked yet.

        Args:
            engines: all engines.
            samplings: those that are used, by name, and how their requests will be drawn: a model that takes no
                temperature is to be found out here, and not when the writer has been paid.
            ask: who asks them.
            meter: where calls are counted.
            stream: where to warn.
        """
        self._engines = {name: engines[name] for name in samplings if engines[name].checked}
        self._samplings, self._ask, self._meter, self._stream = samplings, ask, meter, stream
        self._done: asyncio.Task[None] | None = None

    async def passed(self) -> None:
        """Returns once all engines are known to be well; only the first to wait for it has them asked.

        Raises:
            UserError: a key, a model or an address is wrong, or a server does not take the question.
            ProviderDown: an engine does not answer.
        """
        if self._done is None:
            self._done = asyncio.create_task(self.run(), name="checkup")
        await asyncio.shield(self._done)

    async def close(self) -> None:
        """Stop asking, should somebody have stopped the run in the middle of it."""
        if self._done is not None:
            self._done.cancel()
            await asyncio.gather(self._done, return_exceptions=True)

    async def run(self) -> None:
        """Ask all engines now, together; warns of one that does not answer in the form that it was asked for."""
        results = await asyncio.gather(*map(self._question, self._engines), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        # what somebody must mend first, since waiting for a provider that is away mends nothing
        for failure in sorted(failures, key=lambda failure: not isinstance(failure, UserError)):
            raise failure

    async def _question(self, name: str) -> None:
        engine = self._engines[name]
        sampling = self._samplings[name].but(max_tokens=ENOUGH)
        request = request_to(engine.address(name), RENDERED, sampling, SCHEMA)
        try:
            reply = await self._ask(request)
        except RecordFailed as failure:
            raise _explained(failure, name, engine) from failure
        except PairwrightError as error:
            raise type(error)(f"engine {name!r}: {error.what}", where=error.where, remedy=error.remedy) from error
        self._meter.checks.add(reply)
        if reply.finish_reason == "stop" and not _is_ready(reply.text):
            print(_warning(name, engine), file=self._stream)


def _explained(failure: RecordFailed, name: str, engine: Engine) -> PairwrightError:
    """A server that refuses so plain a question refuses all; one that fails every time is away."""
    what = f"engine {name!r} did not answer a first question ({failure})"
    if failure.code.startswith("http_4"):
        return UserError(what, where=engine.provider, remedy="Change what the server does not take in the recipe")
    return ProviderDown(what, where=engine.provider, remedy="Check the provider, then start again: nothing is lost")


def _is_ready(text: str) -> bool:
    try:
        _Ready.model_validate(read_json(text))
    except (ValueError, ValidationError):
        return False
    return True


def _warning(name: str, engine: Engine) -> str:
    """Without the words that came: a server that repeats what it was sent would have the key among them."""
    return (
        f"warning: engine {name!r} ({engine.model} at {engine.provider}) was asked for JSON of a given form and did "
        "not keep to it: replies that cannot be read are asked for again, and paid again"
    )
