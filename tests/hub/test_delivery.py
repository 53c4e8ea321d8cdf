"""A delivery is one commit and one tag, or none, whatever the Hub does; what others changed is never overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ProviderDown, UserError
from pipeline.hub.client import Commit, Remote, Stumbled
from pipeline.hub.delivery import Delivered, Parcel, Patience, build_in, deliver, patiently
from tests.support.hub_server import HubServer

REPO = "acme/prefs"
QUICK = Patience(attempts=4, first=0.01, longest=0.02)
COMMIT = {"method": "POST", "path": "/commit/"}
TAG = {"method": "POST", "path": "/tag/"}


@pytest.fixture(autouse=True)
def no_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as running:
        yield running


def parcel(folder: Path, build: str = "b1", **changes: Any) -> Parcel:
    """A card and a table whose contents follow from the build."""
    home = folder / build
    home.mkdir(exist_ok=True)
    (home / "README.md").write_text(f"# Card of {build}\n")
    (home / "rows.parquet").write_bytes(build.encode() * 1000)
    files = {"README.md": home / "README.md", "data/train.parquet": home / "rows.parquet"}
    whole = Parcel(
        build=build, files=files, belongs=lambda path: path == "README.md" or path.startswith("data/"),
        title=f"Build {build}", description="run r1",
        adoptable=lambda path: path != "README.md",
    )  # fmt: skip
    return whole._replace(**changes)


def remote(hub: HubServer, token: str = "hf_writer") -> Remote:
    return Remote(REPO, endpoint=hub.url, token=token)


def delivered(hub: HubServer, folder: Path, build: str = "b1", **changes: Any) -> Delivered:
    return deliver(remote(hub), parcel(folder, build, **changes), QUICK)


def ours(hub: HubServer) -> list[str]:
    """The builds on main, the newest first."""
    return [build for commit in hub.commits(REPO) if (build := build_in_message(commit.message))]


def build_in_message(message: str) -> str | None:
    return next((line.split()[-1] for line in message.splitlines() if line.startswith("pairwright build: ")), None)


def assert_delivered(hub: HubServer, done: Delivered, build: str = "b1") -> None:
    """Exactly one commit of the build, with its tag, private, and nothing of it half-way."""
    (commit,) = [commit for commit in hub.commits(REPO) if build_in_message(commit.message) == build]
    assert done.sha == commit.id
    assert hub.tags(REPO)[done.tag] == commit.id
    assert list(hub.tags(REPO).values()).count(commit.id) == 1
    assert done.tag.startswith(f"v{commit.date[:10].replace('-', '.')}")
    contents = hub.contents(REPO, commit.id)
    assert contents["README.md"] == f"# Card of {build}\n".encode()
    assert contents["data/train.parquet"] == build.encode() * 1000
    assert hub.is_private(REPO)


def test_a_parcel_is_one_commit_with_one_tag_in_a_private_repo(hub: HubServer, tmp_path: Path) -> None:
    done = delivered(hub, tmp_path)
    assert_delivered(hub, done)
    assert done.made
    assert len(hub.commits(REPO)) == 2  # the Hub's own first one, and ours


def test_delivered_again_it_is_found_and_nothing_is_made(hub: HubServer, tmp_path: Path) -> None:
    first, again = delivered(hub, tmp_path), delivered(hub, tmp_path)
    assert (again.sha, again.tag, again.made) == (first.sha, first.tag, False)
    assert len(hub.commits(REPO)) == 2
    assert len(hub.tags(REPO)) == 1


FAULTS: list[dict[str, Any]] = [
    *({"status": status} for status in (408, 409, 412, 429, 500, 502, 503)),
    *({"status": status, "after": True} for status in (409, 412, 429, 500, 503)),
    *({"drop": drop} for drop in ("before", "mid", "after")),
    {"body": "<html>a proxy's page</html>"},
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("where", [COMMIT, TAG], ids=["commit", "tag"])
def test_a_passing_fault_leaves_one_commit_and_one_tag(
    hub: HubServer, tmp_path: Path, fault: dict[str, Any], times: int, where: dict[str, str]
) -> None:
    wait = {"headers": {"Retry-After": "0"}} if fault.get("status") == 429 else {}
    hub.fault(**where, **fault, **wait, times=times)
    assert_delivered(hub, delivered(hub, tmp_path))


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": "before"}, {"drop": "after"}], ids=str)
@pytest.mark.parametrize(
    "path", ["/api/repos/create$", "/api/datasets/acme/prefs$", "/commits/", "/refs$", "/tree/", "/validate-yaml$"]
)
def test_a_passing_fault_of_any_question_leaves_one_commit_and_one_tag(
    hub: HubServer, tmp_path: Path, fault: dict[str, Any], path: str
) -> None:
    struck = hub.fault(path=path, **fault)
    assert_delivered(hub, delivered(hub, tmp_path))
    assert struck.seen > 0


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 412}, {"drop": "before"}], ids=str)
def test_a_hub_that_stumbles_for_good_ends_in_come_again_and_has_no_commit(
    hub: HubServer, tmp_path: Path, fault: dict[str, Any]
) -> None:
    hub.fault(**COMMIT, **fault, times=1000)
    with pytest.raises(ProviderDown, match="4 times") as caught:
        delivered(hub, tmp_path)
    assert "nothing is published twice" in str(caught.value)
    assert (ours(hub), hub.tags(REPO)) == ([], {})
    hub.heal()
    assert_delivered(hub, delivered(hub, tmp_path))


def test_a_commit_without_its_tag_is_found_and_tagged_by_the_next_start(hub: HubServer, tmp_path: Path) -> None:
    hub.fault(**TAG, status=503, times=1000)
    with pytest.raises(ProviderDown):
        delivered(hub, tmp_path)
    assert (ours(hub), hub.tags(REPO)) == (["b1"], {})
    hub.heal()
    done = delivered(hub, tmp_path)
    assert_delivered(hub, done)
    assert not done.made


@pytest.mark.parametrize(
    ("status", "word"), [(400, "refuses"), (401, "token"), (403, "may not"), (422, "refuses"), (413, "refuses")]
)
def test_a_refusal_is_final_at_once_and_has_no_commit(hub: HubServer, tmp_path: Path, status: int, word: str) -> None:
    struck = hub.fault(**COMMIT, status=status, times=1000)
    with pytest.raises(UserError, match=word):
        delivered(hub, tmp_path)
    assert struck.seen == 1
    assert (ours(hub), hub.tags(REPO)) == ([], {})


@pytest.mark.parametrize(
    ("token", "word"), [("hf_wrong", "does not know this token"), ("hf_reader", "may not"), ("hf_outside", "may not")]
)
def test_a_token_that_may_not_write_is_told_so_and_not_shown(
    hub: HubServer, tmp_path: Path, token: str, word: str
) -> None:
    delivered(hub, tmp_path)
    before = len(hub.commits(REPO))
    with pytest.raises(UserError, match=word) as caught:
        deliver(remote(hub, token), parcel(tmp_path, "b2"), QUICK)
    assert token not in str(caught.value)
    assert len(hub.commits(REPO)) == before


def test_without_a_token_nothing_is_sent(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="no token"):
        deliver(Remote(REPO, endpoint=hub.url), parcel(tmp_path), QUICK)
    assert not hub.exists(REPO)


@pytest.mark.parametrize("token", ["hf_with\nline", "hf_with blank", "hf_’"])
def test_a_token_that_no_header_can_hold_is_refused_unseen(token: str) -> None:
    with pytest.raises(UserError, match="token") as caught:
        Remote(REPO, token=token)
    assert token not in str(caught.value)


# --- others in the same repo ---


def test_a_file_that_somebody_changed_is_not_overwritten(hub: HubServer, tmp_path: Path) -> None:
    delivered(hub, tmp_path)
    theirs = hub.write(REPO, {"README.md": b"# Better\n"}, author="maria")
    with pytest.raises(UserError, match=r"maria\) changed README.md") as caught:
        delivered(hub, tmp_path, "b2")
    assert "--replace" in str(caught.value)
    assert hub.commits(REPO)[0].id == theirs
    done = delivered(hub, tmp_path, "b2", replace=True)
    assert_delivered(hub, done, "b2")
    assert hub.contents(REPO, theirs)["README.md"] == b"# Better\n"


def test_a_repo_full_of_somebody_elses_data_is_not_overwritten(hub: HubServer, tmp_path: Path) -> None:
    hub.write(REPO, {"data/train.parquet": b"theirs"}, author="maria")
    with pytest.raises(UserError, match=r"changed data/train\.parquet"):
        delivered(hub, tmp_path)
    assert hub.contents(REPO)["data/train.parquet"] == b"theirs"


def test_files_of_others_stay_and_files_of_ours_that_are_no_more_go(hub: HubServer, tmp_path: Path) -> None:
    more = parcel(tmp_path)
    (tmp_path / "old.parquet").write_bytes(b"old")
    deliver(remote(hub), more._replace(files={**more.files, "data/old.parquet": tmp_path / "old.parquet"}), QUICK)
    hub.write(REPO, {"notes/why.txt": b"because"})
    done = delivered(hub, tmp_path, "b2")
    assert set(hub.contents(REPO, done.sha)) == {".gitattributes", "README.md", "data/train.parquet", "notes/why.txt"}


def test_of_two_at_once_one_is_refused_and_looks_again(hub: HubServer, tmp_path: Path) -> None:
    first = delivered(hub, tmp_path)
    hub.fault(**COMMIT, meanwhile=lambda: hub.write(REPO, {"notes.txt": b"n"}))
    done = delivered(hub, tmp_path, "b2")
    assert [seen.status for seen in hub.seen if "/commit/" in seen.path] == [200, 412, 200]
    assert_delivered(hub, done, "b2")
    assert [commit.id for commit in hub.commits(REPO)][2] == first.sha


@pytest.mark.parametrize("moment", ["/commits/", "/tree/", "/preupload/", "/commit/"])
def test_a_file_that_is_changed_at_the_last_moment_is_not_overwritten(
    hub: HubServer, tmp_path: Path, moment: str
) -> None:
    delivered(hub, tmp_path)
    hub.fault(path=moment, meanwhile=lambda: hub.write(REPO, {"README.md": b"# Theirs\n"}, author="maria"))
    with pytest.raises(UserError, match=r"maria\) changed README.md"):
        delivered(hub, tmp_path, "b2")
    assert ours(hub) == ["b1"]
    assert hub.contents(REPO)["README.md"] == b"# Theirs\n"


def test_a_lost_answer_is_found_below_what_others_did_since(hub: HubServer, tmp_path: Path) -> None:
    hub.fault(**COMMIT, drop="after")
    hub.fault(path="/api/datasets/acme/prefs$", skip=2, meanwhile=lambda: hub.write(REPO, {"README.md": b"# Theirs\n"}))
    done = delivered(hub, tmp_path)
    assert ours(hub) == ["b1"]
    assert hub.tags(REPO) == {done.tag: done.sha}
    assert hub.commits(REPO)[0].id != done.sha


def test_a_build_that_is_wanted_again_after_another_is_committed_again(hub: HubServer, tmp_path: Path) -> None:
    shas = [delivered(hub, tmp_path, build).sha for build in ("b1", "b2", "b1")]
    assert len(set(shas)) == 3
    assert ours(hub) == ["b1", "b2", "b1"]
    assert hub.contents(REPO)["data/train.parquet"] == b"b1" * 1000


def test_tags_of_one_day_are_told_apart_and_never_move(hub: HubServer, tmp_path: Path) -> None:
    done = [delivered(hub, tmp_path, build) for build in ("b1", "b2", "b3")]
    day = done[0].tag
    assert [one.tag for one in done] == [day, f"{day}.2", f"{day}.3"]
    assert hub.tags(REPO) == {one.tag: one.sha for one in done}


def test_a_tag_that_others_gave_that_name_is_left_alone(hub: HubServer, tmp_path: Path) -> None:
    theirs = hub.write(REPO, {"notes.txt": b"n"})
    day = f"v{hub.commits(REPO)[0].date[:10].replace('-', '.')}"
    remote(hub).tag(day, theirs, "mine")
    done = delivered(hub, tmp_path)
    assert hub.tags(REPO) == {day: theirs, f"{day}.2": done.sha}


def test_a_public_repo_is_refused_to_what_is_to_be_private(hub: HubServer, tmp_path: Path) -> None:
    delivered(hub, tmp_path, private=False)
    assert not hub.is_private(REPO)
    with pytest.raises(UserError, match="public"):
        delivered(hub, tmp_path, "b2")
    assert ours(hub) == ["b1"]


def test_what_the_server_holds_is_compared_before_there_is_a_tag(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Remote.files

    def damaged(self: Remote, revision: str) -> dict[str, str]:
        found = whole(self, revision)
        return {path: oid[::-1] if path.endswith(".parquet") else oid for path, oid in found.items()}

    monkeypatch.setattr(Remote, "files", damaged)
    with pytest.raises(ProviderDown, match=r"data/train.parquet of commit \w+ is not what was sent"):
        delivered(hub, tmp_path)
    assert hub.tags(REPO) == {}


def test_pauses_grow_up_to_a_bound_and_what_the_hub_asks_for_is_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("pipeline.hub.delivery.time.sleep", slept.append)
    asked = iter([Stumbled("one"), Stumbled("two", after=7), Stumbled("three", after=10_000), Stumbled("four"), None])

    def ask() -> str:
        if (error := next(asked)) is not None:
            raise error
        return "done"

    assert patiently(ask, Patience(8, 1.0, 3.0), "here") == "done"
    assert slept == [0, 1, 7, 330, 3]


def test_a_commit_of_ours_is_known_by_its_description_and_no_other() -> None:
    def commit(message: str) -> Commit:
        return Commit("a" * 40, "t", message, "me", datetime(2026, 1, 1, tzinfo=UTC))

    assert build_in(commit("run r1\n\npairwright build: abc")) == "abc"
    assert build_in(commit("about pairwright build: abc and more")) is None
