"""A planted style is learnt by every method and shows in the answers; what teaches nothing, or breaks, is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import GateMissed
from pipeline.trainer import miss
from tests.support import planted
from tests.training.conftest import Planted

pytestmark = [pytest.mark.train, pytest.mark.xdist_group("train: style")]


@pytest.mark.parametrize(
    ("use", "more"),
    [("dpo", {}), ("simpo", {}), ("orpo", {"learning_rate": 4e-3})],
)
def test_a_planted_style_is_learnt_and_speaks_in_the_answers(
    use: str, more: dict[str, Any], style: Planted, train: Any
) -> None:
    outcome = train(style.settings(use=use, **more)).outcome
    assert outcome.accuracy.value >= 0.95 > outcome.accuracy_before.value
    assert outcome.after.to_chosen <= outcome.before.to_chosen / 2
    assert outcome.after.to_rejected > outcome.before.to_rejected
    delve = next(word for word in outcome.moved if word.word == "delve")
    assert delve.after < delve.before / 2
    assert outcome.missed == ()
    assert outcome.ended.steps == outcome.ended.planned == 45


def test_shuffled_labels_teach_nothing_and_are_refused(tmp_path: Path, style: Planted, train: Any) -> None:
    shuffled = planted.dataset(tmp_path / "shuffled", shuffled=True)
    finished = train(style.settings(dataset=str(shuffled), **{"evaluate.prompts": 0}))
    assert 0.3 < finished.outcome.accuracy.value < 0.7
    with pytest.raises(GateMissed, match="gate missed: accuracy"):
        miss(finished)


def test_a_rate_a_thousand_times_too_high_is_refused_although_its_accuracy_is_perfect(
    style: Planted, train: Any
) -> None:
    usual = 1e-5  # the default for LoRA
    finished = train(style.settings(learning_rate=1000 * usual, sft=0.0))
    assert finished.outcome.accuracy.value == 1.0
    missed = {gate.name for gate in finished.outcome.missed}
    assert "at_most_chosen_drop" in missed
    assert missed & {"ends", "at_most_repetition", "length", "vocabulary"}


@pytest.mark.parametrize("use", ["kto", "cpo"])
def test_the_other_methods_raise_the_margin_too(use: str, style: Planted, train: Any) -> None:
    outcome = train(style.settings(use=use, max_steps=10, **{"evaluate.prompts": 0})).outcome
    before, after = outcome.accuracy_before.value, outcome.accuracy.value
    assert after > before
    assert outcome.ended.steps == 10
