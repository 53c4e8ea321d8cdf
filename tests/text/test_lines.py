"""Line breaks that were made by wrapping say nothing; the others end a sentence."""

from __future__ import annotations

import pytest

from pipeline.text.lines import runs, wrap_width
from pipeline.text.stretch import Stretch

WRAPPED = "The recent release of the model offers an incredible level\nOf quality, and it is fine-\ntuned."


def _runs(text: str, width: int, *, nested: bool = False) -> list[str]:
    return [" ".join(run.words.split()) for run in runs(text, Stretch(0, len(text)), width, nested=nested)]


def test_a_break_where_the_next_word_would_not_have_fitted_is_crossed() -> None:
    assert len(_runs(WRAPPED, 60)) == 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_break_where_the_next_word_would_have_fitted_ends_a_sentence(end: str) -> None:
    assert _runs(f"Author: Ada{end}Date: today{end}Paris", 60) == ["Author: Ada", "Date: today", "Paris"]


def test_a_line_that_goes_on_in_lower_case_is_never_cut_off() -> None:
    assert _runs("It is\nso.", 60) == ["It is so."]


def test_a_line_wider_than_anybody_wraps_is_a_paragraph() -> None:
    assert len(_runs("word " * 40 + "end.\nThe next.", 0)) == 2


def test_a_hard_break_ends_a_sentence() -> None:
    assert len(_runs("The first line is here and it is quite long  \nThe second", 0)) == 2


def test_markers_of_lists_and_quotations_are_blanks_for_the_segmenter() -> None:
    text = "> 1. It is\n> so."
    (run,) = runs(text, Stretch(0, len(text)), 60, nested=True)
    assert run.words == "     It is   so."
    assert len(run.words) == len(text)


def test_the_width_is_that_of_nine_tenths_of_the_lines() -> None:
    text = "\n".join(["x" * 70] * 18 + ["x" * 110] + ["x"])
    assert wrap_width(text, [Stretch(0, len(text))]) == 70
    assert wrap_width("one line", [Stretch(0, 8)]) == 0
