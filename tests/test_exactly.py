"""Exactly so many pairs: drawn for in rounds, the surplus dropped by a rule, and every count adds up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import ValidationError

from pipeline.engines.ledger import Ledger
from pipeline.errors import ProviderDown, RecordFailed
from pipeline.recipe import Gates
from pipeline.records import Exchange, Reply, Request
from pipeline.stages.generate import STRIDE, generate
from pipeline.starting import start
from pipeline.store import Manifest
from tests.support.build import Line, Saying, make_generator, make_task
from tests.support.command import build, contents, lines_of, manifest_in, run_in


def recipe_for(home: Path, **gates: Any) -> Path:
    """The ready recipe `directed` with these gates: 32 tasks, and one without an answer, lost in every round."""
    home.mkdir(parents=True)
    path, tasks = start(home / "recipe.yaml", "directed", with_samples=True)
    with tasks.open("a", encoding="utf-8") as file:
        file.write('{"instruction": "Who answers this?"}\n')
    engines = {"writer": {"use": "offline", "in_flight": 4}}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"gates": gates, "engines": engines}))
    return path


def built(home: Path, **gates: Any) -> Path:
    build(recipe_for(home, **gates), home / "outputs")
    return run_in(home / "outputs")


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [
        row
        for path in sorted((folder / "dataset" / "data").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def assert_adds_up(folder: Path) -> Manifest:
    manifest = manifest_in(folder)
    counts = manifest.counts
    assert all(count.seen == count.kept + count.lost for count in counts.values())
    assert counts["generate"].seen == 33
    assert counts["judge"].seen == counts["parse"].kept == len(lines_of(folder / "3-preferences.jsonl"))
    assert counts["filter"].kept == manifest.dataset.rows == len(rows_in(folder))
    assert sum(count.lost for count in counts.values()) == len(lines_of(folder / "5-losses.jsonl"))
    return manifest


def test_other_draws_are_asked_for_until_enough_are_kept_and_the_surplus_goes(tmp_path: Path) -> None:
    folder = built(tmp_path / "home", exactly=45, rounds=5)
    manifest = assert_adds_up(folder)
    assert len(rows_in(folder)) == 45
    assert manifest.missed_gates == ()
    assert manifest.bill.calls == 64  # two rounds, not five
    assert manifest.counts["filter"].dropped["exactly.surplus"] > 0
    assert len({(row["instruction"], row["chosen"], row["rejected"]) for row in rows_in(folder)}) == 45


def test_enough_in_the_first_round_asks_for_no_second(tmp_path: Path) -> None:
    folder = built(tmp_path / "home", exactly=20, rounds=5)
    assert assert_adds_up(folder).bill.calls == 32
    assert len(rows_in(folder)) == 20


def test_at_least_so_many_are_drawn_for_too_and_none_is_dropped(tmp_path: Path) -> None:
    manifest = assert_adds_up(built(tmp_path / "home", at_least_pairs=40, rounds=5))
    assert manifest.dataset.rows >= 40
    assert "exactly.surplus" not in manifest.counts["filter"].dropped
    assert manifest.bill.calls == 64


def test_a_build_that_is_exhausted_keeps_what_there_is_and_misses_its_gate(tmp_path: Path) -> None:
    manifest = assert_adds_up(built(tmp_path / "home", exactly=1_000, rounds=2))
    assert 32 < manifest.dataset.rows < 1_000
    assert manifest.missed_gates[0].startswith("exactly: ")


def test_the_surplus_is_told_by_ids_alone_so_that_fewer_are_a_part_of_more(tmp_path: Path) -> None:
    few, many = ({row["id"] for row in rows_in(built(tmp_path / str(number), exactly=number))} for number in (10, 25))
    assert len(few) == 10
    assert few < many


def test_a_start_that_dies_in_the_second_round_ends_in_the_same_bytes_and_pays_for_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = built(tmp_path / "whole", exactly=45, rounds=5)
    path = recipe_for(tmp_path / "cut", exactly=45, rounds=5)
    keep = Ledger.keep
    kept: list[str] = []

    def dying(self: Ledger, exchanges: Iterable[Exchange]) -> list[Reply]:
        group = list(exchanges)
        if len(kept) > 32 and any(request.draw >= STRIDE for request, _ in group):
            raise ProviderDown("gone")
        kept.extend(request.id for request, _ in group)
        return keep(self, group)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "keep", dying)
        with pytest.raises(ProviderDown):
            build(path, tmp_path / "cut" / "outputs")
    outcome = build(path, tmp_path / "cut" / "outputs")
    assert 32 < len(kept) < 64
    assert outcome.paid.calls == 64 - len(kept)
    assert contents(outcome.folder) == contents(whole)


def test_a_round_that_fails_costs_a_task_that_another_round_answered_nothing() -> None:
    def rule(request: Request) -> Line:
        return RecordFailed("timeout", "slow") if request.draw < STRIDE else f"Draw {request.draw}."

    made = asyncio.run(generate(make_task(), make_generator("directed"), Saying(rule), rounds=3))
    assert len(made.candidates) == 2
    assert [(loss.stage, loss.code) for loss in made.losses] == [("parse", "timeout")]
    failed = asyncio.run(
        generate(make_task(), make_generator("directed"), Saying(lambda _: RecordFailed("timeout", "slow")), rounds=3)
    )
    assert [loss.stage for loss in failed.losses] == ["generate", "parse", "parse"]


def test_two_rounds_never_ask_for_the_same_draw() -> None:
    ask = Saying(lambda request: f"Draw {request.draw}.")
    made = asyncio.run(generate(make_task(), make_generator("sample", draws=3), ask, rounds=2))
    assert [request.draw for request in ask.requests] == [0, 1, 2, STRIDE, STRIDE + 1, STRIDE + 2]
    assert made.draws == 6


def test_gates_that_want_more_than_exactly_are_refused() -> None:
    Gates.model_rebuild(force=False)
    with pytest.raises(ValidationError, match="is more than exactly"):
        Gates(at_least_pairs=20, exactly=10)
