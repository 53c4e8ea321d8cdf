"""Sentinels in a whole run: when they are asked, what they cost, whom they stop, and what is kept of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from judges.sentinels import TEXTS
from pipeline.errors import ProviderDown, UserError
from tests.support.chat_server import ChatServer, offline_answers
from tests.support.command import build, contents, lines_of, pairwright, recipe_in, run_in, samples_in

NOISE = [text.noise for text in TEXTS["en"]]
FEW = ("bees.md",)


def _judge(number: int = 3, **more: object) -> dict[str, object]:
    return {"label": "judge", "jury": [{"use": "pairwise", "engine": "writer"}], "sentinels": number} | more


def _is_sentinel(body: dict[str, Any]) -> bool:
    return any(question in str(body["messages"]) for question in (text.question for text in TEXTS["en"]))


def _noise_wins(body: dict[str, Any]) -> str:
    """A judge that is out of its mind: asked about noise it names the noise, else the first answer."""
    if body["response_format"]["json_schema"]["name"] != "verdict":
        return offline_answers()(body)
    text = body["messages"][-1]["content"]
    second = any(noise in text.split("The second answer:")[1] for noise in NOISE)
    return json.dumps({"verdict": "second" if second else "first"})


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(answer=offline_answers()) as running:
        yield running


def test_every_start_that_asks_anything_asks_the_sentinels_first_and_past_the_ledger(
    tmp_path: Path, server: ChatServer
) -> None:
    outputs = tmp_path / "outputs"
    first = build(recipe_in(tmp_path, url=server.base_url, sources=samples_in(tmp_path, FEW), judge=_judge()), outputs)
    bodies = server.counters.bodies
    assert [_is_sentinel(body) for body in bodies[:7]] == [True] * 6 + [False]
    assert sum(map(_is_sentinel, bodies)) == 6
    assert first.paid.calls == first.manifest.bill.calls == len(bodies) - 6
    (line,) = lines_of(outputs / "night" / "sentinels.jsonl")
    assert (line["right"], line["told"], line["verdicts"], line["run"]) == (4, 4, 6, first.folder.name)
    paid = lines_of(first.folder / "journal.jsonl")[-1]["paid"]["calls"]
    assert paid == len(bodies) + first.checks.calls
    assert "right in 4 of 4" in first.said[0]

    before = len(bodies)
    again = build(recipe_in(tmp_path, url=server.base_url, sources=samples_in(tmp_path, FEW), judge=_judge()), outputs)
    assert (again.news, again.said, len(server.counters.bodies)) == (False, (), before)
    more = samples_in(tmp_path, (*FEW, "tides.md"))
    build(recipe_in(tmp_path, url=server.base_url, sources=more, judge=_judge()), outputs)
    assert sum(map(_is_sentinel, server.counters.bodies[before:])) == 6
    assert len(lines_of(outputs / "night" / "sentinels.jsonl")) == 2


def test_a_start_that_finds_all_in_the_ledger_asks_no_sentinel(tmp_path: Path, server: ChatServer) -> None:
    sources = samples_in(tmp_path, FEW)
    build(recipe_in(tmp_path, url=server.base_url, sources=sources, judge=_judge()), tmp_path / "outputs")
    asked = server.counters.requests
    fewer = recipe_in(tmp_path, url=server.base_url, sources=sources, judge=_judge(), filters=[{"use": "identical"}])
    outcome = build(fewer, tmp_path / "outputs")
    assert outcome.news
    assert (server.counters.requests, outcome.said) == (asked, ())


def test_the_bytes_of_a_run_do_not_depend_on_its_sentinels(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, sources=samples_in(tmp_path, FEW), judge=_judge())
    one, other = (build(recipe, tmp_path / name) for name in ("one", "other"))
    assert contents(one.folder) == contents(other.folder)
    assert one.said


def test_a_judge_out_of_its_mind_stops_the_run_with_75_before_anything_is_judged_and_a_sound_one_resumes(
    tmp_path: Path, server: ChatServer
) -> None:
    sources = samples_in(tmp_path, FEW)
    engines = {
        "writer": {"use": "offline"},
        "referee": {"use": "openai", "model": "test", "base_url": server.base_url, "wait": [0.01, 0.05]},
    }
    jury = [{"use": "pairwise", "engine": "referee"}]
    gates = {"quality": "unfit"}  # of three chunks nothing can be fit
    recipe = recipe_in(tmp_path, sources=sources, engines=engines, judge=_judge(jury=jury), gates=gates)
    server.answer = _noise_wins
    said = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
    assert said.returncode == 75
    assert "judge 'pairwise:referee' (test) does not know what every judge must" in said.stderr
    assert "named the noise (2 of 2)" in said.stderr
    assert "Traceback" not in said.stderr
    assert all(_is_sentinel(body) for body in server.counters.bodies)
    (line,) = lines_of(tmp_path / "outputs" / "night" / "sentinels.jsonl")
    assert line["failure"]

    server.answer = offline_answers()
    resumed = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
    assert resumed.returncode == 0, resumed.stderr
    assert "sentinels: pairwise:referee is right in 4 of 4" in resumed.stdout
    assert run_in(tmp_path / "outputs").is_dir()


def test_a_judge_that_may_be_trusted_unasked_is(tmp_path: Path, server: ChatServer) -> None:
    server.answer = _noise_wins
    recipe = recipe_in(tmp_path, url=server.base_url, sources=samples_in(tmp_path, FEW), judge=_judge(0))
    assert not build(recipe, tmp_path / "outputs").said
    assert not (tmp_path / "outputs" / "night" / "sentinels.jsonl").exists()


def test_gold_pairs_are_among_the_sentinels_and_a_bad_gold_file_is_found_before_the_night(
    tmp_path: Path, server: ChatServer
) -> None:
    gold = {"pair_id": "1", "prompt": "How do gold bees talk?", "a": "They dance.", "b": "They sing.", "gold": "a"}
    (tmp_path / "gold.jsonl").write_text(json.dumps(gold))
    sources = samples_in(tmp_path, FEW)
    recipe = recipe_in(tmp_path, url=server.base_url, sources=sources, judge=_judge(gold="gold.jsonl"))
    build(recipe, tmp_path / "outputs")
    assert sum("How do gold bees talk?" in str(body["messages"]) for body in server.counters.bodies) == 2
    asked = server.counters.requests
    (tmp_path / "gold.jsonl").write_text('{"pair_id": "1"}')
    recipe = recipe_in(tmp_path, url=server.base_url, sources=sources, judge=_judge(6, gold="gold.jsonl"))
    with pytest.raises(UserError, match=r"gold\.jsonl:1"):
        build(recipe, tmp_path / "elsewhere")
    assert pairwright("check", recipe).returncode == 2
    assert server.counters.requests == asked


def test_a_drift_over_the_nights_is_said_at_the_end(tmp_path: Path, server: ChatServer) -> None:
    recipe = recipe_in(tmp_path, url=server.base_url, sources=samples_in(tmp_path, FEW), judge=_judge())
    build(recipe, tmp_path / "outputs")
    file = tmp_path / "outputs" / "night" / "sentinels.jsonl"
    (line,) = lines_of(file)
    assert line["model"] == "test"
    nights = [line | {"model": "test-old", "right": 4, "told": 4}] * 20 + [line | {"right": 1}] * 8
    file.write_text("".join(json.dumps(night) + "\n" for night in nights) + '{"cut off')
    outcome = build(recipe, tmp_path / "elsewhere")
    assert not any("drift" in words for words in outcome.said)
    (tmp_path / "elsewhere" / "night" / "sentinels.jsonl").write_bytes(file.read_bytes())
    samples_in(tmp_path, ("tides.md",))
    outcome = build(recipe, tmp_path / "elsewhere")
    drifts = [words for words in outcome.said if "drift" in words]
    assert len(drifts) == 1
    assert "right on its sentinels in 10 of 28 verdicts over the last 7 starts, 82 of 88 before" in drifts[0]


def test_a_provider_that_is_down_is_still_a_provider_that_is_down(tmp_path: Path) -> None:
    with ChatServer(answer=offline_answers()) as server:
        url = server.base_url
    recipe = recipe_in(tmp_path, url=url, sources=samples_in(tmp_path, FEW), judge=_judge(), engine={"attempts": 1})
    with pytest.raises(ProviderDown, match="does not answer"):
        build(recipe, tmp_path / "outputs")
