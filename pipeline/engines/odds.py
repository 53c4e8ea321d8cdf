"""How likely each label was, from the log-probabilities that a server tells beside a reply.

A label may stand alone or as a string in JSON, and may be several tokens long. Along the reply's own tokens, each
alternative that could only have become one of the labels counts for it; the labels part ways at the first token that
tells them apart. What could still have become several of them by another way is not known: if that is more than a
trace, there are no odds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, Field, ValidationError

TRACE = 0.01
"""The largest share of the labels' probability that may be in doubt."""


class _Token(BaseModel):
    token: str
    logprob: float
    octets: list[int] | None = Field(default=None, alias="bytes")

    @property
    def spelt(self) -> bytes:
        """As UTF-8: a token may be half a character, which only its bytes tell."""
        try:
            return self.token.encode() if self.octets is None else bytes(self.octets)
        except ValueError:
            return b""


class _Place(_Token):
    top_logprobs: list[_Token] = []


class _Told(BaseModel):
    content: list[_Place]


def odds(labels: Sequence[str], told: object) -> dict[str, float] | None:
    """Probability of each label where the reply names one, adding up to 1.

    Args:
        labels: the words one of which decides.
        told: `logprobs` of a choice, as the server sent it.

    Returns:
        None if the server tells nothing of use, the reply names no label or several, or too much is in doubt.
    """
    try:
        places = _Told.model_validate(told).content
    except ValidationError:
        return None
    text = b"".join(place.spelt for place in places)
    start = _where(labels, text)
    if start is None:
        return None
    return _shares(_weights(labels, _from(places, start), quoted=text[start - 1 : start] == b'"'))


def _where(labels: Sequence[str], text: bytes) -> int | None:
    """Where the label begins: the only string value that is one, or the beginning of the text."""
    names = b"|".join(re.escape(label.encode()) for label in sorted(labels, key=len, reverse=True))
    values = list(re.finditer(rb'(?<!\\)"(' + names + rb')"(?!\s*:)', text))
    if values:
        return values[0].start(1) if len(values) == 1 else None
    bare = re.match(rb"\s*(" + names + rb")(?![\w])", text)
    return bare.start(1) if bare else None


def _from(places: Sequence[_Place], start: int) -> Iterator[tuple[bytes, _Place]]:
    """The tokens from the one in which byte `start` stands, each with what it holds before that byte."""
    at = 0
    for place in places:
        end = at + len(place.spelt)
        if end > start:
            yield place.spelt[: max(0, start - at)], place
        at = end


def _weights(
    labels: Sequence[str], places: Iterator[tuple[bytes, _Place]], *, quoted: bool
) -> tuple[dict[str, float], float]:
    """Probability of each label, and what is in doubt."""
    weights, doubt, path, said = dict.fromkeys(labels, 0.0), 0.0, 0.0, b""
    for before, place in places:
        alternatives = {alternative.spelt: alternative.logprob for alternative in place.top_logprobs}
        for spelt, logprob in (alternatives | {place.spelt: place.logprob}).items():
            meant = _meant(labels, said, before, spelt, quoted=quoted)
            if len(meant) == 1:
                weights[meant[0]] += math.exp(min(0.0, path + logprob))
            elif meant and spelt != place.spelt:
                doubt += math.exp(min(0.0, path + logprob))
        said += place.spelt[len(before) :]
        path += place.logprob
        if len(_still(labels, said, quoted=quoted)) <= 1:
            break
    else:
        return dict.fromkeys(labels, 0.0), 0.0  # it ended before the labels parted ways
    return weights, doubt


def _meant(labels: Sequence[str], said: bytes, before: bytes, spelt: bytes, *, quoted: bool) -> list[str]:
    """The labels that this token could become at this place, after what was said of them already."""
    if spelt.startswith(before):
        rest = spelt[len(before) :]
    elif not before.strip():
        rest = spelt  # " A" says the same as "A"
    else:
        return list(labels) if spelt and before.startswith(spelt) else []
    rest = rest if said or quoted else rest.lstrip()
    if not rest:
        return list(labels) if spelt else []
    return _still(labels, said + rest, quoted=quoted)


def _still(labels: Sequence[str], said: bytes, *, quoted: bool) -> list[str]:
    """The labels that begin so, or with which it begins."""
    return [label for label in labels if label.encode().startswith(said) or _complete(label.encode(), said, quoted)]


def _complete(label: bytes, said: bytes, quoted: bool) -> bool:
    after = said[len(label) :]
    return said.startswith(label) and (after.startswith(b'"') if quoted else not re.match(rb"\w", after))


def _shares(weighed: tuple[dict[str, float], float]) -> dict[str, float] | None:
    weights, doubt = weighed
    total = sum(weights.values())
    if total <= 0 or doubt > TRACE * (total + doubt):
        return None
    return {label: weight / total for label, weight in weights.items()}
