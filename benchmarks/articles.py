"""What becomes of real articles, by the offline engine: `python benchmarks/articles.py PATH...`.

The counts of every stage, and three things that must hold whatever the articles are: an extracted answer is what its
article says, no published pair has one answer twice, and no published instruction names its source.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

import yaml

# Run as a script, Python looks beside the script for packages and not in the repository's root.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from filters.self_contained import mentions
from pipeline.errors import PairwrightError
from pipeline.recipe import load
from pipeline.records import Article, Loss, Preference
from pipeline.report.words import listed
from pipeline.run import Outcome, run
from pipeline.store import ARTICLES, LOSSES, PREFERENCES, read


def main() -> None:
    """Print a table for every path."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="a file or folder of articles")
    parser.add_argument("--per-chunk", type=int, default=5, help="triples to ask for per chunk")
    options = parser.parse_args()
    for path in options.paths:
        with tempfile.TemporaryDirectory(prefix="pairwright-articles-") as folder:
            began = time.perf_counter()
            try:
                outcome = build(path, Path(folder), options.per_chunk)
            except PairwrightError as error:
                print(f"{path.name}\n  {error}")
                continue
            print("\n".join([f"{path.name}, {time.perf_counter() - began:.1f} s", *_counts(outcome), *_facts(outcome)]))


def build(path: Path, folder: Path, per_chunk: int) -> Outcome:
    """A whole run in this folder, every filter on.

    Raises:
        PairwrightError: as `pipeline.run.run`.
    """
    recipe = {
        "name": "articles",
        "sources": [{"use": "articles", "path": str(path.resolve())}],
        "engines": {"writer": {"use": "offline"}},
        "generate": {"use": "triples", "engine": "writer", "per_chunk": per_chunk},
        "judge": {"label": "judge", "jury": [{"use": "pairwise", "engine": "writer"}], "sentinels": 0},
        "filters": [{"use": name} for name in ("length", "format", "identical", "grounded", "self-contained")],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return run(load(folder / "recipe.yaml"), folder / "outputs", io.StringIO())


def _counts(outcome: Outcome) -> list[str]:
    rows = [f"  {'stage':9} {'in':>7} {'on':>7}  dropped or failed"]
    for stage, count in outcome.manifest.counts.items():
        lost = "; ".join(filter(None, (listed(count.dropped), listed(count.failed))))
        rows.append(f"  {stage:9} {count.seen:7,} {count.kept:7,}  {lost}".rstrip())
    return rows


def _facts(outcome: Outcome) -> list[str]:
    """What must hold, counted from the files and not by the code that saw to it."""
    texts = {article.id: article.text for article in read(outcome.folder / ARTICLES, Article)}
    lost = {loss.record for loss in read(outcome.folder / LOSSES, Loss)}
    extracted = equal = published = same = named = 0
    for pair in read(outcome.folder / PREFERENCES, Preference):
        text = texts[pair.candidates.source.origin]
        for answer in pair.candidates.answers:
            if answer.origin == "extracted":
                extracted += 1
                equal += answer.text == " ".join(text[span.start : span.end] for span in answer.spans)
        if pair.id not in lost:
            published += 1
            same += pair.chosen_answer.text == pair.rejected_answer.text
            named += mentions(pair.candidates.instruction) > 0
    return [
        f"  extracted answers equal to their span           {equal:,} of {extracted:,}",
        f"  published pairs with chosen == rejected         {same:,} of {published:,}",
        f"  published instructions that name their source   {named:,} of {published:,}",
    ]


if __name__ == "__main__":
    main()
