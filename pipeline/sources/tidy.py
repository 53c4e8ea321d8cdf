"""A text in one spelling of its blanks, with every visible character where its author put it.

Only blanks and invisible characters change. Everything else that a cleaner might "repair" (quotes, dashes,
accents, HTML entities, punctuation) is the author's, and an extracted answer must be the author's.

Line breaks are the one hard case. The Markdown of scraped pages is wrapped by the scraper: 71 of 76 articles
of a real export are wrapped at 78 columns, with 5,040 breaks inside paragraphs. A model taught such lines as
chosen answers learns where to break them and not how to write. CommonMark calls a line break inside a
paragraph soft and shows it as a space, so a space it becomes (nothing between two Chinese or Japanese
characters). Three things are left alone:

    hard breaks    two blanks or a backslash before the line's end: the author asked for a new line;
    quotations     every line carries its own ">", which is visible, so joining would delete characters;
    code, tables   lines are their meaning. Code blocks, fenced or indented, keep every blank;
                   so does raw HTML.

A wrap may also fall behind a hyphen ("fine-" and "tuning" on two lines). All 83 such breaks of that export
stand in compounds and none in a suspended hyphen ("pre- and"), so the halves meet without a blank unless a
conjunction follows.

Plain text keeps its lines: nothing in it tells a wrapped line from a verse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

Markup = Literal["markdown", "plain"]

_LINE_ENDS = "\r\v\f\x85\u2028\u2029"
_CONTROLS = {*range(0x20), *range(0x7F, 0xA0)} - {ord(mark) for mark in "\n\t" + _LINE_ENDS}
_MARKS = {
    *(0x00AD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF),  # soft hyphen to byte order mark
    *range(0x202A, 0x202F),  # bidi embeddings and overrides
    *range(0x2066, 0x2070),  # bidi isolates, and the shaping marks that Unicode deprecates
}
_SPACES = {0x00A0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000}
_SPELLING: dict[int, str | None] = {
    **dict.fromkeys(_CONTROLS | _MARKS),
    **dict.fromkeys(_SPACES, " "),
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
}
INVISIBLE = frozenset(map(chr, _CONTROLS | _MARKS))
"""What tidying removes. The zero-width joiners stay: emoji and Persian are spelt with them."""

_WRAP = 78  # columns at which html2text, and what is built on it, breaks a line
_LONGEST_REST = 2  # lines of a heading below its first

_LINE_END = re.compile(rf"\r\n|[{_LINE_ENDS}]")
_LEAD = re.compile(r"(?:[ \t>]|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t]))*")
_RUN = re.compile(r"[ \t]{2,}")
_HARD = re.compile(r"(?:^|[^\\])(?:\\\\)*\\$")
_OWN_LINES = re.compile(r"[ \t]*(?:\$\$|:::|\\\[|\\begin\{)")
_CODE_LIKE = re.compile(r"[ ]{4}|\t")
_CJK = re.compile(r"[\u2e80-\u30ff\u31f0-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_HYPHEN = re.compile(r"\w-$")
_SECOND_HALF = re.compile(r"(?!(?:and|or|und|oder|et|ou|y|o|e)\b)\w")
_EMPHASIS = re.compile(r"[*`]|(?<!\w)_|_(?!\w)")
_MARKDOWN = re.compile(r"^#{1,6} \S|^(?:```|~~~)|\]\(\S+\)|(?<!\w)\*\*\S", re.MULTILINE)


def tidy(text: str, markup: Markup) -> str:
    """`text` with one kind of line end, one kind of space and no invisible characters; see the module.

    Idempotent: a pass either changes nothing or leaves fewer characters or fewer lines, and passes are
    repeated until nothing changes (two for an ordinary article), because a joined line may read as another
    kind of block.
    """
    text = _LINE_END.sub("\n", text.translate(_SPELLING))
    one_pass = _tidy_markdown if markup == "markdown" else _tidy_plain
    while (tidied := one_pass(text)) != text:
        text = tidied
    return text


def one_line(text: str) -> str:
    """`text` tidied and on one line: for titles and names."""
    return " ".join(_LINE_END.sub("\n", text.translate(_SPELLING)).split())


def heading_words(line: str) -> str:
    """What a Markdown heading says, without the marks of headings, emphasis and code."""
    return _EMPHASIS.sub("", one_line(line).strip("#")).strip()


def looks_like_markdown(text: str) -> bool:
    """Whether a heading, a fence, a link or bold type stands in it; bullets alone prove nothing."""
    return _MARKDOWN.search(text) is not None


@cache
def block_parser() -> MarkdownIt:
    """CommonMark with tables, blocks only: looking inside paragraphs as well would take twice as long."""
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.disable(["inline", "text_join"])
    return parser


class _Line(NamedTuple):
    """One line and what may be done to it."""

    text: str
    verbatim: bool = False
    hard_break: bool = False


def _tidy_markdown(text: str) -> str:
    lines = text.split("\n")
    layout = _layout(lines)
    out: list[_Line] = []
    joins = False
    for number, line in enumerate(lines):
        start = _glue(out.pop().text, line) if joins else line
        out.append(_Line(start, number in layout.verbatim, layout.breaks.get(number) == "hard"))
        joins = layout.breaks.get(number) == "soft"
    return _spaced(out)


def _tidy_plain(text: str) -> str:
    """Lines that are indented like code keep their inner blanks."""
    return _spaced(
        _Line(line.rstrip(" \t"), verbatim=bool(line.strip(" \t") and _CODE_LIKE.match(line)))
        for line in text.split("\n")
    )


Break = Literal["soft", "hard"]


@dataclass
class _Layout:
    """What Markdown makes of the lines of a text."""

    verbatim: set[int] = field(default_factory=set)
    """Numbers of lines that must stay as they are."""
    breaks: dict[int, Break] = field(default_factory=dict)
    """The kind of break behind a line that goes on in the next."""


def _layout(lines: list[str]) -> _Layout:
    layout, headings, quotes, before = _Layout(), set[int](), 0, ""
    for token in block_parser().parse("\n".join(lines)):
        quotes += token.nesting if token.type.startswith("blockquote") else 0
        if token.type in {"fence", "code_block", "html_block"}:
            layout.verbatim.update(_covered(token))
        elif token.type == "heading_open":
            headings.update(_covered(token))
        elif token.type == "inline" and before == "paragraph_open":
            paragraph = _covered(token)
            layout.breaks.update(_breaks(lines, paragraph, quoted=quotes > 0))
            if paragraph.start - 1 in headings and _is_wrapped_heading(lines, paragraph):
                layout.breaks[paragraph.start - 1] = "soft"
        before = token.type
    return layout


def _covered(token: Token) -> range:
    return range(*token.map) if token.map else range(0)


def _breaks(lines: list[str], paragraph: range, *, quoted: bool) -> Iterator[tuple[int, Break]]:
    """The kind of each break between the lines of one paragraph; none for a line that stands for itself."""
    own_lines = quoted or any(_OWN_LINES.match(lines[number]) for number in paragraph)
    for number in paragraph[:-1]:
        if lines[number].endswith("  "):
            yield number, "hard"
        elif not own_lines and not _HARD.search(lines[number]):
            yield number, "soft"


def _is_wrapped_heading(lines: list[str], paragraph: range) -> bool:
    """Whether a paragraph right below a heading is the heading's own end, cut off where the page was wrapped.

    So it is if it is one or two lines long and its first word did not fit beside the heading. In the export
    named above this holds for all 146 headings that have a paragraph right below them.
    """
    heading, below = lines[paragraph.start - 1], lines[paragraph.start]
    first_word = re.split(r"(?<=[^\W\d]-)|[ ]", below.lstrip(" \t"), maxsplit=1)[0]
    return (
        len(paragraph) <= _LONGEST_REST
        and heading.startswith("#")
        and _WRAP < len(heading) + len(first_word) + 1 <= 2 * _WRAP
    )


def _glue(left: str, right: str) -> str:
    left, right = left.rstrip(" \t"), right.lstrip(" \t")
    ideographs = _CJK.match(left[-1:]) and _CJK.match(right[:1])
    compound = _HYPHEN.search(left) and _SECOND_HALF.match(right)
    return left + right if ideographs or compound else f"{left} {right}"


def _spaced(lines: Iterable[_Line]) -> str:
    """The lines with single blanks inside and single blank lines between, and no blank line at either end."""
    out: list[str] = []
    for line in lines:
        spaced = line.text if line.verbatim else _squeeze(line)
        if spaced or line.verbatim or (out and out[-1]):
            out.append(spaced)
    while out and not out[-1].strip(" \t"):
        out.pop()
    while out and not out[0].strip(" \t"):
        del out[0]
    return "\n".join(out)


def _squeeze(line: _Line) -> str:
    """One blank between words; indentation and the blanks behind a list mark are structure and stay."""
    text = line.text.rstrip(" \t")
    lead = _LEAD.match(text)
    start = lead.end() if lead else 0
    return text[:start] + _RUN.sub(" ", text[start:]) + ("  " if line.hard_break else "")
