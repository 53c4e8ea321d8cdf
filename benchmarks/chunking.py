"""Which sentence segmenter, and how well the chunks come out: `python benchmarks/chunking.py ARTICLES.json`.

The file is JSON: a list of objects, or an object whose `artifact_data` is one, with the Markdown in
`content.Content`, `content` or `text`. The other segmenters are measured if they are installed
(`pip install pysbd blingfire syntok uniseg nupunkt`); pipeline.text.sentences says what came of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from pipeline.records import Article
from pipeline.stages.chunk import Chunked, chunk
from pipeline.text import sentences as ours
from pipeline.text.atoms import atoms
from pipeline.text.blocks import blocks
from pipeline.text.lines import runs, wrap_width
from pipeline.text.settings import ChunkSettings
from tests.text.hard_sentences import HARD, UNSEEN

Ends = Callable[[str], list[int]]
"""Where sentences end, in characters, blanks after them included or not."""

UNSPACED = {"zh", "zh quote", "zh corner", "zh mixed", "zh ellipsis", "ja", "ja quote mid"}
"""Those written without blanks between sentences."""


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="articles, as JSON")
    texts = list(_texts(parser.parse_args().path))
    _compare(texts)
    _chunks(texts)
    _hostile()


def _texts(path: Path) -> Iterator[str]:
    """The articles' texts."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    for row in rows if isinstance(rows, list) else rows["artifact_data"]:
        content = row.get("content") or row["text"]
        yield content if isinstance(content, str) else content["Content"]


def _segmenters() -> Iterator[tuple[str, Ends]]:
    """Those that are installed, ours last."""
    for name, make in {
        "pysbd": _pysbd,
        "blingfire": _blingfire,
        "syntok": _syntok,
        "uniseg (UAX 29)": _uniseg,
        "nupunkt": _nupunkt,
        "sentencex": _sentencex,
    }.items():
        try:
            yield name, make()
        except ImportError:
            print(f"{name} is not installed: left out", file=sys.stderr)
    yield "sentencex, mended", lambda text: [place.end for place in ours.sentences(text)]


def _load(name: str) -> Any:  # libraries without types
    return import_module(name)


def _sentencex() -> Ends:
    find = _load("sentencex").get_sentence_boundaries
    return lambda text: [found["end_index"] for found in find("en", text)]


def _pysbd() -> Ends:
    segmenter = _load("pysbd").Segmenter(language="en", clean=False, char_span=True)
    return lambda text: [found.end for found in segmenter.segment(text)]


def _blingfire() -> Ends:
    find = _load("blingfire").text_to_sentences_and_offsets
    return lambda text: [end for _, end in find(text)[1]]


def _syntok() -> Ends:
    analyze = _load("syntok.segmenter").analyze
    return lambda text: [
        sentence[-1].offset + len(sentence[-1].value) for paragraph in analyze(text) for sentence in paragraph
    ]


def _uniseg() -> Ends:
    find = _load("uniseg.sentencebreak").sentence_boundaries
    return lambda text: list(find(text))


def _nupunkt() -> Ends:
    find = _load("nupunkt").sent_spans
    return lambda text: [end for _, end in find(text)]


def _compare(texts: list[str]) -> None:
    """One row a segmenter: hard cases, what it does to the articles' prose, and how fast."""
    prose = [words for text in texts for words in _prose(text)]
    size = sum(map(len, prose))
    print(
        f"{len(texts)} articles, {sum(map(len, texts)):,} characters, {size:,} of them in {len(prose):,} runs of prose"
    )
    print(f"{'segmenter':18} hard cases  unseen sentences lower case  short characters/s")
    missed = {}
    for name, ends in _segmenters():
        missed[name] = [case for case, expected in HARD.items() if _cut(_joined(case), ends) != expected]
        right = sum(_cut(" ".join(expected), ends) == expected for expected in UNSEEN)
        started = time.perf_counter()
        found = [sentence for words in prose for sentence in _cut(words, ends)[1:]]
        speed = size / (time.perf_counter() - started)
        lower = sum(sentence[0].islower() for sentence in found)
        short = sum(len(sentence) < 15 for sentence in found)
        hard = f"{len(HARD) - len(missed[name])}/{len(HARD)}"
        row = f"{name:18} {hard:>10} {right:>3}/{len(UNSEEN)} {len(found) + len(prose):9,}"
        print(f"{row} {lower:10} {short:6} {speed:12,.0f}")
    print("lower case, short (less than 15 characters): sentences after a run's first, where it was cut")
    for name, cases in missed.items():
        print(f"{name} fails: {', '.join(cases) or 'none'}")


def _prose(text: str) -> Iterator[str]:
    """The article's prose, as segmenters are given it."""
    found = [block for block in blocks(text) if block.kind == "prose"]
    width = wrap_width(text, [block.place for block in found])
    for block in found:
        yield from (run.words for run in runs(text, block.place, width, nested=block.nested))


def _joined(case: str) -> str:
    return ("" if case in UNSPACED else " ").join(HARD[case])


def _cut(text: str, ends: Ends) -> list[str]:
    """The sentences of a text, trimmed."""
    places = [0, *ends(text), len(text)]
    return [text[start:end].strip() for start, end in pairwise(places) if text[start:end].strip()]


def _chunks(texts: list[str]) -> None:
    """What the whole stage makes of the articles."""
    settings = ChunkSettings()
    articles = [Article(source_id=str(number), text=text) for number, text in enumerate(texts)]
    started = time.perf_counter()
    results = [chunk(article, settings) for article in articles]
    took = time.perf_counter() - started
    lengths = [len(piece.text) for result in results for piece in result.chunks]
    cuts = Counter(cut for article, result in zip(articles, results, strict=True) for cut in _cuts(article, result))
    lost = [loss for result in results for loss in result.losses]
    size, kept = (sum(len("".join(text.split())) for text in group) for group in (texts, _kept(results)))
    print(
        f"\n{len(lengths)} chunks of {min(lengths)} to {max(lengths)} characters, median {median(lengths):.0f}, ",
        end="",
    )
    print(f"deciles {', '.join(f'{decile:.0f}' for decile in quantiles(lengths, n=10))}")
    print(f"sentences in a chunk: {sum(len(c.sentences) for r in results for c in r.chunks) / len(lengths):.1f}")
    print("cuts: " + ", ".join(f"{cut} {count / cuts.total():.1%}" for cut, count in cuts.most_common()))
    print(f"remainders: {dict(Counter(loss.code for loss in lost))}; non-blank characters in chunks: {kept / size:.3%}")
    print(f"{sum(map(len, texts)) / took:,.0f} characters/s")


def _kept(results: list[Chunked]) -> list[str]:
    return [piece.text for result in results for piece in result.chunks]


def _cuts(article: Article, result: Chunked) -> Iterator[str]:
    """Kind of the cut before each chunk but one that begins the article."""
    kinds = {atom.place.start: atom.cut for atom in atoms(article.text, ChunkSettings())[1:]}
    yield from (kinds[piece.start] for piece in result.chunks if piece.start in kinds)


def _hostile() -> None:
    """How long texts take that were made to take long."""
    for name, text in {
        "no blank": "x" * 5_000_000,
        "no blank, Chinese": "今天很好" * 1_250_000,
        "sentences, Chinese": "今天很好。" * 1_000_000,
        "one paragraph": "Hello there world. " * 263_000,
        "paragraphs": ("Hello there world. " * 20 + "\n\n") * 13_000,
        "one-letter lines": "X\n" * 100_000,
        "headings": "# h\n" * 200_000,
        "list": "- x\n" * 250_000,
        "table": "|a|b|\n|-|-|\n" + "|c|d|\n" * 200_000,
        "quotations": "> " * 100_000,
        "code": "```\n" + "a line of code\n" * 330_000,
    }.items():
        started = time.perf_counter()
        count = len(chunk(Article(source_id=name, text=text), ChunkSettings()).chunks)
        print(f"{name:18} {len(text):9,} characters {count:5} chunks {time.perf_counter() - started:6.1f} s")


if __name__ == "__main__":
    main()
