"""Parts by name: a dict with a decorator.

A part (a source, engine, generator, judge, policy or filter) is a frozen pydantic model: its fields are its options,
its field `use` is its name in a recipe, its attribute docstrings are its help. To add one, write one file in the
package that `PARTS` names for its kind; nothing else has to know.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from pipeline.errors import UserError, did_you_mean


class Part(BaseModel):
    """The settings of something that a recipe can use. Subclasses declare `use: Literal["name"] = "name"`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


PARTS = {
    "source": "pipeline.sources",
    "engine": "pipeline.engines",
    "generator": "pipeline.generators",
    "judge": "judges",
    "filter": "filters",
}
"""The package in which each kind of part lives, one file a part."""

_registered: dict[str, dict[str, type[Part]]] = {kind: {} for kind in PARTS}

P = TypeVar("P", bound=type[Part])


def register(kind: str) -> Callable[[P], P]:
    """Class decorator: makes the part known under the default of its field `use`."""

    def remember(part: P) -> P:
        name = part.model_fields["use"].default
        if _registered[kind].setdefault(name, part) is not part:
            raise ValueError(f"two {kind}s are called {name!r}")
        return part

    return remember


def known(kind: str) -> dict[str, type[Part]]:
    """Every part of a kind by name; loads the kind's package on the way."""
    package = import_module(PARTS[kind])
    for module in iter_modules(package.__path__, f"{package.__name__}."):
        import_module(module.name)
    return dict(sorted(_registered[kind].items()))


def find(kind: str, name: str) -> type[Part]:
    """The part of this kind and name.

    Raises:
        UserError: there is none; says which there are.
    """
    parts = known(kind)
    if name not in parts:
        raise UserError(f"no {kind} is called {name!r}", remedy=did_you_mean(name, parts))
    return parts[name]
