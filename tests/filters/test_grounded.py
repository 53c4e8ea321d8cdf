"""Grounded: an extracted answer is the article's text at its spans, to the character."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from filters.grounded import Grounded
from pipeline.records import Answer, Candidates, Decision, Span
from tests.support.build import SENTENCES, STEADY, make_candidates, make_chunk, make_pair, make_preference

NUMBERS = st.lists(st.integers(1, len(SENTENCES)), min_size=1)


def decision(candidates: Candidates, chosen: str = "extracted") -> Decision:
    (only,) = Grounded()([make_preference(chosen, candidates)])
    return only


def with_extract(candidates: Candidates, **changes: object) -> Candidates:
    extracted, generated = candidates.answers
    return candidates.but(answers=(extracted.but(**changes), generated))


@given(NUMBERS, st.text(max_size=20), st.sampled_from([" ", "\n\n", ""]), st.sampled_from(["extracted", "generated"]))
@settings(STEADY, max_examples=100)
def test_what_was_cut_from_the_article_is_kept_whichever_answer_won(
    numbers: list[int], before: str, between: str, chosen: str
) -> None:
    candidates = make_candidates(numbers=numbers, chunk=make_chunk(before=before, between=between))
    result = decision(candidates, chosen)
    assert (result.keep, result.code, result.measured) == (True, "", 1.0)


@given(NUMBERS, st.data())
@settings(STEADY, max_examples=200)
def test_any_one_character_changed_added_or_left_out_is_noticed(numbers: list[int], data: st.DataObject) -> None:
    candidates = make_candidates(numbers=numbers)
    text = candidates.answers[0].text
    at = data.draw(st.integers(0, len(text) - 1))
    mark = data.draw(st.characters(codec="utf-8"))
    kind = data.draw(st.sampled_from(["changed", "added", "left out"]))
    rest = text[at:] if kind == "added" else text[at + 1 :]
    other = text[:at] + ("" if kind == "left out" else mark) + rest
    assume(other != text)
    result = decision(with_extract(candidates, text=other))
    assert (result.keep, result.code, result.measured) == (False, "not_verbatim", 0.0)


@pytest.mark.parametrize(
    "change",
    [str.lower, str.upper, str.strip, lambda text: text + " ", lambda text: text.replace(" ", "\u00a0"), str.title],
)
def test_not_even_case_or_blanks_may_differ(change: object) -> None:
    candidates = make_candidates()
    assert callable(change)
    other = change(candidates.answers[0].text)
    assert decision(with_extract(candidates, text=other)).keep == (other == candidates.answers[0].text)


@given(st.integers(-9, 9), st.integers(-9, 9))
@settings(STEADY, max_examples=100)
def test_spans_that_are_off_by_any_number_of_characters_are_noticed(start: int, end: int) -> None:
    candidates = make_candidates(chunk=make_chunk(before="Something before it: "))
    (span,) = candidates.answers[0].spans
    moved = with_extract(candidates, spans=(Span(start=span.start + start, end=span.end + end),))
    assert decision(moved).keep == (start == end == 0)


def test_spans_outside_the_chunk_are_noticed_even_if_the_text_would_fit() -> None:
    chunk = make_chunk(before="0123456789")
    candidates = make_candidates(chunk=chunk)
    for spans in (
        (Span(start=0, end=3),),
        (Span(start=chunk.start - 1, end=chunk.start + 2),),
        (Span(start=chunk.end - 3, end=chunk.end + 1),),
        (Span(start=chunk.end + 5, end=chunk.end + 9),),
    ):
        text = " ".join(chunk.text[span.start - chunk.start : span.end - chunk.start] for span in spans)
        assert not decision(with_extract(candidates, text=text, spans=spans)).keep


def test_spans_in_another_order_or_in_another_number_are_noticed() -> None:
    candidates = make_candidates(numbers=[1, 3, 5])
    one, two, three = candidates.answers[0].spans
    for spans in ((two, one, three), (one, two), (one, two, three, three)):
        assert not decision(with_extract(candidates, spans=spans)).keep


def test_an_extract_without_spans_is_not_grounded_in_anything() -> None:
    assert not decision(with_extract(make_candidates(), spans=())).keep
    assert not decision(with_extract(make_candidates(), spans=(), text="")).keep


def test_a_pair_without_extracted_answers_has_nothing_to_be_checked() -> None:
    (result,) = Grounded()([make_pair("Anything.", "At all.")])
    assert (result.keep, result.measured) == (True, 1.0)


def test_the_share_of_extracted_answers_that_are_verbatim_is_measured() -> None:
    candidates = make_candidates()
    false = Answer(text="Never written.", origin="extracted", spans=candidates.answers[0].spans)
    pair = candidates.but(answers=(candidates.answers[0], false))
    (result,) = Grounded()([make_preference(candidates=candidates).but(candidates=pair, rejected=false.id)])
    assert (result.keep, result.code, result.measured) == (False, "not_verbatim", 0.5)
