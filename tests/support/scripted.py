"""A local server that says whatever a test wants it to say, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast

Body = dict[str, Any]


class Say(NamedTuple):
    """One answer."""

    status: int
    body: Body
    headers: Mapping[str, str] = {}


@dataclass
class Script:
    """What to answer to each body, and what came."""

    answer: Callable[[Body], Say]
    url: str = ""
    bodies: list[Body] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    script: Script
    request_queue_size = 256


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One answer."""
        script = cast("_Server", self.server).script
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        script.bodies.append(body)
        said = script.answer(body)
        payload = json.dumps(said.body).encode()
        self.send_response(said.status)
        for name, value in said.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serving(answer: Callable[[Body], Say]) -> Iterator[Script]:
    """A server for as long as the block lasts; `answer` runs in its threads."""
    script = Script(answer)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.script = script
        script.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


def refusal(message: str, status: int = 400) -> Say:
    """A refusal as OpenAI words it."""
    return Say(status, {"error": {"message": message, "type": "invalid_request_error"}})


def completion(*texts: str, usage: tuple[int, int] = (100, 10), **more: Any) -> Say:
    """A completion with these choices; what else is given goes into each of them."""
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | more
        for index, text in enumerate(texts)
    ]
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Say(200, {"id": "x", "object": "chat.completion", "model": "small", "choices": choices, "usage": counts})
