"""How much of each file becomes articles, how clean their ends are, and how fast.

Run as `python benchmarks/ingest.py PATH...`; a path is a file or folder of articles.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

# Run as a script, Python looks beside the script for packages and not in the repository's root.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.errors import UserError
from pipeline.records import Article, Loss
from pipeline.sources.articles import Articles
from pipeline.sources.clutter import PHRASES
from pipeline.sources.found import Found
from pipeline.stages.ingest import ingest

END = 300
"""Characters at each end of an article that are searched for the page's phrases."""


@dataclass
class Tally:
    """Counts over texts."""

    texts: int = 0
    characters: int = 0
    cluttered: int = 0

    def __str__(self) -> str:
        share = self.cluttered / self.texts if self.texts else 0
        return f"{self.texts} articles, {self.characters:,} characters, {share:.1%} with clutter at their ends"


def tally(texts: Iterable[str]) -> Tally:
    """Counts all texts."""
    counts = Tally()
    for text in texts:
        counts.texts += 1
        counts.characters += len(text)
        counts.cluttered += is_cluttered(text)
    return counts


def is_cluttered(text: str) -> bool:
    """Whether a phrase of a page stands on a line of its own within the first or last characters."""
    ends = f"{text[:END]}\n{text[-END:]}".casefold().split("\n")
    return any(line.strip(" #*_") in PHRASES for line in ends) or "to make medium work" in ends[-1]


def report(path: Path) -> str:
    """One file's counts, several lines.

    Raises:
        UserError: the file cannot be read.
    """
    source = Articles(path=path)
    read = tally(found.text for found in source.found() if isinstance(found, Found))
    start = perf_counter()
    items = list(ingest([source]))
    seconds = perf_counter() - start
    kept = tally(item.text for item in items if isinstance(item, Article))
    losses = Counter(f"{item.fate}: {item.code}" for item in items if isinstance(item, Loss))
    lines = [f"read   {read}", f"kept   {kept}", f"lost   {dict(losses) or 'none'}"]
    return "\n  ".join([path.name, *lines, f"speed  {len(items) / seconds:.0f} articles a second"])


def main(paths: list[str]) -> None:
    """Prints a report for every path."""
    for path in paths:
        try:
            print(report(Path(path)))
        except UserError as error:
            print(error, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
