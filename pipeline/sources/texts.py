"""Files that hold one article each: Markdown with or without front matter, plain text, HTML.

HTML goes through trafilatura, which finds the article on the page and drops menus and comments. Its
Markdown keeps accents, quotes and the blanks of code, but loses the blank lines inside `<pre>`; they are
handed through it as lines with a word of ours, and are blank lines again afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from pipeline.errors import RecordFailed
from pipeline.records import Loss
from pipeline.sources.files import text_of
from pipeline.sources.found import Columns, Found, as_words, lost
from pipeline.sources.tidy import heading_words

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}[ \t]+\S.*$", re.MULTILINE)
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_PRE = re.compile(r"<pre\b.*?</pre\s*>", re.DOTALL | re.IGNORECASE)
_BLANK_LINE = re.compile(r"\n(?=[ \t]*\r?\n)")
_KEPT_LINE = "@@blank-line@@"


def article_in(path: Path, name: str, *, at_most: int) -> Found | Loss:
    """The article in a text file; a Loss if it cannot be read.

    Args:
        path: the file; its suffix says what it is.
        name: what the file is called in places and as an id.
        at_most: longest text, in characters.

    Raises:
        UserError: the file may not or cannot be read.
    """
    try:
        text = text_of(path, name, at_most=at_most)
        return _READERS.get(path.suffix.lower(), _plain)(text, name)
    except RecordFailed as failed:
        return lost(name, failed.code, failed.detail)


def _plain(text: str, name: str) -> Found:
    return Found(place=name, text=text, source_id=name, title=Path(name).stem, markup="plain")


def _markdown(text: str, name: str) -> Found:
    """Title: from the front matter, else the first heading, else the file's name."""
    front, body = _front_matter(text)
    heading = _HEADING.search(_FENCED.sub("", body))

    def known(field: str) -> str:
        return as_words(front.get(Columns().column_of(field, front)))

    return Found(
        place=name,
        text=body,
        source_id=name,
        title=known("title") or (heading_words(heading.group()) if heading else Path(name).stem),
        subtitle=known("subtitle"),
        author=known("author"),
        link=known("link"),
        licence=known("licence"),
        markup="markdown",
    )


def _front_matter(text: str) -> tuple[Mapping[str, object], str]:
    """The YAML between the first two rules, and the rest; text between rules that is not YAML is text."""
    match = _FRONT_MATTER.match(text)
    try:
        front = yaml.safe_load(match.group(1)) if match else None
    except (yaml.YAMLError, ValueError):
        front = None
    if match is None or not isinstance(front, dict):
        return {}, text
    return {str(key): value for key, value in front.items()}, text[match.end() :]


def _html(text: str, name: str) -> Found:
    """The article on a page. Raises RecordFailed if trafilatura finds none."""
    import trafilatura  # noqa: PLC0415  0.2 s that only HTML needs
    from trafilatura.metadata import extract_metadata  # noqa: PLC0415  as above

    kept = _PRE.sub(lambda code: _BLANK_LINE.sub(f"\n{_KEPT_LINE}", code.group()), text)
    body = trafilatura.extract(
        kept, output_format="markdown", include_formatting=True, include_comments=False, favor_recall=True
    )
    if not body:
        raise RecordFailed("no_text", "no article was found on the page")
    page = extract_metadata(text)
    return Found(
        place=name,
        text=body.replace(_KEPT_LINE, ""),
        source_id=name,
        title=as_words(page.title) or Path(name).stem,
        author=as_words(page.author),
        link=as_words(page.url),
        platform=as_words(page.sitename),
        licence=as_words(page.license),
        markup="markdown",
    )


_READERS = {".md": _markdown, ".markdown": _markdown, ".html": _html, ".htm": _html, ".txt": _plain}
