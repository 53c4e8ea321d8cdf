"""The misbehaving server does what it says: each fault and each refusal as the real client sees it."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import math
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, ConfigDict, Field

from pipeline.generators.triples import SCHEMA
from tests.support import chat_server
from tests.support.chat_server import Body, ChatServer, Fault, Kind, body_digest, for_good, in_turn

KEY = "sk-a-key-that-must-not-leak"
STORY = '{"text": "The answer, long enough to be cut in half."}'


class Part(BaseModel):
    """A schema that refers to itself."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=120, max_length=200)
    parts: list[Part]


class Everything(BaseModel):
    """What a schema in this project may hold."""

    model_config = ConfigDict(extra="forbid")

    instruction: str
    sentences: list[int] = Field(min_length=2, max_length=2)
    better: Literal["a", "b", "tie"]
    sure: bool
    score: float = Field(gt=0.5, lt=0.75)
    rank: int = Field(ge=3, lt=5)
    below: int = Field(le=-7)
    hint: str | None
    always: Literal["this"]
    many: list[str] = Field(min_length=5)
    tree: Part


def response_format(schema: Body, strict: bool = True) -> Any:
    """As the client sends it; Any, since the client's own type is a TypedDict per variant."""
    return {"type": "json_schema", "json_schema": {"name": "thing", "strict": strict, "schema": schema}}


def client_of(server: ChatServer, api_key: str = KEY, timeout: float = 10) -> openai.OpenAI:
    """The real client, which tries once."""
    return openai.OpenAI(base_url=server.base_url, api_key=api_key, max_retries=0, timeout=timeout)


def ask(server: ChatServer, text: str = "hello", **settings: Any) -> ChatCompletion:
    """One completion through the real client."""
    with client_of(server) as client:
        return client.chat.completions.create(
            **({"model": "small", "messages": [{"role": "user", "content": text}]} | settings)
        )


def body_of(text: str) -> Body:
    return {"model": "small", "messages": [{"role": "user", "content": text}]}


def post(server: ChatServer, body: object) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in small letters and body of one request, by nothing but HTTP."""
    connection = http.client.HTTPConnection(server.base_url.split("/")[2], timeout=10)
    try:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", "/v1/chat/completions", payload, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def stats_of(base_url: str) -> Any:
    with urllib.request.urlopen(base_url.removesuffix("/v1") + "/stats", timeout=10) as reply:
        return json.load(reply)


def statuses(server: ChatServer, texts: list[str]) -> list[int]:
    return [post(server, body_of(text))[0] for text in texts]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end, "waited 5 s in vain"
        time.sleep(0.01)


# --- good replies ---


def test_a_reply_has_what_the_client_reads() -> None:
    with ChatServer() as server:
        reply = ask(server, "four")
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("ok", "stop")
    assert (reply.model, reply.choices[0].message.role, reply.choices[0].message.refusal) == (
        "small",
        "assistant",
        None,
    )
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (1, 1)
    assert reply.usage.prompt_tokens_details is not None
    assert reply.usage.prompt_tokens_details.cached_tokens == 0


def test_the_async_client_is_served_as_well() -> None:
    async def asked(server: ChatServer) -> list[ChatCompletion]:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key=KEY, max_retries=0) as client:
            calls = (
                client.chat.completions.create(model="small", messages=[{"role": "user", "content": str(number)}])
                for number in range(20)
            )
            return await asyncio.gather(*calls)

    with ChatServer(latency=0.1) as server:
        replies = asyncio.run(asked(server))
    assert len({reply.id for reply in replies}) == 20
    assert server.counters.most_in_flight == 20
    assert server.counters.in_flight == 0


def test_the_answer_is_made_from_the_body_and_n_is_honoured() -> None:
    with ChatServer(answer=lambda body: f"{body['messages'][0]['content']} {body.get('choice', 0)}") as server:
        reply = ask(server, "draw", n=3)
    assert [choice.message.content for choice in reply.choices] == ["draw 0", "draw 1", "draw 2"]
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 6  # "draw 0" is six characters: two tokens


def test_the_default_answer_fits_the_schema_and_depends_on_the_messages_alone() -> None:
    asked = response_format(Everything.model_json_schema())
    with ChatServer() as server:
        texts = [ask(server, str(number), response_format=asked).choices[0].message.content for number in range(50)]
        again = ask(server, "0", response_format=asked, temperature=0.9).choices[0].message.content
        other = ask(server, "0", response_format=asked, seed=1).choices[0].message.content
    things = [Everything.model_validate_json(text or "") for text in texts]
    assert {thing.better for thing in things} == {"a", "b", "tie"}
    assert {thing.hint is None for thing in things} == {True, False}
    assert len(set(texts)) == 50
    assert texts[0] == again != other


def test_the_clients_own_parsing_of_pydantic_models_works() -> None:
    class Verdict(BaseModel):
        reason: str
        better: Literal["a", "b"]

    with ChatServer() as server, client_of(server) as client:
        reply = client.chat.completions.parse(
            model="small", messages=[{"role": "user", "content": "which?"}], response_format=Verdict
        )
    assert reply.choices[0].message.parsed is not None


def test_json_object_gets_an_object() -> None:
    with ChatServer() as server:
        reply = ask(server, "as JSON, please", response_format={"type": "json_object"})
    assert isinstance(json.loads(reply.choices[0].message.content or ""), dict)


# --- refusals ---


def test_another_key_is_turned_away_and_the_key_never_shows() -> None:
    with ChatServer(api_key=KEY) as server:
        ask(server)
        with client_of(server, api_key="sk-wrong") as stranger:
            with pytest.raises(openai.AuthenticationError) as caught:
                stranger.chat.completions.create(model="small", messages=[{"role": "user", "content": "hello"}])
            with pytest.raises(openai.AuthenticationError):
                stranger.models.list()
        stats = stats_of(server.base_url)
    assert caught.value.body == {
        "message": "Incorrect API key provided: sk-***",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
    assert KEY not in json.dumps(stats) + repr(server) + repr(server.counters)
    assert stats["authorizations"][hashlib.sha256(f"Bearer {KEY}".encode()).hexdigest()] == 1
    assert stats["statuses"] == {"200": 1, "401": 1}


def test_models_that_do_not_exist_are_not_found() -> None:
    with ChatServer(models=("small", "large")) as server, client_of(server) as client:
        assert [model.id for model in client.models.list()] == ["small", "large"]
        ask(server, model="large")
        with pytest.raises(openai.NotFoundError) as caught:
            ask(server, model="gone")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("kind", ["json_schema", "json_object"])
def test_a_server_without_a_response_format_says_400_to_it_alone(kind: str) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    formats = {"json_schema": response_format(schema), "json_object": {"type": "json_object"}}
    able = {"json_schema": kind != "json_schema", "json_object": kind != "json_object"}
    with ChatServer(json_schema=able["json_schema"], json_object=able["json_object"]) as server:
        with pytest.raises(openai.BadRequestError, match=f"type '{kind}' is not supported"):
            ask(server, "json", response_format=formats.pop(kind))
        ask(server, "json", response_format=formats.popitem()[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"additionalProperties": True}, "'additionalProperties' is required"),
        ({"required": []}, "Missing 'text'"),
    ],
)
def test_a_strict_schema_must_be_strict_as_with_openai(change: Body, words: str) -> None:
    text: Body = {"type": "object", "properties": {"text": {"type": "string"}}}
    strict = text | {"required": ["text"], "additionalProperties": False}
    within: Body = {"type": "object", "properties": {"list": {"type": "array", "items": strict | change}}}
    within |= {"required": ["list"], "additionalProperties": False}
    with ChatServer() as server:
        ask(server, response_format=response_format(strict))
        ask(server, response_format=response_format(within, strict=False))
        with pytest.raises(openai.BadRequestError, match=words):
            ask(server, response_format=response_format(within))


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"model": "small", "messages": NaN}',
        b'{"model": "small", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b"[]",
        {"model": "small"},
        {"model": 1, "messages": [{}]},
        {"model": "small", "messages": ["hello"]},
        body_of("hello") | {"n": 0},
        body_of("hello") | {"stream": True},
        body_of("hello") | {"response_format": {"type": "json_schema"}},
        body_of("hello") | {"response_format": "json"},
        body_of("no such word") | {"response_format": {"type": "json_object"}},
    ],
)
def test_what_is_no_request_gets_a_400(body: object) -> None:
    with ChatServer() as server:
        status, _, reply = post(server, body)
        assert post(server, body_of("fine"))[0] == 200
    assert status == 400
    assert json.loads(reply)["error"]["type"] == "invalid_request_error"


def test_beyond_the_limit_is_429_with_the_headers_to_pace_by() -> None:
    with ChatServer(limit=3) as server:
        replies = [post(server, body_of(str(number))) for number in range(4)]
    assert [status for status, _, _ in replies] == [200, 200, 200, 429]
    assert [headers["x-ratelimit-remaining-requests"] for _, headers, _ in replies] == ["2", "1", "0", "0"]
    assert replies[3][1]["x-ratelimit-limit-requests"] == "3"
    assert re.fullmatch(r"1m0s|5\d(\.\d+)?s", replies[3][1]["x-ratelimit-reset-requests"])
    assert json.loads(replies[3][2])["error"]["code"] == "rate_limit_exceeded"


def test_the_limit_refills_evenly() -> None:
    bucket = chat_server.Bucket(per_minute=60, filled=60, at=0.0)
    assert [bucket.take(0.0) for _ in range(61)] == [True] * 60 + [False]
    assert bucket.seconds_until(1) == 1.0
    assert [bucket.take(0.9), bucket.take(1.0), bucket.take(1.1)] == [False, True, False]


@pytest.mark.parametrize(("seconds", "text"), [(0.12, "120ms"), (7.5, "7.5s"), (90, "1m30s"), (0, "0ms")])
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert chat_server.duration(seconds) == text


# --- faults, one by one ---


def struck_by(kind: Kind, **settings: Any) -> ChatServer:
    """A server whose first request is hit and whose second goes well."""
    return ChatServer(answer=lambda _: STORY, faults=[in_turn([kind], times=1)], **settings)


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        ("429", openai.RateLimitError, "rate_limit_exceeded"),
        ("429_retry_after", openai.RateLimitError, "rate_limit_exceeded"),
        ("quota", openai.RateLimitError, "insufficient_quota"),
        ("500", openai.InternalServerError, None),
        ("503", openai.InternalServerError, None),
    ],
)
def test_an_error_reaches_the_client_and_passes(
    kind: Kind, error: type[openai.APIStatusError], code: str | None
) -> None:
    with struck_by(kind, retry_after=0.25) as server:
        with pytest.raises(error) as caught:
            ask(server)
        assert ask(server).choices[0].message.content == STORY
    assert caught.value.status_code == int("429" if kind == "quota" else kind[:3])
    assert caught.value.code == code
    assert caught.value.response.headers.get("retry-after") == ("0.25" if kind == "429_retry_after" else None)
    assert server.counters.statuses == {caught.value.status_code: 1, 200: 1}
    assert server.counters.faults == {kind: 1}
    assert server.counters.paid_twice() == 0


def test_drop_sends_no_byte_and_costs_nothing() -> None:
    with struck_by("drop") as server:
        with pytest.raises(http.client.RemoteDisconnected):
            post(server, body_of("hello"))
        assert post(server, body_of("hello"))[0] == 200
    assert server.counters.statuses == {200: 1}
    assert server.counters.paid_twice() == 0


def test_drop_mid_sends_half_a_body_and_is_paid_but_not_delivered() -> None:
    body = body_of("hello")
    with struck_by("drop_mid") as server:
        with pytest.raises(http.client.IncompleteRead) as caught:
            post(server, body)
        assert post(server, body)[0] == 200
    assert 0 < len(caught.value.partial) <= (caught.value.expected or 0) + 1
    assert server.counters.paid == {body_digest(body): 2}
    assert server.counters.delivered == {body_digest(body): 1}
    assert server.counters.paid_twice() == 1


@pytest.mark.parametrize("kind", ["drop", "drop_mid"])
def test_a_dropped_connection_is_a_connection_error_to_the_client(kind: Kind) -> None:
    with struck_by(kind) as server:
        with pytest.raises(openai.APIConnectionError):
            ask(server)
        ask(server)


def test_hang_lasts_until_the_client_gives_up() -> None:
    with struck_by("hang") as server, client_of(server, timeout=0.3) as client:
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(model="small", messages=[{"role": "user", "content": "hello"}])
        wait_until(lambda: server.counters.in_flight == 0)
        ask(server)
    assert server.counters.paid_twice() == 0


def test_slow_is_late_but_good() -> None:
    with struck_by("slow", slow=0.7) as server:
        start = time.monotonic()
        slow = ask(server)
        middle = time.monotonic()
        quick = ask(server)
        end = time.monotonic()
    assert slow.choices[0].message.content == quick.choices[0].message.content == STORY
    assert end - middle < 0.7 <= middle - start


def test_bad_body_is_a_200_that_the_client_cannot_read() -> None:
    with struck_by("bad_body") as server:
        status, headers, body = post(server, body_of("hello"))
        assert post(server, body_of("hello"))[0] == 200
    assert (status, headers["content-type"]) == (200, "text/html")
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    assert sum(server.counters.delivered.values()) == 1


def test_bad_body_comes_out_of_the_real_client_as_a_string() -> None:
    """Not as an error: whoever uses the client has to look."""
    with struck_by("bad_body") as server:
        assert isinstance(ask(server), str)


HALF = STORY[: len(STORY) // 2]


@pytest.mark.parametrize(
    ("kind", "content", "finish_reason"),
    [
        ("truncated_json", HALF, "stop"),
        ("content_filter", HALF, "content_filter"),
        ("length", HALF, "length"),
        ("empty", "", "stop"),
        ("null", None, "stop"),
        ("refusal", None, "stop"),
    ],
)
def test_a_bent_answer_is_a_paid_200(kind: Kind, content: str | None, finish_reason: str) -> None:
    with struck_by(kind) as server:
        choice = ask(server).choices[0]
        assert ask(server).choices[0].message.content == STORY
    assert (choice.message.content, choice.finish_reason) == (content, finish_reason)
    assert (choice.message.refusal is not None) == (kind == "refusal")
    assert server.counters.paid_twice() == 1


def test_truncated_json_is_no_json() -> None:
    with struck_by("truncated_json") as server, pytest.raises(json.JSONDecodeError):
        json.loads(ask(server).choices[0].message.content or "")


def test_no_choices_leaves_the_list_empty() -> None:
    with struck_by("no_choices") as server:
        assert ask(server).choices == []
        assert len(ask(server).choices) == 1


# --- who is hit ---


def test_in_turn_hits_each_tenth_and_the_kinds_take_turns() -> None:
    with ChatServer(faults=[in_turn(["500", "503"], share=0.1)]) as server:
        seen = statuses(server, ["the same"] * 40)
    assert {turn: status for turn, status in enumerate(seen, start=1) if status != 200} == {
        10: 500,
        20: 503,
        30: 500,
        40: 503,
    }


@pytest.mark.parametrize("share", [0.01, 0.07, 0.29, 1 / 3, 0.5, 0.9, 1.0])
def test_in_turn_keeps_its_share_to_the_request(share: float) -> None:
    fault = in_turn(["500"], share)
    assert sum(fault.strikes(turn, []) is not None for turn in range(1, 100_001)) == int(100_000 * share + 1e-6)


def test_for_good_hits_the_same_prompts_in_the_same_way_each_time() -> None:
    texts = [str(number) for number in range(100)]
    with ChatServer(faults=[for_good(["500", "503"], share=0.3)]) as server:
        seen = statuses(server, texts)
        assert statuses(server, texts[::-1]) == seen[::-1]
    assert 15 < 100 - seen.count(200) < 45
    assert set(seen) == {200, 500, 503}


def test_for_good_looks_at_the_messages_alone() -> None:
    with ChatServer(faults=[for_good(["500"], share=0.5)]) as server:
        seen = {post(server, body_of("hello") | {"seed": number})[0] for number in range(20)}
    assert len(seen) == 1


def test_the_first_fault_that_strikes_does() -> None:
    with ChatServer(faults=[in_turn(["503"], times=1), for_good(["500"])]) as server:
        assert statuses(server, ["a", "a"]) == [503, 500]


def test_those_turned_away_take_no_turn() -> None:
    with ChatServer(models=("small",), faults=[in_turn(["500"], share=0.5)]) as server:
        seen = [post(server, body_of("hello") | {"model": model})[0] for model in ("small", "gone", "small")]
    assert seen == [200, 404, 500]


def test_faults_that_make_no_sense_are_refused() -> None:
    unknown: Any = "501"
    with pytest.raises(ValueError, match="501"):
        in_turn([unknown])
    with pytest.raises(ValueError, match="share"):
        in_turn(["500"], share=0)
    with pytest.raises(ValueError, match="no such fault"):
        in_turn([])
    with pytest.raises(ValueError, match="for good"):
        Fault(("500",), chosen_by="prompt", times=1)


# --- counting, time, ending ---


def test_what_is_delivered_and_paid_twice_is_counted_by_body() -> None:
    with ChatServer() as server:
        statuses(server, ["a", "b", "a", "a"])
        stats = stats_of(server.base_url)
    counters = server.counters
    assert counters.requests == stats["requests"] == 4
    assert counters.delivered == stats["delivered"] == {body_digest(body_of("a")): 3, body_digest(body_of("b")): 1}
    assert counters.paid_twice() == stats["paid_twice"] == 2
    assert counters.bodies == [body_of(text) for text in "abaa"]
    assert "bodies" not in stats
    assert counters.authorizations == {"": 4}


def test_whoever_has_a_reply_finds_it_counted() -> None:
    with ChatServer() as server:
        for number in range(1, 301):
            post(server, body_of("hello"))
            counters = server.counters
            assert (counters.statuses[200], counters.in_flight) == (number, 0)


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert body_digest({"a": 1, "b": 2}) == body_digest({"b": 2, "a": 1}) != body_digest({"a": 2, "b": 1})


def test_bodies_are_kept_only_if_wanted() -> None:
    with ChatServer(keep_bodies=False) as server:
        ask(server)
    assert server.counters.bodies == []


def test_a_reply_to_a_client_that_left_is_paid_but_not_delivered() -> None:
    with ChatServer(latency=0.3) as server, client_of(server, timeout=0.1) as client:
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(model="small", messages=[{"role": "user", "content": "hello"}])
        wait_until(lambda: server.counters.in_flight == 0)
    assert sum(server.counters.paid.values()) == 1
    assert sum(server.counters.delivered.values()) == 0


def test_latency_is_waited_for() -> None:
    with ChatServer(latency=0.2) as server:
        start = time.monotonic()
        post(server, body_of("hello"))
    assert time.monotonic() - start >= 0.2


def test_the_spread_of_the_latency_repeats_with_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.extend([seconds] if seconds else [])
        await sleep(0)

    def latencies(seed: int) -> list[float]:
        slept.clear()
        with ChatServer(latency=0.5, latency_sigma=0.3, seed=seed) as server:
            statuses(server, ["hello"] * 201)
        return slept.copy()

    monkeypatch.setattr(asyncio, "sleep", note)
    first, again, other = latencies(1), latencies(1), latencies(2)
    assert first == again != other
    assert statistics.median(first) == pytest.approx(0.5, rel=0.15)
    assert statistics.stdev(map(math.log, first)) == pytest.approx(0.3, rel=0.15)


def test_it_ends_within_two_seconds_although_requests_hang() -> None:
    broken: list[BaseException] = []

    def hang(server: ChatServer) -> None:
        try:
            post(server, body_of("hello"))
        except (http.client.HTTPException, OSError) as error:
            broken.append(error)

    with ChatServer(faults=[in_turn(["hang", "slow"])], slow=60) as server:
        clients = [threading.Thread(target=hang, args=(server,)) for _ in range(20)]
        for client in clients:
            client.start()
        wait_until(lambda: server.counters.in_flight == 20)
        start = time.monotonic()
    assert time.monotonic() - start < 2
    for client in clients:
        client.join(timeout=5)
    assert len(broken) == 20
    assert server.counters.in_flight == 0


def test_two_servers_live_side_by_side() -> None:
    with ChatServer(answer=lambda _: "left") as left, ChatServer(answer=lambda _: "right") as right:
        assert ask(left).choices[0].message.content == "left"
        assert ask(right).choices[0].message.content == "right"
        assert (left.counters.requests, right.counters.requests) == (1, 1)


def test_a_port_that_is_taken_is_an_error_at_once() -> None:
    with ChatServer() as server, pytest.raises(OSError, match="address"):
        ChatServer(port=int(server.base_url.split(":")[2].removesuffix("/v1"))).__enter__()


# --- as a process ---


def started(*arguments: str, **environment: str) -> tuple[subprocess.Popen[str], ChatServer]:
    """The process, and a ChatServer that was never started but knows where it listens."""
    command = [sys.executable, str(Path(chat_server.__file__)), "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    remote = ChatServer()
    remote.base_url = json.loads(process.stdout.readline())["base_url"]
    return process, remote


def test_as_a_process_it_says_where_it_is_and_ends_on_sigterm() -> None:
    flags = [
        "--faults",
        "500, hang",
        "--share",
        "0.5",
        "--latency",
        "0.01",
        "--models",
        "small",
        "--limit",
        "100",
    ]
    process, server = started(*flags, "--no-json-object", "--api-key-env", "THE_KEY", THE_KEY=KEY)
    with process:
        ask(server)
        with pytest.raises(openai.InternalServerError):
            ask(server)
        with pytest.raises(openai.BadRequestError):
            ask(server, "json", response_format={"type": "json_object"})
        stats = stats_of(server.base_url)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=2) == 0
    assert (stats["requests"], stats["faults"]) == (3, {"500": 1})


def test_as_a_process_faults_can_be_for_good() -> None:
    process, server = started("--faults", "500", "--share", "0.5", "--for-good")
    with process:
        first = statuses(server, list("abcdefghij"))
        assert statuses(server, list("abcdefghij")) == first
        process.terminate()
    assert set(first) == {200, 500}


@pytest.mark.parametrize("wrong", [["--faults", "501"], ["--api-key-env", "NOT_SET_ANYWHERE"]])
def test_as_a_process_a_wrong_flag_is_a_usage_error(wrong: list[str]) -> None:
    command = [sys.executable, str(Path(chat_server.__file__)), *wrong]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert wrong[1] in done.stderr


def test_the_offline_engine_answers_in_the_form_that_is_asked_for() -> None:
    passage = "[1] " + "A honey bee colony is a family that outlives its members by many years. " * 2
    form = {"name": SCHEMA.name, "schema": SCHEMA.json_schema, "strict": True}
    with ChatServer(answer=chat_server.ANSWERS["offline"]()) as server:
        asked = f"The passage:\n\n{passage}\n\nWrite 1 triples about it."
        reply = ask(server, asked, response_format={"type": "json_schema", "json_schema": form})
    (triple,) = json.loads(reply.choices[0].message.content)["triples"]
    assert triple["extracted_sentences"] == [1]


def test_every_kind_of_fault_is_tested_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in get_args(Kind) if f'"{kind}"' not in source] == []
