"""What is built is what is meant to be, and works where the repository is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.command import environment

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "prompts", "filters", "judges")


class Installed(NamedTuple):
    """A wheel, and an environment that it is installed in."""

    wheel: Path
    home: Path

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command of that environment, in a folder that knows nothing of the repository."""
        program = self.home / "bin" / command[0]
        return subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            text=True,
            cwd=self.home / "elsewhere",
            env=environment(PYTHONPATH=""),
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    home = tmp_path_factory.mktemp("wheel")
    source = home / "source"  # a copy: building leaves nothing behind, and picks up no build of before
    source.mkdir()
    for name in (*PACKAGES, "tests", "benchmarks", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            shutil.copy(path, source)
    python = [sys.executable, "-m"]
    build = [*python, "build", "--wheel", "--no-isolation", "--outdir", str(home), str(source)]
    subprocess.run(build, capture_output=True, check=True, env=environment(PYTHONPATH=""))
    (wheel,) = home.glob("*.whl")

    venv.create(home, with_pip=False)
    (home / "elsewhere").mkdir()
    site = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    pip = [*python, "pip", "--python", str(home / "bin" / "python"), "--disable-pip-version-check"]
    install = [*pip, "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, capture_output=True, check=True, env=environment(PYTHONPATH=""))
    # A folder named in a .pth comes last on the path, and the .pth files within it (the editable install's) are not
    # read: so the dependencies are this environment's and everything of ours is the wheel's.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(wheel, home)


def test_the_wheel_holds_the_four_packages_and_their_data_and_nothing_else(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= set(names)
    for pattern in ("prompts/triples.j2", "pipeline/recipes/offline.yaml", "pipeline/samples/bees.md"):
        assert pattern in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "test_" in name or name.endswith(".pyc")]


def test_what_runs_there_is_the_wheels_copy(installed: Installed) -> None:
    code = (
        "import pipeline, prompts, filters, judges; print(*(m.__file__ for m in (pipeline, prompts, filters, judges)))"
    )
    said = installed.call("python", "-c", code)
    assert said.returncode == 0, said.stderr
    assert all(place.startswith(str(installed.home)) for place in said.stdout.split())


def test_init_check_and_run_work_far_from_the_repository(installed: Installed) -> None:
    for command in (
        ["pairwright", "init", "--samples"],
        ["pairwright", "check", "recipe.yaml"],
        ["pairwright", "run", "recipe.yaml"],
        ["pairwright", "show", "articles"],
    ):
        said = installed.call(*command)
        assert said.returncode == 0, f"{command}: {said.stderr}"
    assert list((installed.home / "elsewhere" / "outputs").glob("articles/*/dataset/data/train-*.parquet"))


def test_the_module_is_the_command(installed: Installed) -> None:
    said = installed.call("python", "-m", "pipeline", "--version")
    assert (said.returncode, said.stdout) == (0, "pairwright, version 0.1.0\n")
