"""The rubric judge: one request per answer, grades that are read strictly, and ties that stay ties."""

from __future__ import annotations

import asyncio
import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from judges.rubric import Rubric
from pipeline.errors import RecordFailed
from pipeline.records import Reply, Request, Showing, Verdict
from tests.support.build import ENGINES, STEADY, Line, Saying, Script, fenced, make_reply, make_showing

SHOWING = make_showing("They dance.", "They sing.", "How do bees talk?")
KEYS = ("relevance", "accuracy", "completeness", "clarity", "structure", "conciseness")
CATEGORIES = ["poor", "fair", "good", "excellent"]


def make(**options: Any) -> Rubric:
    return Rubric.model_validate({"engine": "one"} | options, context={"engines": ENGINES})


def scores(*grades: object, keys: tuple[str, ...] = KEYS, **more: object) -> str:
    """A whole reply: one grade for all criteria, or one for each."""
    each = grades * len(keys) if len(grades) == 1 else grades
    return json.dumps(more | {"scores": dict(zip(keys, each, strict=True))})


def heard(*lines: Line, showing: Showing = SHOWING, **options: Any) -> tuple[Verdict, Script]:
    script = Script(*lines)
    return asyncio.run(make(**options)(showing, script)), script


TWO = {"criteria": ["accuracy", "clarity"]}
ACCURACY_CLARITY = ("accuracy", "clarity")


def two(accuracy: object, clarity: object, **more: object) -> str:
    return scores(accuracy, clarity, keys=ACCURACY_CLARITY, **more)


# --- what follows from the grades ---


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("first", "second", "said"), [(4, 2, "a"), (2, 4, "b"), (3, 3, "tie"), (1, 5, "b")])
def test_the_better_graded_answer_wins_wherever_it_stands_and_equal_grades_are_a_tie(
    first: int, second: int, said: str, swapped: bool
) -> None:
    showing = make_showing("They dance.", "They sing.", swapped=swapped)
    result, script = heard(scores(first), scores(second), showing=showing)
    assert result.said == said
    assert (result.x, result.y, result.swapped) == (showing.x.id, showing.y.id, swapped)
    assert (result.judge, result.model, result.requests) == ("rubric:one", "script-1", script.ids)


def test_different_grades_with_an_equal_mean_are_a_tie_that_nothing_breaks() -> None:
    result, _ = heard(two(5, 1), two(3, 3), **TWO)
    assert result.said == "tie"
    assert result.reason == "3.00 against 3.00: accuracy 5 and 3, clarity 1 and 3"


def test_weights_decide_what_counts_more() -> None:
    lines = two(5, 1), two(1, 5)
    assert heard(*lines, **TWO)[0].said == "tie"
    assert heard(*lines, **TWO, weights={"accuracy": 3})[0].said == "a"
    assert heard(*lines, **TWO, weights={"clarity": 1.5})[0].said == "b"


def test_a_tie_is_exact_whatever_the_weights() -> None:
    criteria = ["accuracy", "clarity", "structure"]
    keys = tuple(criteria)
    weights = {"accuracy": 0.1, "clarity": 0.2, "structure": 0.3}
    assert 0.1 * 2 + 0.2 * 2 + 0.3 * 1 != 0.1 * 1 + 0.2 * 1 + 0.3 * 2  # in floating point, but:
    lines = scores(2, 2, 1, keys=keys), scores(1, 1, 2, keys=keys)
    assert heard(*lines, criteria=criteria, weights=weights)[0].said == "tie"


@pytest.mark.parametrize(("margin", "said"), [(0, "a"), (0.5, "a"), (0.51, "tie"), (4, "tie")])
def test_a_difference_below_the_margin_is_a_tie(margin: float, said: str) -> None:
    assert heard(two(4, 4), two(4, 3), **TWO, at_least_margin=margin)[0].said == said


def test_categories_count_in_their_order() -> None:
    result, script = heard(two("good", "excellent"), two("excellent", "poor"), **TWO, categories=CATEGORIES)
    assert result.said == "a"
    assert result.reason == "2.50 against 1.50: accuracy good and excellent, clarity excellent and poor"
    assert '"poor", "fair", "good", "excellent"' in script.requests[0].messages[0].content


GRADE = st.integers(1, 5)
SHEET = st.tuples(GRADE, GRADE)


@given(SHEET, SHEET, st.floats(0.1, 9), st.sampled_from([0, 0.25, 1]))
@settings(STEADY, max_examples=150)
def test_it_knows_no_position(one: tuple[int, int], other: tuple[int, int], weight: float, margin: float) -> None:
    options: dict[str, Any] = TWO | {"weights": {"accuracy": weight}, "at_least_margin": margin}
    forth, back = (
        heard(two(*first), two(*second), showing=showing, **options)[0]
        for first, second, showing in ((one, other, SHOWING), (other, one, SHOWING.but(swapped=True)))
    )
    assert forth.winner == back.winner
    assert (forth.said == "tie") == (back.said == "tie")


@given(SHEET, SHEET, SHEET)
@settings(STEADY, max_examples=150)
def test_better_than_is_an_order(one: tuple[int, int], two_: tuple[int, int], three: tuple[int, int]) -> None:
    def said(first: tuple[int, int], second: tuple[int, int]) -> str:
        return heard(two(*first), two(*second), **TWO)[0].said

    assume(said(one, two_) in {"a", "tie"})
    assume(said(two_, three) in {"a", "tie"})
    assert said(one, three) in {"a", "tie"}


def test_the_mean_is_in_grades() -> None:
    judge = make(**TWO, weights={"accuracy": 3}, scale=[0, 10])
    assert judge.mean({"accuracy": 10, "clarity": 0}) == Fraction(30, 4)


# --- one request per answer ---


def grader() -> Saying:
    return Saying(lambda request: scores(1 + len(fenced(request.messages[1].content)["answer"]) % 5))


def test_an_answer_is_asked_about_in_the_same_words_wherever_it_stands_and_whatever_it_meets() -> None:
    seen = grader()
    texts = ["They dance.", "They sing.", "Nobody knows."]
    for first in texts:
        for second in texts:
            for swapped in (False, True):
                showing = make_showing(first, second, "How do bees talk?", swapped=swapped)
                asyncio.run(make()(showing.but(pair=f"{first} {second}"), seen))
    assert len({request.id for request in seen.requests}) == len(texts)
    for request in seen.requests:
        assert len([text for text in texts if text in request.messages[1].content]) == 1


def test_an_answer_against_itself_is_one_request_and_a_tie() -> None:
    result, script = heard(scores(4), showing=make_showing("They dance.", "They dance."))
    assert (result.said, result.requests) == ("tie", script.ids)


def test_it_does_not_know_where_answers_come_from() -> None:
    def requests(showing: Showing) -> list[Request]:
        seen = grader()
        asyncio.run(make()(showing, seen))
        return seen.requests

    x, y = (answer.but(origin="extracted", model="gpt-4o", family="gpt") for answer in (SHOWING.x, SHOWING.y))
    assert requests(SHOWING.but(x=x, y=y, pair="q" * 16)) == requests(SHOWING)


# --- what is read ---

UNREADABLE = [
    "4",
    "Accuracy: 4, clarity: 5",
    "{}",
    '{"accuracy": 4, "clarity": 5}',
    '{"scores": 4}',
    '{"scores": []}',
    '{"scores": {}}',
    '{"scores": {"accuracy": 4}}',
    '{"scores": {"accuracy": 4, "clarity": 5, "style": 5}}',
    '{"scores": {"accuracy": 4, "Clarity": 5}}',
    '{"scores": {"accuracy": 4, "accuracy": 1, "clarity": 5}}',
    '{"scores": {"accuracy": 4, "clarity": 5}, "scores": {"accuracy": 1, "clarity": 1}}',
    '{"scores": {"accuracy": 4, "clarity": 5}, "verdict": "first"}',
    '{"reason": "x", "scores": {"accuracy": 4, "clarity": 5}}',
    '{"scores": {"accuracy": 4, "clarity": 0}}',
    '{"scores": {"accuracy": 4, "clarity": 6}}',
    '{"scores": {"accuracy": 4, "clarity": "5"}}',
    '{"scores": {"accuracy": 4, "clarity": 5.0}}',
    '{"scores": {"accuracy": 4, "clarity": 4.5}}',
    '{"scores": {"accuracy": 4, "clarity": true}}',
    '{"scores": {"accuracy": 4, "clarity": null}}',
    '{"scores": {"accuracy": 4, "clarity": [5]}}',
    '{"scores": {"accuracy": 4, "clarity": {"grade": 5}}}',
    'Fine: {"scores": {"accuracy": 4, "clarity": 5}}',
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_anything_but_one_grade_for_each_criterion_is_unreadable_and_asked_again(text: str) -> None:
    again, script = heard(text, two(5, 5), two(1, 1), **TWO)
    assert (again.said, again.requests) == ("a", script.ids)
    never, script = heard(text, text, **TWO)
    assert (never.said, never.winner, never.requests) == ("unreadable", None, script.ids)
    assert never.reason.startswith("unparsable: ")


@pytest.mark.parametrize("text", ['{"scores": {"accuracy": "Good", "clarity": "poor"}}', two(1, 2), two(0, "poor")])
def test_a_category_must_be_one_of_those_given(text: str) -> None:
    assert heard(text, text, **TWO, categories=CATEGORIES)[0].said == "unreadable"


def test_if_the_second_answer_cannot_be_graded_there_is_no_verdict_and_the_firsts_grades_are_kept() -> None:
    result, script = heard(scores(5), "?", "?")
    assert (result.said, result.winner) == ("unreadable", None)
    assert result.requests == script.ids[1:]


@pytest.mark.parametrize(
    ("line", "why"),
    [("", "empty"), (make_reply(scores(5), "refusal"), "refused"), (make_reply(scores(5), "length"), "truncated")],
)
def test_grades_that_did_not_come_say_why(line: str | Reply, why: str) -> None:
    result, _ = heard(line, line, scores(5), attempts=1)
    assert result.said == "unreadable"
    assert result.reason.split(":")[0] == why


@pytest.mark.parametrize("before", [(), (scores(5),)])
def test_an_engine_that_cannot_deliver_is_not_the_judges_to_explain(before: tuple[Line, ...]) -> None:
    with pytest.raises(RecordFailed, match="http_500"):
        heard(*before, RecordFailed("http_500", "oh dear"))


def test_a_reason_is_asked_for_before_the_grades_and_kept() -> None:
    result, script = heard(two(5, 5, reason="Right."), two(1, 1, reason="Wrong."), **TWO, reason=True)
    assert result.said == "a"
    assert result.reason.endswith("; first: Right.; second: Wrong.")
    form = script.requests[0].response_schema
    assert form is not None
    assert (form.name, list(form.json_schema["properties"])) == ("reasoned_scores", ["reason", "scores"])  # type: ignore[arg-type]
    assert heard(two(5, 5), two(5, 5), **TWO, reason=True)[0].said == "unreadable"


# --- what a recipe can set ---


def test_the_server_is_told_which_grades_there_are_and_that_there_is_nothing_else() -> None:
    def form(**options: Any) -> Any:
        _, script = heard(*["?"] * 1, attempts=1, **TWO, **options)
        assert script.requests[0].response_schema is not None
        return script.requests[0].response_schema.json_schema

    number = {"type": "integer", "enum": [0, 1, 2]}
    expected = {"type": "object", "required": ["accuracy", "clarity"], "additionalProperties": False}
    assert form(scale=[0, 2])["properties"]["scores"] == expected | {
        "properties": {"accuracy": number, "clarity": number}
    }
    words = {"type": "string", "enum": CATEGORIES}
    assert form(categories=CATEGORIES)["properties"]["scores"]["properties"]["clarity"] == words
    assert form()["additionalProperties"] is False


def test_a_criterion_of_ones_own_has_a_field_of_its_own() -> None:
    judge = make(criteria=["accuracy", {"tone of voice": "it sounds like the author."}], weights={"tone_of_voice": 2})
    text = judge.render(SHOWING, "They dance.").messages[0].content
    assert "- Tone of voice: it sounds like the author. [tone_of_voice]\n" in text
    assert '{"scores": {"accuracy": ..., "tone_of_voice": ...}}' in text


@pytest.mark.parametrize(
    "options",
    [
        {"scale": [5, 1]},
        {"scale": [3, 3]},
        {"scale": [0, 1000]},
        {"scale": [1]},
        {"categories": ["good"]},
        {"categories": ["good", "good", "bad"]},
        {"weights": {"acuracy": 2}},
        {"weights": {"accuracy": 0}},
        {"weights": {"accuracy": -1}},
        {"weights": {"accuracy": float("nan")}},
        {"weights": {"accuracy": float("inf")}},
        {"at_least_margin": -1},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(**options)


def test_a_misspelt_weight_is_answered_with_the_right_name() -> None:
    with pytest.raises(ValidationError, match="Did you mean 'accuracy'"):
        make(weights={"acuracy": 2})


def test_the_passage_is_shown_only_if_it_may_be_seen() -> None:
    showing = SHOWING.but(source="Bees dance.")
    for reference, names in (("none", ["instruction", "answer"]), ("source", ["instruction", "reference", "answer"])):
        assert list(fenced(make(reference=reference).render(showing, "x").messages[1].content)) == names


FENCE_LIKE = st.from_regex(r"\n?<<<(end|answer|instruction) [0-9a-f]{1,8}>>>\n?", fullmatch=True)
TEXT = st.lists(st.text(max_size=20) | FENCE_LIKE, max_size=4).map("".join)


@given(TEXT, TEXT)
@settings(STEADY, max_examples=200)
def test_whoever_reads_the_prompt_from_the_top_finds_the_texts_and_nothing_else(instruction: str, answer: str) -> None:
    rendered = make().render(make_showing(answer, "x", instruction), answer)
    assert fenced(rendered.messages[1].content) == {"instruction": instruction, "answer": answer}
    assert rendered.messages[0] == make().render(SHOWING, "y").messages[0]


def test_it_renders_one_prompt_in_its_language_and_rehearses_it() -> None:
    assert make().prompts == ("rubric",)
    assert make(language="zh").prompts == ("rubric.zh",)
    make(reference="source").rehearse(SHOWING)
