"""What waiting for batches costs in memory: `python benchmarks/batch.py [--sizes 500 2000]`.

Articles are made up, one chunk each, so that all of a size are under way at once, as up to 4,000 are by default. A
local server that speaks the Batch API answers in the offline engine's words. Prints, for each size, the batches that
it took and the command's peak; and what a chunk more under way takes.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml

# Run as a script, Python looks beside the script for packages and not in the repository's root.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.memory import OBJECTS, SUBJECTS, VERBS
from tests.support.batch_server import BatchServer
from tests.support.chat_server import offline_answers

SENTENCES = 24
"""Sentences of an article: about 1,400 characters."""
PER_CHUNK = 5
"""Triples asked for per chunk, as by default; each is judged in both orders."""


class Night(NamedTuple):
    """What one run took."""

    chunks: int
    batches: list[int]
    """Lines of each batch."""
    megabytes: float
    """Largest resident set."""
    seconds: float


def night(chunks: int) -> Night:
    """A run of so many chunks, all of them under way at once.

    Raises:
        subprocess.CalledProcessError: the run failed.
    """
    with tempfile.TemporaryDirectory(prefix="pairwright-batch-") as folder:
        with BatchServer(answer=offline_answers()) as server:
            recipe = _recipe(Path(folder), chunks, server.base_url)
            began = time.perf_counter()
            said = subprocess.run(
                [sys.executable, __file__, "--child", str(recipe)], stdout=subprocess.PIPE, text=True, check=True
            )
        batches = [len(batch.lines) for batch in server.batches.values()]
    return Night(chunks, batches, float(said.stdout), time.perf_counter() - began)


def _child(recipe: Path) -> None:
    """In the process between: run the command, then ask the system what it took."""
    command = [sys.executable, "-m", "pipeline", "run", str(recipe), "--outputs", str(recipe.parent)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def _recipe(folder: Path, chunks: int, url: str) -> Path:
    draw = random.Random(2026)
    with (folder / "articles.jsonl").open("w") as file:
        for number in range(chunks):
            told = (f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(OBJECTS)}" for _ in range(SENTENCES))
            text = " ".join(f"In year {number}, {sentence}." for sentence in told)
            file.write(json.dumps({"id": str(number), "title": f"Article {number}", "content": text}) + "\n")
    engine = {"use": "batch", "model": "test", "base_url": url, "in_flight": chunks, "gather": 2.0, "poll_every": 0.5}
    recipe = {
        "name": "batch",
        "sources": [{"use": "articles", "path": str(folder / "articles.jsonl")}],
        "chunk": {"at_least": 500, "at_most": 4000},
        "engines": {"writer": engine},
        "generate": {"use": "triples", "engine": "writer", "per_chunk": PER_CHUNK},
        "judge": {"label": "judge", "jury": [{"use": "pairwise", "engine": "writer"}]},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def main() -> None:
    """Print a line for every size, and what one more chunk takes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2_000], help="chunks under way at once")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.child)
        return
    nights = [night(size) for size in options.sizes]
    for one in nights:
        batches = " + ".join(f"{lines:,}" for lines in one.batches)
        print(f"{one.chunks:6,} chunks: batches of {batches} lines, {one.seconds:.0f} s, peak {one.megabytes:.0f} MB")
    first, last = nights[0], nights[-1]
    if last.chunks > first.chunks:
        each = (last.megabytes - first.megabytes) * 1024 / (last.chunks - first.chunks)
        print(f"{each:.0f} kB for each chunk under way")


if __name__ == "__main__":
    main()
