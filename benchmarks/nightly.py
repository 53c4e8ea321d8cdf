"""What a night costs: `python benchmarks/nightly.py ARTICLES.json [--new 5] [--chunks 10000]`.

Four nights of one recipe, published to a local Hub, with the replies of a local chat server whose words are the
offline engine's: the first with all articles but the last few, the second with all of them, the third without news, the
fourth without one of the articles. The server counts what it is asked. The second night must ask only about the new
articles: as many questions as a build of all of them asks, less those of the first night, none of them twice, and one
to write for each new chunk.

Then a corpus of so many chunks, made up, by the offline engine: a night without news, beside reading and chunking it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from genai_prices import Usage, calc_price

# Run as a script, Python looks beside the script for packages and not in the repository's root.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.memory import CHUNKS_PER_ARTICLE, write_articles
from tests.support.chat_server import ChatServer, offline_answers
from tests.support.hub_server import HubServer

REPO = "acme/prefs"
_SIGNS = {"+": "added", "-": "removed"}
QUICK = 10.0
"""Seconds in which a night without news must be over."""


class Night(NamedTuple):
    """One night, as the servers and the clock saw it."""

    name: str
    articles: int
    rows: int
    calls: int
    cost_usd: float
    commits: int
    seconds: float
    changes: str
    new_chunks_written: int


def run(recipe: Path, hub: HubServer | None) -> tuple[dict[str, Any], float]:
    """One `pairwright run`; gives its JSON and its wall time.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "pipeline", "run", str(recipe), "--outputs", str(recipe.parent / "outputs")]
    environment = os.environ | (hub.env() if hub else {})
    began = time.perf_counter()
    said = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return json.loads(said.stdout), time.perf_counter() - began


def nights(articles: Path, folder: Path, new: int, model: str) -> list[Night]:
    """The four nights."""
    data = json.loads(articles.read_text(encoding="utf-8"))
    found = data["artifact_data"] if isinstance(data, dict) else data
    corpus = folder / "articles.json"
    plan = {
        "the first": found[:-new],
        f"{new} new articles": found,
        "without news": found,
        "one article withdrawn": found[1:],
    }
    done = []
    with ChatServer(answer=offline_answers(), keep_bodies=True) as chat, HubServer(folder / "hub") as hub:
        recipe = _recipe(folder, {"use": "openai", "model": model, "base_url": chat.base_url}, publish={"repo": REPO})
        for name, these in plan.items():
            if not corpus.exists() or json.loads(corpus.read_text(encoding="utf-8")) != these:
                corpus.write_text(json.dumps(these), encoding="utf-8")
            asked, commits = chat.counters.requests, len(hub.commits(REPO)) if hub.exists(REPO) else 1
            told, seconds = run(recipe, hub)
            bodies = chat.counters.bodies[asked:]
            done.append(
                Night(
                    name,
                    len(these),
                    told["dataset"]["train"] + told["dataset"]["test"],
                    chat.counters.requests - asked,
                    _price(told["paid"], model),
                    len(hub.commits(REPO)) - commits,
                    seconds,
                    _changed(told),
                    sum(body["response_format"]["json_schema"]["name"] == "triples" for body in bodies),
                )
            )
        _check(done, chat, recipe)
    return done


def _price(paid: dict[str, Any], model: str) -> float:
    """US dollars at OpenAI's prices for the tokens that this night paid."""
    usage = Usage(input_tokens=paid["prompt_tokens"], output_tokens=paid["completion_tokens"])
    return float(calc_price(usage, model, provider_id="openai").total_price)


def _changed(told: dict[str, Any]) -> str:
    changes = told["changes"] if told["outcome"] != "nothing_new" else None
    if not changes:
        return "-"
    words = [f"{sign}{count} {why}" for sign in "+-" for why, count in changes[_SIGNS[sign]].items()]
    return ", ".join(words)


def _check(done: list[Night], chat: ChatServer, recipe: Path) -> None:
    """Raises AssertionError if a night asked what it need not."""
    assert chat.counters.paid_twice() == 0
    assert [night.commits for night in done] == [1, 1, 0, 1]
    assert [night.calls > 0 for night in done] == [True, True, False, False]
    new_chunks = _chunks(recipe, done[1]) - _chunks(recipe, done[0])
    assert done[1].new_chunks_written == new_chunks, (done[1].new_chunks_written, new_chunks)


def _chunks(recipe: Path, night: Night) -> int:
    """Chunks in that night's build."""
    manifests = [json.loads(path.read_text()) for path in recipe.parent.glob("outputs/*/*/run.json")]
    (manifest,) = [one for one in manifests if one["counts"]["ingest"]["kept"] == night.articles]
    return int(manifest["counts"]["chunk"]["kept"])


def _recipe(folder: Path, engine: dict[str, Any], **sections: object) -> Path:
    recipe: dict[str, Any] = {
        "name": "nightly",
        "sources": [{"use": "articles", "path": "articles.json"}],
        "engines": {"writer": engine},
        "generate": {"use": "triples", "engine": "writer", "per_chunk": 2},
        "judge": {"label": "judge", "jury": [{"use": "pairwise", "engine": "writer"}]},
        "filters": [{"use": name} for name in ("length", "format", "identical", "grounded", "self-contained")],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe | sections), encoding="utf-8")
    return path


class Quiet(NamedTuple):
    """A night without news over many chunks, and what it saves."""

    chunks: int
    megabytes: float
    reading: float
    seconds: float


def quiet(folder: Path, chunks: int) -> Quiet:
    """Builds a corpus of about so many chunks, and runs it again; two more runs are timed."""
    write_articles(folder / "articles.jsonl", chunks // CHUNKS_PER_ARTICLE)
    recipe = _recipe(
        folder,
        {"use": "offline"},
        sources=[{"use": "articles", "path": "articles.jsonl"}],
        generate={"use": "triples", "engine": "writer", "per_chunk": 1},
        judge={"label": "extracted"},
    )
    told, _ = run(recipe, None)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipeline", "check", str(recipe)], stdout=subprocess.DEVNULL, check=True)
    reading = time.perf_counter() - began
    again, seconds = run(recipe, None)
    assert again["outcome"] == "nothing_new"
    assert again["paid"]["calls"] == 0
    size = (folder / "articles.jsonl").stat().st_size / 1e6
    return Quiet(told["counts"]["chunk"]["kept"], size, reading, seconds)


def main() -> int:
    """Print both tables; gives 1 if the quiet night took too long."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("articles", type=Path, help="an export of articles as JSON")
    parser.add_argument("--new", type=int, default=5, help="articles that are new in the second night")
    parser.add_argument("--model", default="gpt-4o-mini", help="whose prices are reckoned with")
    parser.add_argument("--chunks", type=int, default=10_000, help="chunks of the quiet night")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pairwright-nightly-") as name:
        folders = [Path(name) / part for part in ("nights", "quiet")]
        for folder in folders:
            folder.mkdir()
        print(f"{'night':24} {'articles':>8} {'rows':>6} {'calls':>6} {'USD':>8} {'commits':>7} {'s':>6}  changes")
        for night in nights(options.articles, folders[0], options.new, options.model):
            print(
                f"{night.name:24} {night.articles:8,} {night.rows:6,} {night.calls:6,} {night.cost_usd:8.4f} "
                f"{night.commits:7} {night.seconds:6.1f}  {night.changes}"
            )
        found = quiet(folders[1], options.chunks)
    print(
        f"\n{found.chunks:,} chunks ({found.megabytes:.1f} MB): reading and chunking {found.reading:.1f} s, "
        f"a night without news {found.seconds:.1f} s (at most {QUICK:.0f} s)"
    )
    return int(found.seconds >= QUICK)


if __name__ == "__main__":
    sys.exit(main())
