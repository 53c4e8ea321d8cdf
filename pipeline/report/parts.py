"""The parts that a recipe can use, with their options, as their own docstrings tell it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic.fields import FieldInfo

from pipeline.errors import UserError, did_you_mean
from pipeline.registry import PARTS, Part, known


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


def _kind(kind: str) -> Iterator[str]:
    for name, part in known(kind).items():
        yield f"{kind} {name}"
        yield f"  {_first_line(part.__doc__)}"
        yield from _options(part)
        yield ""


def _options(part: type[Part]) -> Iterator[str]:
    for name, field in part.model_fields.items():
        if name != "use":
            yield f"    {name}{_default(field)}: {_first_line(field.description)}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return " (needed)"
    value = field.get_default(call_default_factory=True)
    return "" if value is None or value == "" else f" = {_plain(value)}"


def _plain(value: object) -> str:
    return f"{len(value)} by default" if isinstance(value, tuple) and len(str(value)) > 60 else str(value)  # noqa: PLR2004  a line's worth


def _first_line(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())
