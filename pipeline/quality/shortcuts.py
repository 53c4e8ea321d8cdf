"""How well the chosen answer can be told without reading the prompt: what a model learns instead of the preference.

A naive Bayes over the words that an answer holds (Rennie et al. 2003), cross-validated by prompt, says which of a
pair's answers is the chosen one. It needs no package, goes through each pair twice, and is a floor: what it can do, a
language model can do better. benchmarks/audit.py prints it beside a TF-IDF and logistic regression of scikit-learn's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.identity import fraction
from pipeline.text.words import words

FOLDS = 5
"""Parts that are scored by what the others teach."""

SEEN_OFTEN = 20
"""Fewest pairs in which a word must tell the sides apart to be called a shortcut."""


class Shortcut(NamedTuple):
    """A word that gives the chosen answer away."""

    word: str
    """The word."""
    pairs: int
    """Pairs in which one answer holds it and the other does not."""
    chosen_share: float
    """Of those, the share in which it is the chosen one that does."""


class Separable(NamedTuple):
    """How well answers tell their side."""

    accuracy: float
    """Share of pairs whose chosen answer is told from the rejected one without the prompt; 0.5 is chance."""
    shortcuts: tuple[Shortcut, ...]
    """The words that tell most, at most ten."""


class Words:
    """The words that one answer of each pair has and the other has not, numbered, and kept as they are met."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._pairs: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []

    def see(self, prompt: str, chosen: str, rejected: str) -> None:
        """One pair; the prompt only says which fold it belongs to, so that no prompt stands in two."""
        first, second = set(words(chosen)), set(words(rejected))
        fold = int(fraction("fold", prompt) * FOLDS)
        self._pairs.append((fold, self._numbered(first - second), self._numbered(second - first)))

    def _numbered(self, found: set[str]) -> tuple[int, ...]:
        number = self._number
        return tuple(number.setdefault(word, len(number)) for word in sorted(found))

    def separable(self) -> Separable | None:
        """The outcome; None with fewer pairs than folds."""
        if len(self._pairs) < FOLDS:
            return None
        counts = [(Counter[int](), Counter[int]()) for _ in range(FOLDS)]
        for fold, chosen, rejected in self._pairs:
            counts[fold][0].update(chosen)
            counts[fold][1].update(rejected)
        totals = [sum((fold[side] for fold in counts), Counter[int]()) for side in (0, 1)]
        right = 0.0
        for fold in range(FOLDS):
            right += self._right(fold, [totals[side] - counts[fold][side] for side in (0, 1)])
        return Separable(right / len(self._pairs), self._shortcuts(totals))

    def _right(self, fold: int, learnt: Sequence[Counter[int]]) -> float:
        """Pairs of a fold that are told right; a pair that nothing is known of counts half."""
        for_chosen, for_rejected = learnt
        lean = {word: math.log((for_chosen[word] + 1) / (for_rejected[word] + 1)) for word in for_chosen | for_rejected}
        right = 0.0
        for own, chosen, rejected in self._pairs:
            if own == fold:
                score = sum(lean.get(word, 0) for word in chosen) - sum(lean.get(word, 0) for word in rejected)
                right += 1.0 if score > 0 else 0.5 if score == 0 else 0.0
        return right

    def _shortcuts(self, totals: Sequence[Counter[int]]) -> tuple[Shortcut, ...]:
        named = list(self._number)
        found = []
        for word in totals[0] | totals[1]:
            pairs = totals[0][word] + totals[1][word]
            if pairs >= max(SEEN_OFTEN, len(self._pairs) // 50):
                found.append(Shortcut(named[word], pairs, totals[0][word] / pairs))
        found.sort(key=lambda it: (-abs(2 * it.chosen_share - 1) * math.sqrt(it.pairs), it.word))
        return tuple(found[:10])
