"""Whether every row becomes a pair or a loss with a reason: `python benchmarks/directed.py FILE [--rows N]`.

FILE is an Alpaca data set (instruction, input, output). The offline engine makes a pair of each of its rows: a more or
a less polite answer and the given one. Counted from the files that the run leaves: rows out or named reasons, rows with
two equal answers, and the share of rows whose given answer is the rejected one, which must lie between 45% and 55%.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import yaml

from pipeline.recipe import load
from pipeline.run import run
from pipeline.store import DATASET, LOSSES

EVEN = (0.45, 0.55)
"""Bounds of the share of rows whose written answer is the chosen one."""


class Facts(NamedTuple):
    """What a run left, counted from its files."""

    given: int
    rows: int
    reasons: Counter[str]
    equal: int
    written_chosen: int
    five_columns: int
    seconds: float


def main() -> int:
    """Print the facts; gives 1 if one is not as it must be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, help="so many rows only; by default all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pairwright-directed-") as folder:
        facts = _measured(options.file, options.rows, Path(folder))
    return _told(facts)


def _measured(file: Path, rows: int | None, folder: Path) -> Facts:
    given = json.loads(file.read_text(encoding="utf-8"))[:rows]
    (folder / "given.json").write_text(json.dumps(given), encoding="utf-8")
    recipe = {
        "name": "directed",
        "sources": [{"use": "instructions", "path": "given.json"}],
        "engines": {"writer": {"use": "offline"}},
        "generate": {"use": "directed", "engine": "writer", "criterion": "politeness"},
        "judge": {"label": "origin"},
        "filters": [{"use": "identical"}],
        "format": "alpaca",
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    started = time.perf_counter()
    outcome = run(load(folder / "recipe.yaml"), folder / "outputs", io.StringIO())
    seconds = time.perf_counter() - started
    tables = sorted((outcome.folder / DATASET / "data").glob("*.parquet"))
    out = [row for table in tables for row in pq.read_table(table).to_pylist()]
    losses = [json.loads(line) for line in (outcome.folder / LOSSES).read_text(encoding="utf-8").splitlines()]
    known = {(row["instruction"], row["input"], row["output"]) for row in given}
    return Facts(
        given=len(given),
        rows=len(out),
        reasons=Counter(f"{loss['stage']}: {loss['code']}" for loss in losses),
        equal=sum(row["chosen"] == row["rejected"] for row in out),
        written_chosen=sum(row["rejected"] == row["output"] for row in out),
        five_columns=sum((row["instruction"], row["input"], row["output"]) in known for row in out),
        seconds=seconds,
    )


def _told(facts: Facts) -> int:
    share = facts.written_chosen / facts.rows if facts.rows else 0.0
    good = {
        "every row out, or a reason": facts.rows + sum(facts.reasons.values()) == facts.given,
        "no row with equal answers": facts.equal == 0,
        "sides are even": EVEN[0] <= share <= EVEN[1],
        "instruction, input and output as given": facts.five_columns == facts.rows,
    }
    reasons = ", ".join(f"{reason} {count}" for reason, count in facts.reasons.most_common()) or "none"
    print(f"{facts.given:,} rows given, {facts.rows:,} pairs out in {facts.seconds:.1f} s; lost: {reasons}")
    print(f"equal answers: {facts.equal}; the written answer is the chosen one in {share:.1%}")
    print(f"instruction, input and output as given: {facts.five_columns:,}")
    for name, holds in good.items():
        print(f"{'good' if holds else 'BAD '}  {name}")
    return 0 if all(good.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
