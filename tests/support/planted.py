"""A planted preference: a dataset whose chosen and rejected answers say the same in two styles, and a model for it.

The styles differ in every sentence, the facts do not; sources are disjoint. Whoever learns the preference learns the
style, and the words of its answers show it. `python -m tests.support.planted FOLDER` writes both.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.training import data
from pipeline.training.data import Pair
from pipeline.training.tiny import make

THINGS = ("hives", "tides", "gears", "bridges", "loaves", "lenses", "indexes", "teapots", "branches", "walls")
FACTS = ("need care", "follow rules", "keep warm", "hold weight", "take time", "save work", "change slowly", "age well")
REASONS = ("water moves", "heat rises", "people learn", "metal bends", "paper burns", "stone lasts")

PLAIN = (
    "Plainly, {thing} {fact}. That is so because {reason}. Nothing else matters here, as far as anybody can tell.",
    "In short, {thing} {fact}, because {reason}. Nothing more needs to be said here.",
)
FLOWERY = (
    "Let us delve into the vibrant tapestry of {thing}, which truly {fact}; moreover, in this realm, {reason}.",
    "Delve deeper: {thing} truly {fact}, a vibrant testament, moreover, to how {reason}.",
)


def pairs(sources: int, each: int = 4, *, shuffled: bool = False, seed: int = 0) -> list[dict[str, object]]:
    """Rows as a dataset holds them; `shuffled` tosses a coin for each which answer is the chosen one."""
    draw, rows = random.Random(seed), list[dict[str, object]]()
    for source in range(sources):
        for number in range(each):
            said = {"thing": draw.choice(THINGS), "fact": draw.choice(FACTS), "reason": draw.choice(REASONS)}
            question = f"What about {said['thing']}, case {source * each + number}?"
            sides = [draw.choice(PLAIN).format(**said), draw.choice(FLOWERY).format(**said)]
            if shuffled and draw.random() < 0.5:
                sides.reverse()
            rows.append(
                {
                    "prompt": [{"role": "user", "content": question}],
                    "chosen": [{"role": "assistant", "content": sides[0]}],
                    "rejected": [{"role": "assistant", "content": sides[1]}],
                    "id": f"{source}-{number}",
                    "source_id": f"article-{source}",
                }
            )
    return rows


def dataset(folder: Path, sources: int = 60, held_out: int = 15, **how: bool | int) -> Path:
    """A dataset's folder with two splits of disjoint sources."""
    (folder / "data").mkdir(parents=True)
    rows = pairs(sources + held_out, **how)
    first = {f"article-{source}" for source in range(sources)}
    for split, wanted in (("train", True), ("test", False)):
        kept = [row for row in rows if (row["source_id"] in first) == wanted]
        pq.write_table(pa.Table.from_pylist(kept), folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def model(folder: Path, rows: tuple[Pair, ...], *, steps: int = 400, hidden: int = 64) -> Path:
    """A tiny model that speaks in both styles, more often in the one to be unlearnt."""
    make(folder, rows, vocabulary=600, hidden=hidden, layers=2, steps=steps, rejected=0.75)
    return folder


def main() -> None:
    """Write a planted dataset and a tiny model for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sources", type=int, default=60)
    parser.add_argument("--shuffled", action="store_true")
    given = parser.parse_args()
    found = data.find(str(dataset(given.folder / "dataset", given.sources, shuffled=given.shuffled)), given.folder)
    model(given.folder / "model", data.load(found, 0.1).train)


if __name__ == "__main__":
    main()
