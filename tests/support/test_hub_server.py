"""The real clients against the local Hub: what they write they read back, and what it refuses they are told."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tests.support.hub_server import HubServer, tree_ids

REPO = "acme/prefs"
LOADS = """
import json, sys
import datasets
rows = datasets.load_dataset(sys.argv[1], revision=sys.argv[2], split="train")
print(json.dumps(rows.to_list()))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as running:
        yield running


@pytest.fixture(autouse=True)
def no_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


def client(hub: HubServer, token: str = "hf_writer") -> HfApi:
    return HfApi(endpoint=hub.url, token=token)


def table(path: Path, rows: int = 3) -> Path:
    pq.write_table(pa.table({"text": [f"row {number}" for number in range(rows)]}), path)
    return path


def written(hub: HubServer, *files: CommitOperationAdd | CommitOperationDelete, parent: str | None = None) -> str:
    made = client(hub).create_commit(
        REPO, files, commit_message="One", commit_description="run r1", repo_type="dataset", parent_commit=parent
    )
    return str(made.oid)


def test_what_is_committed_is_listed_with_its_digests_and_loaded_by_datasets(hub: HubServer, tmp_path: Path) -> None:
    client(hub).create_repo(REPO, repo_type="dataset", private=True)
    path = table(tmp_path / "train.parquet")
    sha = written(hub, CommitOperationAdd("data/train.parquet", path), CommitOperationAdd("README.md", b"# Hello\n"))
    info = client(hub).dataset_info(REPO, revision=sha, files_metadata=True)
    assert info.private
    found = {file.rfilename: file.lfs.sha256 for file in info.siblings or () if file.lfs}
    assert found == {"data/train.parquet": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert [commit.message for commit in client(hub).list_repo_commits(REPO, repo_type="dataset")] == ["run r1", ""]
    command = [sys.executable, "-c", LOADS, REPO, sha]
    said = subprocess.run(command, capture_output=True, text=True, env=os.environ | hub.env("hf_reader"), check=True)
    assert json.loads(said.stdout) == [{"text": f"row {number}"} for number in range(3)]


def test_object_ids_are_gits_own(hub: HubServer, tmp_path: Path) -> None:
    client(hub).create_repo(REPO, repo_type="dataset")
    written(hub, *(CommitOperationAdd(name, name.encode()) for name in ("a.txt", "b/c.txt", "b/d/e.txt", "b.txt")))
    folder = tmp_path / "by-git"
    for path, data in hub.contents(REPO).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "--quiet")
    git("add", "--all")
    assert tree_ids(hub.commits(REPO)[0].files)[""] == git("write-tree")


def test_a_commit_on_another_parent_is_refused(hub: HubServer) -> None:
    client(hub).create_repo(REPO, repo_type="dataset")
    head = hub.commits(REPO)[0].id
    hub.write(REPO, {"notes.txt": b"mine"})
    with pytest.raises(HfHubHTTPError) as caught:
        written(hub, CommitOperationAdd("README.md", b"# Hello\n"), parent=head)
    assert caught.value.response.status_code == 412
    assert len(hub.commits(REPO)) == 2


def test_a_deleted_file_is_gone_from_the_next_commit_and_stays_in_the_last(hub: HubServer) -> None:
    hub.write(REPO, {"a.txt": b"a", "b.txt": b"b"}, author="nightly-bot")
    first = hub.commits(REPO)[0].id
    second = written(hub, CommitOperationDelete("a.txt"))
    assert set(hub.contents(REPO, first)) - set(hub.contents(REPO, second)) == {"a.txt"}


def test_a_tag_never_moves(hub: HubServer) -> None:
    first = hub.write(REPO, {"a.txt": b"a"})
    client(hub).create_tag(REPO, tag="v1", revision=first, repo_type="dataset")
    second = hub.write(REPO, {"a.txt": b"b"})
    with pytest.raises(HfHubHTTPError) as caught:
        client(hub).create_tag(REPO, tag="v1", revision=second, repo_type="dataset")
    assert caught.value.response.status_code == 409
    assert hub.tags(REPO) == {"v1": first}


@pytest.mark.parametrize(("token", "status"), [("hf_reader", 403), ("hf_wrong", 401)])
def test_who_may_not_write_is_refused(hub: HubServer, token: str, status: int) -> None:
    hub.write(REPO, {"a.txt": b"a"})
    with pytest.raises(HfHubHTTPError) as caught:
        client(hub, token).create_tag(REPO, tag="v1", repo_type="dataset")
    assert caught.value.response.status_code == status
    assert hub.tags(REPO) == {}


def test_a_stranger_does_not_see_a_private_repo(hub: HubServer) -> None:
    hub.write(REPO, {"a.txt": b"a"})
    with pytest.raises(RepositoryNotFoundError):
        client(hub, "hf_outside").dataset_info(REPO)


def test_a_model_is_written_like_a_dataset(hub: HubServer, tmp_path: Path) -> None:
    client(hub).create_repo("acme/model", private=True)
    weights = tmp_path / "adapter.safetensors"
    weights.write_bytes(bytes(range(256)) * 100)
    client(hub).upload_file(path_or_fileobj=weights, path_in_repo=weights.name, repo_id="acme/model")
    assert hub.contents("acme/model", kind="model")[weights.name] == weights.read_bytes()
    got = client(hub).hf_hub_download("acme/model", weights.name, cache_dir=tmp_path / "cache")
    assert Path(got).read_bytes() == weights.read_bytes()


@pytest.mark.parametrize(
    ("fault", "commits"),
    [
        ({"status": 503}, 1),
        ({"status": 500, "after": True}, 2),
        ({"drop": "before"}, 1),
        ({"drop": "mid"}, 1),
        ({"drop": "after"}, 2),
        ({"body": "<html>"}, 2),
    ],
    ids=str,
)
def test_a_fault_does_what_it_says_once(hub: HubServer, fault: dict[str, object], commits: int) -> None:
    client(hub).create_repo(REPO, repo_type="dataset")
    hub.fault(method="POST", path="/commit/", **fault)
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever the client makes of it
        written(hub, CommitOperationAdd("README.md", b"# Hello\n"))
    assert len(hub.commits(REPO)) == commits
    hub.write(REPO, {"README.md": b"# Other\n"})
    written(hub, CommitOperationAdd("README.md", b"# Hello\n"))
    assert len(hub.commits(REPO)) == commits + 2


def test_the_token_never_reaches_a_signed_address_and_the_thread_ends_with_the_block(tmp_path: Path) -> None:
    before = threading.active_count()
    with HubServer(tmp_path / "hub") as hub:
        client(hub).create_repo(REPO, repo_type="dataset")
        written(hub, CommitOperationAdd("train.parquet", table(tmp_path / "train.parquet")))
        got = client(hub).hf_hub_download(REPO, "train.parquet", repo_type="dataset", cache_dir=tmp_path / "cache")
        assert Path(got).stat().st_size
        signed = [seen for seen in hub.seen if seen.path.startswith("/_signed/") and not seen.path.endswith("verify")]
        assert [seen.method for seen in signed] == ["PUT", "GET"]
        assert [seen.user for seen in signed] == [None, None]
    assert threading.active_count() <= before
