"""Ask a model for something that code can use, and ask again when the reply is of no use.

What a provider does wrong (a 500, a time-out) is the engine's business. Here it is about replies that came, and were
paid for, and cannot be used: they are asked for again as another attempt of the same draw, so that the ledger gives
the same chain of replies to a run that is resumed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from pydantic_core import from_json

from pipeline.errors import RecordFailed
from pipeline.records import Address, Ask, Rendered, Reply, Request, ResponseSchema, Sampling

T = TypeVar("T")

LONGER = 2
"""A reply that was cut off is asked for again with this many times the tokens."""


class Asked(NamedTuple, Generic[T]):
    """What came of asking."""

    value: T | None
    """What the reply was read as; None if no reply could be read."""
    reply: Reply
    """The last reply."""
    requests: tuple[str, ...]
    """Ids of all requests asked, the last one last."""
    code: str
    """Why there is no value: `truncated`, `refused`, `empty`, `unparsable` or what `read` called it; else empty."""
    detail: str
    """What was seen, for people."""


def request_to(
    address: Address,
    rendered: Rendered,
    sampling: Sampling,
    schema: ResponseSchema | None = None,
    draw: int = 0,
    *,
    labels: tuple[str, ...] = (),
) -> Request:
    """A complete request: a rendered prompt on its way to an engine."""
    return Request(
        engine=address.engine,
        model=address.model,
        provider=address.provider,
        messages=rendered.messages,
        sampling=sampling,
        response_schema=schema,
        labels=labels,
        draw=draw,
        prompt=rendered.prompt,
    )


async def ask_until_read(read: Callable[[str], T], request: Request, ask: Ask, attempts: int) -> Asked[T]:
    """Ask, and ask again while `read` raises ValueError or RecordFailed on the reply, at most `attempts` times.

    A refusal is not asked again: a model that declined once mostly declines twice, and both are paid for. A reply
    that was cut off is asked for once more, with twice the tokens.

    Raises:
        RecordFailed: the engine could not deliver; it names the requests that were answered before.
    """
    asked: tuple[str, ...] = ()
    limit = request.sampling.max_tokens
    for attempt in range(attempts):
        current = request.but(attempt=attempt)
        try:
            reply = await ask(current)
        except RecordFailed as failure:
            raise RecordFailed(failure.code, failure.detail, asked) from failure
        asked = (*asked, current.id)
        outcome = _read(read, reply, asked)
        if outcome.value is not None or outcome.code == "refused":
            return outcome
        if outcome.code == "truncated":
            if limit is None or request.sampling.max_tokens != limit:
                return outcome
            request = request.but(sampling=request.sampling.but(max_tokens=limit * LONGER))
    return outcome


def _read(read: Callable[[str], T], reply: Reply, asked: tuple[str, ...]) -> Asked[T]:
    def useless(code: str, detail: str) -> Asked[T]:
        return Asked(None, reply, asked, code, detail)

    if reply.finish_reason == "refusal":
        return useless("refused", reply.text or "declined without a word")
    if reply.finish_reason == "length":
        return useless("truncated", f"cut off after {reply.usage.completion_tokens} tokens")
    if not reply.text.strip():
        return useless("empty", "an empty reply")
    try:
        return Asked(read(reply.text), reply, asked, "", "")
    except RecordFailed as failure:
        return useless(failure.code, failure.detail)
    except ValueError as error:
        return useless("unparsable", f"{_one_line(str(error))}; the reply begins {reply.text[:80]!r}")


def next_attempts(request: Request) -> list[Request]:
    """What may be asked after a reply of no use: the same again, and with a longer limit."""
    again = request.but(attempt=request.attempt + 1)
    limit = request.sampling.max_tokens
    if limit is None:
        return [again]
    return [again, again.but(sampling=request.sampling.but(max_tokens=limit * LONGER))]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def read_json(text: str) -> object:
    """The JSON in a reply, whether bare or in a Markdown fence. Raw line breaks within strings are accepted.

    Half a character (a lone surrogate), which no file can hold, becomes U+FFFD.

    Raises:
        ValueError: it is not JSON, names a key twice (which of the two did it mean?), or is nested too deeply.
    """
    fenced = re.fullmatch(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", text, flags=re.DOTALL)
    try:
        value: object = json.loads(fenced[1] if fenced else text, strict=False, object_pairs_hook=_each_key_once)
        return _whole_characters(value)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _whole_characters(value: object) -> object:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        mended: object = json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        return mended
    return value


def _each_key_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError(f"a key stands twice in {[key for key, _ in pairs]}")
    return value


def read_cut_json(text: str) -> object:
    """As much of a JSON text as stands before it was cut off.

    Raises:
        ValueError: it is not even the beginning of JSON.
    """
    value: object = from_json(text.strip().removeprefix("```json").removeprefix("```"), allow_partial=True)
    return value
