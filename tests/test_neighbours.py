"""Strangers that go by our names: another distribution, or another folder earlier on the path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline

HOME = Path(pipeline.__file__).resolve().parents[1]

CHECK = """
import sys
sys.path.extend(sys.argv[1:])
from pipeline.errors import UserError
from pipeline.neighbours import check_neighbours
before = set(sys.modules)
try:
    check_neighbours()
    print("all ours")
except UserError as error:
    print(error)
taken = set(sys.modules) - before
assert not taken & {"prompts", "filters", "judges"}, taken
"""


def _told(first: Path | None = None, last: Path | None = None) -> str:
    """What a fresh interpreter is told, with one folder before and one after all others on its path."""
    path = [*([first] if first else []), HOME]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    arguments = [str(last)] if last else []
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHECK, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _install_stranger(folder: Path, *, listed_in: str, name: str = "judges") -> None:
    """What `pip install --target` leaves of a distribution called `stranger` that imports as `name`."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text('raise SystemExit("a stranger was imported")\n')
    info = folder / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    if listed_in == "RECORD":
        (info / "RECORD").write_text(f"{name}/__init__.py,,\nstranger-1.0.dist-info/METADATA,,\n")
    else:
        (info / "top_level.txt").write_text(f"{name}\n")


def test_among_ourselves_all_is_well() -> None:
    assert _told() == "all ours"


@pytest.mark.parametrize("listed_in", ["RECORD", "top_level.txt"])
@pytest.mark.parametrize("name", ["judges", "filters", "prompts", "pipeline"])
def test_a_distribution_of_our_name_is_told_with_the_remedy_even_where_our_own_comes_first(
    listed_in: str, name: str, tmp_path: Path
) -> None:
    _install_stranger(tmp_path, listed_in=listed_in, name=name)
    told = _told(last=tmp_path)
    assert told.startswith(f"{HOME / name}: ")
    assert "'stranger'" in told
    assert f"'{name}'" in told
    assert "`pip uninstall stranger`" in told
    assert "environment of its own" in told
    assert "\n" not in told


def test_a_distribution_that_comes_first_is_told_and_not_imported(tmp_path: Path) -> None:
    _install_stranger(tmp_path, listed_in="RECORD")
    assert "`pip uninstall stranger`" in _told(first=tmp_path)


def test_a_distribution_of_another_name_is_nobodys_business(tmp_path: Path) -> None:
    _install_stranger(tmp_path, listed_in="RECORD", name="jugdes")
    assert _told(first=tmp_path) == _told(last=tmp_path) == "all ours"


@pytest.mark.parametrize("name", ["filters", "judges", "prompts"])
def test_a_folder_of_our_name_earlier_on_the_path_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text('raise SystemExit("a stranger was imported")\n')
    told = _told(first=tmp_path)
    assert f"the name '{name}' leads to {(tmp_path / name).resolve()}" in told
    assert "PYTHONPATH" in told


def test_a_module_of_our_name_earlier_on_the_path_is_told_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "filters.py").write_text('raise SystemExit("a stranger was imported")\n')
    assert f"the name 'filters' leads to {(tmp_path / 'filters.py').resolve()}" in _told(first=tmp_path)


def test_a_folder_that_python_would_not_import_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters" / "notes.txt").write_text("no package")
    assert _told(first=tmp_path) == "all ours"
