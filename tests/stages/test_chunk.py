"""What every chunking keeps to, whatever the article, and what good chunking looks like."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records import Article, Chunk
from pipeline.stages.chunk import Chunked, chunk
from pipeline.text.settings import ChunkSettings

SMALL = ChunkSettings(at_least=40, at_most=120)
SENTENCE = "This is a sentence of forty characters. "
CODE = "```python\n" + "value = 1\n" * 6 + "```"
FAMILY = "👨\u200d👩\u200d👧\u200d👦"

PARTS = st.sampled_from(
    [
        "# A heading", "## Another one", "Setext\n---", SENTENCE, SENTENCE * 5, "short.", "今天天气很好。" * 8,
        CODE, CODE * 4, "```\nnever closed", "    indented code\n    more", "- one\n- two. Three.\n  - four", "x" * 150,
        "1. first\n2. second",
        "|a|b|\n|-|-|\n|c|d|", "|a|b|\n|-|-|\n" + "|c|d|\n" * 30, "> quoted. Twice.\n> More", "---", "*", FAMILY * 20,
        "<table>\n<tr></tr>", "[a]: b", "line one\r\nLine two\rLine three", "\u00a0", "e.g. Dr. Who v1.2.3",
    ]
)  # fmt: skip
MARKDOWN = st.builds("".join, st.lists(PARTS | st.sampled_from(["\n", "\n\n", " ", ""]), max_size=25))
UNMARKED = st.builds(lambda unit, times: unit * times, st.text(min_size=1, max_size=3), st.integers(1, 600))
BOUNDS = st.tuples(st.integers(1, 80), st.integers(0, 100)).map(
    lambda pair: ChunkSettings(at_least=pair[0], at_most=sum(pair))
)


def _chunk(text: str, bounds: ChunkSettings = SMALL) -> Chunked:
    return chunk(Article(source_id="a", text=text), bounds)


def _sentences(piece: Chunk) -> list[str]:
    return [span.of(piece.text) for span in piece.sentences]


def _remainders(result: Chunked, text: str) -> list[tuple[int, int]]:
    prefix = Article(source_id="a", text=text).id + ":"
    assert all(loss.record.startswith(prefix) for loss in result.losses)
    places = (loss.record.removeprefix(prefix).split("-") for loss in result.losses)
    return [(int(start), int(end)) for start, end in places]


def _check(text: str, bounds: ChunkSettings) -> None:
    result = _chunk(text, bounds)
    for piece in result.chunks:
        assert bounds.at_least <= len(piece.text) <= bounds.at_most
        assert piece.text == text[piece.start : piece.end] == piece.text.strip()
        _check_covered(piece.text, [(span.start, span.end) for span in piece.sentences])
    for loss, (start, end) in zip(result.losses, _remainders(result, text), strict=True):
        assert end - start < bounds.at_least
        assert loss.stage == "chunk"
        assert loss.fate == "dropped"
        assert loss.code in {"short_article", "short_tail"}
    kept = [(piece.start, piece.end) for piece in result.chunks]
    _check_covered(text, sorted([*kept, *_remainders(result, text)]))


def _check_covered(text: str, places: list[tuple[int, int]]) -> None:
    """The places are in order, do not overlap, begin and end with a character and leave blanks only."""
    at = 0
    for start, end in places:
        assert start >= at
        assert not text[at:start].strip()
        assert text[start:end] == text[start:end].strip()
        at = end
    assert not text[at:].strip()


@given(st.text(max_size=400) | MARKDOWN | UNMARKED, BOUNDS)
@settings(max_examples=300, deadline=None)
def test_every_character_is_in_one_chunk_or_one_remainder_and_every_chunk_has_its_length(
    text: str, bounds: ChunkSettings
) -> None:
    _check(text, bounds)


@given(MARKDOWN)
@settings(deadline=None)
def test_the_same_article_gives_the_same_chunks(text: str) -> None:
    assert _chunk(text) == _chunk(text)


@given(st.lists(st.sampled_from([SENTENCE * 3, "# Heading", CODE]), min_size=2, max_size=12))
@settings(deadline=None)
def test_no_cut_stands_in_code_that_fits(parts: list[str]) -> None:
    text = "\n\n".join(parts)
    for piece in _chunk(text).chunks:
        assert piece.text.count("```") % 2 == 0


@pytest.mark.parametrize("text", ["", " \n\t ", "Too short."])
def test_an_article_shorter_than_a_chunk_is_one_remainder(text: str) -> None:
    result = _chunk(text)
    assert result.chunks == ()
    assert [loss.code for loss in result.losses] == ["short_article"]
    assert _remainders(result, text) == [(0, len(text.strip()))]


def test_a_short_tail_is_balanced_with_its_neighbour() -> None:
    text = (SENTENCE * 4).strip()  # 159 characters: three sentences fit into a chunk, and one is too short for another
    result = _chunk(text, ChunkSettings(at_least=60, at_most=120))
    assert result.losses == ()
    assert [len(piece.text) for piece in result.chunks] == [79, 79]


def test_a_short_tail_that_no_cut_can_join_is_dropped_by_name() -> None:
    text = "a" * 110 + ".\n\nTail here."
    result = _chunk(text)
    assert [loss.code for loss in result.losses] == ["short_tail"]
    assert text[slice(*_remainders(result, text)[0])] == "Tail here."


def test_cuts_stand_before_headings_and_never_after_them() -> None:
    text = "\n\n".join(f"# Heading {number}\n\n{SENTENCE * 2}" for number in range(6))
    result = _chunk(text)
    assert [piece.text.splitlines()[0] for piece in result.chunks] == [f"# Heading {number}" for number in range(6)]


def test_a_heading_is_not_stranded_for_the_sake_of_even_lengths() -> None:
    text = f"{'a' * 40}\n\n# {'b' * 28}\n\n{'c' * 87}"  # cut after the heading they would have 72 and 87 characters
    assert [len(piece.text) for piece in _chunk(text).chunks] == [40, 119]


def test_a_cut_stands_between_paragraphs_rather_than_in_one() -> None:
    paragraph = (SENTENCE * 2).strip()
    assert [piece.text for piece in _chunk("\n\n".join([paragraph] * 4)).chunks] == [paragraph] * 4


def test_a_list_stays_with_the_line_that_announces_it() -> None:
    text = f"{SENTENCE * 2}\n\n{SENTENCE}And these are the reasons for that:\n\n- {SENTENCE}\n- {SENTENCE}"
    assert not any(piece.text.endswith(":") for piece in _chunk(text, ChunkSettings(at_least=60, at_most=180)).chunks)


def test_code_longer_than_a_chunk_is_cut_at_lines() -> None:
    text = "```\n" + "a line of code\n" * 40 + "```"
    result = _chunk(text)
    assert result.losses == ()
    assert all(line in {"a line of code", "```"} for piece in result.chunks for line in piece.text.splitlines())


@pytest.mark.parametrize("bounds", [SMALL, ChunkSettings(at_least=5, at_most=20)], ids=["small", "tiny"])
def test_a_text_without_blanks_is_cut_between_grapheme_clusters(bounds: ChunkSettings) -> None:
    result = _chunk(FAMILY * 100, bounds)
    assert result.losses == ()
    assert all(len(piece.text) % len(FAMILY) == 0 for piece in result.chunks)


def test_sentences_are_numbered_as_a_person_would() -> None:
    text = (
        "# The Heading. Of two\n\nFirst one, e.g. this.\nSecond 😀 one!\n\n- an item\n- It has two. Sentences.\n\n"
        + CODE
        + "\n\n|a|b|\n|-|-|\n|c. D|d|\n\n> Quoted words\n> go on. The end."
    )
    (piece,) = _chunk(text, ChunkSettings(at_least=1, at_most=1000)).chunks
    assert _sentences(piece) == [
        "# The Heading. Of two",
        "First one, e.g. this.",
        "Second 😀 one!",
        "- an item",
        "- It has two.",
        "Sentences.",
        CODE,
        "|a|b|\n|-|-|\n|c. D|d|",
        "> Quoted words\n> go on.",
        "The end.",
    ]


def test_the_pieces_of_a_sentence_that_had_to_be_cut_are_one_sentence_of_their_chunk() -> None:
    assert [len(piece.sentences) for piece in _chunk("word " * 100).chunks] == [1] * 5


@pytest.mark.parametrize(
    "text",
    [
        "x" * 500_000,
        "今天很好" * 125_000,
        "今天很好。" * 120_000,
        "# h\n" * 20_000,
        "X\n" * 50_000,
        "> " * 50_000,
        "[" * 500_000,
    ],
    ids=["no blank", "no blank, Chinese", "Chinese", "headings", "one-letter lines", "quotations", "brackets"],
)
def test_hostile_texts_take_no_longer_than_others(text: str) -> None:
    """About a second of this process; what grows with the square takes minutes, however idle the machine."""
    began = time.process_time()
    _chunk(text, ChunkSettings())
    assert time.process_time() - began < 60
