"""Several answers end to end: the ready recipe as it stands, and what its folder, its dataset and `show` say of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.gates import audit_of
from pipeline.meter import Account
from pipeline.records import Preference
from pipeline.report.card import card
from pipeline.report.summary import summary
from pipeline.show import show
from pipeline.starting import SEVERAL, start
from pipeline.store import PREFERENCES, read
from tests.support.chat_server import ChatServer, offline_answers
from tests.support.command import assert_adds_up, build, contents, lines_of, manifest_in, recipe_in, run_in, samples_in


class Built(NamedTuple):
    """A complete run of the recipe for several answers."""

    outputs: Path
    folder: Path
    preferences: list[Preference]
    rows: list[dict[str, Any]]


def recipe_for(home: Path, generate: dict[str, Any] | None = None, **judge: Any) -> Path:
    """The ready recipe beside the samples, with these settings in its sections `generate` and `judge`."""
    home.mkdir(exist_ok=True)
    path, _ = start(home / "recipe.yaml", SEVERAL, with_samples=True)
    if judge or generate:
        recipe = yaml.safe_load(path.read_text())
        recipe["judge"] |= judge
        recipe["generate"] |= generate or {}
        path.write_text(yaml.safe_dump(recipe))
    return path


def built_in(home: Path, generate: dict[str, Any] | None = None, **judge: Any) -> Built:
    build(recipe_for(home, generate, **judge), home / "outputs")
    folder = run_in(home / "outputs")
    tables = [pq.read_table(file).to_pylist() for file in sorted((folder / "dataset" / "data").glob("*.parquet"))]
    preferences = list(read(folder / PREFERENCES, Preference))
    return Built(home / "outputs", folder, preferences, [row for table in tables for row in table])


@pytest.fixture(scope="module", name="several")
def _several(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built_in(tmp_path_factory.mktemp("several") / "home")


def test_every_count_adds_up_and_every_further_answer_is_accounted_for(several: Built) -> None:
    counts = manifest_in(several.folder).counts
    assert all(count.seen == count.kept + count.lost for count in counts.values())
    assert sum(count.lost for count in counts.values()) == len(lines_of(several.folder / "5-losses.jsonl"))
    assert counts["parse"].kept == counts["judge"].seen == len(several.preferences)
    assert counts["filter"].kept == len(several.rows)
    assert counts["draw"].seen == 3 * counts["parse"].kept > 100
    answers = sum(len(preference.candidates.answers) for preference in several.preferences)
    assert answers == 2 * counts["parse"].kept + counts["draw"].kept


def test_every_pair_is_the_best_and_the_worst_of_five_and_settled_in_both_orders(several: Built) -> None:
    for preference in several.preferences:
        assert len(preference.candidates.answers) == 5
        assert len(preference.standings) == 5
        if preference.decided:
            assert preference.chosen == preference.standings[0].answer
            assert preference.rejected == preference.standings[-1].answer
            assert {vote.swapped for vote in preference.votes} == {True, False}
            assert {vote.winner for vote in preference.votes} == {preference.chosen}
        assert len(preference.verdicts) <= 10  # all pairs would be 20


def test_an_excerpt_is_not_always_in_the_pair(several: Built) -> None:
    origins = Counter((row["chosen_origin"], row["rejected_origin"]) for row in several.rows)
    assert len(origins) > 1
    for row in several.rows:
        assert bool(row["extracted_spans"]) == ("extracted" in (row["chosen_origin"], row["rejected_origin"]))


def test_a_row_tells_who_wrote_its_answers_how_many_competed_and_what_the_votes_were(several: Built) -> None:
    by_id = {preference.id: preference for preference in several.preferences}
    for row in several.rows:
        preference = by_id[row["id"]]
        chosen, rejected = preference.chosen_answer, preference.rejected_answer
        assert row["chosen"][0]["content"] == chosen.text
        assert row["rejected"][0]["content"] == rejected.text
        assert (row["chosen_model"], row["rejected_model"]) == (chosen.model, rejected.model)
        for side, answer in (("chosen", chosen), ("rejected", rejected)):
            drawn = answer.sampling.temperature if answer.sampling else None
            assert row[f"{side}_temperature"] == drawn
        assert row["candidates"] == 5
        assert row["strength"] == preference.strength
        assert len(row["votes"]) == len(preference.votes)
        assert {vote["said"] for vote in row["votes"]} == {"chosen"}
        assert Counter(vote["chosen_first"] for vote in row["votes"]) == {True: 1, False: 1}
    assert {row["temperature"] for row in several.rows} <= {0.4, 0.7, 1.0}


def test_the_audit_looks_at_every_two_answers_that_were_compared(several: Built) -> None:
    audited = audit_of(several.preferences, 1)
    compared = {
        (preference.id, verdict.x, verdict.y) for preference in several.preferences for verdict in preference.verdicts
    }
    assert audited.pairs == len(compared)
    (judge,) = audited.judges.values()
    assert judge.verdicts == sum(len(preference.verdicts) for preference in several.preferences)
    assert judge.position_consistency is not None
    assert judge.position_consistency.value == 1  # the offline judge knows no position
    longer = [
        len(preference.chosen_answer.text) > len(preference.rejected_answer.text)
        for preference in several.preferences
        if preference.decided and len(preference.chosen_answer.text) != len(preference.rejected_answer.text)
    ]
    assert audited.longer_wins is not None
    assert audited.longer_wins.value == pytest.approx(sum(longer) / len(longer))


def test_show_names_every_answer_its_author_and_its_place(several: Built) -> None:
    preference = next(item for item in several.preferences if item.decided)
    text = show("several-answers", preference.id, several.outputs, None)
    ids = preference.candidates.answer_ids
    for number, answer_id in enumerate(ids, start=1):
        answer = preference.candidates.answer(answer_id)
        assert f"{number} ({answer.origin} {answer_id} by {answer.model}" in text
    for place, standing in enumerate(preference.standings, start=1):
        assert f"{place}. {ids.index(standing.answer) + 1} (" in text
    assert text.count("\n== Verdict ") == 2 * len(preference.verdicts)  # what was said, and the exchange
    verdict = preference.verdicts[0]
    x, y = ids.index(verdict.x) + 1, ids.index(verdict.y) + 1
    assert f" on {x} and {y}, shown {y if verdict.swapped else x} first" in text
    chosen, rejected = (ids.index(answer or "") + 1 for answer in (preference.chosen, preference.rejected))
    assert f"chosen: {chosen} (" in text
    assert f"rejected: {rejected} (" in text
    assert text.count("== Generation: request") == 4  # the triple and three draws


def test_draws_of_one_prompt_are_one_call_to_a_server_and_are_paid_once(tmp_path: Path) -> None:
    generate = {"use": "triples", "engine": "writer", "per_chunk": 2, "draws": 4, "temperatures": [0.4, 1.0]}
    with ChatServer(answer=offline_answers()) as server:
        path = recipe_in(tmp_path, url=server.base_url, sources=samples_in(tmp_path), generate=generate)
        outcome = build(path, tmp_path / "outputs")
        asked = [body for body in server.counters.bodies if "response_format" not in body]
        assert not build(path, tmp_path / "outputs").news
    count = outcome.manifest.counts["draw"]
    assert count.kept == count.seen == 4 * outcome.manifest.counts["parse"].kept
    assert {body["n"] for body in asked} == {2}
    assert len(asked) <= count.seen / 2  # two instructions that read alike are one
    assert_adds_up(outcome.folder)


def test_a_draw_that_failed_is_asked_for_again_by_the_next_start(tmp_path: Path) -> None:
    failing = [True]

    def answer(body: dict[str, Any]) -> str:
        return "" if failing[0] and "response_format" not in body else offline_answers()(body)

    generate = {"use": "triples", "engine": "writer", "per_chunk": 1, "draws": 2}
    with ChatServer(answer=answer) as server:
        path = recipe_in(tmp_path, url=server.base_url, sources=samples_in(tmp_path), generate=generate)
        first = build(path, tmp_path / "outputs").manifest
        failing[0] = False
        second = build(path, tmp_path / "outputs").manifest
    assert first.counts["draw"].failed == {"empty": first.counts["draw"].seen}
    assert first.counts["judge"].kept
    assert first.unanswered
    assert second.counts["draw"].failed == {}
    assert second.counts["draw"].kept == second.counts["draw"].seen
    assert not second.unanswered


def test_draws_that_say_the_same_are_counted_on_screen_and_card_and_shown(tmp_path: Path) -> None:
    """The offline engine rounds temperatures to tenths, so that these two give the same texts."""
    built = built_in(tmp_path / "home", {"draws": 2, "temperatures": [0.42, 0.38]})
    manifest = manifest_in(built.folder)
    count = manifest.counts["draw"]
    assert count.dropped == {"same_answer": count.kept}
    line = f"{count.kept:,} of {count.seen:,} further answers"
    assert line in " ".join(summary(manifest, built.folder, manifest.bill, Account().bill()).split())
    assert f"| further answers | {count.seen:,} | {count.kept:,} | same_answer" in card(manifest, "")
    preference = next(item for item in built.preferences if item.decided)
    assert len(preference.candidates.answers) == 3
    assert "== Draw 2: dropped, same_answer" in show("several-answers", preference.id, built.outputs, None)


def test_where_nothing_is_drawn_nothing_is_said_of_draws(tmp_path: Path) -> None:
    built = built_in(tmp_path / "home", {"draws": 0, "temperatures": []})
    manifest = manifest_in(built.folder)
    assert manifest.counts["draw"].seen == 0
    assert "further answers" not in summary(manifest, built.folder, manifest.bill, Account().bill()) + card(
        manifest, ""
    )
    assert {row["candidates"] for row in built.rows} == {2}


def test_a_second_start_asks_nothing_and_a_third_elsewhere_gives_the_same_bytes(several: Built, tmp_path: Path) -> None:
    again = build(several.outputs.parent / "recipe.yaml", several.outputs)
    assert not again.news
    other = built_in(tmp_path / "home")
    assert contents(other.folder).keys() == contents(several.folder).keys()
    assert contents(other.folder)[PREFERENCES] == contents(several.folder)[PREFERENCES]


@pytest.mark.parametrize(
    "rank",
    [{"use": "round-robin"}, {"use": "bradley-terry", "rejected": "closest-clear-loser"}],
    ids=lambda rank: rank["use"],
)
def test_the_other_rankings_build_a_dataset_too(rank: dict[str, str], tmp_path: Path) -> None:
    built = built_in(tmp_path / "home", rank=rank)
    assert len(built.rows) > 20
    assert all(standing.score is not None for item in built.preferences for standing in item.standings)


def test_the_authors_words_are_chosen_from_among_five(tmp_path: Path) -> None:
    built = built_in(tmp_path / "home", label="extracted")
    assert {row["chosen_origin"] for row in built.rows} == {"extracted"}
    assert {row["rejected_origin"] for row in built.rows} == {"generated"}
