"""A checkpoint that a kill left half written is never resumed from."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.training import checkpoints


def checkpoint(folder: Path, step: int, state: str | None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "adapter_model.safetensors").write_bytes(b"weights")
    if state is not None:
        (path / "trainer_state.json").write_text(state, encoding="utf-8")
    return path


def test_the_newest_whole_one_is_taken_and_partial_ones_go(tmp_path: Path) -> None:
    whole = [checkpoint(tmp_path, step, json.dumps({"global_step": step})) for step in (9, 10)]
    partial = [
        checkpoint(tmp_path, 11, None),
        checkpoint(tmp_path, 12, '{"global_step": 1'),
        checkpoint(tmp_path, 13, json.dumps({"global_step": 12})),
    ]
    assert checkpoints.newest(tmp_path) == whole[1]
    assert [path for path in partial if path.exists()] == []
    assert all(path.exists() for path in whole)


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) is None
    assert checkpoints.newest(tmp_path / "nowhere") is None
