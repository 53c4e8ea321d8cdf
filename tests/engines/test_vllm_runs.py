"""Whole runs whose server is started by them, with a stand-in for vLLM: complete, crashed, killed, started again."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.command import (
    PAIRWRIGHT,
    assert_adds_up,
    contents,
    environment,
    manifest_in,
    pairwright,
    recipe_in,
    run_in,
    samples_in,
    until,
)
from tests.support.fake_vllm import FakeVLLM


@pytest.fixture
def fake(tmp_path: Path) -> FakeVLLM:
    return FakeVLLM(tmp_path / "fake")


def recipe_of(fake: FakeVLLM, folder: Path, **more: Any) -> Path:
    return recipe_in(folder, engine=fake.options(), sources=samples_in(folder), **more)


def begun(recipe: Path, outputs: Path) -> subprocess.Popen[str]:
    """The command, under way in a session of its own."""
    command = ["env", "--default-signal=INT", PAIRWRIGHT, "run", recipe, "--outputs", outputs]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )


def results_in(outputs: Path) -> dict[str, bytes]:
    """Every file of the only run, less what the server said."""
    return {name: data for name, data in contents(run_in(outputs)).items() if not name.startswith("logs/")}


@pytest.fixture
def undisturbed(fake: FakeVLLM, tmp_path: Path) -> dict[str, bytes]:
    """What the recipe's run comes to if nothing happens on the way."""
    said = pairwright("run", recipe_of(fake, tmp_path), "--outputs", tmp_path / "undisturbed")
    assert said.returncode == 0, said.stderr
    return results_in(tmp_path / "undisturbed")


def test_a_run_starts_its_server_and_leaves_its_log_and_nothing_else(fake: FakeVLLM, tmp_path: Path) -> None:
    said = pairwright("run", recipe_of(fake, tmp_path), "--outputs", tmp_path / "outputs")
    assert said.returncode == 0, said.stderr
    folder = run_in(tmp_path / "outputs")
    assert_adds_up(folder)
    assert manifest_in(folder).dataset.rows > 0
    assert [path.name for path in (folder / "logs").iterdir()] == ["vllm-tiny-1.log"]
    assert "% of them cached" in said.stdout
    assert len(fake.starts) == 1
    assert fake.processes() == []


def test_two_engines_are_two_servers_side_by_side(fake: FakeVLLM, tmp_path: Path) -> None:
    variables = fake.options()["environment"] | {"CUDA_VISIBLE_DEVICES": "1"}
    engines = {"writer": fake.options(), "referee": fake.options(model="other/Judge-2", environment=variables)}
    judge = {"jury": [{"use": "pairwise", "engine": "referee"}]}
    recipe = recipe_of(fake, tmp_path, engines=engines, judge=judge)
    said = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
    assert said.returncode == 0, said.stderr
    assert sorted(path.name for path in (run_in(tmp_path / "outputs") / "logs").iterdir()) == [
        "vllm-judge-2.log",
        "vllm-tiny-1.log",
    ]
    assert {start["variables"].get("CUDA_VISIBLE_DEVICES") for start in fake.starts} == {None, "1"}
    assert fake.processes() == []


def test_a_run_whose_replies_are_all_kept_is_rebuilt_without_a_server(fake: FakeVLLM, tmp_path: Path) -> None:
    recipe = recipe_of(fake, tmp_path)
    assert pairwright("run", recipe, "--outputs", tmp_path / "outputs").returncode == 0
    before = results_in(tmp_path / "outputs")
    (run_in(tmp_path / "outputs") / "run.json").unlink()
    said = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
    assert said.returncode == 0, said.stderr
    assert results_in(tmp_path / "outputs") == before
    assert len(fake.starts) == 1


def test_crashes_in_the_middle_change_nothing_in_the_result(
    fake: FakeVLLM, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    recipe = recipe_of(fake, tmp_path)
    fake.plan({"crash_after": 20}, {"crash_after": 15}, {})
    said = pairwright("run", recipe, "--outputs", tmp_path / "outputs")
    assert said.returncode == 0, said.stderr
    assert "Traceback" not in said.stderr
    assert len(fake.starts) == 4
    assert results_in(tmp_path / "outputs") == undisturbed


class Stop(NamedTuple):
    """How a run is stopped."""

    signal: signal.Signals
    to_group: bool
    code: int


STOPS = {
    "Ctrl-C": Stop(signal.SIGINT, to_group=True, code=130),  # as a terminal sends it
    "SIGTERM": Stop(signal.SIGTERM, to_group=False, code=130),
    "kill -9": Stop(signal.SIGKILL, to_group=False, code=-9),
    "kill -9 of its group": Stop(signal.SIGKILL, to_group=True, code=-9),
}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_a_run_that_is_stopped_leaves_no_process_and_is_resumed(
    fake: FakeVLLM, tmp_path: Path, undisturbed: dict[str, bytes], stop: Stop
) -> None:
    recipe, outputs, before = recipe_of(fake, tmp_path), tmp_path / "outputs", fake.requests
    fake.plan({"latency": 0.05})
    run = begun(recipe, outputs)
    until(lambda: fake.requests >= before + 20)
    assert len(fake.processes()) == 3
    (os.killpg if stop.to_group else os.kill)(run.pid, stop.signal)
    _, words = run.communicate(timeout=30)
    assert run.returncode == stop.code, words
    assert "Traceback" not in words
    until(lambda: fake.processes() == [])
    fake.plan({})
    assert pairwright("run", recipe, "--outputs", outputs).returncode == 0
    assert results_in(outputs) == undisturbed


def test_a_server_that_does_not_start_is_one_line_with_the_remedy(fake: FakeVLLM, tmp_path: Path) -> None:
    fake.plan({"says": "RuntimeError: No CUDA GPUs are available"})
    said = pairwright("run", recipe_of(fake, tmp_path), "--outputs", tmp_path / "outputs")
    assert said.returncode == 2
    (line,) = (line for line in said.stderr.splitlines() if line.startswith("error: "))
    assert "no GPU" in line
    assert "nvidia-smi" in line
    assert "vllm-tiny-1.log" in line
    assert "Traceback" not in said.stderr


def test_a_server_that_crashes_too_often_ends_the_run_for_another_day_and_a_good_one_resumes_it(
    fake: FakeVLLM, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    recipe, outputs = recipe_of(fake, tmp_path), tmp_path / "outputs"
    fake.plan({"crash_after": 2})
    said = pairwright("run", recipe, "--outputs", outputs)
    assert said.returncode == 75, said.stderr
    assert "Traceback" not in said.stderr
    assert fake.processes() == []
    fake.plan({})
    assert pairwright("run", recipe, "--outputs", outputs).returncode == 0
    assert results_in(outputs) == undisturbed


def test_the_servers_key_stands_in_no_file_of_the_run_and_on_no_screen(fake: FakeVLLM, tmp_path: Path) -> None:
    said = pairwright("run", recipe_of(fake, tmp_path), "--outputs", tmp_path / "outputs")
    (start,) = fake.starts
    key = start["variables"]["VLLM_API_KEY"]
    assert len(key) >= 32
    assert key not in said.stdout + said.stderr + "".join(start["arguments"])
    files = [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if key.encode() in path.read_bytes()]


def test_a_mistake_in_the_arguments_is_told_with_its_line(fake: FakeVLLM, tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, engine=fake.options(arguments={"api-key": "sk-1"}), sources=samples_in(tmp_path))
    said = pairwright("check", recipe)
    assert said.returncode == 2
    number = next(n for n, line in enumerate(recipe.read_text().splitlines(), 1) if "arguments" in line)
    assert f"recipe.yaml:{number}: engines.writer.arguments: api-key is not set here" in said.stderr
    assert "sk-1" not in said.stderr


def test_a_run_that_is_killed_while_its_server_starts_leaves_no_process(fake: FakeVLLM, tmp_path: Path) -> None:
    fake.plan({"slow": 60})
    run = begun(recipe_of(fake, tmp_path), tmp_path / "outputs")
    until(lambda: bool(fake.starts))
    assert len(fake.processes()) == 3
    run.kill()
    run.communicate(timeout=30)
    until(lambda: fake.processes() == [])
