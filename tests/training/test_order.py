"""The order of rows: every row once, like lengths together, and nothing but seed and epoch decides."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.order import MANY, ByLength


@given(st.lists(st.integers(1, 500), min_size=1, max_size=300), st.integers(1, 8), st.integers(0, 9), st.integers(0, 3))
def test_every_row_comes_once_and_the_same_order_comes_again(
    lengths: list[int], a_step: int, seed: int, epoch: int
) -> None:
    one, other = ByLength(lengths, a_step, seed), ByLength(lengths, a_step, seed)
    one.set_epoch(epoch)
    first = list(one)
    random.random()  # whatever else was drawn
    other.set_epoch(epoch)
    assert sorted(first) == list(range(len(lengths)))
    assert list(other) == first == list(one)


def test_lengths_fall_within_a_stretch_and_epochs_differ() -> None:
    lengths = [random.Random(n).randint(1, 900) for n in range(4 * MANY)]
    order = ByLength(lengths, 2, 1)
    first = list(order)
    assert [lengths[place] for place in first[: 2 * MANY]] == sorted(
        (lengths[place] for place in first[: 2 * MANY]), reverse=True
    )
    order.set_epoch(1)
    assert list(order) != first
