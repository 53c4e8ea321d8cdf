"""Whatever is wrong with call, recipe, articles or disk: one clear line, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.chat_server import ChatServer, Kind, in_turn, offline_answers
from tests.support.command import (
    assert_adds_up,
    build,
    contents,
    lines_of,
    manifest_in,
    pairwright,
    recipe_in,
    run_in,
    samples_in,
)

LINE = "A sentence of an article that says nothing in particular, again and again. "
LARGE = 50 * 2**20


def assert_one_error(said: CompletedProcess[str], *words: str, code: int = 2) -> None:
    """One line that begins with "error:" and holds these words; beside it only articles that were not read."""
    lines = [line for line in said.stderr.splitlines() if not line.startswith("not read: ")]
    assert "Traceback" not in said.stderr
    assert [line[:7] for line in lines] == ["error: "], said.stderr
    assert said.stdout == ""
    assert said.returncode == code
    for word in words:
        assert word in lines[0]


def run_of(folder: Path, path: Path) -> CompletedProcess[str]:
    """The command on articles at this path."""
    recipe = recipe_in(folder, sources=[{"use": "articles", "path": str(path)}])
    return pairwright("run", recipe, "--outputs", folder / "outputs")


# ---------------------------------------------------------------- the call


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["rnu", "recipe.yaml"], ["'rnu'", "Did you mean 'run'?"]),
        (["run", "recipe.yaml", "--output", "x"], ["--output", "--outputs"]),
        (["run"], ["RECIPE"]),
        (["list", "filtre"], ["'filtre'", "Did you mean 'filter'?"]),
        (["init", "nowhere/recipe.yaml"], ["nowhere"]),
    ],
    ids=["unknown command", "unknown option", "nothing to run", "unknown kind", "no such folder"],
)
def test_a_wrong_call_is_one_line(tmp_path: Path, call: list[str], words: list[str]) -> None:
    assert_one_error(pairwright(*call, cwd=tmp_path), *words)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a complete run."""
    home = tmp_path_factory.mktemp("complete")
    build(recipe_in(home, sources=samples_in(home)), home / "outputs")
    return home / "outputs"


def test_show_of_a_run_that_is_not_there_names_those_that_are(complete: Path) -> None:
    said = pairwright("show", "nihgt", "--outputs", complete)
    assert_one_error(said, "'nihgt'", "Did you mean 'night'?")


def test_show_of_an_id_that_nothing_has_says_where_ids_stand(complete: Path) -> None:
    assert_one_error(pairwright("show", "night", "xyz", "--outputs", complete), "'xyz'", "3-preferences.jsonl")


def test_show_of_the_beginning_of_several_ids_wants_more_of_it(complete: Path) -> None:
    ids = [row["id"] for row in lines_of(run_in(complete) / "3-preferences.jsonl")]
    several = next(prefix for prefix in "0123456789abcdef" if sum(one.startswith(prefix) for one in ids) > 1)
    assert_one_error(pairwright("show", "night", several, "--outputs", complete), "more of the id")


# ---------------------------------------------------------------- the recipe


def broken_recipe(folder: Path, kind: str) -> Path:
    path = folder / "recipe.yaml"
    match kind:
        case "missing":
            return folder / "recepi.yaml"
        case "a folder":
            path.mkdir()
        case "not YAML":
            path.write_text("name: [night\nseed: 1\n")
        case "not UTF-8":
            path.write_bytes(b"name: caf\xe9\n")
        case "empty":
            path.write_text("")
        case _:
            path.write_text("- a\n- list\n")
    return path


@pytest.mark.parametrize("kind", ["missing", "a folder", "not YAML", "not UTF-8", "empty", "a list"])
def test_what_is_no_recipe_is_one_line(tmp_path: Path, kind: str) -> None:
    path = broken_recipe(tmp_path, kind)
    assert_one_error(pairwright("run", path, "--outputs", tmp_path / "outputs"), str(path))
    assert not (tmp_path / "outputs").exists()


def test_a_misspelt_option_is_named_with_its_line_and_the_right_one(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, sources=samples_in(tmp_path), filters=[{"use": "length", "at_leest": 3}])
    line = recipe.read_text().splitlines().index("  at_leest: 3") + 1
    said = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
    assert_one_error(said, f"{recipe}:{line}:", "at_leest", "Did you mean 'at_least'?")


def test_a_number_that_is_none_is_the_users_to_mend(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, url="http://127.0.0.1:9/v1", engine={"timeout": float("inf")})
    assert_one_error(pairwright("check", recipe), str(recipe), "timeout")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a byte order mark", lambda text: b"\xef\xbb\xbf" + text.encode()),
        ("line ends of Windows", lambda text: text.replace("\n", "\r\n").encode()),
    ],
)
def test_a_recipe_as_another_editor_writes_it_is_the_same_recipe(
    tmp_path: Path, name: str, write: Callable[[str], bytes]
) -> None:
    recipe = recipe_in(tmp_path, sources=samples_in(tmp_path))
    plain = build(recipe, tmp_path / "outputs")
    recipe.write_bytes(write(recipe.read_text()))
    said = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
    assert said.returncode == 0, f"{name}: {said.stderr}"
    assert said.stdout.startswith("Nothing new")
    assert plain.manifest.run_id in said.stdout


# ---------------------------------------------------------------- the provider


def test_a_missing_key_is_named_by_its_variable(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, url="http://127.0.0.1:9/v1", engine={"api_key": "${NO_SUCH_KEY}"})
    assert_one_error(pairwright("run", recipe, "--outputs", tmp_path / "outputs"), "NO_SUCH_KEY", "not set")


def test_openai_without_a_key_names_the_usual_variable(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, engine={"use": "openai", "model": "gpt-4o-mini"})
    assert_one_error(pairwright("run", recipe, "--outputs", tmp_path / "outputs"), "OPENAI_API_KEY")


def test_a_wrong_key_stops_the_run_at_once_and_loses_nothing(tmp_path: Path) -> None:
    with ChatServer(answer=offline_answers(), api_key="right") as server:
        key = {"api_key": "${KEY}"}
        recipe = recipe_in(tmp_path, url=server.base_url, engine=key, sources=samples_in(tmp_path))
        wrong = pairwright("run", recipe, "--outputs", tmp_path / "outputs", KEY="wrong")
        assert_one_error(wrong, server.base_url, "key is refused")
        assert server.counters.requests <= 8
        right = pairwright("run", recipe, "--outputs", tmp_path / "outputs", KEY="right")
    assert right.returncode == 0, right.stderr


def test_a_server_that_cannot_be_reached_is_tried_again_later(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:  # bound and not listening: whoever connects is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        recipe = recipe_in(tmp_path, url=url, sources=samples_in(tmp_path))
        said = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
    assert_one_error(said, url, "does not answer", code=75)


@pytest.mark.parametrize("status", ["429", "500"])
def test_a_provider_that_answers_nobody_is_down_and_no_gate_was_missed(tmp_path: Path, status: Kind) -> None:
    with ChatServer(answer=offline_answers(), faults=[in_turn([status])]) as server:
        engine = {"attempts": 2, "in_flight": 32}
        recipe = recipe_in(tmp_path, url=server.base_url, engine=engine, sources=samples_in(tmp_path))
        said = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
    assert said.returncode == 75
    progress, error = said.stderr.splitlines()  # seven chunks are over before they can show that nobody answers
    assert progress.startswith("7/7 chunks")
    assert error.startswith("error: ")
    assert "no request was answered" in error
    assert "gate" not in said.stdout
    assert not list(tmp_path.glob("outputs/*/*/run.json"))


# ---------------------------------------------------------------- articles: the whole source


def broken_source(folder: Path, kind: str) -> Path:
    match kind:
        case "missing":
            samples_in(folder)
            return folder / "artikles"
        case "an empty folder":
            (folder / "articles").mkdir()
            return folder / "articles"
        case "not JSON":
            (folder / "articles.json").write_text('[{"text": "cut o')
        case "wrong keys":
            (folder / "articles.json").write_text(json.dumps([{"headline": "A", "boddy": LINE * 50}]))
        case "no list":
            (folder / "articles.json").write_text(json.dumps({"a": 1, "b": 2}))
        case _:
            (folder / "articles.docx").write_bytes(b"PK\x03\x04")
            return folder / "articles.docx"
    return folder / "articles.json"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ["Did you mean 'articles'?"]),
        ("an empty folder", ["empty"]),
        ("not JSON", ["articles.json", "not JSON"]),
        ("wrong keys", ["articles.json", "boddy", "headline"]),
        ("no list", ["articles.json", "a, b"]),
        ("another kind of file", ["articles.docx", ".jsonl"]),
    ],
)
def test_a_source_that_is_wrong_as_a_whole_is_one_line(tmp_path: Path, kind: str, words: list[str]) -> None:
    assert_one_error(run_of(tmp_path, broken_source(tmp_path, kind)), *words)


# ---------------------------------------------------------------- articles: single ones

SINGLE = {
    "large.txt": (lambda: LINE.encode() * (LARGE // len(LINE)), "too_long"),
    "binary.md": (lambda: bytes(range(256)) * 40, "binary"),
    "latin.txt": (lambda: "Café und Käse. ".encode("latin-1") * 200, "not_utf8"),
}
"""File name: its bytes, and what they are filed as."""


@pytest.mark.parametrize("name", SINGLE)
def test_an_article_that_is_none_is_named_and_the_others_go_on(tmp_path: Path, name: str) -> None:
    write, code = SINGLE[name]
    samples_in(tmp_path)
    (tmp_path / "articles" / name).write_bytes(write())
    said = run_of(tmp_path, tmp_path / "articles")
    assert said.returncode == 0
    assert [line for line in said.stderr.splitlines() if line.startswith(f"not read: {name}: ")]
    assert "Traceback" not in said.stderr
    folder = run_in(tmp_path / "outputs")
    assert manifest_in(folder).counts["ingest"].failed == {code: 1}
    assert_adds_up(folder)


@pytest.mark.parametrize("name", SINGLE)
def test_an_article_that_is_none_and_stands_alone_leaves_nothing_to_work_on(tmp_path: Path, name: str) -> None:
    write, _ = SINGLE[name]
    (tmp_path / name).write_bytes(write())
    said = run_of(tmp_path, tmp_path / name)
    assert_one_error(said, "nothing to work on")
    assert f"not read: {name}: " in said.stderr


def test_a_row_that_is_too_long_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    rows = [{"id": "small", "text": LINE * 30}, {"id": "large", "text": LINE * 70_000}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    said = run_of(tmp_path, tmp_path / "rows.json")
    assert said.returncode == 0, said.stderr
    assert "not read: rows.json[1]: " in said.stderr


# ---------------------------------------------------------------- the disk


def mount(options: str, target: Path, *, kind: str = "tmpfs") -> None:
    """Mounts, or skips the test with what mount said."""
    program = shutil.which("mount")
    if program is None or os.geteuid() != 0:
        pytest.skip("only root may mount")
    said = subprocess.run(
        [program, "-t", kind, "-o", options, kind, target], capture_output=True, text=True, check=False
    )
    if said.returncode:
        pytest.skip(f"mounting is not permitted here: {said.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, without room for more than a few files."""
    target = tmp_path / "disk"
    target.mkdir()
    mount("size=64k", target)
    yield target
    subprocess.run(["umount", target], check=True)


@pytest.mark.parametrize("room", ["64k", "250k", "500k"], ids=["articles", "ledger", "preferences"])
def test_a_disk_that_fills_up_is_one_line_and_the_next_start_goes_on(tmp_path: Path, disk: Path, room: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={room}", disk], check=True)
    recipe = recipe_in(tmp_path, night={"at_least_free_mb": 0})
    assert_one_error(pairwright("run", recipe, "--outputs", disk / "outputs"), "the disk is full", "nothing is lost")
    assert not list(disk.glob("outputs/*/*/run.json"))
    subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
    said = pairwright("run", recipe, "--outputs", disk / "outputs")
    assert said.returncode == 0, said.stderr
    assert contents(run_in(disk / "outputs")) == contents(build(recipe, tmp_path / "elsewhere").folder)


def test_a_disk_that_is_full_from_the_start_is_one_line(tmp_path: Path, disk: Path) -> None:
    with (disk / "fill").open("wb", buffering=0) as fill, suppress(OSError):
        while fill.write(bytes(4096)):
            pass
    assert_one_error(pairwright("run", recipe_in(tmp_path), "--outputs", disk / "outputs"), "the disk is full")


def test_a_disk_that_may_only_be_read_is_one_line(tmp_path: Path, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert_one_error(pairwright("run", recipe_in(tmp_path), "--outputs", disk / "outputs"), "Read-only")


@pytest.mark.parametrize("where", ["outputs", "outputs/below", "outputs/night"])
def test_a_file_where_a_folder_should_be_is_one_line_and_stays(tmp_path: Path, where: str) -> None:
    recipe = recipe_in(tmp_path, sources=samples_in(tmp_path))
    place = tmp_path / "outputs"
    if where == "outputs/night":
        place.mkdir()
        place = tmp_path / where
    place.write_text("mine")
    outputs = tmp_path / (where if where == "outputs/below" else "outputs")
    assert_one_error(pairwright("run", recipe, "--outputs", outputs), "cannot write there")
    assert place.read_text() == "mine"


# ---------------------------------------------------------------- the ledger


def corrupt(path: Path) -> None:
    path.write_bytes(b"this was a database once\n" * 500)


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE holidays (day TEXT)")
        connection.commit()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(corrupt, "damaged"), (foreign, "not a ledger"), (Path.mkdir, "ledger")],
    ids=["corrupt", "foreign", "a folder"],
)
def test_a_ledger_that_is_none_is_one_line_and_is_left_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    ledger = tmp_path / "outputs" / "ledger.sqlite"
    ledger.parent.mkdir()
    spoil(ledger)
    before = ledger.is_file() and ledger.read_bytes()
    recipe = recipe_in(tmp_path, sources=samples_in(tmp_path))
    assert_one_error(pairwright("run", recipe, "--outputs", tmp_path / "outputs"), str(ledger), words)
    assert (ledger.is_file() and ledger.read_bytes()) == before


def test_a_ledger_with_damaged_pages_or_replies_is_one_line(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, sources=samples_in(tmp_path))
    outcome = build(recipe, tmp_path / "outputs")
    ledger = tmp_path / "outputs" / "ledger.sqlite"
    shutil.rmtree(outcome.folder)

    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("UPDATE replies SET reply = '{\"text\": '")
        connection.commit()
    assert_one_error(pairwright("run", recipe, "--outputs", tmp_path / "outputs"), str(ledger))

    data = ledger.read_bytes()
    ledger.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))
    assert_one_error(pairwright("run", recipe, "--outputs", tmp_path / "outputs"), str(ledger), "damaged")
