"""Sentences, with their places: sentencex proposes the ends, a few rules mend them.

`benchmarks/chunking.py` on 76 articles (0.8 million characters of prose, 9,589 runs), with 56 hard cases that the rules
were made with and 46 written when the rules stood (on first sight they got 43, and were mended for two more since):

    segmenter          hard   unseen  lower case  short  characters/s   notes
    pysbd 0.3.4        41/56   35/46          71    228       170,000   last released in 2021; 0.5 MB
    blingfire 0.1.8    44/56   38/46           6     52     3,900,000   native code for many systems, 99 MB
    syntok 1.4.4       34/56   35/46           0    158     1,400,000   no Chinese, no Japanese; needs regex
    uniseg 0.10.1      35/56   24/46          11    312        29,000   UAX 29, as in semantic-text-splitter; 11 MB
    nupunkt 0.8.0      42/56   38/46          57    137     9,400,000   no Chinese, no Japanese; 1.2 MB
    sentencex 1.0.32   43/56   37/46          91    302    29,000,000   Wikimedia's, kept up, no dependencies; 4 MB
    mended (this)      56/56   45/46           0     72     4,800,000

Lower case, short: sentences cut off a run that begin so, or have fewer than 15 characters. ICU's own rules (PyICU) get
35 of the 56 and need its library to build. What the others get wrong is what articles are full of: `torch.nn.Module`,
`.NET`, "**Bold.** Next", "Eq. 5", closing quotes in Chinese. sentencex knows the most scripts, is current, and its
offsets are code points, so its proposals are the ones to mend. The rules leave 700 of its 13,300 ends out, since an end
too many cuts an excerpt off in the middle of a sentence. Two of its weaknesses are met here: it panics on some blanks
that are not ASCII, and its time grows with the square of a text that is not.

Known limits: abbreviations are the English ones and a few more; a text all in lower case is one sentence a line.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise

from sentencex import get_sentence_boundaries

from pipeline.text.stretch import Stretch, trimmed

WINDOW = 2048
"""Characters given to sentencex at once: its time grows with the square of a paragraph that is not ASCII."""

_LANGUAGE = "en"
"""Whose abbreviations sentencex knows. Its marks are those of all scripts, whatever the language."""

_BLANK = re.compile(r"\s")
_CLOSERS = re.compile(r"(?:[\"'”’»›」』】）)\]*_~`]|\[\d{1,3}\])*")
_CAMEL = re.compile(r"[a-z]+[A-Z]")
_MISSED = re.compile(
    r"(?:…|\betc\.)[\"”’»)*_]*(?=\s+[\"“‘«¿¡(*_]*[^\W\d_])"  # what sentencex takes for a pause
    r"|[.!?][\"”’]*\)(?=\s+[A-Z])"  # (A whole sentence in brackets.)
    r"|[。！？]+[”’」』】）)*_]*"
)
_WIDE_END = re.compile(r"[。｡！？．…][\"'”’»›」』】）)\]*_~]*$")
_ABBREVIATED = re.compile(
    r"\b(?:eqs?|figs?|secs?|tabs?|refs?|chs?|chap|vol|nos?|nr|art|pp?|approx|ca)\.$", re.IGNORECASE
)
_NEVER_LAST = re.compile(r"\b(?:vs|cf|bzw|Sra|Dra|p\. ?ex|p\. ?ej)\.$")
_DAY = re.compile(r"(?<!\d)\d{1,2}\.$")
_MONTH = re.compile(r"Jan|Feb|März|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez")
_JAPANESE_QUOTE = re.compile(r"[。！？][」』]$")
_UNCUT = re.compile(r"(?<!`)(`{1,3})(?!`)[^`]{1,300}\1(?!`)|\[[^\[\]]{1,300}\]\([^()\s]{1,1000}\)")
_WORD_AND_MARK = re.compile(r"(?:^|[\s(“\"*_])[^\W_][\w’'-]*[)”\"*_]*[.!?][)”\"*_]*$")
_STARTER = re.compile(
    r"(?:A|After|All|Also|An|And|As|At|Before|But|By|During|First|For|From|He|Here|How|However|I|If|In|It|Let|Looking"
    r"|My|Next|No|Note|Now|On|Once|One|Our|See|She|Since|So|Some|That|The|Then|There|These|They|This|Thus|To|We|What"
    r"|When|Where|Which|Why|With|You|Your|[A-Z][a-z]+ly)\b(?![._(])"
)
_NEAR = 40
"""Characters looked at on either side of an end."""


def sentences(text: str) -> list[Stretch]:
    """The sentences of a text in which line breaks mean nothing; they hold all its non-blank characters, in order."""
    text = _BLANK.sub(" ", text)  # sentencex panics on some others, as in "L\x85."
    uncut = [found.span() for found in _UNCUT.finditer(text)]
    ends = [end for end in _proposed(text) if _stands(text, end)]
    places = (trimmed(text, start, end) for start, end in pairwise([0, *_outside(ends, uncut), len(text)]))
    return _worded(text, [place for place in places if place])


def _proposed(text: str) -> list[int]:
    """Ends that may be a sentence's, closing quotes and emphasis included, each once, in order."""
    marks = [*_segmented(text), *(found.end() for found in _MISSED.finditer(text))]
    return sorted({_closed(text, end) for end in marks})


def _segmented(text: str) -> Iterator[int]:
    """Ends of sentences according to sentencex, without the blanks after them; it sees a window at a time."""
    start = 0
    while start < len(text):
        window = text[start : start + WINDOW]
        ends = [found["end_index"] for found in get_sentence_boundaries(_LANGUAGE, window)]
        last = start + len(window) == len(text)
        settled = ends if last else ends[:-1]
        yield from (start + len(window[:end].rstrip()) for end in settled)
        start += settled[-1] if settled else len(window)


def _closed(text: str, end: int) -> int:
    """The end moved past what closes the sentence: quotes, brackets, emphasis, a note's number."""
    found = _CLOSERS.match(text, end)
    return found.end() if found else end


def _stands(text: str, end: int) -> bool:
    """Whether a proposed end is one."""
    before, after = text[max(0, end - _NEAR) : end], text[end : end + _NEAR]
    if not (after[:1].isspace() or _WIDE_END.search(before) or _glued(before, after)):
        return False  # torch.nn.Module, .NET, example.com
    return not _goes_on(before, after.lstrip()) and not _is_short(before, after.lstrip())


def _glued(before: str, after: str) -> bool:
    """Whether two sentences lost the blank between them ("the system.Ultimately, we"), as in text taken from a page."""
    if not _WORD_AND_MARK.search(before):
        return False
    return bool(_STARTER.match(after)) or (before[-1] in "!?" and after[:1].isupper())


def _goes_on(before: str, after: str) -> bool:
    """Whether what comes after an end shows that the sentence is not over."""
    if not after:
        return False  # nothing but blanks as far as we look
    if unicodedata.category(after[0])[0] == "M" or after[0] in ",;:)]}、，；：）":
        return True
    if _JAPANESE_QUOTE.search(before) and after[0] in "とって":
        return True  # 「行くよ。」と言った。
    return after[0].islower() and not _CAMEL.match(after)


def _is_short(before: str, after: str) -> bool:
    """Whether the mark belongs to an abbreviation that sentencex does not know, or to the day of a German date."""
    number = _ABBREVIATED.search(before) and after[:1].isdigit()
    return bool(number or _NEVER_LAST.search(before) or (_DAY.search(before) and _MONTH.match(after)))


def _outside(ends: list[int], uncut: list[tuple[int, int]]) -> list[int]:
    """The ends that stand in none of these stretches (inline code, links); both are in order."""
    starts = [start for start, _ in uncut]
    kept = []
    for end in ends:
        nearest = bisect_left(starts, end) - 1
        if nearest < 0 or end >= uncut[nearest][1]:
            kept.append(end)
    return kept


def _worded(text: str, places: list[Stretch]) -> list[Stretch]:
    """The stretches, with those that hold no letter ("1.", "🎉", "42.") joined to the one before, or else after."""
    joined: list[Stretch] = []
    wordless = False
    for place in places:
        worded = any(map(str.isalpha, text[place.start : place.end]))
        if joined and (wordless or not worded):
            joined[-1] = Stretch(joined[-1].start, place.end)
            wordless = wordless and not worded
        else:
            joined.append(place)
            wordless = not worded
    return joined
