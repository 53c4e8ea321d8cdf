"""What a recipe can set: strict models, and the kinds of field that need more than a type.

The recipe's folder and its engines reach the fields through pydantic's validation context, under the keys `folder`
and `engines`; `keyless` there says that no engine will be asked, so that no key need be set.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from pipeline.errors import did_you_mean
from pipeline.records import Address

ENVIRONMENT = re.compile(r"\$\{(\w+)\}")
"""How a recipe names an environment variable."""


class Options(BaseModel):
    """A group of options: frozen, strict about names, documented field by field."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class _Addressed(Protocol):
    def address(self, name: str) -> Address: ...


def _resolve_engine(name: object, info: ValidationInfo) -> Address:
    engines: dict[str, _Addressed] | None = (info.context or {}).get("engines")
    if engines is None:  # the engines themselves are wrong, and reported already
        return Address(engine=str(name), model="", provider="", family="")
    if not isinstance(name, str) or name not in engines:
        hint = did_you_mean(str(name), engines)
        raise PydanticCustomError("no_such_engine", "no engine is called so. {hint}", {"hint": hint})
    return engines[name].address(name)


EngineName = Annotated[Address, BeforeValidator(_resolve_engine)]
"""Names one of the recipe's engines; holds its address."""


def _resolve_path(path: Path, info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("folder", ".")) / path


RecipePath = Annotated[Path, AfterValidator(_resolve_path)]
"""A file or folder, relative to the recipe's own folder."""


def _resolve_prompt(name: str, info: ValidationInfo) -> str:
    return str(_resolve_path(Path(name), info)) if name.endswith(".j2") else name


PromptName = Annotated[str, AfterValidator(_resolve_prompt)]
"""A prompt: a bundled one by name, or a .j2 file relative to the recipe's own folder."""


def secret_from_environment(name: str) -> str | None:
    """The value of an environment variable, or None if it is not set or empty."""
    return os.environ.get(name) or None


def holds_password(location: str) -> bool:
    """Whether a database's URL has a password in it, which would be written wherever the URL is."""
    server, at, _ = location.partition("://")[2].rpartition("@")
    return bool(at and ":" in server) or re.search(r"[?&]\w*pass\w*=", location) is not None


def keyless(info: ValidationInfo) -> bool:
    """Whether keys may be missing: nobody will be asked."""
    return bool((info.context or {}).get("keyless"))


def _resolve_secret(value: object, info: ValidationInfo) -> SecretStr | None:
    if value is None:
        return None
    match = ENVIRONMENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("secret", "a secret never stands in a recipe: write ${NAME}, and set NAME")
    if keyless(info):
        return None
    if not (secret := secret_from_environment(match[1])):
        raise PydanticCustomError(
            "secret",
            "the environment variable {name} is not set. Set it, here or in a .env file, or name another one",
            {"name": match[1]},
        )
    return SecretStr(secret)


def _resolve_one(value: object, info: ValidationInfo) -> SecretStr | None:
    return _resolve_secret(value, info) or (SecretStr("") if keyless(info) else None)


OneSecret = Annotated[SecretStr, BeforeValidator(_resolve_one)]
"""An item of a list of secrets; the list's own field must have `repr=False, exclude=True`."""

Secret = Annotated[SecretStr | None, BeforeValidator(_resolve_secret), Field(repr=False, exclude=True)]
"""Written `${NAME}` in a recipe and read from the environment; never shown, never written."""
