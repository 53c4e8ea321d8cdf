"""A run's folder: files all or nothing, counts that add up, one process at a time, and what the disk may do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ProviderDown, UserError
from pipeline.records import Article, Audit, Bill, Decision, Loss, Quality, Stage
from pipeline.store import (
    MANIFEST,
    DatasetFacts,
    Lines,
    Manifest,
    StageCount,
    Tally,
    adopt,
    complete,
    digests,
    find_run,
    journal,
    last_ledger,
    locked,
    read,
    sha256_of,
    staging,
    write_text,
    writing,
)

ARTICLES = [Article(source_id=str(number), text=f"Text {number}.\u2028\nÜber Bienen 🐝.") for number in range(3)]

NOTHING = Bill(calls=0, prompt_tokens=0, cached_tokens=0, completion_tokens=0, cost_usd=0, unpriced=0)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


# ---- files


def test_lines_appear_when_all_are_written_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "articles.jsonl"
    with Lines(path) as lines:
        for article in ARTICLES:
            lines.write(article)
            assert _names(tmp_path) == set()
    assert _names(tmp_path) == {"articles.jsonl"}
    assert list(read(path, Article)) == ARTICLES
    assert lines.rows == 3
    assert lines.sha256 == sha256_of(path)


def test_a_writer_that_fails_in_the_middle_leaves_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "articles.jsonl"

    def fail() -> None:
        with Lines(path) as lines:
            lines.write(ARTICLES[1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert _names(tmp_path) == set()
    with Lines(path) as lines:
        lines.write(ARTICLES[0])
    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(read(path, Article)) == ARTICLES[:1]


def test_a_process_that_is_killed_in_the_middle_leaves_nothing_under_the_files_name(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from pipeline.records import Audit, Article, Quality
from pipeline.store import Lines
with Lines(Path(sys.argv[1])) as lines:
    for number in range(10_000):
        lines.write(Article(source_id=str(number), text="x" * 100))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "articles.jsonl"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert _names(tmp_path) == set()
    with Lines(path) as lines:
        lines.write(ARTICLES[0])
    assert list(read(path, Article)) == ARTICLES[:1]


def test_a_file_without_lines_is_a_file(tmp_path: Path) -> None:
    with Lines(tmp_path / "none.jsonl"):
        pass
    assert list(read(tmp_path / "none.jsonl", Article)) == []


def test_a_text_is_written_whole_in_utf_8_and_in_the_place_of_an_older_one(tmp_path: Path) -> None:
    for text in ("old, and longer", "née 🐝\n"):
        write_text(tmp_path / "text", text)
        assert (tmp_path / "text").read_bytes().decode() == text
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def _damaged(path: Path, line: bytes) -> str:
    with Lines(path) as lines:
        for article in ARTICLES:
            lines.write(article)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([whole[0], line, whole[2]]))
    found = read(path, Article)
    assert next(found) == ARTICLES[0]
    with pytest.raises(UserError) as caught:
        next(found)
    assert caught.value.where == f"{path}:2"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        ARTICLES[1].model_dump_json().encode()[:40] + b"\n",
        b"\n",
        b"null\n",
        b"{}\n",
        ARTICLES[1].model_dump_json().encode().replace(b"Text 1", b"Text \xff") + b"\n",
        b"\x00" * 40 + b"\n",
        ARTICLES[1].model_dump_json().encode().replace(b'"title"', b'"titel"') + b"\n",
    ],
    ids=["cut off", "empty", "null", "no fields", "not UTF-8", "zeros", "unknown key"],
)
def test_a_damaged_line_is_told_by_file_and_line(line: bytes, tmp_path: Path) -> None:
    assert "this line is no Article" in _damaged(tmp_path / "articles.jsonl", line)


def test_an_edited_line_is_told_by_file_and_line(tmp_path: Path) -> None:
    line = ARTICLES[1].model_dump_json().encode().replace(b"Text 1", b"Text 7") + b"\n"
    assert "it was edited" in _damaged(tmp_path / "articles.jsonl", line)


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read: No such file") as caught:
        list(read(tmp_path / "none.jsonl", Article))
    assert caught.value.where == str(tmp_path / "none.jsonl")


# ---- counts


def _lost(stage: Stage, fate: str, code: str) -> Loss:
    return Loss.model_validate({"stage": stage, "record": "r", "fate": fate, "code": code})


STAGES: tuple[Stage, ...] = get_args(Stage)


@given(
    st.lists(
        st.tuples(st.sampled_from(STAGES), st.sampled_from(["kept", "dropped", "failed"]), st.sampled_from("abc")),
        max_size=60,
    )
)
@settings(deadline=None)
def test_counts_that_add_up_are_given_by_stage_fate_and_code(records: list[tuple[Stage, str, str]]) -> None:
    tally = Tally()
    for stage, fate, code in records:
        tally.see(stage)
        if fate == "kept":
            tally.keep(stage)
        else:
            tally.lose(_lost(stage, fate, code))
    counts = tally.counts()
    assert list(counts) == list(STAGES)
    for stage, count in counts.items():
        here = [(fate, code) for where, fate, code in records if where == stage]
        assert count.seen == len(here)
        assert (
            count.kept
            == tally.kept(stage)
            == here.count(("kept", "a")) + here.count(("kept", "b")) + here.count(("kept", "c"))
        )
        assert count.dropped == {code: here.count(("dropped", code)) for code in "abc" if ("dropped", code) in here}
        assert count.failed == {code: here.count(("failed", code)) for code in "abc" if ("failed", code) in here}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("slip", ["one more seen", "one more kept", "one more dropped", "one more failed"])
def test_one_record_too_many_anywhere_is_refused(stage: Stage, slip: str) -> None:
    tally = Tally()
    for each in STAGES:
        tally.see(each, 5)
        tally.keep(each, 3)
        tally.lose(_lost(each, "dropped", "short"))
        tally.lose(_lost(each, "failed", "timeout"))
    assert tally.counts()[stage] == StageCount(seen=5, kept=3, dropped={"short": 1}, failed={"timeout": 1})
    match slip:
        case "one more seen":
            tally.see(stage)
        case "one more kept":
            tally.keep(stage)
        case "one more dropped":
            tally.lose(_lost(stage, "dropped", "short"))
        case "one more failed":
            tally.lose(_lost(stage, "failed", "timeout"))
    with pytest.raises(RuntimeError, match=f"^{stage}: "):
        tally.counts()


def test_pairs_are_counted_where_they_end() -> None:
    tally = Tally()
    tally.keep("filter", 7)
    for stage, fate in (
        ("judge", "dropped"), ("filter", "dropped"), ("generate", "failed"), ("parse", "failed"), ("judge", "failed"),
    ):  # fmt: skip
        tally.lose(_lost(stage, fate, "code"))
    tally.lose(_lost("chunk", "dropped", "short_tail"))
    tally.lose(_lost("generate", "dropped", "nothing_written"))
    assert tally.pairs() == (7, 2, 3)


# ---- one process at a time

HOLD = """
import sys
from pathlib import Path
from pipeline.store import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "home")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def _take(home: Path) -> None:
    with locked(home):
        pass


def test_a_second_process_is_told_which_one_holds_the_folder(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(ProviderDown, match=rf"is being run by process {holder.pid}\b") as caught:
        _take(tmp_path / "home")
    assert caught.value.where == str(tmp_path / "home")
    _take(tmp_path / "another")


def test_a_holder_that_ends_lets_go(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.communicate()
    _take(tmp_path / "home")


def test_a_holder_that_is_killed_lets_go_and_its_name_with_it(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    with locked(tmp_path / "home"), pytest.raises(ProviderDown) as caught:
        _take(tmp_path / "home")
    assert f"process {os.getpid()} " in f"{caught.value} ".replace(".", " ")
    assert str(holder.pid) not in str(caught.value).replace(str(tmp_path), "")


def test_an_error_within_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "home"):
        raise ZeroDivisionError
    _take(tmp_path / "home")


# ---- what the disk may do


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no permission to mount: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(path: Path) -> None:
    with Lines(path) as lines:
        for number in range(1_000):
            lines.write(Article(source_id=str(number), text="x" * 1_000))


def test_a_full_disk_is_told_and_leaves_what_was_there(tiny: Path) -> None:
    write_text(tiny / "text", "before")
    with pytest.raises(UserError, match="the disk is full") as caught:
        _fill(tiny / "articles.jsonl")
    assert caught.value.where == str(tiny / "articles.jsonl")
    assert "nothing is lost" in caught.value.remedy
    assert _names(tiny) == {"text"}
    with pytest.raises(UserError, match="the disk is full"):
        write_text(tiny / "text", "x" * 100_000)
    assert (tiny / "text").read_text() == "before"


def test_a_disk_that_is_read_only_is_told(tiny: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)
    with pytest.raises(UserError, match="cannot write there: Read-only file system") as caught:
        _take(tiny / "home")
    assert caught.value.where == str(tiny / "home")
    assert "--outputs" in caught.value.remedy


def test_a_file_that_may_not_grow_is_told_as_a_full_disk(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from pipeline.errors import UserError
from pipeline.store import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(Path(sys.argv[1]), "x" * 2000)
except UserError as error:
    print(error)
"""
    path = tmp_path / "text"
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"{path}: the disk is full")
    assert not path.exists()


def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from pipeline.errors import UserError
from pipeline.store import locked
if os.getuid() == 0:
    os.setuid(65534)  # nobody: root may write everywhere
try:
    with locked(Path(sys.argv[1])):
        pass
except UserError as error:
    print(error)
"""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    told = subprocess.run(
        [sys.executable, "-c", code, str(closed / "home")], capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith(f"{closed / 'home'}: cannot write there: Permission denied")
    assert "--outputs" in told


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(UserError, match="cannot write there"):
            _take(home)


def test_a_folder_where_a_file_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    with pytest.raises(UserError, match="cannot write there"):
        write_text(tmp_path / "text", "x")


def test_a_name_that_is_too_long_for_the_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write there"):
        _take(tmp_path / ("n" * 300))


def test_what_is_no_fault_of_the_disk_passes_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="struck"), writing(tmp_path):
        raise OSError("struck by lightning")


def test_a_folder_that_is_not_there_is_the_users_to_make(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write there: No such file or directory"), writing(tmp_path / "a"):
        (tmp_path / "a" / "b").write_text("")


# ---- runs


def _manifest(folder: Path) -> Manifest:
    zero = StageCount(seen=0, kept=0, dropped={}, failed={})
    return Manifest(
        name=folder.parent.name,
        run_id=folder.name,
        version="0",
        recipe="r",
        models={},
        embedded=True,
        prompts={},
        counts=dict.fromkeys(STAGES, zero),
        dataset=DatasetFacts(
            train=0, test=0, articles=0, licences={}, chosen_longer=0, chosen_characters=0, rejected_characters=0
        ),
        audit=Audit(pairs=0, judges={}, longer_wins=None, agreements=(), effective_judges=None),
        quality=Quality(rows=0, measures=()),
        bill=NOTHING,
        by_stage={},
        by_engine={},
        usd_per_pair=None,
        missed_gates=(),
        files=digests(folder),
    )


def _run(outputs: Path, name: str, run_id: str, at: int = 0) -> Path:
    folder = outputs / name / run_id
    (folder / "dataset").mkdir(parents=True)
    write_text(folder / "1-articles.jsonl", "")
    write_text(folder / "dataset" / "README.md", "# It")
    write_text(folder / MANIFEST, _manifest(folder).model_dump_json())
    os.utime(folder / MANIFEST, (at, at))
    return folder


def test_a_run_is_complete_with_its_manifest_and_all_its_files(tmp_path: Path) -> None:
    folder = _run(tmp_path, "nightly", "aaa")
    manifest = complete(folder)
    assert manifest is not None
    assert set(manifest.files) == {"1-articles.jsonl", "dataset/README.md"}
    assert manifest.files["dataset/README.md"] == sha256_of(folder / "dataset" / "README.md")


@pytest.mark.parametrize("name", ["1-articles.jsonl", "dataset/README.md", MANIFEST])
def test_a_run_of_which_a_file_was_removed_is_not_complete(name: str, tmp_path: Path) -> None:
    folder = _run(tmp_path, "nightly", "aaa")
    (folder / name).unlink()
    assert complete(folder) is None


@pytest.mark.parametrize("text", ["", "{}", "{", "null"])
def test_a_run_with_a_damaged_manifest_is_not_complete(text: str, tmp_path: Path) -> None:
    folder = _run(tmp_path, "nightly", "aaa")
    (folder / MANIFEST).write_text(text)
    assert complete(folder) is None


def test_a_folder_that_is_not_there_is_no_complete_run(tmp_path: Path) -> None:
    assert complete(tmp_path / "none") is None


def test_a_run_is_found_by_path_by_name_and_by_name_and_id(tmp_path: Path) -> None:
    older, newer = _run(tmp_path, "nightly", "bbb", at=1_000), _run(tmp_path, "nightly", "aaa", at=2_000)
    _run(tmp_path, "weekly", "ccc", at=3_000)
    assert find_run(str(older), tmp_path) == older
    assert find_run("nightly/bbb", tmp_path) == older
    assert find_run("nightly", tmp_path) == newer
    assert find_run(str(tmp_path / "nightly"), Path("elsewhere")) == newer


def test_a_run_that_is_not_complete_is_not_found_by_its_name(tmp_path: Path) -> None:
    older, newer = _run(tmp_path, "nightly", "aaa", at=1_000), _run(tmp_path, "nightly", "bbb", at=2_000)
    (newer / MANIFEST).unlink()
    assert find_run("nightly", tmp_path) == older


def test_a_misspelt_run_is_told_the_nearest_name(tmp_path: Path) -> None:
    _run(tmp_path, "nightly", "aaa")
    _run(tmp_path, "weekly", "bbb")
    with pytest.raises(UserError, match="no complete run 'nihgtly'") as caught:
        find_run("nihgtly", tmp_path)
    assert "Did you mean 'nightly'? Known: nightly, weekly" in str(caught.value)
    with pytest.raises(UserError, match="Known: none"):
        find_run("nightly", tmp_path / "empty")


def test_what_was_staged_takes_the_place_of_what_an_earlier_start_left(tmp_path: Path) -> None:
    staged = staging(tmp_path)
    write_text(staged / "old", "of a start that died here")
    staged = staging(tmp_path)
    assert list(staged.iterdir()) == []
    (tmp_path / "run").mkdir()
    write_text(tmp_path / "run" / "articles", "old")
    write_text(tmp_path / "run" / "kept", "kept")
    write_text(staged / "articles", "new")
    adopt(staged, tmp_path / "run")
    assert {path.name: path.read_text() for path in (tmp_path / "run").iterdir()} == {"articles": "new", "kept": "kept"}
    assert not staged.exists()


def _events(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_the_journal_tells_each_start_its_end_and_what_it_paid(tmp_path: Path) -> None:
    with journal(tmp_path, "first.sqlite", lambda: NOTHING):
        assert [event["event"] for event in _events(tmp_path)] == ["start"]
    with pytest.raises(ZeroDivisionError), journal(tmp_path, "second.sqlite", NOTHING.model_copy):
        raise ZeroDivisionError
    events = _events(tmp_path)
    assert [event["event"] for event in events] == ["start", "end", "start", "end"]
    assert [event["outcome"] for event in events[1::2]] == ["complete", "ZeroDivisionError"]
    assert events[0]["process"] == os.getpid()
    assert events[1]["paid"] == NOTHING.model_dump()
    assert last_ledger(tmp_path) == "second.sqlite"


def test_without_a_journal_no_ledger_is_known(tmp_path: Path) -> None:
    assert last_ledger(tmp_path) is None


def test_a_journal_whose_last_line_was_cut_off_still_tells_the_ledger_and_takes_new_lines(tmp_path: Path) -> None:
    with journal(tmp_path, "first.sqlite", lambda: NOTHING):
        pass
    whole = (tmp_path / "journal.jsonl").read_text()
    (tmp_path / "journal.jsonl").write_text(whole[:-20])
    assert last_ledger(tmp_path) == "first.sqlite"
    with journal(tmp_path, "second.sqlite", lambda: NOTHING):
        assert last_ledger(tmp_path) == "second.sqlite"


def test_a_manifest_counts_what_another_start_would_ask_for_again(tmp_path: Path) -> None:
    manifest = _manifest(_run(tmp_path, "nightly", "aaa"))
    assert manifest.unanswered == 0
    failed = StageCount(seen=5, kept=0, dropped={"x": 1}, failed={"timeout": 3, "http_400": 1})
    assert manifest.but(counts=manifest.counts | {"generate": failed}).unanswered == 4
    assert manifest.but(counts=manifest.counts | {"judge": failed}).unanswered == 4
    assert manifest.but(counts=manifest.counts | {"parse": failed}).unanswered == 0


def test_decisions_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    decision = Decision(preference="p", filter="length", keep=False, code="too_short", measured=0.1 + 0.2)
    with Lines(tmp_path / "decisions.jsonl") as lines:
        lines.write(decision)
    assert list(read(tmp_path / "decisions.jsonl", Decision)) == [decision]
