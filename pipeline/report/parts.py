"""The parts that a recipe can use, with their options, as their own docstrings tell it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.errors import UserError, did_you_mean
from pipeline.options import Options
from pipeline.registry import PARTS, known
from pipeline.training.settings import Training

LONG = 60
"""Characters from which a list's default is not printed."""


def parts(kind: str | None) -> str:
    """All parts of a kind, or of every kind.

    Raises:
        UserError: there is no such kind.
    """
    wanted = kind.removesuffix("s") if kind and kind not in PARTS else kind
    if wanted is not None and wanted not in PARTS:
        raise UserError(f"there is no kind of part {kind!r}", remedy=did_you_mean(wanted, PARTS))
    kinds = [wanted] if wanted else list(PARTS)
    return "\n".join(line for name in kinds for line in _kind(name)).rstrip()


def training_settings() -> str:
    """Every setting of a recipe's section `train`, with its default."""
    return "\n".join(_options(Training))


def _kind(kind: str) -> Iterator[str]:
    for name, part in known(kind).items():
        yield f"{kind} {name}"
        yield f"  {_first_line(part.__doc__)}"
        yield from _options(part)
        yield ""


def _options(part: type[BaseModel], within: str = "") -> Iterator[str]:
    """A line for each option; those of an option that has options of its own below it."""
    for name, field in part.model_fields.items():
        if name == "use":
            continue
        inner = field.annotation if isinstance(field.annotation, type) else None
        grouped = inner is not None and issubclass(inner, BaseModel) and issubclass(inner, Options)
        yield f"    {within}{field.alias or name}{'' if grouped else _default(field)}: {_first_line(field.description)}"
        if grouped and inner is not None:
            yield from _options(inner, f"{within}{field.alias or name}.")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return " (needed)"
    value = field.get_default(call_default_factory=True)
    return "" if value is None or value == "" else f" = {_plain(value)}"


def _plain(value: object) -> str:
    """A default on one line; a long list only by its length."""
    return f"({len(value)})" if isinstance(value, tuple) and len(str(value)) > LONG else str(value)


def _first_line(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())
