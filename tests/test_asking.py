"""Asking a model until the reply can be read: which replies are asked for again, how, and what is remembered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.asking import Asked, ask_until_read, read_cut_json, read_json, request_to
from pipeline.errors import ProviderDown, RecordFailed
from pipeline.records import (
    Address,
    Answer,
    Message,
    PromptRef,
    Rendered,
    Reply,
    Request,
    ResponseSchema,
    Sampling,
    Usage,
)

REQUEST = Request(
    engine="writer",
    model="m",
    provider="p",
    messages=(Message(role="user", content="Say something."),),
    sampling=Sampling(temperature=0.5, max_tokens=100),
    prompt=PromptRef(name="n", version="v"),
)

GOOD = '{"answer": 42}'


def _reply(text: str) -> Reply:
    return Reply(text=text, finish_reason="stop", cost_usd=None, model="m-1")


REFUSED = Reply(text="I would rather not.", finish_reason="refusal", cost_usd=None, model="m-1")
CUT = Reply(text='{"answer": 4', finish_reason="length", usage=Usage(completion_tokens=100), cost_usd=None, model="m-1")


class Engine:
    """Gives the replies that it was told to give, one after the other, and remembers what it was asked."""

    def __init__(self, *replies: Reply | Exception) -> None:
        self.replies = list(replies)
        self.asked: list[Request] = []

    async def __call__(self, request: Request) -> Reply:
        """The next reply, or error."""
        self.asked.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def _ask(
    engine: Engine,
    attempts: int = 3,
    request: Request = REQUEST,
    read: Callable[[str], object] = read_json,
) -> Asked[object]:
    asked = asyncio.run(ask_until_read(read, request, engine, attempts))
    assert asked.requests == tuple(sent.id for sent in engine.asked)
    assert len(set(asked.requests)) == len(asked.requests)
    return asked


def _number(text: str) -> int:
    value = read_json(text)
    if not isinstance(value, dict):
        raise RecordFailed("no_mapping", f"a {type(value).__name__}")
    return int(value["answer"])


def test_a_good_reply_is_read_and_asked_for_once() -> None:
    engine = Engine(_reply(GOOD))
    asked = _ask(engine)
    assert asked.value == {"answer": 42}
    assert (asked.code, asked.detail) == ("", "")
    assert engine.asked == [REQUEST]
    assert asked.reply == _reply(GOOD)


def test_a_reply_of_no_use_is_asked_for_again_as_the_next_attempt_of_the_same_draw() -> None:
    engine = Engine(_reply("Sure!"), _reply("  \n"), _reply(GOOD))
    asked = _ask(engine)
    assert asked.value == {"answer": 42}
    assert [request.attempt for request in engine.asked] == [0, 1, 2]
    assert engine.asked[2] == REQUEST.but(attempt=2)
    assert asked.requests[0] == REQUEST.id


@pytest.mark.parametrize(
    ("text", "code", "detail"),
    [
        ("Sure! Here it is.", "unparsable", "the reply begins 'Sure! Here it is.'"),
        ('{"answer": 4', "unparsable", "the reply begins '{\"answer\": 4'"),
        ('{"answer": "many"}', "unparsable", "invalid literal"),
        ("", "empty", "an empty reply"),
        (" \n\t", "empty", "an empty reply"),
        ("[1, 2]", "no_mapping", "a list"),
    ],
)
def test_when_all_attempts_are_spent_the_last_reply_and_the_reason_are_given(text: str, code: str, detail: str) -> None:
    engine = Engine(_reply("first"), _reply(text))
    asked = _ask(engine, attempts=2, read=_number)
    assert (asked.value, asked.code) == (None, code)
    assert detail in asked.detail
    assert "\n" not in asked.detail
    assert asked.reply == _reply(text)
    assert len(asked.requests) == 2


def test_a_value_that_counts_as_false_is_a_value() -> None:
    assert _ask(Engine(_reply("[]"))).value == []
    assert _ask(Engine(_reply("0"))).value == 0


def test_a_refusal_is_not_asked_again() -> None:
    engine = Engine(REFUSED)
    asked = _ask(engine)
    assert (asked.value, asked.code, asked.detail) == (None, "refused", "I would rather not.")
    assert len(engine.asked) == 1
    assert _ask(Engine(REFUSED.but(text=""))).detail


def test_a_refusal_ends_the_asking_also_after_other_replies() -> None:
    engine = Engine(_reply("what?"), REFUSED)
    assert _ask(engine).code == "refused"
    assert [request.attempt for request in engine.asked] == [0, 1]


def test_a_reply_that_was_cut_off_is_asked_for_once_more_with_twice_the_tokens() -> None:
    engine = Engine(CUT, _reply(GOOD))
    assert _ask(engine).value == {"answer": 42}
    assert [(request.attempt, request.sampling) for request in engine.asked] == [
        (0, Sampling(temperature=0.5, max_tokens=100)),
        (1, Sampling(temperature=0.5, max_tokens=200)),
    ]


def test_a_reply_that_is_cut_off_twice_is_given_up_however_many_attempts_are_left() -> None:
    engine = Engine(CUT, CUT)
    asked = _ask(engine, attempts=9)
    assert (asked.value, asked.code) == (None, "truncated")
    assert "100 tokens" in asked.detail
    assert asked.reply == CUT
    assert len(engine.asked) == 2


def test_what_was_doubled_stays_doubled_when_the_longer_reply_cannot_be_read() -> None:
    engine = Engine(CUT, _reply("what?"), _reply(GOOD))
    assert _ask(engine).value == {"answer": 42}
    assert [request.sampling.max_tokens for request in engine.asked] == [100, 200, 200]


def test_without_a_bound_of_ones_own_a_cut_reply_is_given_up_at_once() -> None:
    engine = Engine(CUT)
    assert _ask(engine, request=REQUEST.but(sampling=Sampling())).code == "truncated"
    assert len(engine.asked) == 1


def test_asking_stops_at_the_bound_of_attempts() -> None:
    assert _ask(Engine(CUT), attempts=1).code == "truncated"
    assert _ask(Engine(_reply("what?")), attempts=1).code == "unparsable"


def test_an_engine_that_fails_is_told_with_the_requests_that_were_answered_before() -> None:
    engine = Engine(_reply("what?"), _reply(""), RecordFailed("timeout", "no answer within 1 s"))
    with pytest.raises(RecordFailed) as caught:
        asyncio.run(ask_until_read(read_json, REQUEST, engine, 5))
    assert (caught.value.code, caught.value.detail) == ("timeout", "no answer within 1 s")
    assert caught.value.requests == tuple(request.id for request in engine.asked[:2])


def test_what_stops_the_run_passes_through() -> None:
    with pytest.raises(ProviderDown):
        asyncio.run(ask_until_read(read_json, REQUEST, Engine(ProviderDown("away")), 5))


def test_the_same_replies_make_the_same_chain_of_requests() -> None:
    chains = [_ask(Engine(_reply("what?"), CUT, _reply(GOOD))).requests for _ in range(2)]
    assert chains[0] == chains[1]


def test_draws_of_one_prompt_are_requests_of_their_own() -> None:
    address = Address(engine="writer", model="m", provider="p", family="f")
    rendered = Rendered(messages=REQUEST.messages, prompt=REQUEST.prompt)
    schema = ResponseSchema(name="answer", json_schema={"type": "object"})
    first, second = (request_to(address, rendered, REQUEST.sampling, schema, draw=draw) for draw in (0, 1))
    assert first.id != second.id
    assert first.but(draw=1) == second
    assert (first.engine, first.model, first.provider) == ("writer", "m", "p")
    assert (first.messages, first.prompt, first.response_schema) == (REQUEST.messages, REQUEST.prompt, schema)


# ---- what counts as JSON


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"\n```json  \n{GOOD}```  \n",
        f"```json\r\n{GOOD}\r\n```",
    ],
)
def test_json_is_read_bare_or_fenced(text: str) -> None:
    assert read_json(text) == {"answer": 42}


def test_raw_line_breaks_and_tabs_within_strings_are_read_as_they_stand() -> None:
    assert read_json('{"answer": "one\ntwo\r\n\tthree"}') == {"answer": "one\ntwo\r\n\tthree"}


def test_a_fence_within_a_string_is_part_of_the_string() -> None:
    value = {"answer": "```python\nprint(1)\n```"}
    assert read_json(json.dumps(value)) == value
    assert read_json(f"```json\n{json.dumps(value)}\n```") == value


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
@settings(deadline=None)
def test_whatever_json_holds_is_read_bare_and_fenced(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert read_json(text) == value
    assert read_json(f"```json\n{text}\n```") == value
    assert read_cut_json(text) == value


@given(st.text())
@settings(deadline=None)
def test_whatever_a_model_says_is_read_or_filed_never_an_error_of_ours(text: str) -> None:
    asked = _ask(Engine(_reply(text)), attempts=1, read=_number)
    assert (asked.value is None) == bool(asked.code)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"answer":' * 5_000, "9" * 5_000, '{"answer": ' + "9" * 5_000 + "}"],
    ids=["brackets without end", "mappings without end", "a number without end", "the same as an answer"],
)
def test_a_model_that_babbles_json_stops_nothing(text: str) -> None:
    asked = _ask(Engine(_reply(text)), attempts=1, read=_number)
    assert asked.code == "unparsable"
    assert len(asked.detail) < 500


def test_half_a_character_from_a_model_never_becomes_a_text_that_cannot_be_written() -> None:
    asked = _ask(Engine(_reply('["\\ud83d"]')), attempts=1, read=lambda text: str(read_json(text)[0]))  # type: ignore[index]
    written = Answer(text=str(asked.value or ""), origin="generated").model_dump_json()
    assert written.encode()
    assert asked.detail.encode() or asked.value is not None


def test_a_whole_character_written_as_two_halves_is_that_character() -> None:
    assert read_json('{"answer": "\\ud83d\\ude00"}') == {"answer": "😀"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"triples": [{"a": 1}, {"a": 2}, {"a"', {"triples": [{"a": 1}, {"a": 2}, {}]}),
        ('```json\n{"triples": [{"a": 1}', {"triples": [{"a": 1}]}),
        (' ```\n[1, 2, "thr', [1, 2]),
    ],
)
def test_of_a_text_that_was_cut_off_as_much_is_read_as_stands(text: str, value: object) -> None:
    assert read_cut_json(text) == value


@pytest.mark.parametrize("text", ["Sure!", "", "[" * 100_000])
def test_what_is_not_even_the_beginning_of_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the words are another library's
        read_cut_json(text)
