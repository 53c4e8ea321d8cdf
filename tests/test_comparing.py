"""Two datasets by name: runs, folders and revisions on the Hub, however a name may look like two of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.command import FEW, build, pairwright, recipe_in, samples_in
from tests.support.hub_server import HubServer


class Two(NamedTuple):
    """Two builds of one recipe, the second without one of the articles."""

    home: Path
    old: Path
    new: Path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    home = tmp_path_factory.mktemp("two")
    recipe = recipe_in(home, sources=samples_in(home))
    old = build(recipe, home / "outputs").folder
    (home / "articles" / FEW[0]).unlink()
    new = build(recipe, home / "outputs").folder
    (home / "night").mkdir()  # a folder called like the recipe, as sources often are
    return Two(home, old, new)


@pytest.fixture
def hub(tmp_path: Path, two: Two) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as running:
        for folder, tag in ((two.old, "v1"), (two.new, "v2")):
            files = {f"data/{path.name}": path.read_bytes() for path in (folder / "dataset" / "data").iterdir()}
            repo = running.write("acme/prefs", files)
            running._repos["dataset", "acme/prefs"].refs[f"refs/tags/{tag}"] = repo
        yield running


def removed(two: Two, old: str, new: str, hub: HubServer | None = None) -> dict[str, int]:
    """Why rows went, by the command."""
    environment = hub.env("hf_reader") if hub else {}
    said = pairwright("diff", old, new, "--json", cwd=two.home, **environment)
    assert said.returncode == 0, said.stderr
    return dict(json.loads(said.stdout)["removed"])


def test_runs_by_name_folders_and_revisions_on_the_hub_are_the_same_datasets(two: Two, hub: HubServer) -> None:
    found = removed(two, f"night/{two.old.name}", "night")
    assert found.keys() == {"article withdrawn"}
    assert removed(two, str(two.old), str(two.new)) == found
    shutil.copytree(two.old / "dataset", two.home / "copy")
    assert removed(two, "copy", "night") == found
    assert removed(two, "acme/prefs@v1", "acme/prefs@v2", hub) == found
    assert removed(two, "acme/prefs@v1", "acme/prefs", hub) == found
    assert removed(two, "acme/prefs", "night", hub) == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nihgt", "Did you mean 'night'"),
        ("acme/nothing", "no such repo"),
        ("acme/prefs@v9", "not there"),
        ("night@v1", "no such dataset"),
        ("articles", "no complete run"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(two: Two, hub: HubServer, name: str, words: str) -> None:
    said = pairwright("diff", name, "night", cwd=two.home, **hub.env("hf_reader"))
    assert said.returncode == 2
    assert words in said.stderr
    assert len(said.stderr.splitlines()) == 1
