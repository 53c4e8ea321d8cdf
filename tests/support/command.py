"""What tests of the whole command share: the command itself, recipes for it, and readings of a run's folder."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipeline.recipe import load
from pipeline.run import Outcome, run
from pipeline.starting import SAMPLES
from pipeline.store import BESIDE, Manifest

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
    # a shell's background job ignores Ctrl-C, and so would what it starts
    command = ["env", "--default-signal=INT", str(PAIRWRIGHT), *map(str, arguments)]
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
    for section in (recipe["judge"], sections.get("judge", {})):
        assert isinstance(section, dict)
        section.setdefault("sentinels", 0)  # so that requests can be counted; their own tests turn them on
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
    """Every file of a run, hidden ones too, but for those that say what happened to it, and when."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(files.items()) if name not in (*BESIDE, "report.html")}


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
    said = Counter(decision["filter"] for decision in lines_of(folder / "4-decisions.jsonl"))
    assert {said.pop(name) for name in FILTERS} == {counts["filter"].seen}
    assert set(said) <= {"split"}
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
