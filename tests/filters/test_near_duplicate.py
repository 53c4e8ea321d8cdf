"""Near-duplicates: the first of almost equal pairs stays, and no twin of a held-out pair is left in training."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.held_out import HeldOut
from filters.near_duplicate import NearDuplicate
from pipeline.records import Preference
from pipeline.text.near import Near, signature
from pipeline.text.words import shingles
from tests.support.build import SENTENCES, STEADY, make_candidates, make_pair, make_preference, make_source

LONG = (
    "A hive of forty thousand bees shares one store of honey through the winter, and no bee that eats of it in March "
    "was alive when it was gathered in July; the cluster turns over slowly so that nobody freezes at its edge."
)
OTHER = (
    "Tea that was picked before the rains of April is sold by the ounce, and the leaves of one morning go through the "
    "hands of a family of six before they are dry enough to be pressed, wrapped, stamped and carried down the hill."
)


def codes(*pairs: Preference, **options: object) -> list[str]:
    return [decision.code for decision in NearDuplicate.model_validate(options)(pairs)]


def changed(text: str, *places: int) -> str:
    """The text with the words at these places replaced."""
    words = text.split()
    return " ".join("otherwise" if place in places else word for place, word in enumerate(words))


def test_the_first_of_two_pairs_that_differ_in_one_word_stays() -> None:
    one, two = make_pair(LONG, OTHER), make_pair(changed(LONG, 5), OTHER)
    assert codes(one, two) == ["", "seen"]
    assert codes(two, one) == ["", "seen"]


def test_a_pair_that_was_dropped_as_a_duplicate_hides_nothing_else() -> None:
    """Each is like the one before and unlike the first: what is compared is what was kept."""
    chain = [changed(LONG, *range(3 * step)) for step in range(8)]
    kept = [
        text
        for text, code in zip(chain, codes(*(make_pair(text, "") for text in chain), of="chosen"), strict=True)
        if not code
    ]
    assert 1 < len(kept) < len(chain)


def test_pairs_with_nothing_in_common_all_stay() -> None:
    assert codes(make_pair(LONG, "No."), make_pair(OTHER, "Yes."), make_pair(SENTENCES[0], SENTENCES[1])) == [
        "",
        "",
        "",
    ]


def test_the_same_question_with_other_answers_is_another_pair_unless_questions_are_compared() -> None:
    one, two = make_pair(LONG, SENTENCES[0]), make_pair(OTHER, SENTENCES[1])
    assert codes(one, two) == ["", ""]
    assert codes(one, two, of="instruction") == ["", "seen"]
    assert codes(one, make_pair(LONG, SENTENCES[1]), of="chosen") == ["", "seen"]


def test_the_likeness_that_was_measured_is_told() -> None:
    one, two = NearDuplicate()([make_pair(LONG, OTHER), make_pair(LONG, OTHER, "How?")])
    assert one.measured == 0
    assert 0.8 <= two.measured <= 1


def test_chinese_is_compared_by_characters() -> None:
    text = "蜜蜂在蜂巢里跳舞，告诉同伴花在哪里，舞的角度就是太阳的角度，下雨的时候它们待在家里不出门。"
    assert codes(make_pair(text, "好"), make_pair(text.replace("同伴", "朋友"), "好"), likeness=0.7) == ["", "seen"]
    assert codes(make_pair(text, "好"), make_pair("茶叶在四月的雨前采摘最好，一家六口人从早到晚都在忙。", "好")) == [
        "",
        "",
    ]


@given(st.lists(st.sampled_from("abcdefghij"), min_size=12, max_size=40), st.integers(0, 11))
@settings(STEADY, max_examples=200)
def test_what_is_found_is_as_like_as_was_asked_for(letters: list[str], place: int) -> None:
    """Against the exact likeness: a signature's error is 0.037, and five of them cover all but one in a million."""
    one, other = " ".join(letters), changed(" ".join(letters), place)
    sets = [set(shingles(text, 3)) for text in (one, other)]
    exact = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    near = Near[int](0.8)
    near.remember(7, signature(one))
    found = near.find(signature(other))
    assert found is None or (found[0] == 7 and exact > 0.6)
    assert found is not None or exact < 0.97


# --- the split ---


def preference(sentences: list[str], instruction: str, source_id: str) -> Preference:
    source = make_source([*sentences, *SENTENCES], source_id=source_id)
    return make_preference(candidates=make_candidates(instruction, chunk=source.chunk))


@pytest.mark.parametrize("order", [1, -1])
def test_the_twin_in_training_goes_and_the_held_out_pair_stays_whichever_comes_first(order: int) -> None:
    held_out = preference(["Unlike."], "What do forty thousand bees share all through the winter?", "a")
    twin = preference(["Quite."], "What do forty thousand bees share all through the winter?", "b")
    held_out_ids = frozenset([held_out.candidates.source.article_id])
    filter_ = HeldOut(articles=held_out_ids, likeness=0.8)
    assert held_out.candidates.source.article_id != twin.candidates.source.article_id
    pairs = [held_out, twin][::order]
    assert [decision.code for decision in filter_(pairs)] == ["", "near_held_out"][::order]


def test_two_twins_on_one_side_both_stay() -> None:
    one, two = (preference([name], "What do forty thousand bees share all winter?", name) for name in ("One.", "Two."))
    both = frozenset(pair.candidates.source.article_id for pair in (one, two))
    for articles in (both, frozenset[str]()):
        assert [decision.keep for decision in HeldOut(articles=articles, likeness=0.8)([one, two])] == [True, True]


def test_an_answer_alone_gives_a_held_out_pair_away() -> None:
    held_out, twin = make_pair(LONG, "No.", "What do bees eat?"), make_pair(LONG, "Yes.", "Who gathers the honey?")
    other = preference(["Other."], "What else is there to be asked about tea and rain?", "other")
    articles = frozenset([other.candidates.source.article_id])
    told = HeldOut(articles=articles, likeness=0.8)
    assert [decision.keep for decision in told([held_out, twin, other])] == [True, True, True]
    moved = twin.but(candidates=twin.candidates.but(source=other.candidates.source))
    assert [decision.code for decision in told([held_out, moved])] == ["near_held_out", ""]
