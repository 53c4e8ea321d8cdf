"""What every server that speaks the chat-completions protocol has in common: the call, and what may go wrong with it.

An engine brings its address and its key, and gets an `Ask` from `connection`; one that sends requests by another way,
such as a batch file, takes `body_of` and `reply_of`.

What a provider does wrong ends in one of three ways, decided in `_send` and `_translate` and nowhere else:

    asked again, then the record fails   429, 408, 409, 5xx, time-outs, broken connections, bodies that are no reply
    the record fails at once             400 and other refusals to take this one request
    the run stops                        401 (wrong key), 403 and 404 before any reply, spent quota, 402, and a
                                         provider that answers nobody: nothing is lost, the next start resumes

A reply that came but is of no use (unparsable, cut off, empty) is a reply: it is kept, and `pipeline.asking` asks
again. Not run against OpenAI itself, but against a local server over HTTP that misbehaves in each of these ways.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

import openai
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from pydantic import BaseModel, BeforeValidator, Field
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_base, wait_random_exponential

from pipeline.errors import PairwrightError, ProviderDown, RecordFailed, UserError
from pipeline.records import Ask, FinishReason, Reply, Request, ResponseSchema, Usage
from pipeline.registry import Engine

OPENAI = "https://api.openai.com/v1"

AWAY = 10
"""Fewest requests in a row that must fail with all their retries until a provider counts as down. Never fewer than
twice what may be in flight: prompts that always fail take longest, so that at a run's end they are all that is left."""

LONGEST_WAIT = 300.0
"""Seconds to wait at the most when a server says how long, so that a wrong header does not cost the night."""

Structured = Literal["json_schema", "json_object", "text"]

STEPS: tuple[Structured, ...] = ("json_schema", "json_object", "text")
"""From the strictest way of asking for JSON to none; a server that refuses one is asked the next, once and for all."""


class Dialect(NamedTuple):
    """What a server takes of what may be asked."""

    structured: Structured = "json_schema"
    """How JSON is asked for."""


class Wire(Engine):
    """What can be set for every server that speaks the protocol."""

    timeout: float = Field(default=120.0, gt=0)
    """Seconds until a request without an answer is given up and sent again."""
    attempts: int = Field(default=6, ge=1, le=20)
    """How often a request is sent in all when the provider fails."""
    wait: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (0.5, 30.0)
    """Seconds before the second sending at the most, and before any later one; in between it doubles, at random."""
    structured: Structured = "json_schema"
    """How JSON is asked for at first; what the server refuses is left out from then on."""


class _Server(NamedTuple):
    """Whom a connection talks to."""

    options: Wire
    url: str
    key: str | None

    def quote(self, words: str) -> str:
        """What the server or a library said, fit to be shown."""
        return quote(words, self.key)


@asynccontextmanager
async def connection(options: Wire, base_url: str, key: str | None) -> AsyncIterator[Ask]:
    """Who answers an engine's requests, for as long as the block lasts.

    Args:
        options: the engine's settings.
        base_url: where the server is, with its version: http://127.0.0.1:8000/v1.
        key: what is sent as `Authorization: Bearer`; it is in no message, log or URL.
    """
    client = openai.AsyncOpenAI(api_key=key or "none", base_url=base_url, timeout=options.timeout, max_retries=0)
    async with client:
        yield _Line(_Server(options, base_url, key), client).ask


def quote(words: str, key: str | None) -> str:
    """What a server or a library said, on one line of 200 characters at the most.

    The key is taken out should they repeat it, and before the line is cut: a part of a key is a secret too.
    """
    line = " ".join(_storable(words).split())
    return (line.replace(key, "***") if key else line)[:200]


class _Again(Exception):  # noqa: N818  not an error: a request to try again
    """The request may go well another time."""

    def __init__(self, code: str, detail: str, after: float | None = None) -> None:
        self.code, self.detail, self.after = code, detail, after
        super().__init__(f"{code}: {detail}")


class _Line:
    """One engine's connection: sends, waits, sends again, and knows what the server can do."""

    def __init__(self, server: _Server, client: openai.AsyncOpenAI) -> None:
        self._server, self._engine, self._client = server, server.options, client
        self._slots = asyncio.Semaphore(self._engine.in_flight)
        self._dialect = Dialect(structured=self._engine.structured)
        self._answered = 0
        self._failed_in_a_row = 0

    async def ask(self, request: Request) -> Reply:
        """The reply of the server.

        Raises:
            RecordFailed: it could not be had for this request.
            UserError, ProviderDown: it cannot be had for any.
        """
        async with self._slots:
            try:
                reply = await self._insist(request)
            except _Again as failure:
                self._count_failure(failure)
                raise RecordFailed(failure.code, f"{failure.detail}, {self._engine.attempts} times") from failure
        self._answered += 1
        self._failed_in_a_row = 0
        return reply

    def _count_failure(self, failure: _Again) -> None:
        self._failed_in_a_row += 1
        unreachable = failure.code == "connection" and not self._answered
        if unreachable or self._failed_in_a_row >= max(AWAY, 2 * self._engine.in_flight):
            raise ProviderDown(
                f"the provider does not answer ({failure})",
                where=self._server.url,
                remedy="Check the address and the network, then start again: nothing is lost",
            ) from failure

    async def _insist(self, request: Request) -> Reply:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Again),
            stop=stop_after_attempt(self._engine.attempts),
            wait=_WaitAsTold(*self._engine.wait),
            reraise=True,
        )
        return await retrying(self._send, request)

    async def _send(self, request: Request) -> Reply:
        dialect = self._dialect
        try:
            raw = await self._client.chat.completions.with_raw_response.create(**body_of(request, dialect))
            return reply_of(request, raw.content, self._server.url)
        except openai.BadRequestError as error:
            if not self._step_down(dialect.structured, request, error):
                raise RecordFailed("http_400", self._server.quote(_words(error))) from error
            return await self._send(request)
        except openai.OpenAIError as error:
            _translate(error, self._server, answered=self._answered > 0)
        except ValueError as error:
            raise _Again("bad_body", "the body is not a reply") from error

    def _step_down(self, tried: Structured, request: Request, error: openai.BadRequestError) -> bool:
        """Whether a 400 was about the form of the reply, and there is a humbler way to ask."""
        if request.response_schema is None or tried == "text":
            return False
        if not any(
            word in _words(error).lower() for word in ("response_format", "json_schema", "json_object", "schema")
        ):
            return False
        if self._dialect.structured == tried:
            self._dialect = self._dialect._replace(structured=STEPS[STEPS.index(tried) + 1])
        return True


class _WaitAsTold(wait_base):
    """As long as the server says; else a random time below a bound that doubles from attempt to attempt."""

    def __init__(self, first: float, longest: float) -> None:
        self._otherwise = wait_random_exponential(multiplier=first, max=longest)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(error, _Again) and error.after is not None:
            return error.after
        return self._otherwise(retry_state)


def body_of(request: Request, dialect: Dialect) -> dict[str, Any]:
    """The JSON to send; only what the recipe sets is in it, since servers refuse what they do not know."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        # OpenAI's newer models refuse the old name, most other servers do not know the new one
        "max_completion_tokens" if request.provider == OPENAI else "max_tokens": sampling.max_tokens,
        "response_format": _response_format(request.response_schema, dialect.structured),
    }
    return {key: value for key, value in body.items() if value is not None}


def _response_format(schema: ResponseSchema | None, structured: Structured) -> dict[str, Any] | None:
    if schema is None or structured == "text":
        return None
    if structured == "json_object":
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "json_schema": {"name": schema.name, "schema": schema.json_schema, "strict": True},
    }


def _storable(words: str) -> str:
    """The words with halves of characters (lone surrogates) replaced: JSON can carry them, and no file can."""
    return re.sub("[\ud800-\udfff]", "\ufffd", words)


Words = Annotated[str, BeforeValidator(lambda words: _storable(words) if isinstance(words, str) else words)]


Count = Annotated[int, Field(ge=0, lt=2**53)]


class _PromptDetails(BaseModel):
    cached_tokens: Count | None = None


class _Counts(BaseModel):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Message(BaseModel):
    content: Words | None = None
    refusal: Words | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: Words | None = None


class _Completion(BaseModel):
    """What we need of a reply's body. The client itself checks nothing: it would hand us a string as a message.

    Around the words anything may be missing; what is there has its right type, or the body is no reply.
    """

    model: Words | None = None
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Counts | None = None


def reply_of(request: Request, body: bytes, base_url: str) -> Reply:  # noqa: ARG001  a label is told by its request
    """What a server answered, with what it cost there.

    Raises:
        ValueError: the body is no chat completion.
    """
    try:
        completion = _Completion.model_validate(json.loads(body))  # `model_validate_json` refuses half characters
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    message = completion.choices[0].message
    model = completion.model or ""
    counts = completion.usage or _Counts()
    usage = _usage(counts)
    counted = counts.prompt_tokens is not None and counts.completion_tokens is not None
    return Reply(
        text=message.refusal or message.content or "",
        finish_reason="refusal" if message.refusal else _finish_reason(completion.choices[0].finish_reason),
        usage=usage,
        cost_usd=price(model, usage, base_url) if counted else None,
        model=model,
    )


def _finish_reason(reason: str | None) -> FinishReason:
    return {"length": "length", "content_filter": "refusal"}.get(reason or "", "stop")  # type: ignore[return-value]


def _usage(counts: _Counts) -> Usage:
    details = counts.prompt_tokens_details
    return Usage(
        prompt_tokens=counts.prompt_tokens or 0,
        cached_tokens=(details.cached_tokens if details else 0) or 0,
        completion_tokens=counts.completion_tokens or 0,
    )


def price(model: str, usage: Usage, base_url: str) -> float | None:
    """What a call costs in US dollars, by genai-prices' list; None if it cannot be known."""
    counted = PricedUsage(
        input_tokens=usage.prompt_tokens,
        cache_read_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
    )
    try:
        total = calc_price(counted, model, provider_api_url=base_url).total_price
    except (LookupError, ValueError):  # not on the list; or counts that contradict each other
        return None
    return float(total.quantize(Decimal("1e-12")))


def _translate(error: Exception, server: _Server, *, answered: bool) -> NoReturn:
    """The client's error in our words: asked again, a failed record, or the end of the run."""
    match error:
        case openai.APITimeoutError():
            raise _Again("timeout", f"no answer within {server.options.timeout:g} s") from error
        case openai.APIConnectionError():
            cause = server.quote(str(error.__cause__ or error))
            raise _Again("connection", f"the connection failed: {cause}") from error
        case openai.APIStatusError():
            raise _status_error(error, server, answered=answered) from error
        case _:
            raise _Again("bad_body", "the body is not a reply") from error


def _status_error(
    error: openai.APIStatusError, server: _Server, *, answered: bool
) -> PairwrightError | RecordFailed | _Again:
    """A server that has `answered` others and forbids this one means this one: gateways moderate so."""
    where, status = server.url, error.status_code
    words = server.quote(_words(error))
    if status == 401 or (status == 403 and not answered):  # noqa: PLR2004  HTTP's own numbers
        return UserError(f"the key is refused ({words})", where=where, remedy="Set the right key in the environment")
    if status == 404 and not answered:  # noqa: PLR2004  HTTP's own number
        return UserError(
            f"no model {server.options.model!r} there, or a wrong address ({words})",
            where=where,
            remedy="Check `model` and `base_url`; most servers' addresses end in /v1",
        )
    if status == 402 or getattr(error, "code", None) == "insufficient_quota":  # noqa: PLR2004  HTTP's own number
        return ProviderDown(
            "the account's quota is spent",
            where=where,
            remedy="Add credit, then start again: nothing is lost",
        )
    if status in (408, 409, 429) or status >= 500:  # noqa: PLR2004  HTTP's own numbers
        code = "rate_limited" if status == 429 else f"http_{status}"  # noqa: PLR2004
        return _Again(code, words, _retry_after(error))
    return RecordFailed(f"http_{status}", words)


def _retry_after(error: openai.APIStatusError) -> float | None:
    try:
        return min(max(0.0, float(error.response.headers["retry-after"])), LONGEST_WAIT)
    except (KeyError, ValueError):
        return None


def _words(error: openai.APIStatusError) -> str:
    """What the server said, as it said it: to be quoted. Never the request: its headers hold the key."""
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or error.message)
