"""Where a source reads: a file or folder, or a Hugging Face dataset; the same for articles and instructions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import ValidationInfo, field_validator, model_validator

from pipeline.identity import digest
from pipeline.options import RecipePath
from pipeline.registry import Source
from pipeline.sources.files import files_below, fingerprint_of

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A revision that never changes, unlike a branch or a tag."""


class Origin(Source):
    """What can be set for every source that reads files or datasets."""

    path: RecipePath | None = None
    """File or folder; relative to the recipe."""
    dataset: str | None = None
    """Hugging Face dataset: its id on the Hub, or the folder of a saved one. Either this or `path`."""
    config: str | None = None
    """Configuration of the dataset, if it has several."""
    split: str = "train"
    """Split of the dataset."""
    revision: str | None = None
    """Commit or tag of the dataset; none for the newest."""

    @field_validator("dataset")
    @classmethod
    def _beside_the_recipe(cls, dataset: str | None, info: ValidationInfo) -> str | None:
        """A name is a folder beside the recipe if there is one, and else an id on the Hub."""
        folder = Path((info.context or {}).get("folder", "."))
        return str(folder / dataset) if dataset and (folder / dataset).exists() else dataset

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either path or dataset")
        return self

    def fingerprint(self) -> str | None:
        """Digest of the files' names and bytes, or of a dataset's commit; None for whatever else a dataset may be."""
        if self.path is not None:
            files = [(name, fingerprint_of(path, name)) for path, name in files_below(self.path)]
            return digest("files", [self.path.is_dir(), files], length=64)
        return self.revision if self.revision and COMMIT.fullmatch(self.revision) else None
