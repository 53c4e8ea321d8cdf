"""The packing is the best there is: no other leaves less over, or has a lower price."""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.text.atoms import Atom, CutKind, piece_length
from pipeline.text.packing import PRICES, pack
from pipeline.text.settings import ChunkSettings
from pipeline.text.stretch import Stretch

SETTINGS = ChunkSettings(at_least=80, at_most=160)
Price = tuple[int, int, int]


def _row(sizes: list[tuple[int, int, CutKind]]) -> list[Atom]:
    ends = accumulate(gap + size for gap, size, _ in sizes)
    return [Atom(Stretch(end - size, end), cut) for end, (_, size, cut) in zip(ends, sizes, strict=True)]


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 160), st.sampled_from(get_args(CutKind))), min_size=1, max_size=25
).map(_row)


def _price(row: list[Atom], first: int, last: int, *, kept: bool) -> Price:
    length = row[last].place.end - row[first].place.start
    cut = int(SETTINGS.at_most * PRICES[row[first].cut]) if first else 0
    if kept:
        return 0, 0, cut + abs(length - 120)
    return sum(atom.place.end - atom.place.start for atom in row[first : last + 1]), 1, cut


def _sum(one: Price, other: Price) -> Price:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _best(row: list[Atom]) -> Price:
    """The price of the best packing, by trying all."""

    @cache
    def up_to(place: int) -> Price:
        if place == 0:
            return 0, 0, 0
        options = []
        for first in range(place):
            length = row[place - 1].place.end - row[first].place.start
            if length <= SETTINGS.at_most:
                kept = length >= SETTINGS.at_least
                options.append(_sum(up_to(first), _price(row, first, place - 1, kept=kept)))
        return min(options)

    return up_to(len(row))


@given(ROWS)
def test_no_packing_is_better(row: list[Atom]) -> None:
    total = (0, 0, 0)
    for first, last, kept in pack(row, SETTINGS):
        total = _sum(total, _price(row, first, last, kept=kept))
    assert total == _best(row)


@given(ROWS)
def test_every_atom_is_packed_once(row: list[Atom]) -> None:
    packed = [number for first, last, _ in pack(row, SETTINGS) for number in range(first, last + 1)]
    assert packed == list(range(len(row)))


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_pieces_are_neither_longer_than_a_chunk_nor_too_many(at_least: int, room: int) -> None:
    settings = ChunkSettings(at_least=at_least, at_most=at_least + room)
    assert settings.at_most // 16 <= piece_length(settings) <= settings.at_most


@pytest.mark.parametrize("wrong", [{"at_least": 0}, {"at_most": 999}, {"at_leest": 3}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        ChunkSettings.model_validate(wrong)
