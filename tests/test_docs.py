"""What docs/nightly.md says can be copied: recipes are read, commands parsed, units and workflows looked over."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from pipeline.cli import cli
from pipeline.recipe import parse

ROOT = Path(__file__).resolve().parent.parent
NIGHTLY = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8")
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/nightly.md")}


def blocks(kind: str, text: str = NIGHTLY) -> list[str]:
    """Every fenced block of a kind; of the kind '' those that name none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for named, block in found if named == kind]


def commands(text: str) -> list[list[str]]:
    """Every `pairwright` command in a page's blocks, as words."""
    code = [block for kind in ("", "cron", "ini", "yaml") for block in blocks(kind, text)]
    lines = [re.sub("<[^>]*>", "ID", line.partition("  #")[0]) for block in code for line in block.splitlines()]
    calls = [
        line[line.index("pairwright ") :] for line in lines if re.search(r"(^|/bin/|run: |\s/?)pairwright \w", line)
    ]
    return [shlex.split(re.split(r" (?:&&|>>?|\|) ", call)[0])[1:] for call in calls if "pairwright.env" not in call]


def check(words: list[str]) -> None:
    """Parses a command without running it. Raises click.UsageError if it cannot be meant."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words[0]]
        words = words[1:]
    if words:
        command.make_context("pairwright", list(words))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_is_shown_is_one_that_can_be_typed(page: str) -> None:
    found = commands(PAGES[page])
    assert len(found) >= 6
    for words in found:
        if words[0] in cli.commands:
            check(words)
    assert {words[0] for words in found} & {"run", "publish", "history"} == {"run", "publish", "history"}


def test_the_recipe_of_the_page_is_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "CHAT_URL"):
        monkeypatch.setenv(name, "x")
    recipe = parse(blocks("yaml")[0], tmp_path / "nightly.yaml").recipe
    assert recipe.publish is not None
    assert recipe.publish.private
    assert recipe.night.notify is not None


def test_the_workflow_is_yaml_that_runs_the_night_with_its_secrets_and_keeps_the_ledger() -> None:
    (text,) = [block for block in blocks("yaml") if "runs-on" in block]
    workflow = yaml.safe_load(text)
    assert workflow[True]["schedule"][0]["cron"]  # YAML reads `on` as true
    steps = workflow["jobs"]["build"]["steps"]
    (run,) = [step for step in steps if "pairwright run" in step.get("run", "")]
    assert run["env"].keys() == {"OPENAI_API_KEY", "HF_TOKEN", "CHAT_URL"}
    assert any(step.get("with", {}).get("path") == "outputs" for step in steps)
    limit = int(re.search(r"--at-most-minutes (\d+)", run["run"])[1])  # type: ignore[index]  it is there
    assert limit < workflow["jobs"]["build"]["timeout-minutes"] <= 360


def test_the_crontab_has_five_fields_and_a_command(tmp_path: Path) -> None:
    (text,) = blocks("cron")
    jobs = [line for line in text.splitlines() if not re.match(r"[A-Z]+=", line)]
    assert jobs
    for job in jobs:
        *fields, command = job.split(None, 5)
        assert len(fields) == 5
        assert all(re.fullmatch(r"\*|\d+", field) for field in fields)
        assert "%" not in command  # a line end to cron
        path = tmp_path / "job.sh"
        path.write_text(command)
        assert subprocess.run(["sh", "-n", path], check=False).returncode == 0


def test_the_units_are_ones_that_systemd_takes(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd here")
    units = []
    for block in blocks("ini"):
        name = block.splitlines()[0].rpartition("/")[2]
        units.append(tmp_path / name)
        text = block.replace("%h/prefs/.venv/bin/pairwright", sys.executable).replace("%h/prefs", str(tmp_path))
        units[-1].write_text(text)
    assert {unit.name for unit in units} == {"pairwright.service", "pairwright.timer"}
    said = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    mine = [line for line in said.stderr.splitlines() if "pairwright." in line]
    assert (said.returncode, mine) == (0, [])


def test_the_job_on_the_hub_is_a_command_that_its_client_takes() -> None:
    (line,) = [line for block in blocks("") for line in block.splitlines() if line.startswith("hf jobs")]
    help_ = subprocess.run(
        [Path(sys.executable).with_name("hf"), "jobs", "scheduled", "run", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    words = shlex.split(line)
    assert words[:4] == ["hf", "jobs", "scheduled", "run"]
    options = {word for word in words[: words.index("pairwright")] if word.startswith("--")}
    assert all(option in help_.stdout for option in options)
