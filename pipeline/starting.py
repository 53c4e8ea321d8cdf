"""What a user starts from: a commented recipe, and a few sample articles."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.errors import UserError
from pipeline.store import write_text

HERE = Path(__file__).parent
RECIPES = HERE / "recipes"
SAMPLES = HERE / "samples"


def write_recipe(path: Path, engine: str) -> None:
    """Copy the ready recipe for an engine.

    Raises:
        UserError: there is a file already, or it cannot be written.
    """
    if path.exists():
        raise UserError("there is a file already", where=str(path), remedy="Give another name, or remove it first")
    if not path.parent.is_dir():
        raise UserError("there is no such folder", where=str(path.parent), remedy="Make it first")
    write_text(path, (RECIPES / f"{engine}.yaml").read_text(encoding="utf-8"))


def write_samples(folder: Path) -> Path:
    """Copy the sample articles into `articles/`; gives that folder.

    Raises:
        UserError: there is such a folder already.
    """
    target = folder / "articles"
    if target.exists():
        raise UserError("there is such a folder already", where=str(target), remedy="Remove it, or leave out --samples")
    shutil.copytree(SAMPLES, target)
    return target
