"""What a user starts from: a commented recipe, and a few sample articles."""

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
    """Copy the ready recipe of this name to `path`, and the sample articles to `articles/` beside it; all or nothing.

    Raises:
        UserError: something is there already, or it cannot be written.
    """
    articles = path.parent / "articles"
    if not path.parent.is_dir():
        raise UserError("there is no such folder", where=str(path.parent), remedy="Make it first")
    for target in [path, articles] if with_samples else [path]:
        if target.exists():
            raise UserError("this is there already", where=str(target), remedy="Give another name, or move it away")
    if with_samples:
        with writing(articles):
            shutil.copytree(SAMPLES, articles)
    write_text(path, (RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8"))
    return [path, articles] if with_samples else [path]
