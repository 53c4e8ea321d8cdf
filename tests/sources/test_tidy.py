"""Tidying changes blanks and invisible characters, and nothing else."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.sources.tidy import INVISIBLE, Markup, looks_like_markdown, one_line, tidy

PIECES = [
    *("# ", "## t", "- ", "* ", "1. ", "2) ", "> ", "```", "~~~", "    ", "\t", "  \n", "\\\n", "\n", "\n\n"),
    *(
        "\n\n\n",
        "a",
        "b-",
        "c|d",
        "|-|-|",
        "|",
        "-|-",
        "---",
        "===",
        "***",
        "<div>",
        "</div>",
        "<pre>",
        "</pre>",
    ),
    *(
        "<!--",
        "-->",
        "[x]: /u",
        "[x](y)",
        "`",
        "**",
        "$$",
        ":::",
        "漢",
        "字",
        "。",
        " ",
        "  ",
        "\u00a0",
        "\u3000",
    ),
    *(
        "\u200b",
        "\r\n",
        "\r",
        "\x0b",
        "\u2028",
        "word",
        "and",
        "\x00",
        "-\n",
        "\\",
        "&amp;",
        "    \n",
        "é",
        "👩‍💻",
    ),
]
LIKE_MARKDOWN = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
TEXTS = st.text() | LIKE_MARKDOWN
MARKUPS = st.sampled_from(["markdown", "plain"])


def visible(text: str) -> str:
    return "".join(character for character in text if not character.isspace() and character not in INVISIBLE)


@given(TEXTS, MARKUPS)
@example("a|b\nc|d  \n-|-|-", "markdown")
def test_tidying_twice_is_tidying_once(text: str, markup: Markup) -> None:
    once = tidy(text, markup)
    assert tidy(once, markup) == once


@given(TEXTS, MARKUPS)
def test_no_visible_character_is_changed(text: str, markup: Markup) -> None:
    assert visible(tidy(text, markup)) == visible(text)


@given(st.text(), MARKUPS)
def test_nothing_invisible_is_left(text: str, markup: Markup) -> None:
    assert not INVISIBLE & set(tidy(text, markup))


@pytest.mark.parametrize(
    ("given_text", "tidied"),
    [
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        (
            "zero\u200bwidth, soft\u00adhyphen, \ufeffmark, \u2066bidi\u2069",
            "zerowidth, softhyphen, mark, bidi",
        ),
        ("no\u00a0break, thin\u2009space", "no break, thin space"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("می\u200cخواهم 👩\u200d💻", "می\u200cخواهم 👩\u200d💻"),
        ("trailing  \nblanks\t", "trailing\nblanks"),
        ("runs   of    blanks", "runs of blanks"),
        ("\n\none\n\n\n\ntwo\n\n", "one\n\ntwo"),
        ("a verse\nkeeps its lines", "a verse\nkeeps its lines"),
        ("def f():\n    return  1  # as  code", "def f():\n    return  1  # as  code"),
        ("“quotes” — naïve café…", "“quotes” — naïve café…"),
    ],
)
def test_plain_text_keeps_its_lines_and_characters(given_text: str, tidied: str) -> None:
    assert tidy(given_text, "plain") == tidied


@pytest.mark.parametrize(
    ("given_text", "tidied"),
    [
        ("a paragraph that was\nwrapped by a tool", "a paragraph that was wrapped by a tool"),
        ("  * an item that\nwas wrapped\n\n  * the next", "  * an item that was wrapped\n\n  * the next"),
        ("two blanks  \nask for a line", "two blanks  \nask for a line"),
        ("so does a backslash\\\nhere", "so does a backslash\\\nhere"),
        ("an escaped one \\\\\ndoes not", "an escaped one \\\\ does not"),
        ("漢字は\n空白なし", "漢字は空白なし"),
        ("漢字\nand Latin", "漢字 and Latin"),
        ("a high-\nquality text", "a high-quality text"),
        ("pre-\nand post-war", "pre- and post-war"),
        ("> a quotation\n> keeps its marks", "> a quotation\n> keeps its marks"),
        ("$$\nx = 1\n$$", "$$\nx = 1\n$$"),
        ("a | b\n--|--\n1 | 2", "a | b\n--|--\n1 | 2"),
        ("[x]: https://example.org\n\ntext", "[x]: https://example.org\n\ntext"),
        ("Title\n===\ntext", "Title\n===\ntext"),
        ("# A short heading\ntext", "# A short heading\ntext"),
        ("1.  one\n\n    more", "1.  one\n\n    more"),
    ],
)
def test_in_markdown_only_soft_breaks_become_spaces(given_text: str, tidied: str) -> None:
    assert tidy(given_text, "markdown") == tidied


def test_a_heading_that_a_tool_wrapped_is_one_line_again() -> None:
    heading = "### How to keep a sourdough starter alive for years without ever throwing any of"
    assert tidy(f"{heading}\nit away\n\nText.", "markdown") == f"{heading} it away\n\nText."


@pytest.mark.parametrize(
    "code",
    [
        "```python\nif x:\n\n\n    y  =  1   # two\n```",
        "    if x:\n\n\n        y  =  1   # two",
        "<pre>\na  b\n c\n</pre>",
    ],
)
def test_code_keeps_every_blank(code: str) -> None:
    assert tidy(f"Before.\n\n{code}\n\n\nAfter  it.", "markdown") == f"Before.\n\n{code}\n\nAfter it."


@pytest.mark.parametrize("text", ["# Heading", "a **bold** word", "a [link](https://example.org)", "```\ncode\n```"])
def test_markdown_is_known_by_its_marks(text: str) -> None:
    assert looks_like_markdown(text)


@pytest.mark.parametrize("text", ["Plain words.", "2 ** 3 and a*b", "- a dash\n- another", "#hashtag", ""])
def test_plain_text_is_not_taken_for_markdown(text: str) -> None:
    assert not looks_like_markdown(text)


def test_a_title_is_one_line() -> None:
    assert one_line(" A\u00a0title\r\non  two\u200b lines ") == "A title on two lines"
