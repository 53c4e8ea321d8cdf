"""What `make demo` ends with: a tiny model, made from nothing, trained on the dataset that the demo built."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.recipe import load_training
from pipeline.training import tiny
from tests.support.command import build

pytestmark = [pytest.mark.train, pytest.mark.xdist_group("train: model")]


def test_the_demo_ends_with_a_model_that_learnt_on_held_out_articles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.trainer import run  # noqa: PLC0415  needs the extra `train`

    recipe, training, outputs = tmp_path / "recipe.yaml", tmp_path / "train.yaml", tmp_path / "outputs"
    assert main(["init", str(recipe), "--samples"]) == 0
    assert main(["init", str(training), "--training", "demo"]) == 0
    build(recipe, outputs)
    monkeypatch.setattr(sys, "argv", ["tiny", "articles", str(tmp_path / "model"), "--outputs", str(outputs)])
    tiny.main()
    outcome = run(load_training(training, {}), outputs, io.StringIO()).outcome
    assert outcome.accuracy.value > outcome.accuracy_before.value
    assert outcome.missed == ()
    assert outcome.verified == "the run's manifest"
    assert "error" not in capsys.readouterr().err
