"""What the offline engine makes of an answer that it is to rewrite: stock phrases, a cut, two words put in.

Which phrase is a hash of the answer, so that rewritings of many answers are not one and the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.identity import fraction


class Phrases(NamedTuple):
    """What is put before an answer, and behind it."""

    before: tuple[str, ...]
    behind: tuple[str, ...]


POLITE = Phrases(
    ("Certainly! ", "Thank you for asking. ", "With pleasure: ", "I would be glad to help. ", "Of course. "),
    (
        " I hope this helps you.",
        " Please let me know if I may add anything.",
        " Thank you for your patience.",
        " Kind regards, and please ask again.",
    ),
)
RUDE = Phrases(
    ("Obviously, ", "Look, ", "Seriously? Fine. ", "As anyone knows: ", "Try to keep up. "),
    (" Was that so hard?", " Do not ask again.", " Look it up next time.", " Now leave me alone."),
)
WORDY = Phrases(
    (
        "To begin with, and before anything else is said, it should be noted that one may say the following. ",
        "There are many ways to look at this, and all of them, in one way or another, lead to the same place. ",
        "Let us first of all consider, as one always should, what is being asked here, and why. ",
    ),
    (
        " In other words, and to say it once more, what was said above is what there is to say about it.",
        " All in all, taking one thing with another, that is, at the end of the day, the answer as such.",
        " To sum up what has been said so far: it is as it is, and it has been said in so many words.",
    ),
)
SAFE = Phrases(
    ("As far as I can tell: ", "To the best of my knowledge: ", "With some care: "),
    (
        " Please check this with a professional before you rely on it.",
        " Circumstances differ, so be careful and ask an expert if in doubt.",
        " If there is any risk in it for you, seek advice first.",
    ),
)
CARELESS = Phrases(
    ("Without any doubt: ", "It is always like this: ", "Everybody knows this: "),
    (" Nothing can go wrong.", " No need to check.", " Trust me and do not ask anybody."),
)
CHINESE_POLITE = Phrases(
    ("您好！", "感谢您的提问。", "很高兴为您解答。"), ("希望对您有帮助。", "如有疑问，请随时告诉我。")
)
CHINESE_RUDE = Phrases(("这都不懂？", "听好了，", "真麻烦。"), ("别再问了。", "下次自己查。"))
OTHER = Phrases(("In this manner, {manner}: ",), ("",))
CORRECTIONS = ("to be exact", "strictly speaking", "to be precise", "in full")

MANNERS: tuple[tuple[str, Phrases], ...] = (
    (r"less polite|impolite|rude", RUDE),
    (r"polite", POLITE),
    (r"wordy|verbose|repetitions", WORDY),
    (r"careless|unsafe", CARELESS),
    (r"safe", SAFE),
    (r"不礼貌|粗鲁", CHINESE_RUDE),
    (r"礼貌", CHINESE_POLITE),
    (r"啰嗦", WORDY),
    (r"轻率", CARELESS),
    (r"稳妥", SAFE),
)
"""Words of a manner, and the phrases that stand for it; the first that is found."""


def rewritten(answer: str, manner: str, draw: int = 0) -> str:
    """The answer in a manner; never the answer itself, unless nothing is left of it to cut."""
    words = manner.lower()
    if "json object" in words or "JSON 对象" in manner:
        return json.dumps({"answer": answer}, ensure_ascii=False)
    if re.search(r"concise|brief|short|简洁", words):
        return shortened(answer)
    phrases = next((phrases for pattern, phrases in MANNERS if re.search(pattern, words)), OTHER)
    if re.search("[\u4e00-\u9fff]", answer):
        phrases = {POLITE: CHINESE_POLITE, RUDE: CHINESE_RUDE}.get(phrases, phrases)
    before, behind = (_one_of(choices, answer, manner, *_other(draw)) for choices in phrases)
    return f"{before.replace('{manner}', manner)}{answer}{behind}"


def shortened(answer: str) -> str:
    """Its first sentence; of a single sentence its first half, up to a pause if there is one."""
    sentences = [text for text in re.split(r"(?<=[.!?。！？])\s*", answer) if text]
    if len(sentences) > 1:
        return sentences[0]
    words = answer.split()
    clause = re.split(r"[,;:，；：]\s*", answer)[0]
    if clause != answer:
        return clause
    return " ".join(words[: (len(words) + 1) // 2]) if len(words) > 1 else answer[: (len(answer) + 1) // 2]


def corrected(answer: str, draw: int = 0) -> str:
    """The answer with a full stop if it lacks one; else without its last word, or with a phrase after its first.

    Which is a coin: corrections are about as often shorter as longer.
    """
    if not re.search(r"[.!?。！？:;)\"'`\]}]$", answer):
        return f"{answer}."
    first, space, rest = answer.partition(" ")
    head, _, last = answer.rpartition(" ")
    if head and fraction("shorter", answer, *_other(draw)) < 0.6:  # noqa: PLR2004  three in five, since answers that cannot be cut grow
        return f"{head.rstrip(',;:')}{last[-1]}"
    phrase = _one_of(CORRECTIONS, answer, *_other(draw))
    return f"{first}, {phrase}, {rest}" if space else f"{answer} ({phrase})"


def _other(draw: int) -> tuple[str, ...]:
    """What makes another draw fall otherwise."""
    return (str(draw),) if draw else ()


def _one_of(choices: Sequence[str], *parts: str) -> str:
    return choices[int(fraction(*parts) * len(choices))]
