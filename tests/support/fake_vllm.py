"""Stands in for vLLM where its process matters and not its words: started, killed, hung and crashed as a test plans.

`FakeVLLM(folder)` installs this file as the package `vllm` and plans what its starts do, one after the other. As a
server it takes vLLM's command line, wants the key of its environment, has workers of its own (one in a session of its
own, deaf to SIGTERM), and answers with the offline engine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PACKAGE = "vllm/entrypoints/openai"
ROOT = Path(__file__).parents[2]

# ---------------------------------------------------------------- for tests


class FakeVLLM:
    """An installation of it, and what became of its starts."""

    def __init__(self, folder: Path, *plan: dict[str, Any]) -> None:
        """Plan what each start does, in order; the last goes for all after it.

        {}                        serves
        {"says": X, "code": N}    writes X to its log and ends with N, before it serves
        {"slow": S}               is healthy only after S seconds
        {"crash_after": N}        ends without a word of farewell when the N-th request comes
        {"hang_after": N}         stops answering anything when the N-th request comes
        {"status": S}             answers every request with this HTTP status
        {"latency": S}            takes S seconds for each reply
        {"deaf": true}            does not end when asked to
        """
        self.folder = folder
        package = folder / PACKAGE
        package.mkdir(parents=True)
        for level in (package, *package.parents[:2]):
            (level / "__init__.py").touch()
        shutil.copy(__file__, package / "api_server.py")
        self.plan(*plan)

    def plan(self, *plan: dict[str, Any]) -> None:
        """Other plans for the starts from now on."""
        (self.folder / "plan.json").write_text(json.dumps([{} for _ in self.starts] + list(plan or [{}])))

    def options(self, **more: Any) -> dict[str, Any]:
        """An engine's options that start it."""
        variables = {"PYTHONPATH": f"{self.folder}:{ROOT}", "FAKE_VLLM": str(self.folder)}
        return {"use": "vllm", "model": "some/Tiny-1", "environment": variables, "wait": [0.01, 0.05]} | more

    @property
    def starts(self) -> list[dict[str, Any]]:
        """What each start was given: pid, workers, arguments, variables."""
        path = self.folder / "starts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def requests(self) -> int:
        """Requests that came, to all starts together."""
        path = self.folder / "requests"
        return path.stat().st_size if path.exists() else 0

    def processes(self) -> list[int]:
        """Those of all starts that are still there."""
        return [pid for start in self.starts for pid in (start["pid"], *start["workers"]) if _alive(pid)]


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# ---------------------------------------------------------------- the server


def serve(folder: Path) -> None:
    """Do what is planned for this start."""
    plan, number = json.loads((folder / "plan.json").read_text()), _number_of_starts(folder)
    now: dict[str, Any] = plan[min(number, len(plan) - 1)]
    workers = [] if "says" in now else [_worker(own_session=False), _worker(own_session=True)]
    _note_start(folder, workers)
    if "says" in now:
        _end(now["says"], now.get("code", 1))
    if now.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(now.get("slow", 0))
    arguments = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:] if "=" in word)
    server = ThreadingHTTPServer((arguments["host"], int(arguments["port"])), _handler(folder, now))
    server.daemon_threads = True
    server.serve_forever(0.01)


def _number_of_starts(folder: Path) -> int:
    path = folder / "starts.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def _worker(*, own_session: bool) -> int:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    return subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=own_session).pid


def _note_start(folder: Path, workers: list[int]) -> None:
    start = {"pid": os.getpid(), "workers": workers, "arguments": sys.argv[1:], "variables": dict(os.environ)}
    with (folder / "starts.jsonl").open("a") as file:
        file.write(json.dumps(start) + "\n")


def _end(words: str, code: int) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()
    os._exit(code)


def _handler(folder: Path, now: dict[str, Any]) -> type[BaseHTTPRequestHandler]:  # noqa: C901  methods of a class
    lock, seen, hung = threading.Lock(), [0], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if hung.is_set():
                time.sleep(600)
            self.answer(200 if self.path == "/health" else 404, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
                return self.answer(401, {"error": "Unauthorized"})
            if _form(body).get("name") == "ready":  # whether it is well; no request of the plan
                return self.answer(200, _completion(body))
            self.count()
            time.sleep(now.get("latency", 0))
            if "status" in now:
                return self.answer(now["status"], {"error": {"message": "as planned"}})
            return self.answer(200, _completion(body))

        def count(self) -> None:
            with lock:
                seen[0] += 1
                with (folder / "requests").open("a") as file:
                    file.write(".")
            if seen[0] >= now.get("crash_after", 10**9):
                _end("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", 1)
            if seen[0] >= now.get("hang_after", 10**9):
                hung.set()
                time.sleep(600)

        def answer(self, status: int, value: Any) -> None:
            payload = json.dumps(value).encode()
            with suppress(OSError):  # the client has gone
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
            del format, args

    return Handler


def _form(body: dict[str, Any]) -> dict[str, Any]:
    """The JSON that is asked for: its name and its schema; nothing if any words will do."""
    form: dict[str, Any] = body.get("response_format", {}).get("json_schema", {})
    return form


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    text, schema = "ok", _form(body)
    if schema.get("name") == "ready":
        text = '{"ready": true}'
    elif schema:
        from pipeline.engines.offline import answer_messages  # noqa: PLC0415  half a second that most tests do not need

        text = answer_messages(body["messages"], schema["name"], schema["schema"])
    prompt = sum(len(message["content"].split()) for message in body["messages"])
    usage = {"prompt_tokens": prompt, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": prompt // 2}}
    said = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    choices = [{"index": index, **said} for index in range(body.get("n", 1))]
    return {"model": body["model"], "choices": choices, "usage": usage}


if __name__ == "__main__":
    serve(Path(os.environ["FAKE_VLLM"]))
