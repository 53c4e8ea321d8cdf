"""What makes two things the same: canonical JSON, its digest, and coins that fall alike on every run."""

from __future__ import annotations

import hashlib
import json

ID_LENGTH = 16
"""Hexadecimal digits of an id. 64 bits: a million records meet by chance once in 37 million builds."""

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: object) -> str:
    """One text for one value: sorted keys, no spaces, UTF-8 as it stands, no NaN.

    Raises:
        ValueError: NaN or infinity, which JSON has no word for.
        TypeError: a value that JSON cannot hold.
    """
    return _CANONICAL.encode(value)


def digest(kind: str, value: object, length: int = ID_LENGTH) -> str:
    """The id of a value among values of its kind: `length` hexadecimal digits of a SHA-256.

    The kind is hashed too, so that a chunk and an answer with equal fields have different ids.
    """
    return hashlib.sha256(f"{kind}\n{canonical_json(value)}".encode()).hexdigest()[:length]


def fraction(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone and falls evenly over many of them."""
    return int(digest("fraction", [str(part) for part in parts], length=13), 16) / 16**13


def coin(*parts: object) -> bool:
    """A fair coin that always falls alike for the same parts."""
    return fraction(*parts) < 0.5  # noqa: PLR2004  a half is a half
