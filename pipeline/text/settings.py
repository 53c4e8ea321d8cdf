"""How long a chunk may be: what a recipe says under `chunk`."""

from __future__ import annotations

from typing import Self

from pydantic import PositiveInt, model_validator

from pipeline.options import Options


class ChunkSettings(Options):
    """Bounds of a chunk's length, both included.

    Leave room between them, best a factor of two: cuts stand at sentence ends only, so a narrow range drops
    what cannot be packed into it.
    """

    at_least: PositiveInt = 1000
    """Shortest chunk, in characters; what is left over and shorter is dropped, and counted."""
    at_most: PositiveInt = 2000
    """Longest chunk, in characters."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least} must not be greater than at_most {self.at_most}")
        return self
