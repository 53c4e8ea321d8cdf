"""From the command to the Hub and back: what is published is what was built, and nothing else ever is."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.hub.delivery import MARK
from tests.support.command import FEW, build, environment, lines_of, pairwright, recipe_in, run_in, samples_in, started
from tests.support.hub_server import HubServer

REPO = "acme/prefs"
TO_HUB = {"repo": REPO, "attempts": 4, "wait": [0.01, 0.05]}
TOKEN = "hf_writer"
LOADS = """
import json, sys, datasets
splits = datasets.load_dataset(sys.argv[1], revision=sys.argv[2])
print(json.dumps({name: rows.to_list() for name, rows in splits.items()}))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as running:
        yield running


class Home:
    """A recipe that publishes, and its outputs."""

    def __init__(self, folder: Path, hub: HubServer, **sections: object) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.hub, self.outputs = folder, hub, folder / "outputs"
        self.recipe = recipe_in(folder, **({"sources": samples_in(folder), "publish": TO_HUB} | sections))

    def __call__(self, command: str, *more: str | Path, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        """`run` its recipe, or another command on its last build."""
        what = self.recipe if command == "run" else "night"
        return pairwright(command, what, *more, "--outputs", self.outputs, **self.hub.env(token))

    def published(self) -> dict[str, Any]:
        """What was noted about the only published build."""
        (path,) = self.outputs.glob("*/*/published.json")
        return dict(json.loads(path.read_text()))

    def loaded(self, revision: str) -> dict[str, list[dict[str, Any]]]:
        """A revision as `datasets` reads it from the Hub."""
        command = [sys.executable, "-c", LOADS, REPO, revision]
        env = environment(**self.hub.env("hf_reader", self.folder / "reader"))
        said = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
        return dict(json.loads(said.stdout))


@pytest.fixture
def home(tmp_path: Path, hub: HubServer) -> Home:
    return Home(tmp_path / "home", hub)


def ours(hub: HubServer) -> list[str]:
    """Builds in the repo, the newest first."""
    commits = hub.commits(REPO) if hub.exists(REPO) else []
    return [found[1] for commit in commits if (found := re.search(f"^{MARK}(.+)$", commit.message, re.MULTILINE))]


def rows_in(folder: Path) -> dict[str, dict[str, Any]]:
    tables = [pq.read_table(path).to_pylist() for path in (folder / "dataset" / "data").iterdir()]
    return {row["id"]: row for table in tables for row in table}


# ---------------------------------------------------------------- a good night


def test_a_night_ends_with_one_tagged_commit_that_datasets_loads_row_by_row(home: Home, hub: HubServer) -> None:
    said = home("run")
    assert said.returncode == 0, said.stderr
    where = home.published()
    assert [commit.id for commit in hub.commits(REPO)][:-1] == [where["sha"]]
    assert hub.tags(REPO) == {where["tag"]: where["sha"]}
    assert re.fullmatch(r"v\d{4}\.\d\d\.\d\d", where["tag"])
    assert hub.is_private(REPO)
    assert f"published: {REPO} {where['tag']}\ncommit: {where['sha']}\n" in said.stdout
    folder = run_in(home.outputs)
    assert f"pairwright run: {folder.name}\n" in hub.commits(REPO)[0].message
    for revision in (where["sha"], where["tag"]):
        splits = home.loaded(revision)
        assert {row["id"]: row for rows in splits.values() for row in rows} == rows_in(folder)


def test_a_night_without_news_asks_the_hub_nothing_and_commits_nothing(home: Home, hub: HubServer) -> None:
    assert home("run").returncode == 0
    asked = len(hub.seen)
    again = home("run")
    assert again.returncode == 0
    assert again.stdout.startswith("Nothing new")
    assert home.published()["sha"] in again.stdout
    assert len(hub.seen) == asked


def test_what_is_on_the_hub_is_card_manifest_and_rows_and_no_more(home: Home, hub: HubServer) -> None:
    assert home("run").returncode == 0
    contents, folder = hub.contents(REPO), run_in(home.outputs)
    tables = {f"data/{path.name}": path.read_bytes() for path in (folder / "dataset" / "data").iterdir()}
    assert contents.keys() == {".gitattributes", "README.md", "run.json", *tables}
    assert {path: contents[path] for path in tables} == tables
    assert contents["run.json"] == (folder / "run.json").read_bytes()


def test_the_card_on_the_hub_has_metadata_that_tells_the_truth(home: Home, hub: HubServer) -> None:
    assert home("run").returncode == 0
    _, front, body = hub.contents(REPO)["README.md"].decode().split("---\n", 2)
    data, folder = yaml.safe_load(front), run_in(home.outputs)
    rows = {
        path.name.split("-")[0]: pq.read_metadata(path).num_rows for path in (folder / "dataset" / "data").iterdir()
    }
    assert {split["name"]: split["num_examples"] for split in data["dataset_info"]["splits"]} == rows
    assert f'load_dataset("{REPO}")' in body
    assert "What changed" not in body  # the first build


def test_a_second_build_says_on_its_card_what_changed_and_why(tmp_path: Path, hub: HubServer) -> None:
    home = Home(tmp_path / "home", hub, gates={"at_most_shrunk": 0.6})
    assert home("run").returncode == 0
    before = rows_in(run_in(home.outputs))
    (home.folder / "articles" / FEW[0]).unlink()
    samples_in(home.folder, ("insulation.md",))
    said = home("run", "--json")
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    gone = [row for row in before.values() if row["source_id"] == FEW[0]]
    new = told["dataset"]["train"] + told["dataset"]["test"] - (len(before) - len(gone))
    assert told["changes"]["removed"] == {"article withdrawn": len(gone)}
    assert told["changes"]["added"] == {"new article": new}
    assert told["changes"]["sources"][FEW[0]]["removed"] == len(gone)
    card = hub.contents(REPO)["README.md"].decode()
    assert f"| removed | {len(gone)} | article withdrawn {len(gone)} |" in card
    assert f"+{new} -{len(gone)} rows" in hub.commits(REPO)[0].title
    assert len(ours(hub)) == 2
    first, second = sorted(hub.tags(REPO))
    assert second == f"{first}.2"
    assert not [row for rows in home.loaded(second).values() for row in rows if row["source_id"] == FEW[0]]


def test_the_build_before_is_fetched_from_the_hub_where_the_disk_is_fresh(tmp_path: Path, hub: HubServer) -> None:
    assert Home(tmp_path / "one", hub)("run").returncode == 0
    other = Home(tmp_path / "two", hub, sources=samples_in(tmp_path / "one", (*FEW, "insulation.md")))
    samples_in(tmp_path / "two", (*FEW, "insulation.md"))
    said = other("run", "--json")
    assert said.returncode == 0, said.stderr
    changes = json.loads(said.stdout)["changes"]
    assert changes["added"].keys() == {"new article"}
    assert (changes["removed"], changes["relabelled"]) == ({}, 0)
    assert len(ours(hub)) == 2


def test_the_same_build_from_a_fresh_disk_is_found_and_not_published_again(tmp_path: Path, hub: HubServer) -> None:
    assert Home(tmp_path / "one", hub)("run").returncode == 0
    other = Home(tmp_path / "two", hub)
    other.recipe.write_bytes((tmp_path / "one" / "recipe.yaml").read_bytes())
    assert other("run").returncode == 0
    assert other.published()["sha"] == hub.commits(REPO)[0].id
    assert len(ours(hub)) == 1
    assert len(hub.tags(REPO)) == 1


def test_where_it_is_published_and_who_is_told_makes_no_other_build(tmp_path: Path, hub: HubServer) -> None:
    home = Home(tmp_path / "home", hub)
    assert home("run").returncode == 0
    data = yaml.safe_load(home.recipe.read_text())
    data["publish"]["repo"] = "acme/other"
    data["night"] = {"keep": 3}
    home.recipe.write_text(yaml.safe_dump(data))
    assert home("run").returncode == 0
    assert len(list(home.outputs.glob("night/*/run.json"))) == 1
    assert hub.exists("acme/other")


# ---------------------------------------------------------------- by hand


def test_a_dry_run_prints_plan_and_changes_and_touches_nothing(home: Home, hub: HubServer) -> None:
    assert home("run", "--no-publish").returncode == 0
    assert not hub.seen
    said = home("publish", "--dry-run")
    assert said.returncode == 0, said.stderr
    assert all(line.startswith("[dry-run] ") for line in said.stdout.splitlines())
    assert f"{REPO}, private, to be made" in said.stdout
    assert not hub.exists(REPO)
    assert {seen.method for seen in hub.seen} == {"GET"}
    assert home("publish").returncode == 0
    samples_in(home.folder, ("insulation.md",))
    assert home("run", "--no-publish").returncode == 0
    posts = sum(seen.method != "GET" for seen in hub.seen)
    said = home("publish", "--dry-run")
    assert "new article" in said.stdout
    assert sum(seen.method != "GET" for seen in hub.seen) == posts
    assert len(ours(hub)) == 1


def test_a_run_is_published_by_hand_to_where_it_is_said_and_public_only_if_it_is_said(
    tmp_path: Path, hub: HubServer
) -> None:
    home = Home(tmp_path / "home", hub, publish=None)
    assert home("run").returncode == 0
    nowhere = home("publish")
    assert nowhere.returncode == 2
    assert "--repo org/name" in nowhere.stderr
    said = home("publish", "--repo", "acme/open", "--public", "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["published"]["sha"] == hub.commits("acme/open")[0].id
    assert not hub.is_private("acme/open")
    assert home("publish", "--repo", "not a repo").returncode == 2


def test_a_run_that_was_tampered_with_is_not_published(home: Home, hub: HubServer) -> None:
    assert home("run", "--no-publish").returncode == 0
    (path, *_) = sorted(run_in(home.outputs).glob("dataset/data/*.parquet"))
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    said = home("publish")
    assert said.returncode == 2
    assert "was changed since it was built" in said.stderr
    assert not hub.exists(REPO)


def test_a_build_that_was_made_anew_is_published_anew_though_it_has_the_same_run_id(home: Home, hub: HubServer) -> None:
    assert home("run").returncode == 0
    folder = run_in(home.outputs)
    (folder / "run.json").write_text((folder / "run.json").read_text() + "\n")  # another build, in one word
    assert home("run").returncode == 0
    assert len(ours(hub)) == 2


# ---------------------------------------------------------------- gates


def test_a_build_that_shrank_too_much_is_not_published_and_exits_3_night_after_night(
    home: Home, hub: HubServer
) -> None:
    assert home("run").returncode == 0
    head = hub.commits(REPO)[0].id
    (home.folder / "articles" / FEW[0]).unlink()
    for _ in range(2):
        said = home("run")
        assert said.returncode == 3
        assert "at_most_shrunk" in said.stderr
        assert (hub.commits(REPO)[0].id, len(hub.tags(REPO))) == (head, 1)
    data = yaml.safe_load(home.recipe.read_text()) | {"gates": {"at_most_shrunk": 1}}
    home.recipe.write_text(yaml.safe_dump(data))
    assert home("run").returncode == 0
    assert len(ours(hub)) == 2


def test_a_gate_that_the_build_misses_by_itself_publishes_nothing(tmp_path: Path, hub: HubServer) -> None:
    home = Home(tmp_path / "home", hub, gates={"at_least_pairs": 1000})
    assert home("run").returncode == 3
    assert home("publish").returncode == 3
    assert not hub.exists(REPO)


def test_columns_that_went_or_changed_are_not_published(home: Home, hub: HubServer) -> None:
    assert home("run").returncode == 0
    (name,) = [path for path in hub.contents(REPO) if path.startswith("data/train")]
    path = home.folder / "wide.parquet"
    path.write_bytes(hub.contents(REPO)[name])
    table = pq.read_table(path)
    pq.write_table(
        table.append_column("stars", [[5] * len(table)]).rename_columns([*table.column_names, "stars"]), path
    )
    other = Home(home.folder.parent / "other", hub)
    message = hub.commits(REPO)[0].message.replace(MARK, f"{MARK}0")
    repo = hub._repos["dataset", REPO]
    files = {**hub.commits(REPO)[0].files, name: hub._stored(path.read_bytes())}
    repo.commit(files, "Earlier", message, "nightly-bot")
    shutil.rmtree(home.outputs)
    said = other("run")
    assert said.returncode == 3, said.stderr
    assert "same_columns: stars is gone" in said.stderr
    assert len(ours(hub)) == 2


# ---------------------------------------------------------------- faults and tokens


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"status": 412}, 0),
        ({"status": 409, "after": True}, 0),
        ({"status": 429, "headers": {"Retry-After": "0"}}, 0),
        ({"status": 500, "after": True}, 0),
        ({"status": 503}, 0),
        ({"drop": "before"}, 0),
        ({"drop": "mid"}, 0),
        ({"drop": "after"}, 0),
        ({"status": 503, "times": 1000}, 75),
        ({"drop": "before", "times": 1000}, 75),
        ({"status": 400, "times": 1000}, 2),
        ({"status": 403, "times": 1000}, 2),
    ],
    ids=str,
)
def test_a_fault_in_the_commit_leaves_one_commit_or_none_and_the_right_exit_code(
    home: Home, hub: HubServer, fault: dict[str, Any], code: int
) -> None:
    hub.fault(method="POST", path="/commit/", **fault)
    said = home("run")
    assert said.returncode == code, said.stderr
    assert "Traceback" not in said.stderr
    assert len(ours(hub)) == len(hub.tags(REPO)) == (code == 0)
    assert len([line for line in said.stderr.splitlines() if line.startswith("error: ")]) == (code != 0)
    hub.heal()
    again = home("run")
    assert again.returncode == 0, again.stderr
    assert len(ours(hub)) == len(hub.tags(REPO)) == 1
    assert hub.tags(REPO) == {home.published()["tag"]: home.published()["sha"]}


@pytest.mark.parametrize(
    ("token", "words"),
    [("hf_wrong_0123456789", "does not know this token"), ("hf_reader", "may not"), ("", "no token")],
)
def test_a_token_that_will_not_do_is_said_in_one_line_without_the_token(
    home: Home, hub: HubServer, token: str, words: str
) -> None:
    said = home("run", token=token)
    assert said.returncode == 2, said.stderr
    assert words in said.stderr
    assert not ours(hub)
    assert not token or token not in said.stdout + said.stderr


def test_a_hub_that_is_not_there_ends_in_75_and_the_next_night_publishes(home: Home, hub: HubServer) -> None:
    environment = hub.env() | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    said = pairwright("run", home.recipe, "--outputs", home.outputs, **environment)
    assert said.returncode == 75, said.stderr
    assert "Traceback" not in said.stderr
    assert home("run").returncode == 0
    assert len(ours(hub)) == 1


def test_the_token_is_in_no_file_message_or_log(tmp_path: Path, hub: HubServer) -> None:
    token = "hf_plantedPLANTEDplantedPLANTED1234"
    hub.tokens[token] = hub.tokens[TOKEN]
    home = Home(tmp_path / "home", hub)
    hub.fault(method="POST", path="/commit/", status=503, message=f"your token {token} is tired")
    hub.fault(method="POST", path="/tag/", status=403, message=f"{'x' * 150} token {token}")
    debug = {"HF_HUB_VERBOSITY": "debug", "HF_DEBUG": "1"}
    command = ("--outputs", home.outputs)
    said = [
        pairwright("run", home.recipe, *command, **hub.env(token), **debug),
        pairwright("publish", "night", *command, "--dry-run", **hub.env(token), **debug),
        pairwright("run", home.recipe, *command, "--json", **hub.env(token), **debug),
        pairwright("history", "night", *command, "--json", **hub.env(token), **debug),
    ]
    assert [one.returncode for one in said] == [2, 0, 0, 0], [one.stderr for one in said]
    assert not [one for one in said if token[:20] in one.stdout + one.stderr]
    assert not [one for one in said if "signature=" in one.stderr]
    files = [path for path in home.folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if token[:20].encode() in path.read_bytes()]
    assert not [path for path, data in hub.contents(REPO).items() if token[:20].encode() in data]


@pytest.mark.parametrize("secret", ["hf_writtenWRITTENwrittenWRITTEN1234", "sk-proj-writtenWRITTENwritten0123456789"])
def test_a_secret_that_somebody_wrote_into_a_comment_is_not_published(home: Home, hub: HubServer, secret: str) -> None:
    home.recipe.write_text(f"{home.recipe.read_text()}# my key: {secret}\n")
    said = home("run")
    assert said.returncode == 2
    assert "looks like a secret" in said.stderr
    assert secret not in said.stdout + said.stderr
    assert not hub.exists(REPO)


# ---------------------------------------------------------------- kill -9


def test_killed_at_ten_random_moments_of_publishing_there_is_one_commit_and_one_tag(home: Home, hub: HubServer) -> None:
    assert home("run", "--no-publish").returncode == 0
    draw, killed = random.Random(2026), 0
    for path in ("/create", "/preupload", "/batch", "/_signed/", "/commit/", "/commits/", "/tree/", "/refs", "/tag/"):
        hub.fault(path=path, delay=0.1, times=1000)
    command = ("publish", "night", "--outputs", home.outputs)
    for number in range(10):
        process, asked = started(*command, **hub.env()), len(hub.seen)
        while len(hub.seen) == asked and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.15 * (number + 1)))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        killed += process.returncode == -signal.SIGKILL
        assert len(ours(hub)) <= 1
        assert len(hub.tags(REPO) if hub.exists(REPO) else {}) <= len(ours(hub))
    assert killed >= 5, "too few kills met a process still running"
    hub.heal()
    assert home("publish").returncode == 0
    assert len(ours(hub)) == len(hub.tags(REPO)) == 1
    assert home.loaded(home.published()["sha"])


def test_the_journal_tells_where_a_run_was_published(home: Home) -> None:
    assert home("run").returncode == 0
    event = lines_of(run_in(home.outputs) / "journal.jsonl")[-1]
    assert (event["event"], event["sha"]) == ("published", home.published()["sha"])


def test_a_build_by_hand_and_by_night_is_the_same(tmp_path: Path, home: Home) -> None:
    assert home("run").returncode == 0
    assert (
        build(home.recipe, tmp_path / "library").manifest.files
        == json.loads((run_in(home.outputs) / "run.json").read_text())["files"]
    )
    assert os.environ.get("HF_ENDPOINT") is None
