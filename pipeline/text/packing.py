"""The best way to pack a row of atoms into chunks, exactly, in time linear in their number.

Best means: as few characters as possible left over; then as few remainders as possible; then the lowest
price, the prices of the cuts plus each chunk's distance from the middle of the allowed lengths. A greedy
packer has to mend its last chunk and strands headings on the way; dynamic programming over the places
between atoms looks at all packings.

The step to a place takes the cheapest of the earlier places from which a chunk, or a remainder, may reach
it. Trying them all costs the number of atoms in a chunk: a list of 1,250,000 one-letter items has 500. But
every price splits into a part of the earlier place and a part of the later, and the earlier places in
question are a window that only moves forward; so the cheapest is a sliding minimum, one for each of the
three forms that the price has (a remainder, a chunk up to the middle length, a chunk beyond it).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from pipeline.text.atoms import Atom, CutKind
from pipeline.text.settings import ChunkSettings

PRICES: dict[CutKind, float] = {
    "heading": 0,
    "block": 1 / 4,
    "line": 1 / 2,
    "sentence": 1,
    "stranding": 3 / 2,
    "inside": 4,
}
"""What a cut costs, in longest chunks: a cut before a heading is worth a chunk that is `at_most / 4` characters further
from the middle length than with a cut between paragraphs. On the 76 articles of the benchmark half these prices cut 197
times before a heading, these 246 times, twice these 270 times but with a fifth of the chunks beyond 1,800 of 2,000."""


class Packed(NamedTuple):
    """Neighbouring atoms: those numbered `first` to `last`, both included."""

    first: int
    """Number of the first atom."""
    last: int
    """Number of the last atom."""
    kept: bool
    """True for a chunk; False for a remainder, which is shorter than a chunk may be."""


class _Step(NamedTuple):
    """The last step of the best packing up to a place between atoms."""

    price: int
    origin: int
    kept: bool


class _Form:
    """Steps of one form: lengths within bounds, and a price that splits into a part of either end."""

    def __init__(self, row: Sequence[Atom], lengths: range, *, kept: bool) -> None:
        self.row, self.lengths, self.kept = row, lengths, kept
        self.prices: list[int] = []
        self.entered = 0
        self.rising: deque[int] = deque()

    def start(self, price: int) -> None:
        """Offer the next place as an origin: its own price and the origin's part of the step's."""
        self.prices.append(price)

    def end(self, at: int, price: int) -> list[_Step]:
        """The cheapest step that ends at this character, with the end's part of its price; empty if there is none."""
        while self.entered < len(self.prices) and at - self._start(self.entered) >= self.lengths.start:
            while self.rising and self.prices[self.rising[-1]] >= self.prices[self.entered]:
                self.rising.pop()
            self.rising.append(self.entered)
            self.entered += 1
        while self.rising and at - self._start(self.rising[0]) >= self.lengths.stop:
            self.rising.popleft()
        return [_Step(self.prices[origin] + price, origin, self.kept) for origin in islice(self.rising, 1)]

    def _start(self, place: int) -> int:
        return self.row[place].place.start


def pack(row: Sequence[Atom], settings: ChunkSettings) -> list[Packed]:
    """The best packing of the atoms: every atom is in exactly one of the results, in order."""
    steps = _steps(row, settings)
    packed: list[Packed] = []
    place = len(row)
    while place:
        step = steps[place]
        packed.append(Packed(step.origin, place - 1, step.kept))
        place = step.origin
    return packed[::-1]


def _steps(row: Sequence[Atom], settings: ChunkSettings) -> list[_Step]:
    """For every place between atoms, from 0 before the first, the last step of the best packing up to it."""
    middle = (settings.at_least + settings.at_most) // 2
    remainder = _Form(row, range(1, settings.at_least), kept=False)
    short = _Form(row, range(settings.at_least, middle + 1), kept=True)
    long = _Form(row, range(middle + 1, settings.at_most + 1), kept=True)
    prices = {cut: int(settings.at_most * price) for cut, price in PRICES.items()}
    dropping = (max(prices.values()) + settings.at_most) * (len(row) + 1)  # more than all cuts and lengths together
    losing = dropping * (len(row) + 1)  # more than all remainders together
    steps, size = [_Step(0, 0, kept=True)], 0
    for place, ((start, end), cut) in enumerate(row):
        price = steps[-1].price + (prices[cut] if place else 0)
        remainder.start(price - losing * size)
        short.start(price + start)
        long.start(price - start)
        size += end - start
        ways = remainder.end(end, losing * size + dropping) + short.end(end, middle - end) + long.end(end, end - middle)
        steps.append(min(ways))
    return steps
