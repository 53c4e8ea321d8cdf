"""Runs a command, and leaves nothing of it behind: a script of its own, between a run and a server that it starts.

    run ── pipe ──> warden ──> server ──> whatever the server starts

The pipe's end says that the run is gone, however it went: kill -9 closes it too. The warden has a session of its own,
so that neither Ctrl-C nor a signal to the run's process group reaches it or the server; and it adopts every orphan of
the server, so that what is left when the server has ended can be found, whatever session it made for itself. Should
the warden itself be killed, the kernel kills the server with it.

It is started as `python -I -S warden.py SECONDS COMMAND...`; SECONDS is how long the server may take to end when asked
to. It ends as the server did; with 128 + N if signal N killed it. Linux only; nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

DIE_WITH_PARENT, ADOPT_ORPHANS = 1, 36
"""PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER of <linux/prctl.h>."""


def main(seconds: float, command: list[str]) -> int:
    """Run the command to its end, or to the end of standard input; gives its exit code."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(ADOPT_ORPHANS, 1)
    server = _start(command, prctl)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):  # somebody stops the warden, not the run
        signal.signal(number, lambda *_: server.terminate())
    threading.Thread(target=_stop_when_alone, args=(server, seconds), daemon=True).start()
    code = server.wait()
    _sweep()
    return code if code >= 0 else 128 - code


def _start(command: list[str], prctl: Callable[[int, int], int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  the command is ours
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: prctl(DIE_WITH_PARENT, signal.SIGKILL),  # noqa: PLW1509  there is no other thread yet
    )


def _stop_when_alone(server: subprocess.Popen[bytes], seconds: float) -> None:
    os.read(sys.stdin.fileno(), 1)  # nobody writes there; and not `sys.stdin`, whose lock an exit would wait for
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(seconds)
    server.kill()


def _sweep() -> None:
    """Kill what the server left behind, and what that leaves behind, until there is nothing."""
    with suppress(ChildProcessError):  # nothing is left
        while True:
            for child in _children():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)


def _children() -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # PID (NAME) STATE PARENT ...; the name may hold anything
            if int(status.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(status.parent.name))
    return found


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
