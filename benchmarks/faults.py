"""What each kind of fault costs in rows and in time: `python benchmarks/faults.py PATH`.

The articles are answered by a local server, whose words are the offline engine's and which misbehaves at every tenth
request. Beside each kind stands a run to which nothing happens.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import yaml

# Run as a script, Python looks beside the script for packages and not in the repository's root.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.errors import PairwrightError
from pipeline.recipe import load
from pipeline.report.words import listed
from pipeline.run import run
from pipeline.store import StageCount
from tests.support.chat_server import ChatServer, Kind, in_turn, offline_answers

LEFT_OUT: frozenset[Kind] = frozenset({"quota"})
"""It stops the run, as it should."""


class Settings(NamedTuple):
    """How a run is served."""

    share: float
    """Share of requests that are hit."""
    latency: float
    """Median seconds before a reply."""
    timeout: float
    """Seconds until a request without an answer is sent again."""


class Row(NamedTuple):
    """What came of one run."""

    hit: int
    """Requests hit."""
    requests: int
    """Requests that reached the server."""
    kept: int
    """Pairs in the dataset."""
    failed: str
    """Failed chunks, candidates and pairs by reason."""
    seconds: float
    """Wall time."""


def main() -> None:
    """Print a line for every kind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("path", type=Path, help="a file or folder of articles")
    parser.add_argument("--share", type=float, default=0.1, help="share of requests that are hit")
    parser.add_argument("--latency", type=float, default=0.05, help="median seconds before a reply")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds until a silent request is sent again")
    parser.add_argument("--kinds", nargs="+", choices=get_args(Kind), help="faults to try; all by default")
    options = parser.parse_args()
    settings = Settings(options.share, options.latency, options.timeout)
    kinds: Sequence[Kind] = options.kinds or [kind for kind in get_args(Kind) if kind not in LEFT_OUT]
    print(f"{'fault':16} {'hit':>6} {'requests':>9} {'kept':>6} {'seconds':>8} {'times':>6}  failed")
    plain = measure(options.path, [], settings)
    _print("none", plain, plain)
    for kind in kinds:
        try:
            _print(kind, measure(options.path, [kind], settings), plain)
        except PairwrightError as error:
            print(f"{kind:16} {error}")


def measure(path: Path, kinds: Sequence[Kind], settings: Settings) -> Row:
    """One whole run.

    Raises:
        PairwrightError: as `pipeline.run.run`.
    """
    faults = [in_turn(kinds, settings.share)] if kinds else []
    server = ChatServer(
        answer=offline_answers(), faults=faults, latency=settings.latency, latency_sigma=0.5, keep_bodies=False
    )
    with tempfile.TemporaryDirectory(prefix="pairwright-faults-") as folder, server:
        recipe = _recipe(Path(folder), path, server.base_url, settings.timeout)
        began = time.perf_counter()
        outcome = run(load(recipe), Path(folder) / "outputs", io.StringIO())
        seconds = time.perf_counter() - began
        counters = server.counters
    counts = outcome.manifest.counts
    return Row(counters.faults.total(), counters.requests, counts["filter"].kept, _failed(counts), seconds)


def _recipe(folder: Path, path: Path, url: str, timeout: float) -> Path:
    recipe = {
        "name": "faults",
        "sources": [{"use": "articles", "path": str(path.resolve())}],
        "engines": {"writer": {"use": "openai", "model": "test", "base_url": url, "timeout": timeout}},
        "generate": {"use": "triples", "engine": "writer", "per_chunk": 2},
        "judge": {"label": "judge", "jury": [{"use": "pairwise", "engine": "writer"}], "sentinels": 0},
        "filters": [{"use": name} for name in ("length", "format", "identical", "grounded", "self-contained")],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return folder / "recipe.yaml"


def _failed(counts: dict[str, StageCount]) -> str:
    return "; ".join(f"{stage}: {listed(count.failed)}" for stage, count in counts.items() if count.failed) or "none"


def _print(name: str, row: Row, plain: Row) -> None:
    times = row.seconds / plain.seconds
    print(f"{name:16} {row.hit:6,} {row.requests:9,} {row.kept:6,} {row.seconds:8.1f} {times:6.2f}  {row.failed}")


if __name__ == "__main__":
    main()
