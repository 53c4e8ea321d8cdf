"""The page around a post, taken off its two ends: share widgets, navigation, comment boxes, footers.

Scraped posts carry their page with them. Of 76 real articles (Substack, Medium, a Quarto site) 76 begin or
end with it, 9.5 % of all characters. Left in, it becomes chunks of its own ("Share this post", "Copy link",
"Restacks"), and from those come instructions about nothing. The rule must be safe rather than complete,
because an author's words that are lost here are lost for good. So:

1. Only ends. From each end the blocks are read inwards, up to the first that may be prose. Whatever lies
   behind it is never looked at, and the result is always one slice of the text.
2. Only whole blocks. "Copy link" as a block of its own is a button; in a sentence or a list it is the
   author's.
3. Four kinds of block. A `mark` is surely the page's. A `weak` one is so between marks: "Note", "Other", a
   number, a date, the author's name, the title once more. A `filler` is short and unlike prose: a subtitle,
   a second author. Everything else is `prose` and stops the reading.
4. The zone reaches to its innermost mark, and on over weak blocks that touch it. Filler goes only between
   marks.
5. One mark is a word, two are a widget: a zone needs a second mark or weak block, unless its mark is beyond
   doubt, such as a copyright line or "This site requires JavaScript".

Medium's export is one run-on line, page and text without a blank between. There the page's own phrases are
cut at both ends of the line, and only if the phrases that open and close such a zone both stand there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from pipeline.sources.tidy import block_parser

Kind = Literal["beyond doubt", "mark", "weak", "filler", "prose"]

MOST_FILLER = 6
"""Filler blocks in a row between two marks; a Quarto page without known names has 6, the most of 76."""
LONGEST_FILLER = 80
"""Characters of a filler line."""
LONGEST_HEADING = 300
"""Characters of a heading between marks; the longest of 76 pages has 149."""

SHORTEST_TITLE = 10
"""Characters of a block that may be a part of a title; less is too common to be one."""

# fmt: off
PHRASES: Collection[str] = frozenset({
    "share this post", "share this article", "share this page", "share on twitter", "share on facebook",
    "copy link", "restacks", "subscribesign in", "subscribe now", "leave a comment", "ready for more?",
    "discussion about this post", "previousnext", "start writingget the app", "skip to content",
    "substack is the home for great culture", "privacy ∙ terms ∙ collection notice", "skip to main content",
    "cookie policy", "privacy policy", "terms of service", "all rights reserved",
})
"""Blocks that are marks, in lower case."""
_WEAK: Collection[str] = frozenset({
    "", "share", "facebook", "twitter", "linkedin", "email", "note", "other", "top", "latest", "comments",
    "discussions", "no posts", "subscribe", "sign in", "like", "reply", "follow", "listen", "previous",
    "next", "author", "published", "home", "menu", "search",
})
# fmt: on
_BEYOND_DOUBT = re.compile(
    r"(?:©|\(c\)|copyright)\s*(?:©|\(c\))?\s*(?:19|20)\d\d\b.{0,80}"
    r"|this site requires javascript.{0,120}"
    r"|to make medium work, we log user data.{0,150}"
)
_MARK = re.compile(
    r".{0,2000}expand full comment\s*reply\s*share[\s|-]*"
    r"|\d+ more comments?\W*|\d+ repl(?:y|ies) by .{1,60}"
    r"|.{0,200}\|\s*subscribe to .{1,60}"
    r"|.{0,80} is a reader-supported publication\. to receive new posts and support my work, consider"
    r" becoming a free or paid subscriber\W*"
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_WEAK_SHAPE = re.compile(
    rf"[\d.,]{{1,6}}[km]?|{_MONTH} \d{{1,2}},? \d{{4}}|\d{{1,2}} {_MONTH} \d{{4}}|\d{{4}}-\d\d-\d\d"
    r"|\d+ min(?:ute)?s? read|[\w-]+(?:\.[\w-]+)+"
)
_LIST = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])(?:\s|$)")
_CODE = re.compile(r"[ ]{4}|\t|\s*(?:```|~~~)")
_ICON = re.compile(r"^\s*[-*]\s+__[^_\n]*$|\S __$", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?:;…。！？]\W*$")
_SITE_CONTENTS = frozenset({"sections", "on this page", "in this article"})

_MEDIUM_HEAD = re.compile(
    r"\A.{0,300}?Open in appSign upSign inWriteSign upSign in.{0,800}?·\d+ min read·\w{3} \d{1,2}, \d{4}"
    r"[\d.KM]*(?:Listen)?Share",
    re.DOTALL,
)
_MEDIUM_TAIL = re.compile(
    r"Sign up to discover human stories that deepen your understanding of the world\..{0,8000}?"
    r"HelpStatusAboutCareersPressBlogPrivacyTermsText to speechTeams\s*"
    r"(?:To make Medium work, we log user data[^\n]{0,150})?\s*\Z",
    re.DOTALL,
)


class _Block(NamedTuple):
    """A block at the top level of the text: `text[start:end]`."""

    start: int
    end: int
    text: str


def without_clutter(text: str, names: Iterable[str] = ()) -> str:
    """The slice of a tidied `text` that is left when the page around it is taken off.

    Args:
        text: Markdown or plain text, tidied.
        names: what the page may repeat between its widgets: title, subtitle, author, platform.
    """
    text = _MEDIUM_TAIL.sub("", _MEDIUM_HEAD.sub("", text))
    blocks = _blocks(text)
    kinds = _kinds(blocks, {bare for name in names if (bare := _bare(name))})
    head, tail = _zone(kinds), _zone(kinds[::-1])
    left = blocks[head : len(blocks) - tail]
    return text[left[0].start : left[-1].end].strip("\n") if left else ""


def _blocks(text: str) -> list[_Block]:
    """The text cut in front of every top-level block of Markdown; in plain text these are its paragraphs."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    tops = [token.map[0] for token in block_parser().parse(text) if token.map and token.level == 0]
    cuts = [0, *(starts[line] for line in sorted(set(tops) - {0})), len(text)]
    spans = [(a, b) for a, b in pairwise(cuts) if text[a:b].strip()]
    return [_Block(a, b, text[a:b].strip("\n")) for a, b in spans]


def _kinds(blocks: Sequence[_Block], names: Collection[str]) -> list[Kind]:
    kinds = [_kind(block.text, names) for block in blocks]
    for n, block in enumerate(blocks[:-1]):
        if _bare(block.text) in _SITE_CONTENTS and _LIST.match(blocks[n + 1].text):
            kinds[n : n + 2] = ["mark", "mark"]
    return kinds


def _kind(text: str, names: Collection[str]) -> Kind:
    if _CODE.match(text):
        return "prose"
    if _LIST.match(text):
        return _kind_of_list(text)
    bare, heading = _bare(text), text.startswith("#")
    if _BEYOND_DOUBT.fullmatch(bare):
        return "beyond doubt"
    if bare in PHRASES or _MARK.fullmatch(bare):
        return "mark"
    if _repeats(bare, names) or (not heading and (bare in _WEAK or _WEAK_SHAPE.fullmatch(bare))):
        return "weak"
    return _filler_or_prose(text, LONGEST_HEADING) if heading else _filler_or_prose(text, LONGEST_FILLER)


def _kind_of_list(text: str) -> Kind:
    """A menu shows the names of its icons as stray underscores; a trail of crumbs is a few short items."""
    items = [line for line in text.split("\n") if line]
    if any(len(item) > LONGEST_FILLER or _SENTENCE_END.search(item) for item in items):
        return "prose"
    if icons := len(_ICON.findall(text)):
        return "beyond doubt" if icons > 1 else "mark"
    return "filler" if len(items) <= MOST_FILLER else "prose"


def _filler_or_prose(text: str, longest: int) -> Kind:
    fits = len(text) <= longest and "\n" not in text
    return "filler" if fits and (text.startswith("#") or not _SENTENCE_END.search(text)) else "prose"


def _repeats(bare: str, names: Collection[str]) -> bool:
    """Whether a block is one of the names, or a title that a name shows beside the site's."""
    long = len(bare) >= SHORTEST_TITLE
    return any(bare == name or (long and (name.startswith(bare) or name.endswith(bare))) for name in names)


def _bare(text: str) -> str:
    """The words of a block in lower case, without the marks of headings and emphasis around them."""
    return " ".join(text.strip().lstrip("#").strip(" \t\n*_").casefold().split())


def _zone(kinds: Sequence[Kind]) -> int:
    """How many blocks from the front of `kinds` belong to the page."""
    end = filler = 0
    for n, kind in enumerate(kinds):
        filler = filler + 1 if kind == "filler" else 0 if kind in {"mark", "beyond doubt"} else filler
        if kind == "prose" or filler > MOST_FILLER:
            break
        end = n + 1 if kind in {"mark", "beyond doubt"} else end
    while 0 < end < len(kinds) and kinds[end] == "weak":
        end += 1
    return end if _convinces(kinds[:end]) else 0


def _convinces(zone: Sequence[Kind]) -> bool:
    evidence = sum(kind in {"mark", "weak"} for kind in zone)
    return "beyond doubt" in zone or evidence > 1
