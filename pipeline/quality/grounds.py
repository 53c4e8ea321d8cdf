"""Whether chosen answers come from the articles that they are said to come from."""

from __future__ import annotations

from collections.abc import Iterable

from filters.identical import normalised
from pipeline.quality.rows import Row
from pipeline.records import Measure
from pipeline.text.words import shingles

STRETCH = 5
"""Words in a row of which one in common is the least sign that a model saw an article."""


class Grounds:
    """The articles, as rows are looked up in them: word for word, but for marks and case, or by five words in a row."""

    def __init__(self, articles: Iterable[str]) -> None:
        """Args: the articles' texts."""
        self._texts = list(articles)
        self._plain = [normalised(text) for text in self._texts]
        self._stretches = {hash(stretch) for text in self._texts for stretch in shingles(text, STRETCH)}
        self._where: dict[str, set[int]] = {}
        for index, text in enumerate(self._plain):
            for start in range(0, len(text), BLOCK):
                self._where.setdefault(text[start : start + BLOCK], set()).add(index)
        self._rows = self._exact = self._close = self._touched = 0

    def see(self, row: Row) -> None:
        """One row."""
        self._rows += 1
        plain = normalised(row.chosen)
        within = [index for index in self._likely(plain) if plain in self._plain[index]]
        self._close += bool(within)
        self._exact += any(row.chosen in self._texts[index] for index in within)
        self._touched += any(hash(stretch) in self._stretches for stretch in shingles(row.chosen, STRETCH))

    def _likely(self, plain: str) -> Iterable[int]:
        """Articles that hold some aligned block of the text; all of them if it is too short to hold a block."""
        if len(plain) < 2 * BLOCK:
            return range(len(self._plain))
        found: set[int] = set()
        for start in range(BLOCK):
            found |= self._where.get(plain[start : start + BLOCK], set())
        return sorted(found)

    def measures(self) -> list[Measure]:
        """How many chosen answers are verbatim, how many after normalising, and how many share five words."""
        if not self._rows:
            return []
        shares = [count / self._rows for count in (self._exact, self._close, self._touched)]
        touched = shares[2]
        words = (
            f"of chosen answers {shares[0]:.0%} stand in an article word for word, {shares[1]:.0%} apart from marks "
            f"and case, {touched:.0%} share five words with one"
        )
        outlook = "good" if touched > 0.5 else "look" if touched > 0.05 else "unfit"  # noqa: PLR2004
        return [Measure(name="grounded", value=touched, outlook=outlook, words=words)]


BLOCK = 24
"""Characters of normalised text by which an article is found."""
