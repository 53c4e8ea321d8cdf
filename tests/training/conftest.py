"""What the tests of training share: a planted preference, a tiny model for it, and a training by few words."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import JsonValue

from pipeline.recipe import load_training
from pipeline.training import data
from tests.support import planted


class Planted(NamedTuple):
    """A dataset with a planted style, and a model that speaks in both."""

    dataset: Path
    model: Path

    def settings(self, **changes: JsonValue) -> dict[str, JsonValue]:
        """A quick training on it; the grammar is small, so held-out rows share their phrases with the others."""
        common: dict[str, JsonValue] = {
            "dataset": str(self.dataset),
            "model": str(self.model),
            "learning_rate": 1e-3,
            "sft": 1.0,
            "epochs": 3,
            "batch_per_device": 16,
            "max_length": 128,
            "gradient_checkpointing": False,
            "checkpoints": 1,
            "evaluate.prompts": 40,
            "evaluate.max_new_tokens": 60,
            "checks.at_most_overlap": 1.0,
        }
        if changes.get("use", "dpo") not in ("dpo", "simpo"):
            del common["sft"]
        return common | changes

    def short(self, **changes: JsonValue) -> dict[str, JsonValue]:
        """A few steps and no answers: for what does not need to be learnt."""
        return self.settings(**({"max_steps": 3, "evaluate.prompts": 0, "evaluate.rows": 20} | changes))


@pytest.fixture(scope="session")
def style(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    home = tmp_path_factory.mktemp("style")
    dataset = planted.dataset(home / "dataset")
    rows = data.load(data.find(str(dataset), home), 0.1).train
    return Planted(dataset, planted.model(home / "model", rows))


@pytest.fixture
def train(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Trains with these settings in this process; gives what came out."""
    from pipeline.trainer import run  # noqa: PLC0415  needs the extra `train`

    def trained(said: dict[str, JsonValue], name: str = "style", recipe: Path | None = None):  # type: ignore[no-untyped-def]
        return run(load_training(recipe, said, name), tmp_path / "outputs", io.StringIO())

    return trained
