"""Filters that compare pairs with one another, with votes, and with benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.balance import Balance
from filters.contamination import Contamination
from filters.contradicting import Contradicting
from filters.difficulty import Difficulty, difficulty
from filters.length import Length
from filters.strength import Strength
from pipeline.errors import UserError
from pipeline.records import Preference, Said
from tests.support.build import STEADY, make_candidates, make_pair, make_preference, make_verdict

QUESTION = "How many legs do three spiders and two bees have when they stand on one table together?"
FEW = Path(__file__).with_name("questions") / "few.txt"


# --- contradictions ---


def test_both_sides_of_a_contradiction_go_and_nothing_else() -> None:
    one, other = make_pair("A hive.", "A box."), make_pair("a box", "A hive!")
    same, elsewhere = make_pair("A hive.", "A box.", "What?"), make_pair("A hive.", "A jar.")
    codes = [decision.code for decision in Contradicting()([one, same, other, elsewhere, one])]
    assert codes == ["other_way_round", "", "other_way_round", "", "other_way_round"]


def test_a_pair_that_is_said_twice_contradicts_nothing() -> None:
    assert all(decision.keep for decision in Contradicting()([make_pair("A hive.", "A box.")] * 2))


# --- balance ---


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40), st.floats(0, 0.5), st.floats(0.5, 1))
@settings(STEADY, max_examples=300)
def test_what_is_left_lies_within_the_bounds_and_no_pair_could_have_stayed(
    sizes: list[tuple[int, int]], low: float, high: float
) -> None:
    pairs = [make_pair("x" * chosen, "y" * rejected, str(place)) for place, (chosen, rejected) in enumerate(sizes)]
    decisions = list(Balance(longer_share=(low, high))(pairs))
    left = [size for size, decision in zip(sizes, decisions, strict=True) if decision.keep]
    longer, shorter = (sum((chosen - rejected) * sign > 0 for chosen, rejected in left) for sign in (1, -1))
    if longer + shorter:
        assert low - 1e-9 <= longer / (longer + shorter) <= high + 1e-9
    dropped = [size for size, decision in zip(sizes, decisions, strict=True) if not decision.keep]
    assert not any(chosen == rejected for chosen, rejected in dropped)
    if dropped:  # one more of what there is too much of would be too many
        grown = longer + 1 if dropped[0][0] > dropped[0][1] else longer
        share = grown / (longer + shorter + 1)
        assert not low <= share <= high


def test_of_too_many_those_go_that_differ_most() -> None:
    pairs = [make_pair("x" * size, "y" * 10, str(size)) for size in (11, 40, 12, 5)]
    codes = [decision.code for decision in Balance(longer_share=(0.0, 0.6))(pairs)]
    assert codes == ["", "longer_chosen", "longer_chosen", ""]


@pytest.mark.parametrize("bounds", [(0.6, 0.4), (0, 0), (1, 1), (-0.1, 0.5)])
def test_bounds_that_nothing_can_meet_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"bound|greater|less"):
        Balance(longer_share=bounds)


# --- votes ---


def voted(*said: Said, probability: float | None = None, strength: float | None = 0.5) -> Preference:
    """A preference for the answer that stands first unless swapped; every other verdict is swapped."""
    candidates = make_candidates()
    verdicts = [
        make_verdict(candidates, word, swapped=bool(place % 2)).but(probability=probability)
        for place, word in enumerate(said)
    ]
    first = candidates.answer(candidates.answer_ids[0]).origin
    return make_preference(first, candidates, verdicts, strength)


def test_a_weak_pair_goes_and_one_without_votes_stays() -> None:
    pairs = [voted(strength=strength) for strength in (0.0, 0.49, 0.5, 1.0, None)]
    assert [decision.code for decision in Strength()(pairs)] == ["weak", "weak", "", "", ""]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["a"], 0.0),
        (["a", "b"], 0.0),
        (["a", "a"], 1.0),
        (["tie"], 1.0),
        (["a", "tie"], 0.5),
        (["unreadable"], 0.0),
        ([], 0.0),
        (["b"], 0.0),
    ],
)
def test_difficulty_is_how_torn_the_judges_are(said: list[Said], expected: float) -> None:
    assert difficulty(voted(*said)) == pytest.approx(expected)


def test_difficulty_goes_by_probabilities_where_there_are_any_whatever_the_order() -> None:
    assert difficulty(voted("a", probability=0.9)) == pytest.approx(0.2)
    assert difficulty(voted("a", "b", probability=0.9)) == pytest.approx(1.0), "the second one speaks of the other"


def test_a_pair_too_hard_or_too_easy_goes() -> None:
    pairs = [voted("a", "b"), voted("a", "tie"), voted("a", "a")]
    assert [decision.code for decision in Difficulty(at_least=0.1)(pairs)] == ["too_easy", "", "too_hard"]


# --- lengths on both sides ---


@pytest.mark.parametrize(
    ("chosen", "rejected", "options", "code"),
    [
        (10, 4, {"rejected_at_least": 5}, "rejected_too_short"),
        (10, 5, {"rejected_at_least": 5}, ""),
        (10, 6, {"rejected_at_most": 5}, "rejected_too_long"),
        (10, 5, {"ratio": [0.5, 2]}, ""),
        (11, 5, {"ratio": [0.5, 2]}, "ratio"),
        (4, 9, {"ratio": [0.5, 2]}, "ratio"),
        (4, 0, {"ratio": [0.5, 2]}, "ratio"),
    ],
)
def test_lengths_are_bounded_on_both_sides_and_in_their_ratio(
    chosen: int, rejected: int, options: dict[str, Any], code: str
) -> None:
    filter_ = Length.model_validate({"at_least": 0} | options)
    (decision,) = filter_([make_pair("x" * chosen, "y" * rejected)])
    assert decision.code == code


def test_a_ratio_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValueError, match="lower bound"):
        Length(ratio=(2, 1))


# --- benchmarks ---


def contaminated(*texts: str, **options: Any) -> list[float]:
    filter_ = Contamination.model_validate({"benchmarks": [{"path": FEW}]} | options)
    return [decision.measured for decision in filter_([make_pair(text, "No.", "?") for text in texts])]


def test_a_pair_that_holds_a_question_is_found_wherever_it_stands() -> None:
    whole, half, none = contaminated(f"They ask: {QUESTION} I wonder.", QUESTION[:48], "How many legs has a bee?")
    assert whole == 1
    assert 0 < half < 1
    assert none == 0


def test_a_short_question_is_found_only_as_a_whole() -> None:
    assert contaminated("What is RAG?", "what is rag", "What is RAG good for?") == [1, 1, 0]


def test_a_file_that_changes_makes_another_run(tmp_path: Path) -> None:
    digests = []
    for words in ("one question", "another question"):
        path = tmp_path / f"{words}.jsonl"
        path.write_text(f'{{"q": "{words}"}}\n')
        digests.append(Contamination.model_validate({"benchmarks": [{"path": path}]}).evidence_digest)
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("benchmark", "what"),
    [
        ({"path": "nowhere.jsonl"}, "no such benchmark file"),
        ({"path": "few.docx"}, "no such benchmark file"),
        ({"path": "few.txt", "columns": ["question"]}, "no text in column 'question'"),
        ({"path": "few.txt", "dataset": "a/b"}, "by `path` or by `dataset`"),
        ({}, "by `path` or by `dataset`"),
        ({"path": "empty.txt"}, "nothing in it"),
        ({"path": "numbers.jsonl"}, "no column holds text"),
    ],
)
def test_a_benchmark_that_cannot_be_read_is_named(benchmark: dict[str, Any], what: str, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text(QUESTION)
    (tmp_path / "few.docx").write_text(QUESTION)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "numbers.jsonl").write_text('{"a": 1}\n')
    context = {"folder": tmp_path}
    filter_ = Contamination.model_validate({"benchmarks": [benchmark]}, context=context)
    with pytest.raises(UserError, match=what):
        list(filter_([make_pair("A", "B")]))
