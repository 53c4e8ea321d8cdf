"""How long somebody waits for the help: `python benchmarks/startup.py [--times 10]`."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Print the median of each command, in turn, so that a busy machine is busy for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="how often to start each")
    times = parser.parse_args().times
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "pairwright --help": [str(Path(sys.executable).with_name("pairwright")), "--help"],
        "pairwright run --help": [str(Path(sys.executable).with_name("pairwright")), "run", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(times):
        for name, command in commands.items():
            seconds[name].append(_time(command))
    print(f"{'command':24} {'median':>8} {'fastest':>8}")
    for name, took in seconds.items():
        print(f"{name:24} {statistics.median(took) * 1000:5.0f} ms {min(took) * 1000:5.0f} ms")


def _time(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
