"""A process of our own for the length of a block: it cannot outlive the run, and what it says stands in a log."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from pipeline.engines import warden
from pipeline.store import writing

GRACE = 10.0
"""Seconds that a process may take to end when asked to, before it is killed: a server frees its shared memory."""

LAST = 2**20
"""Bytes at the end of a log that are read for a cause: tracebacks of several processes stand between it and the end."""


class Log:
    """What a process says, after what earlier ones said in the same file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """Args: where it is; the file, open for appending."""
        self.path, self.file = path, file
        self._start = 0

    def mark(self) -> None:
        """What is said from now on is what counts."""
        self._start = self.file.seek(0, os.SEEK_END)

    def said(self) -> str:
        """What was said since the mark; of a long text the end."""
        with self.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._start, end - LAST))
            return file.read().decode(errors="replace")


@contextmanager
def log_for(folder: Path, name: str) -> Iterator[Log]:
    """The log NAME.log, or NAME-2.log and so on: the first that no living process writes.

    Raises:
        UserError: the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        path = folder / (f"{name}.log" if number == 1 else f"{name}-{number}.log")
        with writing(path):
            file = path.open("ab", buffering=0)
        with file:
            if _taken(file):
                yield Log(path, file)
                return


def _taken(file: BinaryIO) -> bool:
    """Whether the file is ours now. The process that writes it holds it too, and as long as it lives."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Child:
    """A process under way."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Args: the warden that runs it."""
        self._process = process
        self.ended = asyncio.ensure_future(process.wait())
        """Done when it has ended: its exit code, or 128 + N if signal N killed it."""

    async def stop(self) -> None:
        """Returns when it and all that it started are gone."""
        if self._process.stdin:
            self._process.stdin.close()
        await asyncio.wait({self.ended}, timeout=2 * GRACE)
        if self.ended.done() and self.ended.result() < 0:  # somebody killed the warden
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


@asynccontextmanager
async def running(command: Sequence[str], environment: Mapping[str, str], log: Log) -> AsyncIterator[Child]:
    """A command, until the block ends.

    Args:
        command: what to run and its arguments. Everybody on the machine can read them: no secrets.
        environment: all its variables.
        log: takes what it says on standard output and standard error.
    """
    log.mark()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", warden.__file__, str(GRACE), *command),
        stdin=subprocess.PIPE,
        stdout=log.file,
        stderr=log.file,
        env=environment,
        start_new_session=True,
    )
    child = Child(process)
    try:
        yield child
    finally:
        await child.stop()


def signal_of(code: int) -> str:
    """The name of the signal that an exit code of 128 + N tells of; empty if it is another code."""
    with suppress(ValueError):
        return signal.Signals(code - 128).name
    return ""


def slug(name: str) -> str:
    """A name as part of a file's name: its last part, in small letters, digits, dots and dashes."""
    last = name.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9.]+", "-", last).strip("-.")[:80] or "model"
