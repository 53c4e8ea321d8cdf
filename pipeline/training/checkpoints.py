"""Checkpoints of a training, and which of them are whole.

A process that is killed while it saves leaves a folder without the last of its files, `trainer_state.json`. The
trainer would pick it and raise, so such folders go before a training starts or resumes.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

LAST = "trainer_state.json"
"""The file that the trainer writes last."""


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None; partial ones are removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if _whole(path):
            whole.append(path)
        else:
            shutil.rmtree(path, ignore_errors=True)  # another process of the training may be quicker
    return max(whole, key=step, default=None)


def step(checkpoint: Path) -> int:
    """The step after which a checkpoint was saved."""
    found = re.search(r"checkpoint-(\d+)$", checkpoint.name)
    return int(found[1]) if found else -1


def _whole(checkpoint: Path) -> bool:
    """Its last file is there and reads as what it is."""
    try:
        state = json.loads((checkpoint / LAST).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(state.get("global_step") == step(checkpoint))
