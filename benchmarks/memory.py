"""Whether memory grows with the corpus: `python benchmarks/memory.py [--sizes 2000 20000]`.

Articles are made up, one JSON line each, so that they come to about so many chunks. Each size is run by the offline
engine in a process of its own, which is asked for its peak; the ratio of the largest to the smallest must stay below
1.2, though the corpus is ten times as large.
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

CHUNKS_PER_ARTICLE = 10
AT_MOST = 1.2
"""Largest ratio of the peaks."""
CHILD = "--child"

# fmt: off
SUBJECTS = (
    "the kettle", "a bridge", "the index", "our garden", "a lens", "the tide", "each gear", "the loaf", "a roof",
    "the harbour", "an orchard", "the compiler", "a violin", "the glacier", "a lantern", "the ledger",
)
VERBS = ("carries", "slows", "warms", "measures", "follows", "replaces", "supports", "explains", "shapes", "delays")
OBJECTS = (
    "every second barrel", "most of the winter light", "a narrow copper pipe", "the second reading of the page",
    "whatever the wind leaves behind", "one small and patient machine", "the oldest of the wooden piers",
)
# fmt: on


class Peak(NamedTuple):
    """What one run took."""

    chunks: int
    pairs: int
    megabytes: float
    """Largest resident set."""
    seconds: float


def main() -> int:
    """Print a line for every size and the ratio; gives 1 if it is too large."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_000, 20_000], help="chunks, about")
    parser.add_argument("--folder", type=Path, help="where to put articles and runs; by default a temporary folder")
    parser.add_argument(CHILD, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return _measure(options.child)
    print(f"{'chunks':>8} {'pairs':>8} {'seconds':>8} {'peak MB':>8}")
    peaks = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="pairwright-memory-", dir=options.folder) as folder:
            peaks.append(measure(size, Path(folder)))
        print(f"{peaks[-1].chunks:8,} {peaks[-1].pairs:8,} {peaks[-1].seconds:8.1f} {peaks[-1].megabytes:8.0f}")
    ratio = peaks[-1].megabytes / peaks[0].megabytes
    print(f"ratio {ratio:.2f}, at most {AT_MOST}")
    return int(ratio >= AT_MOST)


def measure(size: int, folder: Path) -> Peak:
    """A run of about `size` chunks, measured by a process that has no other child.

    Raises:
        subprocess.CalledProcessError: the run failed.
    """
    recipe = _recipe(folder, size)
    command = [sys.executable, __file__, CHILD, str(recipe)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Peak(**json.loads(said.stdout))


def _measure(recipe: Path) -> int:
    """In the process between: run the command, then ask the system what it took."""
    command = [sys.executable, "-m", "pipeline", "run", str(recipe), "--outputs", str(recipe.parent), "--json"]
    began = time.perf_counter()
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    seconds = time.perf_counter() - began
    counts = json.loads(said.stdout)["counts"]
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 2**20
    print(json.dumps(Peak(counts["chunk"]["kept"], counts["filter"]["kept"], peak, seconds)._asdict()))
    return 0


def write_articles(path: Path, articles: int, seed: int = 0) -> None:
    """A JSONL file of made-up articles of `CHUNKS_PER_ARTICLE` chunks each, or one more."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(articles):
            file.write(json.dumps({"id": str(number), "title": f"Number {number}", "text": _text(draw)}) + "\n")


def _recipe(folder: Path, size: int) -> Path:
    write_articles(folder / "articles.jsonl", size // CHUNKS_PER_ARTICLE, seed=size)
    recipe = {
        "name": "memory",
        "sources": [{"use": "articles", "path": "articles.jsonl"}],
        "engines": {"writer": {"use": "offline"}},
        "generate": {"use": "triples", "engine": "writer", "per_chunk": 2},
        "judge": {"label": "judge", "jury": [{"use": "pairwise", "engine": "writer"}], "sentinels": 0},
        "filters": [{"use": name} for name in ("length", "format", "identical", "grounded", "self-contained")],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return folder / "recipe.yaml"


def _text(draw: random.Random) -> str:
    """About as many paragraphs of 1,500 characters as an article has chunks."""
    return "\n\n".join(" ".join(_sentence(draw) for _ in range(21)) for _ in range(CHUNKS_PER_ARTICLE))


def _sentence(draw: random.Random) -> str:
    subject, verb, thing = draw.choice(SUBJECTS), draw.choice(VERBS), draw.choice(OBJECTS)
    return f"{subject.capitalize()} {verb} {thing} at mark {draw.randrange(10**6)}."


if __name__ == "__main__":
    sys.exit(main())
