"""A whole run from articles to dataset: what comes out, what it costs, and what a second start does.

The other tests of the whole command borrow `pairwright`, `recipe_in` and what is above the first test from here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pytest
import yaml

from filters.self_contained import mentions
from pipeline.recipe import load
from pipeline.run import Outcome, run
from pipeline.starting import SAMPLES
from pipeline.store import Manifest
from tests.support.chat_server import ChatServer, in_turn, offline_answers

PAIRWRIGHT = Path(sys.executable).with_name("pairwright")
FEW = ("bees.md", "cha.md", "tides.md")
"""Samples enough for what needs many calls but not all of them."""
FILTERS = ("length", "format", "identical", "grounded", "self-contained")


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without a key that a developer may have, and with these variables."""
    return {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"} | variables


def pairwright(*arguments: str | Path, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """The real command, to its end."""
    return subprocess.run(
        [PAIRWRIGHT, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**variables),
        timeout=120,
        check=False,
    )


def started(*arguments: str | Path, **variables: str) -> subprocess.Popen[str]:
    """The real command, under way."""
    command = [str(PAIRWRIGHT), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**variables)
    )


def recipe_in(folder: Path, *, url: str = "", engine: dict[str, Any] | None = None, **sections: object) -> Path:
    """A recipe: all samples, two triples a chunk, one judge; by a server if there is a URL, else offline."""
    served = {"use": "openai", "model": "test", "base_url": url, "in_flight": 8, "timeout": 20, "wait": [0.01, 0.05]}
    writer = (served if url else {"use": "offline"}) | (engine or {})
    recipe = {
        "name": "night",
        "sources": [{"use": "articles", "path": str(SAMPLES)}],
        "engines": {"writer": writer},
        "generate": {"use": "triples", "engine": "writer", "per_chunk": 2},
        "judge": {"label": "judge", "jury": [{"use": "pairwise", "engine": "writer"}]},
        "filters": [{"use": name} for name in FILTERS],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe | sections, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def samples_in(folder: Path, names: tuple[str, ...] = FEW) -> list[dict[str, str]]:
    """Copies some samples into `articles/`; gives the recipe's `sources`."""
    (folder / "articles").mkdir(exist_ok=True)
    for name in names:
        shutil.copy(SAMPLES / name, folder / "articles")
    return [{"use": "articles", "path": "articles"}]


def build(recipe: Path, outputs: Path) -> Outcome:
    """A run in this process: a second quicker than the command."""
    return run(load(recipe), outputs, io.StringIO())


def run_in(outputs: Path) -> Path:
    """The folder of the only complete run."""
    (manifest,) = outputs.glob("*/*/run.json")
    return manifest.parent


def manifest_in(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "run.json").read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run, hidden ones too, but for the journal."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(files.items()) if name != "journal.jsonl"}


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def assert_adds_up(folder: Path) -> None:
    """Within each stage, from stage to stage, and between the counts and the files."""
    counts, data = manifest_in(folder).counts, manifest_in(folder).dataset
    for count in counts.values():
        assert count.seen == count.kept + sum(count.dropped.values()) + sum(count.failed.values())
    assert counts["generate"].seen == counts["chunk"].kept == len(lines_of(folder / "2-chunks.jsonl"))
    assert counts["judge"].seen == counts["parse"].kept == len(lines_of(folder / "3-preferences.jsonl"))
    assert counts["filter"].seen == counts["judge"].kept
    assert counts["filter"].seen * len(FILTERS) == len(lines_of(folder / "4-decisions.jsonl"))
    assert counts["filter"].kept == data.rows
    assert counts["ingest"].kept == len(lines_of(folder / "1-articles.jsonl"))
    losses = lines_of(folder / "5-losses.jsonl")
    assert sum(count.lost for count in counts.values()) == len(losses)


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    """Waits for something to become true. Raises TimeoutError if it does not."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.005)


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
    lock = [name for name in after if name.endswith(".lock")]
    assert {name for name in after if after[name] != before.get(name)} <= set(lock)
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
    recipe = recipe_in(tmp_path, url=server.base_url, sources=samples_in(tmp_path))
    whole = build(recipe, tmp_path / "whole")

    server.faults = [in_turn(["refusal"], times=2)]
    server.__post_init__()  # turns are counted from 1 again
    first = build(recipe, tmp_path / "outputs")
    assert first.manifest.counts["generate"].failed == {"refused": 2}
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
