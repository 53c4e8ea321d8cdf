"""Publishing: what was decided is what a trainer reads, and an article stays on its side of the split."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.recipe import Split
from pipeline.records import Answer, Article, Preference, Said, Verdict
from pipeline.stages import publish
from pipeline.stages.publish import SCHEMA, Kept, Wording, is_grounded, row, with_articles, write_dataset
from pipeline.store import DatasetFacts
from tests.support.build import (
    SENTENCES,
    STEADY,
    Source,
    make_candidates,
    make_pair,
    make_preference,
    make_several,
    make_source,
    make_verdict,
)

COLUMNS = {
    "prompt": "turns",
    "chosen": "turns",
    "rejected": "turns",
    "id": "string",
    "run_id": "string",
    "source_id": "string",
    "article_id": "string",
    "chunk_id": "string",
    "title": "string",
    "author": "string",
    "link": "string",
    "licence": "string",
    "chosen_origin": "string",
    "rejected_origin": "string",
    "chosen_model": "string",
    "rejected_model": "string",
    "chosen_temperature": "float64",
    "rejected_temperature": "float64",
    "candidates": "int64",
    "extracted_spans": "spans",
    "model": "string",
    "temperature": "float64",
    "prompt_name": "string",
    "prompt_version": "string",
    "strength": "float64",
    "votes": "votes",
}
"""The columns that readers of the dataset rely on, in their order."""


def source_called(source_id: str) -> Source:
    return make_source([f"{sentence} ({source_id})" for sentence in SENTENCES], source_id=source_id)


def pair_from(source: Source, chosen: str = "extracted", instruction: str = "How?") -> Kept:
    candidates = make_candidates(instruction, chunk=source.chunk)
    verdicts = [make_verdict(candidates, "a"), make_verdict(candidates, "b", swapped=True)]
    return Kept(make_preference(chosen, candidates, verdicts, 0.5), source.article)


def pairs_of(articles: int, per_article: int = 2) -> list[Kept]:
    sources = [source_called(f"article-{number}") for number in range(articles)]
    return [pair_from(source, instruction=f"{number}?") for source in sources for number in range(per_article)]


def written(folder: Path, pairs: Iterable[Kept], test: float = 0.5) -> DatasetFacts:
    return write_dataset(folder, pairs, "run-1", Split(test=test))


def loaded(folder: Path, cache: Path) -> Any:
    import datasets  # noqa: PLC0415  takes seconds, and few tests need it

    return datasets.load_dataset(str(folder), cache_dir=str(cache))


# --- rows ---


def test_rows_come_back_from_the_datasets_library_as_they_were_written_in_both_splits(tmp_path: Path) -> None:
    pairs = pairs_of(12)
    facts = written(tmp_path / "dataset", pairs)
    splits = loaded(tmp_path / "dataset", tmp_path / "cache")
    assert set(splits) == {"train", "test"}
    assert (facts.train, facts.test) == (len(splits["train"]), len(splits["test"]))
    assert min(facts.train, facts.test) > 0
    read = {found["id"]: found for split in splits.values() for found in split}
    assert read == {pair.preference.id: row(pair, "run-1") for pair in pairs}
    for name, split in splits.items():
        assert all(Split(test=0.5).side(found["source_id"]) == name for found in split)


def test_a_split_without_rows_is_absent(tmp_path: Path) -> None:
    facts = written(tmp_path / "dataset", pairs_of(4), test=0)
    assert (facts.train, facts.test) == (8, 0)
    assert [path.name for path in sorted((tmp_path / "dataset" / "data").iterdir())] == ["train-00000-of-00001.parquet"]
    assert set(loaded(tmp_path / "dataset", tmp_path / "cache")) == {"train"}


def test_a_dataset_has_these_columns_of_these_types(tmp_path: Path) -> None:
    written(tmp_path, pairs_of(2), test=0)
    table = pq.read_table(tmp_path / "data" / "train-00000-of-00001.parquet")
    assert table.schema.names == list(COLUMNS)
    shapes = {
        "turns": [("role", "string"), ("content", "string")],
        "spans": [("start", "int64"), ("end", "int64")],
        "votes": [
            ("judge", "string"),
            ("model", "string"),
            ("prompts", "list<element: string>"),
            ("temperature", "double"),
            ("chosen_first", "bool"),
            ("said", "string"),
        ],
    }
    for name, kind in COLUMNS.items():
        found = table.schema.field(name).type
        if kind in shapes:
            assert [(part.name, str(part.type)) for part in found.value_type] == shapes[kind]
        else:
            assert str(found).replace("double", "float64") == kind
    assert table.schema.equals(SCHEMA)


@pytest.mark.parametrize("chosen", ["extracted", "generated"])
def test_chosen_and_rejected_are_the_right_texts_whoever_won(chosen: str) -> None:
    source = make_source()
    candidates = make_candidates("How?", "By dancing.", [3], source.chunk)
    found: Any = row(Kept(make_preference(chosen, candidates), source.article), "run-7")
    texts = {"extracted": SENTENCES[2], "generated": "By dancing."}
    rejected = "generated" if chosen == "extracted" else "extracted"
    assert found["prompt"] == [{"role": "user", "content": "How?"}]
    assert found["chosen"] == [{"role": "assistant", "content": texts[chosen]}]
    assert found["rejected"] == [{"role": "assistant", "content": texts[rejected]}]
    assert (found["chosen_origin"], found["rejected_origin"]) == (chosen, rejected)


@given(st.lists(st.integers(1, 5), min_size=1), st.sampled_from(["extracted", "generated"]))
@settings(STEADY, max_examples=40)
def test_the_extract_can_always_be_cut_from_the_article_again(numbers: list[int], chosen: str) -> None:
    source = make_source(between="\n\n")
    found: Any = row(
        Kept(make_preference(chosen, make_candidates(numbers=numbers, chunk=source.chunk)), source.article), "run-1"
    )
    (turn,) = found["chosen" if chosen == "extracted" else "rejected"]
    text = " ".join(source.article.text[span["start"] : span["end"]] for span in found["extracted_spans"])
    assert turn["content"] == text
    assert found["article_id"] == source.article.id


def test_a_row_says_where_everything_comes_from() -> None:
    source = make_source()
    pair = make_preference(candidates=make_candidates(chunk=source.chunk, temperature=0.3), strength=0.25)
    found = row(Kept(pair, source.article), "run-7")
    assert list(found) == list(COLUMNS)
    assert {name: found[name] for name in ("run_id", "source_id", "title", "licence", "model", "temperature")} == {
        "run_id": "run-7",
        "source_id": "bees",
        "title": "Bees",
        "licence": "CC0-1.0",
        "model": "writer-1",
        "temperature": 0.3,
    }
    assert (found["id"], found["chunk_id"], found["strength"]) == (pair.id, source.chunk.id, 0.25)
    assert (found["prompt_name"], found["prompt_version"]) == ("triples", "0123456789abcdef")


def test_what_is_not_known_is_empty_and_not_invented(tmp_path: Path) -> None:
    source = make_source()
    given_pair = Kept(make_pair("Given.", "Written."), source.article)
    unset = make_preference(candidates=make_candidates(chunk=source.chunk, temperature=None), strength=None)
    assert row(given_pair, "run-1")["extracted_spans"] == []
    assert row(Kept(unset, source.article), "run-1")["temperature"] is None
    written(tmp_path, [given_pair, Kept(unset, source.article)], test=0)
    table = pq.read_table(tmp_path / "data" / "train-00000-of-00001.parquet").to_pylist()
    assert [found["strength"] for found in table] == [None, None]
    assert [found["votes"] for found in table] == [[], []]


VOTES: list[tuple[Said, bool, bool, str]] = [
    # said, shown y first; the first of the two answers by id is x and is the chosen one: chosen first, and what it says
    ("a", False, True, "chosen"),
    ("b", False, True, "rejected"),
    ("a", True, False, "rejected"),
    ("b", True, False, "chosen"),
    ("tie", False, True, "tie"),
    ("tie", True, False, "tie"),
    ("unreadable", False, True, "unreadable"),
    ("unreadable", True, False, "unreadable"),
]


@pytest.mark.parametrize(("said", "swapped", "chosen_first", "what"), VOTES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_vote_names_the_answer_by_its_fate_and_says_whether_the_chosen_one_stood_first(
    said: Said, swapped: bool, chosen_first: bool, what: str, mirrored: bool
) -> None:
    source = make_source()
    candidates = make_candidates(chunk=source.chunk)
    x, y = candidates.answer_ids
    chosen, rejected = (y, x) if mirrored else (x, y)
    vote = make_verdict(candidates, said, swapped=swapped)
    pair = Preference(candidates=candidates, verdicts=(vote,), chosen=chosen, rejected=rejected, strength=1.0)
    found: Any = row(Kept(pair, source.article), "run-1")
    if mirrored:
        chosen_first, what = not chosen_first, {"chosen": "rejected", "rejected": "chosen"}.get(what, what)
    (told,) = found["votes"]
    assert (told["judge"], told["model"], told["chosen_first"], told["said"]) == (
        "pairwise:one",
        "judge-1",
        chosen_first,
        what,
    )


def test_a_vote_says_how_its_judge_was_asked_and_invents_nothing() -> None:
    source = make_source()
    candidates = make_candidates(chunk=source.chunk)
    votes = [make_verdict(candidates, "a"), make_verdict(candidates, "a", judge="length")]
    jury = {"pairwise:one": Wording(("pairwise 0123",), 0.2)}
    found: Any = row(Kept(make_preference(candidates=candidates, verdicts=votes), source.article), "run-1", jury=jury)
    assert [(vote["prompts"], vote["temperature"]) for vote in found["votes"]] == [(["pairwise 0123"], 0.2), ([], None)]


@pytest.mark.parametrize(
    ("generated", "grounded"),
    [
        ("They said that Foragers DANCE to name a place, no less.", True),
        ("Foragers dance to name places.", False),
        ("Rain keeps them in", True),
        ("Rain keeps us in", False),
        ("Rain keep", False),
        ("...", False),
    ],
)
def test_an_answer_is_grounded_if_it_repeats_five_words_of_its_chunk(generated: str, grounded: bool) -> None:
    source = make_source()
    answers = (Answer(text=generated, origin="generated"), Answer(text="Nothing of the kind.", origin="given"))
    candidates = make_candidates(chunk=source.chunk).but(answers=answers)
    pair = Preference(candidates=candidates, verdicts=(), chosen=answers[0].id, rejected=answers[1].id, strength=None)
    assert is_grounded(pair) == grounded
    assert is_grounded(pair.but(chosen=pair.rejected, rejected=pair.chosen)) == grounded
    assert is_grounded(make_preference(candidates=make_candidates(chunk=source.chunk)))


# --- several answers ---


@pytest.mark.parametrize(("chosen", "rejected"), [(1, 3), (3, 1), (0, 2), (2, 0)])
def test_of_several_answers_a_row_tells_of_the_two_of_the_pair_and_holds_the_votes_between_them(
    chosen: int, rejected: int
) -> None:
    source = make_source()
    candidates = make_several("One.", "Two.", "Three.", chunk=source.chunk)
    better, worse, other = (
        candidates.answers[place] for place in (chosen, rejected, ({0, 1, 2} - {chosen, rejected}).pop())
    )

    def vote(x: Answer, y: Answer, said: Said) -> Verdict:
        return Verdict(judge="one", x=x.id, y=y.id, swapped=False, said=said)

    verdicts = (vote(better, other, "b"), vote(better, worse, "a"), vote(worse, other, "tie"), vote(worse, better, "b"))
    pair = Preference(candidates=candidates, verdicts=verdicts, chosen=better.id, rejected=worse.id, strength=1.0)
    found: Any = row(Kept(pair, source.article), "run-1")
    assert (found["chosen"][0]["content"], found["rejected"][0]["content"]) == (better.text, worse.text)
    assert (found["chosen_model"], found["rejected_model"]) == (better.model, worse.model)
    drawn = [None, 0.1, 0.2, 0.3]
    assert (found["chosen_temperature"], found["rejected_temperature"]) == (drawn[chosen], drawn[rejected])
    written = better if better.origin == "generated" else worse
    assert (found["model"], found["temperature"]) == (written.model, drawn[candidates.answers.index(written)])
    assert found["candidates"] == 4
    assert [(item["said"], item["chosen_first"]) for item in found["votes"]] == [("chosen", True), ("chosen", False)]
    assert bool(found["extracted_spans"]) == (0 in (chosen, rejected))


# --- what is kept ---


def test_each_pair_comes_with_its_own_article() -> None:
    sources = [source_called(name) for name in ("one", "two", "three", "four")]
    left = [pair_from(source).preference for source in (sources[0], sources[0], sources[3])]
    found = list(with_articles(left, iter([source.article for source in sources])))
    assert [(pair.preference.id, pair.article.source_id) for pair in found] == [
        (left[0].id, "one"),
        (left[1].id, "one"),
        (left[2].id, "four"),
    ]


def test_a_pair_without_its_article_stops_the_dataset() -> None:
    with pytest.raises(RuntimeError, match="article"):
        list(with_articles([pair_from(source_called("one")).preference], iter([source_called("two").article])))


@pytest.mark.parametrize("change", [str.upper, lambda text: text + ".", lambda text: text[1:], lambda _: "Made up."])
@pytest.mark.parametrize("chosen", ["extracted", "generated"])
def test_an_extract_that_was_tampered_with_stops_the_dataset(change: Any, chosen: str) -> None:
    source = make_source()
    candidates = make_candidates(chunk=source.chunk)
    false = candidates.answers[0].but(text=change(candidates.answers[0].text))
    pair = make_preference(chosen, candidates.but(answers=(false, candidates.answers[1])))
    with pytest.raises(RuntimeError, match="not what its article says"):
        list(with_articles([pair], iter([source.article])))


def test_an_article_that_was_edited_after_it_was_cut_stops_the_dataset() -> None:
    source = make_source()
    other = make_source([*SENTENCES[:2], "Edited.", *SENTENCES[3:]])
    pair = make_preference(candidates=make_candidates(chunk=source.chunk))
    with pytest.raises(RuntimeError):
        list(with_articles([pair], iter([other.article])))


# --- the split ---

IDS = st.text(min_size=1, max_size=30)


@given(st.lists(IDS, unique=True, max_size=20), st.floats(0, 0.99))
@settings(STEADY, max_examples=100)
def test_an_article_stays_on_its_side_whatever_else_is_built_and_whatever_its_text_becomes(
    source_ids: list[str], test: float
) -> None:
    alone = {source_id: Split(test=test).side(source_id) for source_id in source_ids}
    for source_id in reversed([*source_ids, "new"]):
        edited = Article(source_id=source_id, text=f"Edited: {source_id}", title="Another")
        assert Split(test=test).side(edited.source_id) == alone.get(source_id, Split(test=test).side(source_id))
    assert {source_id: Split(test=test).side(source_id) for source_id in source_ids} == alone


@given(IDS, st.floats(0, 0.99), st.floats(0, 0.99))
@settings(STEADY, max_examples=200)
def test_a_larger_test_share_takes_articles_from_training_and_gives_none_back(
    source_id: str, one: float, two: float
) -> None:
    if Split(test=min(one, two)).side(source_id) == "test":
        assert Split(test=max(one, two)).side(source_id) == "test"


def test_the_side_is_the_one_that_earlier_builds_were_published_with() -> None:
    """Never change these: an article that moves from test to train spoils every comparison with an earlier build."""
    drawn = "".join("t" if Split(test=0.3).side(f"article-{number}") == "test" else "." for number in range(40))
    assert drawn == ".t..t..ttt..t.tt....t.t.t..t.t...tt..t.t"


def test_over_many_articles_the_test_share_is_what_was_asked_for() -> None:
    for share in (0.0, 0.05, 0.5):
        tests = sum(Split(test=share).side(f"https://example.org/{number}") == "test" for number in range(4000))
        assert abs(tests / 4000 - share) < 0.02


def test_pairs_of_one_article_are_never_on_both_sides(tmp_path: Path) -> None:
    written(tmp_path, pairs_of(20, per_article=3))
    sides: dict[str, set[str]] = {}
    for path in (tmp_path / "data").iterdir():
        for found in pq.read_table(path).to_pylist():
            sides.setdefault(found["source_id"], set()).add(path.name)
    assert len(sides) == 20
    assert all(len(names) == 1 for names in sides.values())


# --- files ---


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_pairs_give_the_same_bytes(tmp_path: Path) -> None:
    facts = [written(tmp_path / name, pairs_of(6)) for name in ("one", "two")]
    assert facts[0] == facts[1]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 2


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
def test_more_rows_than_a_row_group_are_all_there_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(publish, "ROW_GROUP", 3)
    pairs = pairs_of(1, per_article=rows)
    facts = written(tmp_path, pairs, test=0)
    file = pq.ParquetFile(tmp_path / "data" / "train-00000-of-00001.parquet")
    assert [found["id"] for found in file.read().to_pylist()] == [pair.preference.id for pair in pairs]
    assert file.metadata.num_row_groups == -(-rows // 3)
    assert facts.train == rows


def test_an_earlier_dataset_in_the_folder_goes(tmp_path: Path) -> None:
    written(tmp_path, pairs_of(12))
    written(tmp_path, pairs_of(1), test=0)
    assert list(contents(tmp_path)) == ["data/train-00000-of-00001.parquet"]


def test_a_dataset_that_breaks_off_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    def breaking() -> Iterable[Kept]:
        yield from pairs_of(3)
        raise RuntimeError("our bug")

    with pytest.raises(RuntimeError, match="our bug"):
        written(tmp_path, breaking())
    assert not [name for name in contents(tmp_path) if name.endswith(".parquet")]


def test_the_facts_add_up(tmp_path: Path) -> None:
    pairs = [pair_from(source_called(name), chosen) for name in ("one", "two") for chosen in ("extracted", "generated")]
    facts = written(tmp_path, pairs, test=0)
    chosen = [len(pair.preference.chosen_answer.text) for pair in pairs]
    rejected = [len(pair.preference.rejected_answer.text) for pair in pairs]
    assert (facts.train, facts.test, facts.articles, facts.licences) == (4, 0, 2, {"CC0-1.0": 4})
    assert (facts.chosen_characters, facts.rejected_characters) == (sum(chosen), sum(rejected))
    assert facts.chosen_longer == sum(one > two for one, two in zip(chosen, rejected, strict=True))


def test_a_dataset_without_pairs_has_no_files(tmp_path: Path) -> None:
    facts = written(tmp_path, [])
    assert (facts.train, facts.test) == (0, 0)
    assert contents(tmp_path) == {}


def test_text_of_every_script_survives(tmp_path: Path) -> None:
    sentences = ["蜜蜂会跳舞。", "هل يرقص النحل؟", "मधुमक्खियाँ।", "👨‍👩‍👧 \t\u00a0“x”\r\n", "\u0000 is NUL."]
    source = make_source(sentences, between="\n")
    pair = Kept(make_preference(candidates=make_candidates("谁？", "😀\n", [1, 2, 4, 5], source.chunk)), source.article)
    written(tmp_path, [pair], test=0)
    (found,) = pq.read_table(tmp_path / "data" / "train-00000-of-00001.parquet").to_pylist()
    assert found["chosen"][0]["content"] == pair.preference.chosen_answer.text
    assert found["rejected"][0]["content"] == "😀\n"
    assert json.dumps(found, default=str)
