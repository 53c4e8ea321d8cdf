"""Drops pairs in which an answer declines to answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from pipeline.records import Decision, Preference
from pipeline.registry import Filter, register

OPENING = 200
"""Characters at the beginning in which a refusal stands: what comes later speaks of something else."""

_CANNOT = r"(?:can(?:no|['’])t|cannot|am\s(?:un|not\s)able\sto|won['’]t|will\snot)"
_DO = (
    r"(?:help|assist|answer|provide|fulfil+|comply|create|write|generate|do\sthat|complete|discuss|offer|give|engage"
    r"|support|process|respond)"
)

REFUSAL = re.compile(
    rf"""
      \bas\san?\s(?:ai|artificial\sintelligence|(?:large\s)?language\smodel)\b
    | \bi(?:['’]m|\sam)\s(?:just\s|only\s)?an?\s(?:ai|artificial\sintelligence|(?:large\s)?language\smodel)\b
    | \b(?:sorry|apologi[sz]e|unfortunately|regret)\b[^.!?]{{0,40}}\bi(?:['’]m|\sam)?\s?
        (?:{_CANNOT}|(?:un|not\s)able\sto)\b
    | (?:^|[.!?]\s+)i\s?(?:['’]m\s)?(?:{_CANNOT}|(?:un|not\s)able\sto)\s(?!help\sbut)(?:\w+ly\s)?{_DO}\b
    | (?:抱歉|对不起|很遗憾)[^。！？]{{0,12}}(?:我|本(?:助手|模型))?(?:无法|不能|没办法|不便)
    | 作为(?:一[个名款])?(?:AI|人工智能|(?:大型?)?语言模型)
    | (?:^|[。！？])我(?:无法|不能)(?:提供|回答|协助|帮助|完成|满足|生成|讨论)
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""How models decline, in English and Chinese."""


@register("filter")
class Refusal(Filter):
    """Keeps pairs in which neither answer declines; or only those whose chosen answer does not.

    Source: refusals are a standard filter of preference sets (Zephyr, arXiv 2310.16944, section 4, removes them and
    answers that speak of being an AI).
    """

    use: Literal["refusal"] = "refusal"
    """Its name in a recipe."""
    answers: Literal["both", "chosen"] = "both"
    """Which answers are looked at. `chosen` keeps a pair that teaches to answer where another model declined."""

    def __call__(self, preferences: Iterable[Preference]) -> Iterator[Decision]:
        """Measured: answers that decline. Codes: `chosen` if the chosen one does, else `rejected`."""
        for preference in preferences:
            chosen = declines(preference.chosen_answer.text)
            rejected = self.answers == "both" and declines(preference.rejected_answer.text)
            code = "chosen" if chosen else "rejected" if rejected else ""
            yield self.decision(preference, float(chosen + rejected), code)


def declines(text: str) -> bool:
    """Whether an answer begins by declining to answer."""
    return REFUSAL.search(text[:OPENING].strip()) is not None
