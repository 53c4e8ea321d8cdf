"""Blocks are CommonMark's, with exact places, and nothing of the text is in none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.blocks import blocks

MARKS = st.lists(
    st.sampled_from(
        [
            "# h",
            "- a",
            "  - b",
            "1. c",
            "> q",
            "```",
            "    code",
            "|a|b|",
            "|-|-|",
            "---",
            "===",
            "<div>",
            "[a]: b",
            "",
            "*",
            "x",
        ]
    ),
    max_size=20,
).map("\n".join)


def _blocks(text: str) -> list[tuple[str, str]]:
    return [(block.kind, text[block.place.start : block.place.end]) for block in blocks(text)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_block_is_told_apart(end: str) -> None:
    parts = [
        ("heading", "# Title"),
        ("prose", "Words 😀 here."),
        ("code", f"```py{end}{end}x = 1{end}```"),
        ("rule", "---"),
        ("table", f"|a|b|{end}|-|-|{end}|c|d|"),
        ("prose", "- one"),
        ("prose", "- two"),
    ]
    between = [end + end] * 5 + [end, ""]
    text = "".join(part + gap for (_, part), gap in zip(parts, between, strict=True))
    assert _blocks(text) == parts


def test_items_of_a_list_share_a_group_and_paragraphs_do_not() -> None:
    groups = [block.group for block in blocks("- a\n- b\n\nc\n\nd")]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3


def test_a_link_definition_is_not_swallowed() -> None:
    parts = ["# One", "[a]: https://a.example", "Two."]
    assert [text for _, text in _blocks("\n\n".join(parts))] == parts


def test_an_underlined_paragraph_is_no_heading() -> None:
    assert _blocks("one\ntwo\n---")[0][0] == "prose"
    assert _blocks("one\n---")[0][0] == "heading"


def test_html_is_prose_unless_it_is_a_table_or_code() -> None:
    assert _blocks("<p>One. Two.</p>")[0][0] == "prose"
    assert _blocks("<pre>\nx\n</pre>")[0][0] == "code"


@given(st.text() | MARKS)
def test_blocks_hold_every_character_but_blanks_in_order(text: str) -> None:
    end = 0
    for block in blocks(text):
        assert block.place.start >= end
        assert not text[end : block.place.start].strip()
        assert block.place.start < block.place.end
        end = block.place.end
    assert not text[end:].strip()
