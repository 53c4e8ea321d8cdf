"""OpenAI, or any server at an address that speaks its chat-completions protocol."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Literal
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.engines.wire import OPENAI, Wire, connection, price
from pipeline.options import Secret, secret_from_environment
from pipeline.records import Ask
from pipeline.registry import Workplace, register

__all__ = ["OPENAI", "OpenAI", "price"]


@register("engine")
class OpenAI(Wire):
    """OpenAI, or any server that speaks its chat-completions protocol."""

    use: Literal["openai"] = "openai"
    """Its name in a recipe."""
    base_url: str = OPENAI
    """Where the server is; with its version, such as http://localhost:8000/v1."""
    api_key: Secret = None
    """`${NAME}` of the environment variable that holds the key; by default OPENAI_API_KEY for OpenAI, else none."""

    @field_validator("base_url")
    @classmethod
    def _a_plain_url(cls, url: str) -> str:
        if "@" in url or "?" in url:
            raise PydanticCustomError("secret", "a URL holds no password: a secret belongs into api_key, as ${NAME}")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a URL such as http://localhost:8000/v1")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _has_a_key_that_can_be_sent(self) -> OpenAI:
        if self.base_url == OPENAI and self._key() is None:
            raise PydanticCustomError(
                "secret",
                "no key: set the environment variable OPENAI_API_KEY, here or in a .env file, or write "
                "api_key: ${NAME} for another",
            )
        if (key := self._key()) and not (key.isascii() and key.isprintable() and " " not in key):
            raise PydanticCustomError(
                "secret",
                "the key has blanks, line ends or other than printable ASCII in it: set the environment variable that "
                "api_key names (by default OPENAI_API_KEY) to the key and nothing else",
            )
        return self

    def _key(self) -> str | None:
        """The key to send. OPENAI_API_KEY is meant for OpenAI: no other server gets it unless the recipe says so."""
        if self.api_key:
            return self.api_key.get_secret_value()
        return secret_from_environment("OPENAI_API_KEY") if self.base_url == OPENAI else None

    @property
    def provider(self) -> str:
        """The server's address: the same model name elsewhere may be another model."""
        return self.base_url

    def __call__(self, workplace: Workplace) -> AbstractAsyncContextManager[Ask]:
        """A client for the length of a run."""
        return connection(self, self.base_url, self._key(), workplace.unheard)
