"""The vllm engine with the real vLLM, on the CPU, with a tiny model that writes words in no order.

`make test-vllm` installs it in an environment of its own and runs these; elsewhere they are skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.engines.vllm import VLLM
from pipeline.errors import UserError
from pipeline.generators.triples import SCHEMA, TriplesReply
from pipeline.records import Ask, Reply, Request, Sampling
from pipeline.registry import Workplace
from tests.support.build import Memo, make_request
from tests.support.command import (
    assert_adds_up,
    lines_of,
    manifest_in,
    pairwright,
    recipe_in,
    run_in,
    samples_in,
    started,
    until,
)

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON.exists(), reason="no vLLM in .venv-vllm; `make test-vllm` installs it"),
]

START = 300
"""Seconds that a start may take here; 12 on an idle machine."""

ARGUMENTS = {
    "dtype": "float32",
    "max-model-len": 8192,
    "max-num-batched-tokens": 8192,
    # vLLM 0.32 on a CPU dies of a request with a seed whose prompt it reads in two steps
    "enable-chunked-prefill": False,
    "kv-cache-memory-bytes": "256M",
    "block-size": 32,
    "enforce-eager": True,
}
VARIABLES = {"OMP_NUM_THREADS": 1, "VLLM_CPU_CI_ENV": 1, "TORCH_COMPILE_DISABLE": 1, "HF_HUB_OFFLINE": 1}
"""What makes it small and quick to start; the first call with log-probabilities would compile for 10 s."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    subprocess.run([PYTHON, ROOT / "tests/support/tiny_model.py", folder], check=True, capture_output=True, timeout=120)
    return folder


def options(model: Path) -> dict[str, Any]:
    given = {"use": "vllm", "model": str(model), "python": str(PYTHON), "in_flight": 16, "start_within": START}
    return given | {"arguments": ARGUMENTS, "environment": VARIABLES}


def descendants(root: int) -> dict[int, str]:
    """Names of the processes below one, by their ids."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (path / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
            parents[int(path.name)] = int(rest.split()[1])
            names[int(path.name)] = name
        except OSError:
            continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: names[pid] for pid in found - {root} if pid in names}


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


class Answers(NamedTuple):
    """What one server answered."""

    triples: list[Reply]
    verdicts: list[Reply]
    draws: list[Reply]
    draws_alone: list[Reply]
    repeated: Reply
    after_a_crash: list[Reply]
    processes: dict[int, str]
    log: str


@pytest.fixture(scope="module")
def answers(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Everything that is asked of one server, which is killed in the middle of the last question."""
    logs = tmp_path_factory.mktemp("logs")
    request = partial(make_request, model=str(model))

    async def everything() -> Answers:
        async with VLLM.model_validate(options(model))(Workplace(logs=logs, notes=Memo())) as ask:
            prompts = [f"{number}. " + "Bees keep their brood warm. " * 20 for number in range(8)]
            form = {"response_schema": SCHEMA, "sampling": Sampling(temperature=1.0, max_tokens=1500)}
            label = {"labels": ("A", "B"), "sampling": Sampling(temperature=0.0, max_tokens=1)}
            seeded = Sampling(temperature=1.0, max_tokens=40, seed=11)
            draws = [request(prompts[0], sampling=seeded, draw=draw) for draw in range(6)]
            return Answers(
                triples=await ask_all(ask, [request(prompt, **form) for prompt in prompts]),
                verdicts=await ask_all(ask, [request(prompt, **label) for prompt in prompts]),
                draws=await ask_all(ask, draws),
                draws_alone=[await ask(draw) for draw in reversed(draws)][::-1],
                repeated=await ask(request(prompts[0], draw=7)),
                processes=descendants(os.getpid()),
                after_a_crash=await ask_through_a_crash(ask, request),
                log=(logs / "vllm-tiny.log").read_text(),
            )

    return asyncio.run(everything())


async def ask_all(ask: Ask, requests: Sequence[Request]) -> list[Reply]:
    return await asyncio.gather(*map(ask, requests))


async def ask_through_a_crash(ask: Ask, request: Callable[[str], Request]) -> list[Reply]:
    """Many requests; the process that does the work is killed as soon as some are answered."""
    asking = [asyncio.ensure_future(ask(request(f"question {number}"))) for number in range(200)]
    for answered in asyncio.as_completed(asking):
        await answered
        break
    (core,) = (pid for pid, name in descendants(os.getpid()).items() if name.startswith("VLLM::EngineCor"))
    os.kill(core, signal.SIGKILL)
    assert not all(task.done() for task in asking)
    return await asyncio.gather(*asking)


# ---------------------------------------------------------------- what it answers


def test_triples_keep_to_their_json_schema(answers: Answers) -> None:
    whole = [reply for reply in answers.triples if reply.finish_reason == "stop"]
    assert whole
    for reply in whole:
        TriplesReply.model_validate_json(reply.text)
    assert any(json.loads(reply.text)["triples"] for reply in whole)


def test_a_verdict_is_one_of_its_labels_with_the_odds_of_each(answers: Answers) -> None:
    for reply in answers.verdicts:
        assert reply.text in ("A", "B")
        assert reply.usage.completion_tokens == 1
        assert reply.odds is not None
        assert set(reply.odds) == {"A", "B"}
        assert sum(reply.odds.values()) == pytest.approx(1)
        assert max(reply.odds, key=reply.odds.__getitem__) == reply.text
    assert len({json.dumps(reply.odds) for reply in answers.verdicts}) > 1  # of the prompts, not of the model alone


def test_draws_differ_and_a_seed_gives_each_of_them_again_alone(answers: Answers) -> None:
    texts = [reply.text for reply in answers.draws]
    assert len(set(texts)) == len(texts)
    assert [reply.text for reply in answers.draws_alone] == texts


def test_a_prompt_that_was_read_before_comes_from_the_cache(answers: Answers) -> None:
    usage = answers.repeated.usage
    assert 0 < usage.cached_tokens < usage.prompt_tokens


def test_what_a_crash_cut_off_is_answered_by_the_next_server(answers: Answers) -> None:
    assert len(answers.after_a_crash) == 200
    assert answers.log.count("Application startup complete") == 2


def test_no_process_is_left(answers: Answers) -> None:
    names = set(answers.processes.values())
    assert {name[:14] for name in names} >= {"VLLM::EngineCo", "VLLM::Worker"}
    assert not [pid for pid in answers.processes if is_alive(pid)]


# ---------------------------------------------------------------- what it does not start with


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"arguments": ARGUMENTS | {"bogus": 3}}, "--bogus=3"),
        ({"arguments": ARGUMENTS | {"dtype": "big"}}, "--dtype"),
        ({"arguments": ARGUMENTS | {"max-model-len": 99999}}, "max-model-len"),
        ({"model": "/no/such/model"}, "no such model"),
    ],
    ids=["an unknown argument", "a wrong value", "too long a context", "no model"],
)
def test_what_vllm_refuses_is_one_error_with_its_cause(
    model: Path, tmp_path: Path, more: dict[str, Any], word: str
) -> None:
    engine = VLLM.model_validate(options(model) | more)

    async def ask_one() -> None:
        async with engine(Workplace(logs=tmp_path, notes=Memo())) as ask:
            await ask(make_request())

    with pytest.raises(UserError, match=word):
        asyncio.run(ask_one())


# ---------------------------------------------------------------- the whole command


@pytest.fixture(scope="module")
def night(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a recipe whose first start was killed, with its outputs."""
    home = tmp_path_factory.mktemp("night")
    recipe = recipe_in(
        home,
        engine=options(model),
        sources=samples_in(home),
        generate={"use": "triples", "engine": "writer", "per_chunk": 3, "max_tokens": 600, "temperature": 1.0},
        # the model names the same place whatever stands there: with both orders no pair would be decided
        judge={"jury": [{"use": "pairwise", "engine": "writer"}], "policy": {"use": "one-call"}},
        gates={"at_least_pairs": 0},
    )
    killed = started("run", recipe, "--outputs", home / "outputs")
    ledger = home / "outputs" / "ledger.sqlite-wal"
    until(lambda: ledger.exists() and ledger.stat().st_size > 60_000, START)
    below = descendants(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert any(name.startswith("VLLM::") for name in below.values())
    until(lambda: not [pid for pid in below if is_alive(pid)], 60)
    return home


def test_a_run_that_was_killed_leaves_no_server_and_is_resumed(night: Path) -> None:
    said = pairwright("run", night / "recipe.yaml", "--outputs", night / "outputs")
    assert said.returncode == 0, said.stderr
    folder = run_in(night / "outputs")
    events = lines_of(folder / "journal.jsonl")
    assert [event["event"] for event in events] == ["start", "start", "end"]
    assert events[-1]["paid"]["calls"] < manifest_in(folder).bill.calls
    assert_adds_up(folder)
    assert manifest_in(folder).counts["judge"].seen > 0
    assert "% of them cached" in said.stdout
