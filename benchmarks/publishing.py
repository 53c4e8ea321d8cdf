"""Memory and time of publishing: `python benchmarks/publishing.py [--rows 100000]`.

A small build by the offline engine is blown up to so many rows with words of their own, published to a local Hub, and
published again with one row in a hundred exchanged, which is compared with the first. Each start of `pairwright
publish` is asked for its peak by a process that has no other child; it must stay below 1 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

# Run as a script, Python looks beside the script for packages and not in the repository's root.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.stages.publish import ROW_GROUP, SCHEMA
from pipeline.store import DATASET, MANIFEST, Manifest, digests
from tests.support.command import build, recipe_in, samples_in
from tests.support.hub_server import HubServer

REPO = "acme/prefs"
AT_MOST = 1_000.0
"""Megabytes."""
CHILD = "--child"


class Start(NamedTuple):
    """One `pairwright publish`."""

    megabytes: float
    seconds: float
    line: str


def blown_up(folder: Path, rows: int, seed: int) -> None:
    """Makes the build in `folder` one of so many rows; one in a hundred depends on the seed."""
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    (pattern, *_) = sorted((folder / DATASET / "data").glob("train-*.parquet"))
    rows_of_pattern = pq.read_table(pattern).to_pylist()
    for path in (folder / DATASET / "data").iterdir():
        path.unlink()
    draw = random.Random(1)
    with pq.ParquetWriter(pattern, SCHEMA) as writer:
        for start in range(0, rows, ROW_GROUP):
            numbers = range(start, min(start + ROW_GROUP, rows))
            found = [_row(rows_of_pattern, number, seed if number % 100 == 0 else 0, draw) for number in numbers]
            writer.write_table(pa.Table.from_pylist(found, schema=SCHEMA))
    facts = manifest.dataset.but(train=rows, test=0)
    manifest = manifest.but(dataset=facts, files=digests(folder))
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _row(pattern: list[dict[str, Any]], number: int, seed: int, draw: random.Random) -> dict[str, Any]:
    row = dict(pattern[number % len(pattern)])
    words = " ".join(f"{draw.randrange(10**9):x}" for _ in range(60))
    return row | {
        "id": f"{seed:04x}{number:012x}",
        "source_id": f"article-{number // 25}",
        "chosen": [{"role": "assistant", "content": f"{row['chosen'][0]['content']} {words}"}],
    }


def publish(outputs: Path, hub: HubServer) -> Start:
    """The command, measured."""
    command = [sys.executable, __file__, CHILD, str(outputs)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | hub.env(), check=True)
    return Start(**json.loads(said.stdout))


def _measure(outputs: Path) -> int:
    """In the process between: run the command, then ask the system what it took."""
    command = [sys.executable, "-m", "pipeline", "publish", "night", "--repo", REPO, "--outputs", str(outputs)]
    began = time.perf_counter()
    said = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - began
    changes = json.loads(said.stdout)["changes"]
    line = f"+{sum(changes['added'].values()):,} -{sum(changes['removed'].values()):,}" if changes else "first"
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e6
    sys.stdout.write(json.dumps(Start(peak, seconds, line)._asdict()))
    return 0


def main() -> int:
    """Print a line for each start; gives 1 if one took too much memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=100_000, help="rows to publish")
    parser.add_argument(CHILD, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return _measure(options.child)
    with tempfile.TemporaryDirectory(prefix="pairwright-publishing-") as name, HubServer(Path(name) / "hub") as hub:
        home = Path(name)
        folder = build(recipe_in(home, sources=samples_in(home)), home / "outputs").folder
        starts = []
        for seed in (1, 2):
            blown_up(folder, options.rows, seed)
            starts.append(publish(home / "outputs", hub))
            size = sum(path.stat().st_size for path in (folder / DATASET).rglob("*.parquet")) / 1e6
            print(
                f"{options.rows:,} rows ({size:.0f} MB): {starts[-1].line} rows, "
                f"{starts[-1].seconds:.1f} s, peak {starts[-1].megabytes:.0f} MB"
            )
        print(f"commits {len(hub.commits(REPO)) - 1}, tags {len(hub.tags(REPO))}")
    return int(max(start.megabytes for start in starts) >= AT_MOST)


if __name__ == "__main__":
    sys.exit(main())
