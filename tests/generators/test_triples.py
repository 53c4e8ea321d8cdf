"""Triples: what is extracted is the article's own, and of a poor reply all is saved that can be."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RecordFailed, UserError
from pipeline.generators.triples import SCHEMA, Triples
from pipeline.records import Article, Ask, Candidates, Chunk, Generated, Reply
from pipeline.stages.generate import generate
from tests.support.build import (
    SENTENCES,
    STEADY,
    Line,
    Script,
    Source,
    make_chunk,
    make_reply,
    make_source,
    make_triples,
    triple,
    triples,
)

COUNT = len(SENTENCES)


def ask_for(source: Source, *lines: Line, **options: object) -> tuple[Generated, Script]:
    script = Script(*lines)
    return asyncio.run(make_triples(**options)(source.chunk, script)), script


def failure_of(*lines: Line, **options: object) -> tuple[RecordFailed, Script]:
    script = Script(*lines)
    with pytest.raises(RecordFailed) as failed:
        asyncio.run(make_triples(**options)(make_chunk(), script))
    return failed.value, script


def codes(generated: Generated) -> list[str]:
    return [loss.code for loss in generated.losses]


def instructions(generated: Generated) -> list[str]:
    return [candidates.instruction for candidates in generated.candidates]


def extracted_from(candidates: Candidates, article: Article) -> str:
    """The extracted answer, after checking that it is what the article says."""
    (answer,) = (answer for answer in candidates.answers if answer.origin == "extracted")
    assert answer.text == " ".join(article.text[span.start : span.end] for span in answer.spans)
    assert answer.text
    return answer.text


# --- extracted means extracted ---

PARTS = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8)


@given(PARTS, st.text(max_size=10), st.sampled_from([" ", "\n\n", "", "\u3000"]), st.lists(st.integers(-2, 10)))
@settings(STEADY, max_examples=300)
def test_an_extracted_answer_always_is_the_articles_text_at_its_spans(
    parts: list[str], before: str, between: str, numbers: list[int]
) -> None:
    source = make_source(parts, before=before, between=between)
    generated, _ = ask_for(source, triples(triple("First?", numbers=[1]), triple("Second?", numbers=numbers)))
    good = bool(numbers) and all(1 <= number <= len(parts) for number in numbers)
    assert instructions(generated) == ["First?", "Second?"][: 1 + good]
    assert len(generated.losses) == 1 - good
    for candidates in generated.candidates:
        extracted_from(candidates, source.article)
    if good:
        (answer, _) = generated.candidates[1].answers
        for number in set(numbers):
            assert parts[number - 1] in answer.text
        assert all(low.end < high.start for low, high in pairwise(answer.spans))


@given(st.lists(st.integers(), max_size=6))
@settings(STEADY, max_examples=200)
def test_no_number_whatever_makes_an_answer_that_the_article_does_not_hold(numbers: list[int]) -> None:
    source = make_source()
    generated, _ = ask_for(source, triples(triple("Good?"), triple("Odd?", numbers=numbers)))
    inside = bool(numbers) and set(numbers) <= set(range(1, COUNT + 1))
    assert instructions(generated) == (["Good?", "Odd?"] if inside else ["Good?"])
    assert codes(generated) == ([] if inside else ["no_such_sentence" if numbers else "no_sentences"])
    for candidates in generated.candidates:
        extracted_from(candidates, source.article)


@pytest.mark.parametrize(
    ("numbers", "spans", "text"),
    [
        ([2], 1, SENTENCES[1]),
        ([2, 3], 1, f"{SENTENCES[1]}\n\n{SENTENCES[2]}"),  # neighbours keep what stands between them
        ([3, 2, 3, 2], 1, f"{SENTENCES[1]}\n\n{SENTENCES[2]}"),
        ([5, 1], 2, f"{SENTENCES[0]} {SENTENCES[4]}"),
        ([1, 3, 4, 1], 2, f"{SENTENCES[0]} {SENTENCES[2]}\n\n{SENTENCES[3]}"),
        ([1, 3, 5], 3, f"{SENTENCES[0]} {SENTENCES[2]} {SENTENCES[4]}"),
    ],
)
def test_neighbouring_sentences_are_one_span_and_a_gap_starts_another(
    numbers: list[int], spans: int, text: str
) -> None:
    source = make_source(between="\n\n")
    generated, _ = ask_for(source, triples(triple(numbers=numbers)))
    (candidates,) = generated.candidates
    assert extracted_from(candidates, source.article) == text
    assert len(candidates.answers[0].spans) == spans


def test_a_candidate_tells_where_it_comes_from() -> None:
    generated, script = ask_for(make_source(), triples(triple(" Why? ", " Because. ", [2])), temperature=0.3)
    (candidates,) = generated.candidates
    extracted, written = candidates.answers
    assert (candidates.instruction, written.text) == ("Why?", "Because.")
    assert (extracted.origin, written.origin) == ("extracted", "generated")
    assert (extracted.model, written.model, written.family) == ("script-1", "script-1", "offline")
    assert written.sampling is not None
    assert (written.sampling.temperature, written.sampling.max_tokens) == (0.3, 2048)
    assert candidates.requests == script.ids
    assert candidates.prompt == script.requests[0].prompt
    assert candidates.source == make_chunk()


def test_the_model_is_sent_numbered_sentences_and_the_schema_of_its_reply() -> None:
    _, script = ask_for(make_source(), triples(triple()), per_chunk=7, temperature=None, top_p=0.9, max_tokens=99)
    (request,) = script.requests
    assert all(f"[{number}] {text}\n" in request.messages[1].content for number, text in enumerate(SENTENCES, start=1))
    assert "Write 7 triples" in request.messages[1].content
    assert request.response_schema == SCHEMA
    assert request.sampling.model_dump(exclude_none=True) == {"top_p": 0.9, "max_tokens": 99}
    assert (request.engine, request.model, request.draw, request.attempt) == ("one", "offline-classical-1", 0, 0)


# --- one bad triple does not cost the others ---

BAD = {
    "no_sentences": [triple(numbers=[])],
    "no_such_sentence": [triple(numbers=numbers) for numbers in ([0], [COUNT + 1], [1, -1], [10**30])],
    "no_instruction": [triple(""), triple(" \n\t")],
    "no_answer": [triple(answer=""), triple(answer=" \n")],
    "malformed": [
        {"instruction": "Why?"},
        triple(numbers="1"),
        triple(numbers=None),
        triple(numbers=[1.5]),
        triple(numbers=["one"]),
        triple(numbers=[[1]]),
        triple(answer=None),
        triple(instruction=["Why?"]),  # type: ignore[arg-type]
        triple(score=1),
        "Why? Because.",
        None,
        [],
        7,
    ],
}  # fmt: skip


@pytest.mark.parametrize(("code", "bad"), [(code, item) for code, items in BAD.items() for item in items])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_triple_that_is_of_no_use_is_a_loss_with_its_reason_and_the_others_survive(
    code: str, bad: object, place: int
) -> None:
    items = [triple("First?"), triple("Second?", numbers=[2, 3])]
    items.insert(place, bad)
    generated, script = ask_for(make_source(), triples(*items))
    assert instructions(generated) == ["First?", "Second?"]
    (loss,) = generated.losses
    assert (loss.stage, loss.fate, loss.code) == ("parse", "failed", code)
    assert loss.record == f"{make_chunk().id}/{place + 1}"
    assert loss.detail
    assert len(script.requests) == 1


@given(st.lists(st.sampled_from(["good", *BAD]), min_size=1, max_size=8).filter(lambda kinds: "good" in kinds))
@settings(STEADY, max_examples=60)
def test_every_item_of_a_reply_always_ends_as_candidates_or_as_a_loss(kinds: list[str]) -> None:
    items = [triple(f"{number}?") if kind == "good" else BAD[kind][0] for number, kind in enumerate(kinds)]
    generated, _ = ask_for(make_source(), triples(*items))
    assert len(generated.candidates) == kinds.count("good")
    assert Counter(codes(generated)) == Counter(kind for kind in kinds if kind != "good")


@pytest.mark.parametrize("where", ["instruction", "answer"])
def test_half_a_character_in_a_reply_spoils_its_triple_only(where: str) -> None:
    reply = triples(triple("Good?"), triple(**{where: "HALF an emoji"})).replace("HALF", "\\ud83d")
    generated = asyncio.run(generate(make_chunk(), make_triples(), Script(reply)))
    assert "Good?" in instructions(generated)
    assert len(generated.candidates) + len(generated.losses) == 2
    assert json.loads(generated.model_dump_json())  # can be written


# --- replies that are of no use as a whole ---


def test_a_chunk_without_one_usable_triple_fails_with_the_reason_and_the_requests() -> None:
    bad = triples(triple(numbers=[99]), triple(""))
    failure, script = failure_of(bad, bad, bad)
    assert failure.code == "nothing_usable"
    assert "no_such_sentence" in failure.detail
    assert "no_instruction" in failure.detail
    assert failure.requests == script.ids
    assert [request.attempt for request in script.requests] == [0, 1, 2]
    assert len(set(script.ids)) == 3


def test_a_reply_without_triples_drops_the_chunk_and_is_not_asked_again() -> None:
    generated, script = ask_for(make_source(), '{"triples": []}')
    assert generated.candidates == ()
    (loss,) = generated.losses
    assert (loss.stage, loss.fate, loss.code) == ("generate", "dropped", "nothing_written")
    assert loss.record == make_chunk().id
    assert len(script.requests) == 1


UNPARSABLE = [
    "I would rather not use JSON.",
    "{",
    "[]",
    "null",
    '"triples"',
    '{"triples": null}',
    '{"triples": "none"}',
    '{"triples": {"instruction": "Why?"}}',
    '{"questions": []}',
    f"Here you are:\n{triples(triple())}",
    f"{triples(triple())}\n{triples(triple())}",
    triples(triple()).replace("[1]", "[1"),
]


@pytest.mark.parametrize("text", UNPARSABLE)
def test_a_reply_that_is_not_the_json_asked_for_is_asked_again(text: str) -> None:
    generated, script = ask_for(make_source(), text, triples(triple("Good?")))
    assert instructions(generated) == ["Good?"]
    assert generated.losses == ()
    assert generated.candidates[0].requests == script.ids
    assert len(script.requests) == 2


@pytest.mark.parametrize("text", UNPARSABLE)
def test_a_chunk_whose_replies_all_are_unparsable_fails_with_what_was_seen(text: str) -> None:
    failure, script = failure_of(text, text, attempts=2)
    assert failure.code == "unparsable"
    assert repr(text[:20])[1:-1] in failure.detail
    assert failure.requests == script.ids


@pytest.mark.parametrize("text", ["[" * 3000, '{"triples": ' + "[" * 3000, '{"a": ' * 3000])
def test_a_model_that_is_caught_in_a_loop_of_brackets_fails_its_chunk_only(text: str) -> None:
    failure, _ = failure_of(text, text, attempts=2)
    assert failure.code == "unparsable"


@pytest.mark.parametrize(
    ("line", "code", "calls"),
    [
        ("", "empty", 3),
        (" \n", "empty", 3),
        (make_reply("I cannot help with that.", "refusal"), "refused", 1),
        (make_reply("", "refusal"), "refused", 1),
        (make_reply('{"triples": [', "length"), "truncated", 2),
        (make_reply("", "length"), "truncated", 2),
        (make_reply("Well, the pass", "length"), "truncated", 2),
    ],
)
def test_a_chunk_fails_with_the_reason_that_its_replies_gave(line: Line, code: str, calls: int) -> None:
    failure, script = failure_of(*[line] * calls)
    assert failure.code == code
    assert failure.detail
    # a refusal stays in the ledger: asked again, it would be paid again
    assert failure.requests == (() if code == "refused" else script.ids)
    assert len(script.requests) == calls


def test_what_the_engine_could_not_deliver_keeps_its_code_and_names_the_requests_answered_before() -> None:
    failure, script = failure_of("no JSON", RecordFailed("http_500", "oh dear"))
    assert (failure.code, failure.detail) == ("http_500", "oh dear")
    assert failure.requests == script.ids[:1]


def test_json_in_a_markdown_fence_is_read() -> None:
    for fence in ("```json\n{}\n```", "```\n{}```", "\n```json\n{}\n```\n"):
        generated, _ = ask_for(make_source(), fence.replace("{}", triples(triple("Good?"))))
        assert instructions(generated) == ["Good?"]


def test_raw_line_breaks_within_a_string_are_read() -> None:
    generated, _ = ask_for(make_source(), triples(triple(answer="One. Two.")).replace("One. ", "One.\n"))
    assert generated.candidates[0].answers[1].text == "One.\nTwo."


# --- replies that were cut off ---


def cut_off(*items: object, within: str) -> Reply:
    """A reply that ends where this text begins."""
    text = triples(*items)
    return make_reply(text[: text.index(within)], "length")


def test_a_reply_that_was_cut_off_is_asked_again_with_twice_the_tokens() -> None:
    cut = cut_off(triple("First?"), triple("Second?"), within="ond?")
    generated, script = ask_for(make_source(), cut, triples(triple("Good?")), max_tokens=100)
    assert [request.sampling.max_tokens for request in script.requests] == [100, 200]
    assert instructions(generated) == ["Good?"]
    assert generated.losses == ()


def test_of_a_reply_that_is_cut_off_again_the_complete_triples_are_kept_and_the_cut_one_is_a_loss() -> None:
    cut = cut_off(triple("First?"), triple("Second?", numbers=[2, 3]), triple("Third?"), within="rd?")
    generated, script = ask_for(make_source(), cut, cut)
    assert instructions(generated) == ["First?", "Second?"]
    (loss,) = generated.losses
    assert (loss.stage, loss.fate, loss.code) == ("parse", "failed", "truncated")
    assert loss.record == f"{make_chunk().id}/3"
    assert len(script.requests) == 2


@given(st.data())
@settings(STEADY, max_examples=150)
def test_wherever_a_reply_is_cut_only_complete_triples_are_kept(data: st.DataObject) -> None:
    source = make_source()
    items = [triple("First?", "One, \"two\" and \\three\\.", [1, 2]), triple("Second?", "Zwölf 蜜蜂.", [3, 4]), triple("Third?")]  # fmt: skip  # noqa: E501
    text = triples(*items)
    cut = make_reply(text[: data.draw(st.integers(1, len(text) - 1))], "length")
    try:
        generated, _ = ask_for(source, cut, cut)
    except RecordFailed:
        assert '"Third?"' not in cut.text  # then two triples would have been complete
        return
    assert instructions(generated) == ["First?", "Second?", "Third?"][: len(generated.candidates)]
    assert codes(generated) == ["truncated"]
    for candidates, item in zip(generated.candidates, items, strict=False):
        assert candidates.answers[1].text == item["generated_answer"]
        assert len(candidates.answers[0].spans) == 1
        extracted_from(candidates, source.article)
    complete = sum(text.index(f'"{name}?"') > len(cut.text) for name in ("Second", "Third"))
    assert len(generated.candidates) <= 3 - complete


def test_a_number_that_was_cut_in_half_is_not_taken_for_a_whole_one() -> None:
    sentences = [f"Sentence number {number} is this one." for number in range(1, 16)]
    cut = cut_off(triple("First?"), triple("Second?", numbers=[1, 15]), within="5]")
    generated, _ = ask_for(make_source(sentences), cut, cut)
    assert instructions(generated) == ["First?"]


def test_a_reply_that_ends_too_soon_and_says_that_it_is_complete_is_treated_alike() -> None:
    cut = cut_off(triple("First?"), triple("Second?"), within="ond?").text
    generated, script = ask_for(make_source(), cut, cut, cut)
    assert instructions(generated) == ["First?"]
    assert codes(generated) == ["unparsable"]
    assert len(script.requests) == 3


def test_a_bad_triple_before_the_cut_is_a_loss_of_its_own() -> None:
    cut = cut_off(triple("First?"), triple("Bad?", numbers=[99]), triple("Third?"), within="rd?")
    generated, _ = ask_for(make_source(), cut, cut)
    assert instructions(generated) == ["First?"]
    assert codes(generated) == ["no_such_sentence", "truncated"]


def test_only_bad_triples_before_the_cut_fail_the_chunk() -> None:
    cut = cut_off(triple("Bad?", numbers=[99]), triple("Second?"), within="ond?")
    failure, _ = failure_of(cut, cut)
    assert failure.code == "truncated"


# --- the recipe ---


@pytest.mark.parametrize(
    "options", [{"per_chunk": 0}, {"attempts": 0}, {"temperature": -1}, {"top_p": 0}, {"max_tokens": 1}]
)
def test_a_setting_out_of_its_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        make_triples(**options)


def test_a_rehearsal_asks_nobody_and_finds_a_prompt_that_lost_its_source(tmp_path: Path) -> None:
    make_triples().rehearse(make_chunk())
    (tmp_path / "lame.j2").write_text(
        "---\npurpose: p\nvariables: [sentences, per_chunk]\nsource: s\n---\n"
        "{% block system %}{{ per_chunk }}{% endblock %}{% block user %}{{ sentences | length }}{% endblock %}"
    )
    with pytest.raises(UserError, match="must read"):
        make_triples(prompt=str(tmp_path / "lame.j2")).rehearse(make_chunk())


def test_the_same_reply_makes_the_same_records() -> None:
    async def once(ask: Ask, chunk: Chunk, writer: Triples) -> Generated:
        return await writer(chunk, ask)

    reply = triples(triple("First?"), triple("Second?", numbers=[9]), triple("Third?", numbers=[2, 4]))
    runs = [asyncio.run(once(Script(reply), make_chunk(), make_triples())) for _ in range(2)]
    assert runs[0].model_dump_json() == runs[1].model_dump_json()
