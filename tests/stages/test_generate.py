"""Generating: a chunk ends in candidates, each once, or in a loss with its reason."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.errors import ProviderDown, RecordFailed
from pipeline.records import Generated
from pipeline.stages.generate import generate
from tests.support.build import Line, Saying, Script, make_chunk, make_reply, make_triples, triple, triples


def generated_by(*lines: Line) -> tuple[Generated, Script]:
    script = Script(*lines)
    return asyncio.run(generate(make_chunk(), make_triples(), script)), script


def test_candidates_come_in_the_order_in_which_they_were_written() -> None:
    generated, _ = generated_by(triples(*(triple(f"{number}?") for number in (3, 1, 2))))
    assert [candidates.instruction for candidates in generated.candidates] == ["3?", "1?", "2?"]
    assert generated.losses == ()


@pytest.mark.parametrize(
    ("line", "code", "calls"),
    [
        ("no JSON at all", "unparsable", 3),
        ("", "empty", 3),
        (triples(triple(numbers=[99])), "nothing_usable", 3),
        (make_reply("No.", "refusal"), "refused", 1),
        (make_reply("{", "length"), "truncated", 2),
    ],
)
def test_a_chunk_that_gave_nothing_has_failed_with_the_reason_and_the_requests(
    line: Line, code: str, calls: int
) -> None:
    generated, script = generated_by(*[line] * calls)
    assert generated.candidates == ()
    (loss,) = generated.losses
    assert (loss.stage, loss.fate, loss.code, loss.record) == ("generate", "failed", code, make_chunk().id)
    assert loss.detail
    assert loss.requests == (() if code == "refused" else script.ids)


def test_a_chunk_that_the_engine_could_not_deliver_has_failed_with_the_engines_code() -> None:
    generated, _ = generated_by(RecordFailed("http_500", "oh dear"))
    (loss,) = generated.losses
    assert (loss.fate, loss.code, loss.detail, loss.requests) == ("failed", "http_500", "oh dear", ())


def test_a_chunk_about_which_there_is_nothing_to_ask_is_dropped_and_has_not_failed() -> None:
    generated, script = generated_by(triples())
    assert [(loss.stage, loss.fate, loss.code) for loss in generated.losses] == [
        ("generate", "dropped", "nothing_written")
    ]
    assert len(script.requests) == 1


@pytest.mark.parametrize("times", [2, 3, 5])
def test_the_same_triple_written_again_is_one_and_each_repeat_is_a_loss(times: int) -> None:
    repeated, other = triple("Why?", numbers=[1, 2]), triple("How?")
    generated, _ = generated_by(triples(repeated, other, *[repeated] * (times - 1)))
    assert [candidates.instruction for candidates in generated.candidates] == ["Why?", "How?"]
    assert [(loss.stage, loss.fate, loss.code) for loss in generated.losses] == [("parse", "dropped", "repeated")] * (
        times - 1
    )
    assert {loss.record for loss in generated.losses} == {generated.candidates[0].id}


@pytest.mark.parametrize("other", [triple("How?"), triple(answer="For."), triple(numbers=[2])])
def test_triples_that_differ_in_anything_are_both_kept(other: object) -> None:
    generated, _ = generated_by(triples(triple(), other))
    assert len(generated.candidates) == 2
    assert generated.losses == ()


def test_the_same_triple_from_another_chunk_is_another() -> None:
    first, second = (
        asyncio.run(generate(chunk, make_triples(), Script(triples(triple()))))
        for chunk in (make_chunk(), make_chunk(before="Elsewhere: "))
    )
    assert first.candidates[0].id != second.candidates[0].id


def test_a_provider_that_is_down_stops_the_run_and_is_not_filed_as_a_chunks_failure() -> None:
    def away(_: object) -> Line:
        raise ProviderDown("gone")

    with pytest.raises(ProviderDown):
        asyncio.run(generate(make_chunk(), make_triples(), Saying(away)))
