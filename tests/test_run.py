"""A whole run from articles to dataset: what comes out, what it costs, and what a second start does."""

from __future__ import annotations

import hashlib
import io
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pytest

import prompts
from filters.self_contained import mentions
from pipeline.errors import Interrupted, ProviderDown, UserError
from pipeline.recipe import load
from pipeline.run import run
from pipeline.starting import SAMPLES
from tests.support.chat_server import ChatServer, for_good, in_turn, offline_answers
from tests.support.command import (
    FEW,
    assert_adds_up,
    build,
    contents,
    lines_of,
    manifest_in,
    pairwright,
    recipe_in,
    run_in,
    samples_in,
    started,
    until,
)


class Built(NamedTuple):
    """A run by the command."""

    recipe: Path
    outputs: Path
    folder: Path
    said: subprocess.CompletedProcess[str]
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    home = tmp_path_factory.mktemp("built")
    recipe = recipe_in(home)
    said = pairwright("run", recipe, "--outputs", home / "outputs")
    assert said.returncode == 0, said.stderr
    folder = run_in(home / "outputs")
    splits = datasets.load_dataset(str(folder / "dataset"), cache_dir=str(home / "cache"))
    return Built(recipe, home / "outputs", folder, said, [row for split in splits.values() for row in split])


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(answer=offline_answers()) as running:
        yield running


# ---------------------------------------------------------------- what comes out


def test_every_count_adds_up_within_and_between_the_stages(built: Built) -> None:
    assert_adds_up(built.folder)
    assert manifest_in(built.folder).counts["ingest"].kept == len(list(SAMPLES.iterdir()))


def test_the_dataset_opens_with_the_datasets_library(built: Built) -> None:
    assert len(built.rows) == manifest_in(built.folder).dataset.rows > 20
    for row in built.rows:
        assert [turn["role"] for turn in row["prompt"] + row["chosen"] + row["rejected"]] == [
            "user",
            "assistant",
            "assistant",
        ]


def test_the_chosen_answer_is_never_the_rejected_one(built: Built) -> None:
    assert not [row for row in built.rows if row["chosen"] == row["rejected"]]


def test_extracted_answers_stand_in_the_article_word_for_word(built: Built) -> None:
    texts = {article["id"]: article["text"] for article in lines_of(built.folder / "1-articles.jsonl")}
    for row in built.rows:
        side = "chosen" if row["chosen_origin"] == "extracted" else "rejected"
        assert row[f"{side}_origin"] == "extracted"
        text = texts[row["article_id"]]
        assert row[side][0]["content"] == " ".join(text[span["start"] : span["end"]] for span in row["extracted_spans"])


def test_no_instruction_names_its_source(built: Built) -> None:
    assert not [row["prompt"] for row in built.rows if mentions(row["prompt"][0]["content"])]


def test_the_manifest_has_the_digest_of_every_file(built: Built) -> None:
    files = contents(built.folder)
    del files["run.json"]
    assert manifest_in(built.folder).files == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


# ---------------------------------------------------------------- a second start


def test_a_second_start_does_nothing_and_pays_nothing(built: Built) -> None:
    before = contents(built.outputs)
    again = pairwright("run", built.recipe, "--outputs", built.outputs)
    assert again.returncode == 0
    assert again.stdout.startswith("Nothing new")
    # the clerk of a run that had been started would have said so on the journal's last line
    assert lines_of(built.folder / "journal.jsonl")[-1]["event"] == "end"
    after = contents(built.outputs)
    told = {name for name in after if name.endswith((".lock", "/history.jsonl", "/night.log"))}
    assert {name for name in after if after[name] != before.get(name)} <= told
    assert before.keys() == after.keys()


def test_another_outputs_folder_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    said = pairwright("run", built.recipe, "--outputs", tmp_path / "elsewhere", cwd=tmp_path)
    assert said.returncode == 0
    assert contents(run_in(tmp_path / "elsewhere")) == contents(built.folder)


def test_a_new_comment_is_no_new_run(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, sources=samples_in(tmp_path))
    first = build(recipe, tmp_path / "outputs")
    recipe.write_text(f"# looks different\n\n{recipe.read_text()}\n# and means the same\n")
    again = build(recipe, tmp_path / "outputs")
    assert (again.folder, again.news) == (first.folder, False)


def test_a_new_value_pays_only_for_what_it_changes(tmp_path: Path, server: ChatServer) -> None:
    sources = samples_in(tmp_path)
    first = build(recipe_in(tmp_path, url=server.base_url, sources=sources), tmp_path / "outputs")
    asked = server.counters.requests
    assert first.paid.calls == asked == manifest_in(first.folder).bill.calls

    fewer = [{"use": "length", "at_least": 150}]
    filtered = build(recipe_in(tmp_path, url=server.base_url, sources=sources, filters=fewer), tmp_path / "outputs")
    assert filtered.folder != first.folder
    assert server.counters.requests == asked

    reasons = {"label": "judge", "jury": [{"use": "pairwise", "engine": "writer", "reason": True}]}
    judged = build(recipe_in(tmp_path, url=server.base_url, sources=sources, judge=reasons), tmp_path / "outputs")
    new = server.counters.bodies[asked:]
    assert len({first.folder, filtered.folder, judged.folder}) == 3
    assert len(new) == judged.paid.calls > 0
    assert {body["response_format"]["json_schema"]["name"] for body in new} == {"reasoned_verdict"}


def test_a_new_article_pays_only_for_itself(tmp_path: Path, server: ChatServer) -> None:
    recipe = recipe_in(tmp_path, url=server.base_url, sources=samples_in(tmp_path, FEW[:2]))
    first = build(recipe, tmp_path / "outputs")
    asked = server.counters.requests
    samples_in(tmp_path)
    second = build(recipe, tmp_path / "outputs")
    assert second.folder != first.folder
    assert second.paid.calls == server.counters.requests - asked > 0
    assert second.manifest.bill.calls == server.counters.requests
    assert server.counters.paid_twice() == 0


def test_chunks_that_failed_are_asked_again_by_the_next_start_and_no_others(tmp_path: Path, server: ChatServer) -> None:
    recipe = recipe_in(tmp_path, url=server.base_url, engine={"attempts": 1}, sources=samples_in(tmp_path))
    whole = build(recipe, tmp_path / "whole")

    server.faults = [in_turn(["500"], times=2)]
    server.__post_init__()  # turns are counted from 1 again
    first = build(recipe, tmp_path / "outputs")
    assert first.manifest.counts["generate"].failed == {"http_500": 2}
    assert_adds_up(first.folder)
    asked = server.counters.requests

    second = build(recipe, tmp_path / "outputs")
    bodies = server.counters.bodies[asked:]
    assert second.manifest.unanswered == 0
    assert sum(body["response_format"]["json_schema"]["name"] == "triples" for body in bodies) == 2
    assert second.paid.calls == len(bodies)
    assert contents(second.folder) == contents(whole.folder)
    assert not build(recipe, tmp_path / "outputs").news


# ---------------------------------------------------------------- gates, labels, neighbours


def test_a_missed_gate_exits_3_and_keeps_the_dataset(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, sources=samples_in(tmp_path), gates={"at_least_pairs": 1000})
    said = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
    assert said.returncode == 3
    assert "gate missed: at_least_pairs" in said.stdout
    folder = run_in(tmp_path / "outputs")
    assert len(manifest_in(folder).missed_gates) == 1
    rows = datasets.load_dataset(str(folder / "dataset"), cache_dir=str(tmp_path / "cache"), split="train")
    assert len(rows) > 0
    assert pairwright("run", recipe, "--outputs", tmp_path / "outputs").returncode == 3


def test_the_authors_words_are_chosen_without_a_jury_and_without_a_call_to_one(
    tmp_path: Path, server: ChatServer
) -> None:
    judge = {"label": "extracted"}
    recipe = recipe_in(tmp_path, url=server.base_url, sources=samples_in(tmp_path), judge=judge)
    outcome = build(recipe, tmp_path / "outputs")
    assert outcome.manifest.dataset.rows > 0
    assert outcome.manifest.counts["judge"].lost == 0
    schemas = {body["response_format"]["json_schema"]["name"] for body in server.counters.bodies}
    assert schemas == {"triples"}
    for preference in lines_of(outcome.folder / "3-preferences.jsonl"):
        origins = {answer["id"]: answer["origin"] for answer in preference["candidates"]["answers"]}
        assert origins[preference["chosen"]] == "extracted"


def test_an_article_that_cannot_be_read_is_named_and_counted_and_the_run_goes_on(tmp_path: Path) -> None:
    sources = samples_in(tmp_path)
    (tmp_path / "articles" / "noise.md").write_bytes(bytes(range(256)) * 20)
    said = pairwright("run", recipe_in(tmp_path, sources=sources), "--outputs", tmp_path / "outputs")
    assert said.returncode == 0
    assert "not read: noise.md: " in said.stderr
    folder = run_in(tmp_path / "outputs")
    assert manifest_in(folder).counts["ingest"].failed == {"binary": 1}
    assert manifest_in(folder).dataset.rows > 0
    assert_adds_up(folder)


def test_of_two_starts_at_once_the_second_is_told_to_wait(tmp_path: Path) -> None:
    with ChatServer(answer=offline_answers(), latency=0.3) as slow:
        recipe = recipe_in(tmp_path, url=slow.base_url, sources=samples_in(tmp_path))
        first = started("run", recipe, "--outputs", tmp_path / "outputs")
        until(lambda: slow.counters.requests > 0)
        first.send_signal(signal.SIGSTOP)  # so that it cannot end before the second has begun
        second = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
        first.send_signal(signal.SIGCONT)
        _, words = first.communicate(timeout=60)
    assert second.returncode == 75
    assert f"being run by process {first.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert first.returncode == 0, words
    assert slow.counters.paid_twice() == 0


def test_a_judge_that_is_biased_beyond_the_gate_ends_the_build_with_3_and_is_named(tmp_path: Path) -> None:
    def always_first(body: dict[str, Any]) -> str:
        wanted = body["response_format"]["json_schema"]["name"]
        return '{"verdict": "first"}' if wanted == "verdict" else offline_answers()(body)

    with ChatServer(answer=always_first) as server:
        gates = {"at_least_pairs": 0, "first_share": [0.35, 0.65]}
        recipe = recipe_in(tmp_path, url=server.base_url, gates=gates, sources=samples_in(tmp_path))
        said = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
    assert said.returncode == 3
    assert "gate missed: pairwise:writer: first_share is 1.000 [1.000, 1.000], outside 0.35 to 0.65" in said.stdout
    assert manifest_in(run_in(tmp_path / "outputs")).counts["judge"].kept == 0


def test_a_complete_build_stays_until_a_better_one_is_complete(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    with ChatServer(answer=offline_answers(), faults=[in_turn(["500"], times=2)]) as server:
        sources = samples_in(tmp_path)
        recipe = recipe_in(tmp_path, url=server.base_url, engine={"attempts": 1}, sources=sources)
        first = build(recipe, outputs)
    before = contents(first.folder)
    with pytest.raises(ProviderDown):  # the server is gone
        build(recipe, outputs)
    assert first.manifest.unanswered == 2
    assert contents(first.folder) == before


def test_a_prompt_that_loses_its_source_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    bundled = (Path(prompts.__file__).parent / "pairwise.j2").read_text(encoding="utf-8")
    (tmp_path / "mine.j2").write_text(bundled.replace("{{ second }}", "{{ second | upper }}"), encoding="utf-8")
    with ChatServer(answer=offline_answers()) as server:
        jury = [{"use": "pairwise", "engine": "writer", "prompt": "mine.j2"}]
        recipe = recipe_in(tmp_path, url=server.base_url, judge={"jury": jury})
        with pytest.raises(UserError, match="must read"):
            build(recipe, tmp_path / "outputs")
        assert server.counters.requests == 0


def test_two_different_prompts_of_one_name_are_refused(tmp_path: Path) -> None:
    for kind in ("triples", "pairwise"):
        (tmp_path / kind).mkdir()
        shutil.copy(Path(prompts.__file__).parent / f"{kind}.j2", tmp_path / kind / "mine.j2")
    jury = [{"use": "pairwise", "engine": "writer", "prompt": "pairwise/mine.j2"}]
    generate = {"use": "triples", "engine": "writer", "prompt": "triples/mine.j2"}
    with pytest.raises(UserError, match="two different prompts are called 'mine'"):
        build(recipe_in(tmp_path, generate=generate, judge={"jury": jury}), tmp_path / "outputs")


def test_a_policy_that_its_jury_cannot_serve_is_refused_with_the_recipe(tmp_path: Path) -> None:
    judge = {"jury": [{"use": "pairwise", "engine": "writer"}], "policy": {"use": "lead", "lead": 4}}
    with pytest.raises(UserError, match="judge"):
        load(recipe_in(tmp_path, judge=judge))


class _Stops(io.StringIO):
    """A log on which the last word of progress is met by Ctrl-C: all is answered, nothing is complete."""

    def write(self, text: str) -> int:
        if "chunks" in text:
            raise KeyboardInterrupt
        return super().write(text)


def test_a_start_that_asks_anew_and_is_stopped_has_not_paid_in_vain(tmp_path: Path) -> None:
    with ChatServer(answer=offline_answers(), faults=[for_good(["empty"], share=0.3)]) as server:
        recipe = recipe_in(tmp_path, url=server.base_url, sources=samples_in(tmp_path))
        assert build(recipe, tmp_path / "outputs").manifest.unanswered > 0
        server.faults = ()
        with pytest.raises(Interrupted):
            run(load(recipe), tmp_path / "outputs", _Stops())
        asked = server.counters.requests
        healed = build(recipe, tmp_path / "outputs")
        assert server.counters.requests == asked
    assert (healed.paid.calls, healed.manifest.unanswered) == (0, 0)


@pytest.mark.parametrize("form", ["json", "label"])
def test_how_sure_a_judge_was_comes_from_the_server_into_every_verdict(
    tmp_path: Path, server: ChatServer, form: str
) -> None:
    jury = [{"use": "pairwise", "engine": "writer", "form": form}]
    recipe = recipe_in(tmp_path, url=server.base_url, sources=samples_in(tmp_path), judge={"jury": jury})
    outcome = build(recipe, tmp_path / "outputs")
    verdicts = [said for line in lines_of(outcome.folder / "3-preferences.jsonl") for said in line["verdicts"]]
    assert {(said["said"], said["probability"]) for said in verdicts} == {("a", 1.0), ("b", 0.0)}
    asked = [body for body in server.counters.bodies if "top_logprobs" in body]
    assert len(asked) == len(verdicts)
    assert {"structured_outputs" in body for body in asked} == {form == "label"}
    offline = build(recipe_in(tmp_path, sources=samples_in(tmp_path), judge={"jury": jury}), tmp_path / "offline")
    chosen = [line["chosen"] for line in lines_of(offline.folder / "3-preferences.jsonl")]
    assert chosen == [line["chosen"] for line in lines_of(outcome.folder / "3-preferences.jsonl")]
