"""What a user starts from: a commented recipe, and a few sample articles or instructions."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.errors import UserError
from pipeline.store import write_text, writing

HERE = Path(__file__).parent
RECIPES = HERE / "recipes"
SAMPLES = HERE / "samples"

SEVERAL = "several-answers"
"""The ready recipe that ranks more than two answers."""


FROM_INSTRUCTIONS = ("sample", "directed", "contrast", "revise")
"""The ready recipes that begin with instructions, each called after its generator."""

INSTRUCTIONS = "instructions.jsonl"
"""The sample instructions."""


def start_training(path: Path, which: str) -> list[Path]:
    """Copy a ready training, such as `default`, to `path`.

    Raises:
        UserError: something is there already, or it cannot be written.
    """
    if not path.parent.is_dir():
        raise UserError("there is no such folder", where=str(path.parent), remedy="Make it first")
    if path.exists():
        raise UserError("this is there already", where=str(path), remedy="Give another name, or move it away")
    write_text(path, (RECIPES / "train" / f"{which}.yaml").read_text(encoding="utf-8"))
    return [path]


def start(path: Path, recipe: str, *, with_samples: bool) -> list[Path]:
    """Copy the ready recipe of this name to `path`, and the samples that it reads beside it; all or nothing.

    The samples are the folder `articles/`, or the file `instructions.jsonl`.

    Raises:
        UserError: something is there already, or it cannot be written.
    """
    samples = path.parent / (INSTRUCTIONS if recipe in FROM_INSTRUCTIONS else "articles")
    if not path.parent.is_dir():
        raise UserError("there is no such folder", where=str(path.parent), remedy="Make it first")
    for target in [path, samples] if with_samples else [path]:
        if target.exists():
            raise UserError("this is there already", where=str(target), remedy="Give another name, or move it away")
    if with_samples:
        with writing(samples):
            if recipe in FROM_INSTRUCTIONS:
                shutil.copy(RECIPES / INSTRUCTIONS, samples)
            else:
                shutil.copytree(SAMPLES, samples)
    write_text(path, (RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8"))
    return [path, samples] if with_samples else [path]
