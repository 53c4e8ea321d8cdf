"""What training does to a planted style, method by method: `python benchmarks/training.py [--sources 150]`.

Chosen and rejected say the same in two styles; sources are disjoint. A tiny model that speaks in both, more often in
the one to be unlearnt, is trained by each method with real TRL, on the CPU. Then the same with shuffled labels, and
with a learning rate a thousand times the default: both must be refused by the gates. Prints a row for each; takes
about five minutes of CPU time.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

from pydantic import JsonValue

from pipeline.recipe import load_training
from pipeline.trainer import run
from pipeline.training import data
from pipeline.training.outcome import Outcome
from tests.support import planted

COMMON: dict[str, JsonValue] = {
    "epochs": 3,
    "batch_per_device": 16,
    "max_length": 128,
    "gradient_checkpointing": False,
    "checkpoints": 1,
    "evaluate.prompts": 100,
    "evaluate.max_new_tokens": 60,
    "checks.at_most_overlap": 1.0,  # the grammar is small: held-out rows share its phrases
}
RUNS: dict[str, dict[str, JsonValue]] = {
    "dpo, sft 1": {"use": "dpo", "learning_rate": 1e-3, "sft": 1.0},
    "dpo": {"use": "dpo", "learning_rate": 4e-4, "epochs": 2},
    "simpo, sft 1": {"use": "simpo", "learning_rate": 1e-3, "sft": 1.0},
    "orpo": {"use": "orpo", "learning_rate": 4e-3},
    "kto": {"use": "kto", "learning_rate": 1e-3, "epochs": 2},
    "cpo": {"use": "cpo", "learning_rate": 1e-3},
    "dpo, shuffled labels": {"use": "dpo", "learning_rate": 1e-3, "sft": 1.0},
    "dpo, rate x 1,000": {"use": "dpo", "learning_rate": 1e-2},
}


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=150, help="articles to train on; a quarter as many held out")
    sources = parser.parse_args().sources
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        plain = planted.dataset(home / "plain", sources, sources // 4)
        shuffled = planted.dataset(home / "shuffled", sources, sources // 4, shuffled=True)
        rows = data.load(data.find(str(plain), home), 0.1).train
        model = planted.model(home / "model", rows)
        print(f"{'':22}{'accuracy':>10}{'to chosen':>18}{'to rejected':>18}{'chosen/token':>14}  gates missed")
        for name, settings in RUNS.items():
            dataset = shuffled if "shuffled" in name else plain
            said = COMMON | settings | {"dataset": str(dataset), "model": str(model)}
            print(_row(name, run(load_training(None, said), home / name, io.StringIO()).outcome), flush=True)


def _row(name: str, outcome: Outcome) -> str:
    before, after = outcome.before, outcome.after
    assert before is not None
    assert after is not None
    chosen = f"{before.to_chosen:.3f} -> {after.to_chosen:.3f}"
    rejected = f"{before.to_rejected:.3f} -> {after.to_rejected:.3f}"
    missed = ", ".join(gate.name for gate in outcome.missed) or "none"
    return (
        f"{name:22}{outcome.accuracy.value:>10.3f}{chosen:>18}{rejected:>18}{outcome.chosen_change:>+14.3f}  {missed}"
    )


if __name__ == "__main__":
    main()
