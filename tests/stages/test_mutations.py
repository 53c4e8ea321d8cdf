"""The tests of label integrity can fail: each of these mistakes, really made in a copy of the code, makes them fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
INTEGRITY = "tests/stages/test_label_integrity.py"


class Mutation(NamedTuple):
    """A mistake that somebody could make."""

    file: str
    line: str
    """What stands there once."""
    instead: str
    """What would stand there then."""
    tests: str = ""
    """Which of the tests to run, by `pytest -k`; all if empty, up to the first that fails."""


MUTATIONS = {
    "a flipped winner": Mutation(
        "pipeline/records.py",
        "first, second = (self.y, self.x) if self.swapped else (self.x, self.y)",
        "first, second = (self.x, self.y) if self.swapped else (self.y, self.x)",
    ),
    "a winner that forgets the swap": Mutation(
        "pipeline/records.py",
        "first, second = (self.y, self.x) if self.swapped else (self.x, self.y)",
        "first, second = self.x, self.y",
    ),
    "a tie counted as a win": Mutation(
        "pipeline/records.py",
        '{"a": first, "b": second}.get(self.said)',
        '{"a": first, "b": second, "tie": first}.get(self.said)',
    ),
    "an unreadable verdict counted as a loss": Mutation(
        "pipeline/records.py",
        '{"a": first, "b": second}.get(self.said)',
        '{"a": first, "b": second, "unreadable": second}.get(self.said)',
    ),
    "an unreadable verdict counted as a tie": Mutation(
        "judges/policy/__init__.py",
        'return Settled(winner=None, strength=None, reason="unreadable")',
        'return Settled(winner=None, strength=None, reason="tie")',
        "told_apart",
    ),
    "chosen and rejected exchanged": Mutation(
        "pipeline/stages/judge.py",
        "        chosen=ranked.chosen,\n        rejected=ranked.rejected,",
        "        chosen=ranked.rejected,\n        rejected=ranked.chosen,",
    ),
    "a rank used as an index": Mutation(
        "judges/ranking/round_robin.py",
        "chosen = favourite or ranked[0]",
        "chosen = favourite or answers[ranked.index(ranked[0])]",
        "oracle and round",
    ),
    "a rank used as an index into strengths": Mutation(
        "judges/ranking/bradley_terry.py",
        "chosen = favourite or ranked[0]",
        "chosen = favourite or answers[0]",
        "oracle and bradley",
    ),
    "the worst taken for the best": Mutation(
        "judges/ranking/__init__.py",
        "key=lambda answer: (-scores[answer],",
        "key=lambda answer: (scores[answer],",
        "oracle and round",
    ),
    "the loser of a knockout left in the race": Mutation(
        "judges/ranking/max_and_min.py",
        "for answer in results.answers if not results.lost(answer)]",
        "for answer in results.answers if not results.won(answer)]",
        "oracle and max",
    ),
    "both calls of a pair in one order": Mutation(
        "pipeline/stages/judge.py", "swapped=self._y_first(x, y) != call.other", "swapped=self._y_first(x, y)"
    ),
    "a judge that is shown the answers the other way round": Mutation(
        "pipeline/records.py",
        "return self.y.text if self.swapped else self.x.text",
        "return self.x.text if self.swapped else self.y.text",
    ),
    "a final whose outcome is not looked at": Mutation(
        "judges/ranking/__init__.py",
        "    if final.settled.winner is None:\n        return final.settled.reason\n",
        "    if final.settled.winner is None:\n        return \"\"\n",
        "several or same_place",
    ),
    "a cycle that is not looked for": Mutation(
        "judges/ranking/__init__.py",
        'return "cycle" if results.chain(rejected, chosen, in_full=True) else ""',
        'return ""',
        "circle and round",
    ),
    "a verdict taken for the one in the other order": Mutation(
        "pipeline/stages/judge.py",
        "said = self._said.get((frozenset((x.id, y.id)), call))",
        "said = self._said.get((frozenset((x.id, y.id)), call)) or self._said.get("
        "(frozenset((x.id, y.id)), Call(call.judge, not call.other)))",
        "several",
    ),
    "the wrong loser of two": Mutation(
        "pipeline/stages/judge.py", "loser = y.id if settled.winner == x.id else x.id", "loser = x.id"
    ),
}  # fmt: skip


@pytest.fixture(name="copy", scope="module")
def _copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code and the tests of label integrity, to be broken."""
    folder = tmp_path_factory.mktemp("mutated")
    for package in ("pipeline", "prompts", "filters", "judges", "tests/support"):
        shutil.copytree(ROOT / package, folder / package)
    (folder / INTEGRITY).parent.mkdir(parents=True)
    for file in (INTEGRITY, "pyproject.toml"):
        shutil.copy2(ROOT / file, folder / file)
    return folder


def run_on(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """The tests of label integrity, on the code in this folder, up to the first that fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", INTEGRITY]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": ""}
    asked = [*command, *(["-k", tests] if tests else [])]
    return subprocess.run(asked, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_copy_passes_as_it_is(copy: Path) -> None:
    said = run_on(copy, "test_of_two_answers or circle or (oracle and 3)")
    assert said.returncode == 0, said.stdout
    assert " passed" in said.stdout


@pytest.mark.parametrize("what", MUTATIONS)
def test_a_mistake_is_found(copy: Path, what: str) -> None:
    mutation = MUTATIONS[what]
    path = copy / mutation.file
    text = path.read_text(encoding="utf-8")
    assert text.count(mutation.line) == 1, "the line is not there any more: look for where it went"
    path.write_text(text.replace(mutation.line, mutation.instead), encoding="utf-8")
    try:
        said = run_on(copy, mutation.tests)
    finally:
        path.write_text(text, encoding="utf-8")
    assert said.returncode == 1, said.stdout + said.stderr  # 2 and more: it could not even be run
    assert "1 failed" in said.stdout
