"""A key stands in the environment and nowhere else: not on screen, not in a file, not in a ledger's compressed rows."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.chat_server import ChatServer, offline_answers
from tests.support.command import environment, pairwright, recipe_in, samples_in, started, until

KEY = "sk-planted-0f3b7c5d9e1a2468-must-stay-where-it-is"
PART = KEY[:24]
"""More of a key than anybody should see."""
FROM_THE_ENVIRONMENT = {"api_key": "${PLANTED}"}


def assert_nowhere(folder: Path, *words: str) -> None:
    """No part of the key in what was said, in any file below, or in what a ledger holds."""
    assert not [text for text in words if PART in text]
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".env"]  # it is at home there
    assert files
    assert not [path for path in files if PART.encode() in path.read_bytes()]
    for ledger in folder.rglob("*.sqlite"):
        with closing(sqlite3.connect(ledger)) as connection:
            for request, reply in connection.execute("SELECT request, reply FROM replies"):
                assert PART.encode() not in zlib.decompress(request)
                assert PART not in reply


@contextmanager
def echoing(status: int, before: int = 0) -> Iterator[str]:
    """A server that refuses with this status and repeats the key, after so many characters of other words."""

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            message = f"{'x' * before} got {self.headers['Authorization']}"
            payload = json.dumps({"error": {"message": message, "type": "any", "code": message}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients leave in the middle
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_good_run_its_check_and_its_show_leave_no_trace_of_the_key(tmp_path: Path) -> None:
    with ChatServer(answer=offline_answers(), api_key=KEY) as server:
        recipe = recipe_in(tmp_path, url=server.base_url, engine=FROM_THE_ENVIRONMENT, sources=samples_in(tmp_path))
        outputs = ("--outputs", tmp_path / "outputs")
        said = [
            pairwright("check", recipe, PLANTED=KEY),
            pairwright("run", recipe, *outputs, PLANTED=KEY),
            pairwright("run", recipe, *outputs, "--json", PLANTED=KEY),
            pairwright("show", "night", *outputs, PLANTED=KEY),
        ]
    assert [one.returncode for one in said] == [0] * 4
    assert_nowhere(tmp_path, *(one.stdout + one.stderr for one in said))


@pytest.mark.parametrize("status", [400, 401, 404, 500])
@pytest.mark.parametrize("before", [0, 160], ids=["short", "cut through the key"])
def test_a_key_that_a_server_repeats_in_its_error_goes_no_further(tmp_path: Path, status: int, before: int) -> None:
    engine = FROM_THE_ENVIRONMENT | {"attempts": 2, "wait": [0, 0.01]}
    with echoing(status, before) as url:
        recipe = recipe_in(tmp_path, url=url, engine=engine, sources=samples_in(tmp_path))
        said = pairwright("run", recipe, "--outputs", tmp_path / "outputs", PLANTED=KEY)
    assert said.returncode in (2, 3, 75), said.stderr
    assert "Traceback" not in said.stderr
    assert_nowhere(tmp_path, said.stdout, said.stderr)


@pytest.mark.parametrize("end", ["\n", "\r\n", "’"], ids=["line end", "carriage return", "not ASCII"])
def test_a_key_that_no_header_can_hold_is_the_users_to_mend_and_is_not_shown(tmp_path: Path, end: str) -> None:
    with ChatServer(answer=offline_answers()) as server:
        recipe = recipe_in(tmp_path, url=server.base_url, engine=FROM_THE_ENVIRONMENT, sources=samples_in(tmp_path))
        said = pairwright("run", recipe, "--outputs", tmp_path / "outputs", PLANTED=KEY + end)
    assert "Traceback" not in said.stderr
    assert said.returncode in (0, 2)  # left out and all is well, or refused
    assert_nowhere(tmp_path, said.stdout, said.stderr)


def test_a_killed_run_leaves_no_trace_of_the_key(tmp_path: Path) -> None:
    with ChatServer(answer=offline_answers(), api_key=KEY, latency=0.1) as server:
        recipe = recipe_in(tmp_path, url=server.base_url, engine=FROM_THE_ENVIRONMENT, sources=samples_in(tmp_path))
        killed = started("run", recipe, "--outputs", tmp_path / "outputs", PLANTED=KEY)
        until(lambda: sum(server.counters.delivered.values()) >= 10)
        killed.send_signal(signal.SIGKILL)
        output, words = killed.communicate(timeout=30)
    assert killed.returncode == -signal.SIGKILL
    assert_nowhere(tmp_path, output, words)


def test_a_key_written_into_a_recipe_is_refused_and_not_repeated(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, url="http://127.0.0.1:9/v1", engine={"api_key": KEY})
    said = pairwright("check", recipe)
    assert said.returncode == 2
    assert "secret" in said.stderr
    assert PART not in said.stdout + said.stderr


# ---- a key in a .env file


PRICED = FROM_THE_ENVIRONMENT | {"price": {"input": 1, "output": 4}, "wait": [0, 0.01], "attempts": 2, "timeout": 5}


def recipe_with_env(folder: Path, url: str, **sections: object) -> Path:
    """A recipe with its key in a `.env` beside it, and nowhere else."""
    (folder / ".env").write_text(f"PLANTED={KEY}\n")
    return recipe_in(folder, url=url, engine=PRICED, sources=samples_in(folder), **sections)


def test_a_key_from_a_file_leaves_no_trace_in_an_estimate_a_budgets_end_and_a_run(tmp_path: Path) -> None:
    with ChatServer(answer=offline_answers(), api_key=KEY) as server:
        outputs = ("--outputs", tmp_path / "outputs")
        small = recipe_with_env(tmp_path, server.base_url, budget={"usd": 0.02})
        said = [
            pairwright("check", small, "--live", *outputs),
            pairwright("estimate", small, "--sample", "2", *outputs),
        ]
        said.append(pairwright("run", small, *outputs))
        enough = recipe_with_env(tmp_path, server.base_url, budget={"usd": 1})
        said += [pairwright("run", enough, *outputs), pairwright("estimate", enough, "--json", *outputs)]
    assert [one.returncode for one in said] == [0, 0, 3, 0, 0], [one.stderr for one in said]
    assert_nowhere(tmp_path, *(one.stdout + one.stderr for one in said))


@pytest.mark.parametrize("status", [200, 401, 500])
@pytest.mark.parametrize("command", ["estimate", "run"])
def test_a_first_question_that_fails_shows_nothing_of_a_key_that_the_server_repeats(
    tmp_path: Path, status: int, command: str
) -> None:
    with echoing(status) as url:
        said = pairwright(command, recipe_with_env(tmp_path, url), "--outputs", tmp_path / "outputs")
    assert said.returncode in (2, 75), said.stderr
    assert "engine 'writer'" in said.stderr
    assert_nowhere(tmp_path, said.stdout, said.stderr)


def test_a_server_that_answers_the_first_question_with_the_key_is_not_quoted(tmp_path: Path) -> None:
    def repeat(_: object) -> str:
        return f"you sent {KEY}"

    with ChatServer(answer=repeat, prose=True, api_key=KEY) as server:
        said = pairwright("check", recipe_with_env(tmp_path, server.base_url), "--live", "--outputs", tmp_path / "o")
    assert "warning: engine 'writer'" in said.stderr
    assert_nowhere(tmp_path, said.stdout, said.stderr)


def test_a_killed_run_and_a_crash_leave_no_trace_of_a_key_from_a_file(tmp_path: Path) -> None:
    with ChatServer(answer=offline_answers(), api_key=KEY, latency=0.1) as server:
        recipe = recipe_with_env(tmp_path, server.base_url, budget={"usd": 1})
        killed = started("run", recipe, "--outputs", tmp_path / "outputs")
        until(lambda: sum(server.counters.delivered.values()) >= 10)
        killed.send_signal(signal.SIGKILL)
        words = killed.communicate(timeout=30)
        crashed = started("run", recipe, "--outputs", tmp_path / "outputs")
        until(lambda: sum(server.counters.delivered.values()) >= 15)
        crashed.send_signal(signal.SIGABRT)
        words += crashed.communicate(timeout=30)
    assert (killed.returncode, crashed.returncode) == (-signal.SIGKILL, -signal.SIGABRT)
    assert_nowhere(tmp_path, *words)


def test_a_traceback_shows_nothing_of_a_key_from_a_file(tmp_path: Path) -> None:
    """Our bug, made on purpose: the loudest way to end."""
    bug = "def broken(*_): raise RuntimeError('our bug')\npipeline.run._manifest = broken\n"
    program = f"import sys\nimport pipeline.run\nfrom pipeline.cli import main\n{bug}sys.exit(main(sys.argv[1:]))\n"
    with ChatServer(answer=offline_answers(), api_key=KEY) as server:
        recipe = recipe_with_env(tmp_path, server.base_url)
        command = [sys.executable, "-c", program, "run", recipe, "--outputs", tmp_path / "o"]
        said = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert said.returncode == 1
    assert "RuntimeError: our bug" in said.stderr
    assert_nowhere(tmp_path, said.stdout, said.stderr)
