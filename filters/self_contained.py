"""Drops pairs whose instruction speaks of a source that the reader will never see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register

_SOURCE = (
    r"(?:articles?|excerpts?|extracts?|passages?|snippets?|paragraphs?|chunks?|(?:blog\s)?posts?|blogs?|tutorials?"
    r"|essays?|documents?|texts?|contexts?|sections?|authors?|writers?)"
)
_POINTING = r"(?:th(?:e|is|ese|ose|at)|given|provided|above|following|preceding|present|current|aforementioned)"
_NOT_A_SOURCE = (  # "the context window", "the text encoder", "the author of Hamlet"
    r"(?!\s(?:of|for|that|which|who|manager|window|length|size|switch|vector|variable|object|menu|editor|encoder"
    r"|field|box|file|tag|element|database|store)\b)"
)

ENGLISH = re.compile(
    rf"""
      \b(?:in|from|by|to|per|with|on|of|within|does|do|did|is|are|was|has|have|why|how|what|when)\s
      {_POINTING}\s(?:(?:given|provided|above|following|original|source|first|last)\s)?{_SOURCE}\b{_NOT_A_SOURCE}
    | \b{_POINTING}\s(?:(?:given|provided|above|following|original|source)\s)?
      (?:article|excerpt|extract|passage|snippet|author|blog\spost|context|text)(?:'s|’s)?\s
      (?:say|state|mention|describe|discuss|explain|suggest|argue|recommend|use|give|present|propose|claim|note|define|say|write)\w*\b
    | \b(?:given|provided|above|aforementioned)\s{_SOURCE}\b
    | \bfollowing\s(?:article|excerpt|extract|passage|paragraph|text)\b{_NOT_A_SOURCE}
    | \b{_SOURCE}\s(?:above|below|provided|given)\b
    | \b(?:according\sto|based\son|as\s\w+\sin|(?:mentioned|described|discussed)\sin)\s
      (?:the|this)\s{_SOURCE}\b{_NOT_A_SOURCE}
    | \b(?:mentioned|described|discussed|listed|shown|stated)\s(?:above|below|earlier|here|previously)\b
    | \bthe\sauthors?(?:'s|’s)?\b(?!\sof\b|\stag|\sfield|\sname)
    | \bthis\s(?:article|excerpt|extract|passage|snippet|blog\spost|tutorial)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""An article, passage, context or author that the instruction points at as if it lay on the table."""

CHINESE = re.compile(
    r"本文|文中|上文|下文|前文|原文|该文|此文|全文|文章|摘录|节选|选段|作者|笔者|上述"
    r"|(?:这|该|此|本|上面的|给定的|提供的)(?:段|篇|个)?(?:文本|文字|段落|片段|材料|资料|内容|上下文)"
)
"""The same in Chinese."""


@register("filter")
class SelfContained(Filter):
    """Keeps pairs whose instruction can be understood without its source, in English and Chinese.

    Source: 123 of 402 instructions of a well-known tutorial's set speak of "the context" or "the extract".
    """

    use: Literal["self-contained"] = "self-contained"
    """Its name in a recipe."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: how often the instruction points at a source. Code: `names_source`."""
        for preference in preferences:
            count = mentions(preference.candidates.instruction)
            yield Decision(
                preference=preference.id,
                filter=self.use,
                keep=not count,
                code="names_source" if count else "",
                measured=float(count),
            )


def mentions(instruction: str) -> int:
    """How often an instruction points at a source."""
    return sum(1 for pattern in (ENGLISH, CHINESE) for _ in pattern.finditer(instruction))
