"""Articles from files, folders and Hugging Face datasets, as their authors wrote them.

    place -> reader -> Found -> tidy -> without_clutter -> Article
               |                                          |
               +--> Loss                                  +--> Loss

Order is fixed: a folder by relative path, a table by row. Nothing depends on clocks or on the file system's
whims, so two runs over the same files give the same articles in the same order. What cannot be read becomes
a `Loss` at its place and reading goes on; what is wrong with the whole source is a `UserError`, since a
nightly run over half of its articles would be worse than none.

The title belongs to `Article.title`. Where the text opens with the very same words as a heading, that
heading goes: a page shows its title up to four times, and which of them is the author's cannot be told.

Measured on an export of 76 real articles (1.03 million characters): tidying and taking off the page leave
921 thousand, in 0.6 s; after it no first or last 300 characters hold a phrase of the page, before it 74
articles did.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from pipeline.errors import UserError
from pipeline.identity import digest
from pipeline.options import RecipePath
from pipeline.records import Article, Loss
from pipeline.registry import register
from pipeline.sources.clutter import without_clutter
from pipeline.sources.files import READ, TABLES, TEXTS, files_below
from pipeline.sources.found import Columns, Found, lost, read_rows
from pipeline.sources.hub import dataset_rows
from pipeline.sources.origin import Origin
from pipeline.sources.tables import rows_of
from pipeline.sources.texts import article_in
from pipeline.sources.tidy import Markup, heading_words, looks_like_markdown, one_line, tidy


@register("source")
class Articles(Origin):
    """Articles from a file, a folder or a Hugging Face dataset."""

    use: Literal["articles"] = "articles"
    """Name of this source."""
    path: RecipePath | None = None
    """File or folder of JSON, JSONL, CSV, TSV, Parquet, Markdown, text or HTML; relative to the recipe."""
    columns: Columns = Columns()
    """Which column holds the text, the title, the id and so on; usual names are found without it."""
    markup: Literal["auto", "markdown", "plain"] = "auto"
    """How the texts are marked up; auto: by the file's kind, else by looking at each text."""
    at_most: int = Field(default=5_000_000, ge=1)
    """Longest article, in characters; a longer one is filed as too_long."""
    licence: str = ""
    """Licence of every article that does not state its own."""

    def __call__(self) -> Iterator[Article | Loss]:
        """Every article, or why it is none, in an order that is always the same.

        Raises:
            UserError: the source as a whole cannot be read; says what, where and the remedy.
            ProviderDown: the Hub cannot be reached.
        """
        for found in self.found():
            yield found if isinstance(found, Loss) else self._article(found)

    def found(self) -> Iterator[Found | Loss]:
        """Every text as its reader found it, before tidying. Raises as a call does."""
        if self.dataset is not None:
            rows = dataset_rows(self.dataset, config=self.config, split=self.split, revision=self.revision)
            yield from read_rows(rows, self.columns)
        elif self.path is not None:
            alone = not self.path.is_dir()
            for path, name in files_below(self.path):
                yield from self._in_file(path, name, alone=alone)

    def _in_file(self, path: Path, name: str, *, alone: bool) -> Iterator[Found | Loss]:
        """The articles of one file. A file of another kind is an error if it was asked for, else a Loss."""
        kind = path.suffix.lower()
        if kind in TEXTS:
            yield article_in(path, name, at_most=self.at_most)
        elif kind in TABLES:
            yield from read_rows(rows_of(path, name), self.columns)
        elif alone:
            raise UserError(f"files of kind {kind!r} are not read", where=name, remedy=f"Read are {READ}")
        else:
            yield lost(name, "not_a_text", f"read are {READ}", fate="dropped")

    def _article(self, found: Found) -> Article | Loss:
        if len(found.text) > self.at_most:
            return lost(found.place, "too_long", f"{len(found.text)} characters, at most {self.at_most}")
        title, author = one_line(found.title), one_line(found.author)
        text = tidy(found.text, self._markup_of(found))
        names = (
            title,
            one_line(found.subtitle),
            author,
            one_line(found.platform),
            urlsplit(found.link).hostname or "",
        )
        text = without_title(without_clutter(text, names), title)
        if not text.strip():
            return lost(
                found.place,
                "empty",
                "nothing but blanks" if not found.text.strip() else "nothing but the page",
            )
        link = one_line(found.link)
        return Article(
            # never the row's number: articles that come before it would move it to the other side of the split
            source_id=one_line(found.source_id) or link or title or digest("article", text),
            title=title,
            text=text,
            author=author,
            link=link,
            platform=one_line(found.platform),
            licence=one_line(found.licence) or self.licence,
        )

    def _markup_of(self, found: Found) -> Markup:
        if self.markup != "auto":
            return self.markup
        return found.markup or ("markdown" if looks_like_markdown(found.text) else "plain")


def without_title(text: str, title: str) -> str:
    """A tidied text without the heading that repeats its title at the very top."""
    first, _, rest = text.partition("\n")
    repeats = first.startswith("#") and heading_words(first) == heading_words(title)
    return rest.lstrip("\n") if repeats else text
