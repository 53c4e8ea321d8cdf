"""Whatever a provider does, the run ends by itself and every chunk and pair is kept, dropped or failed for a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.run import Outcome
from pipeline.starting import SAMPLES
from tests.support.chat_server import ChatServer, Fault, Kind, for_good, in_turn, offline_answers
from tests.support.command import assert_adds_up, build, lines_of, recipe_in, samples_in

ALL_SAMPLES = [{"use": "articles", "path": str(SAMPLES)}]
Pair = tuple[str, tuple[str, ...], str]

NOT_A_REPLY: tuple[Kind, ...] = ("429", "429_retry_after", "500", "503", "drop", "drop_mid", "bad_body", "no_choices")
"""The engine sends again, and nobody else hears of it."""
OF_NO_USE: tuple[Kind, ...] = ("truncated_json", "empty", "null", "length")
"""A reply that came and is paid for; it is asked for again."""
DECLINED: tuple[Kind, ...] = ("refusal", "content_filter")
"""A model that declined once mostly declines twice: not asked again by this start."""


def server_with(*faults: Fault) -> ChatServer:
    return ChatServer(answer=offline_answers(), faults=faults, retry_after=0.05, slow=0.2)


def pairs_of(outcome: Outcome) -> set[Pair]:
    """What was compared, and which answer was chosen."""
    return {
        (
            row["candidates"]["instruction"],
            tuple(answer["text"] for answer in row["candidates"]["answers"]),
            row["chosen"],
        )
        for row in lines_of(outcome.folder / "3-preferences.jsonl")
    }


def failures(outcome: Outcome) -> Counter[str]:
    """Failed chunks, candidates and pairs by stage and reason code, as the losses tell it."""
    losses = lines_of(outcome.folder / "5-losses.jsonl")
    return Counter(f"{loss['stage']} {loss['code']}" for loss in losses if loss["fate"] == "failed")


def sound(folder: Path, sources: Sequence[dict[str, str]] = ALL_SAMPLES) -> Outcome:
    """The same run by the embedded engine, to which nothing happens."""
    (folder / "sound").mkdir()
    return build(recipe_in(folder / "sound", sources=sources), folder / "sound")


@pytest.mark.parametrize("kind", [*NOT_A_REPLY, "slow"])
def test_a_provider_that_stumbles_at_every_tenth_request_costs_no_pair(tmp_path: Path, kind: Kind) -> None:
    with server_with(in_turn([kind], share=0.1)) as server:
        outcome = build(recipe_in(tmp_path, url=server.base_url), tmp_path / "outputs")
        assert server.counters.faults[kind] >= 10
    assert_adds_up(outcome.folder)
    assert failures(outcome) == {}
    assert pairs_of(outcome) == pairs_of(sound(tmp_path))


def test_requests_that_hang_are_given_up_and_sent_again(tmp_path: Path) -> None:
    sources = samples_in(tmp_path)
    with server_with(in_turn(["hang"], share=0.1)) as server:
        recipe = recipe_in(tmp_path, url=server.base_url, engine={"timeout": 0.7}, sources=sources)
        outcome = build(recipe, tmp_path / "outputs")
        assert server.counters.faults["hang"] >= 3
    assert_adds_up(outcome.folder)
    assert failures(outcome) == {}
    (tmp_path / "articles").rename(tmp_path / "moved")
    again = [{"use": "articles", "path": str(tmp_path / "moved")}]
    assert pairs_of(outcome) == pairs_of(sound(tmp_path, again))


@pytest.mark.parametrize("kind", OF_NO_USE)
def test_replies_of_no_use_are_asked_for_again(tmp_path: Path, kind: Kind) -> None:
    with server_with(in_turn([kind], share=0.1)) as server:
        # one at a time, so that no request is hit twice: the same one comes again within ten
        recipe = recipe_in(tmp_path, url=server.base_url, engine={"in_flight": 1})
        outcome = build(recipe, tmp_path / "outputs")
        hit = server.counters.faults[kind]
        assert hit >= 10
        assert outcome.paid.calls == server.counters.requests
    assert_adds_up(outcome.folder)
    assert failures(outcome) == {}
    assert pairs_of(outcome) == pairs_of(sound(tmp_path))


@pytest.mark.parametrize("kind", DECLINED)
def test_what_a_model_declines_has_failed_as_refused_and_is_not_paid_for_again(tmp_path: Path, kind: Kind) -> None:
    with server_with(in_turn([kind], share=0.13)) as server:
        # one at a time, so that the hits stand apart: no pair has two
        recipe = recipe_in(tmp_path, url=server.base_url, engine={"in_flight": 1})
        outcome = build(recipe, tmp_path / "outputs")
        assert_adds_up(outcome.folder)
        failed = failures(outcome)
        assert failed.keys() == {"generate refused", "judge unreadable.refused"}
        assert failed.total() == server.counters.faults[kind]

        asked = server.counters.requests
        assert not build(recipe, tmp_path / "outputs").news
        assert server.counters.requests == asked


def test_what_is_cut_off_every_time_is_salvaged_or_has_failed_as_truncated(tmp_path: Path) -> None:
    with server_with(for_good(["length"], share=0.3)) as server:
        recipe = recipe_in(
            tmp_path, url=server.base_url, generate={"use": "triples", "engine": "writer", "per_chunk": 4}
        )
        outcome = build(recipe, tmp_path / "outputs")
    assert_adds_up(outcome.folder)
    failed = failures(outcome)
    assert failed.keys() <= {"parse truncated", "generate truncated", "judge unreadable.truncated"}
    assert failed["parse truncated"] > 0
    assert failed["judge unreadable.truncated"] > 0
    # every chunk whose reply was cut off has kept the triples that stood before the cut
    assert (
        outcome.manifest.counts["generate"].kept + failed["generate truncated"]
        == outcome.manifest.counts["generate"].seen
    )
    for preference in lines_of(outcome.folder / "3-preferences.jsonl"):
        assert all(answer["text"].strip() for answer in preference["candidates"]["answers"])


def test_faults_that_stay_are_named_and_a_later_start_asks_for_those_alone_and_heals_them(tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("500", "empty", "bad_body", "no_choices", "null")
    with server_with(for_good(kinds, share=0.3)) as server:
        recipe = recipe_in(tmp_path, url=server.base_url, engine={"attempts": 3})
        first = build(recipe, tmp_path / "outputs")
        assert_adds_up(first.folder)
        reasons = {"http_500", "empty", "bad_body"}
        named = set(failures(first))
        assert named <= {f"generate {code}" for code in reasons} | {f"judge unreadable.{code}" for code in reasons}
        assert len(named) >= 3
        for loss in lines_of(first.folder / "5-losses.jsonl"):
            assert loss["record"]
            assert loss["detail"] or loss["fate"] == "dropped"

        server.faults = ()
        asked = server.counters.requests
        second = build(recipe, tmp_path / "outputs")
        bodies = server.counters.bodies[asked:]
        third = build(recipe, tmp_path / "outputs")
        assert server.counters.requests == asked + len(bodies)
    written = sum(body["response_format"]["json_schema"]["name"] == "triples" for body in bodies)
    assert written == sum(first.manifest.counts["generate"].failed.values())
    # a pair that failed lacks one verdict or two, and each chunk that is written now brings at most two pairs
    failed_pairs = sum(first.manifest.counts["judge"].failed.values())
    assert failed_pairs <= len(bodies) - written <= 2 * failed_pairs + 4 * written
    assert failures(second) == {}
    assert pairs_of(second) == pairs_of(sound(tmp_path))
    assert not third.news
