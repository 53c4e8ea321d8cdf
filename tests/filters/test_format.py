"""Format: a chosen answer that begins and ends like a sentence, in any script."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.format import CLOSING, OPENING, SENTENCE_MARKS, Format
from pipeline.records import Decision
from tests.support.build import STEADY, make_pair

GOOD = [
    "Bees dance.",
    "Do bees dance?",
    "Bees dance!",
    "Bees dance…",
    "  Bees dance.\n",
    "“Bees dance.”",
    "He said: “Bees dance.”",
    "‘Bees dance.’",
    '"Bees dance."',
    "Bees dance (or so they say.)",
    "(Bees dance.)",
    "[Bees dance.]",
    "**Bees dance.**",
    "*Bees* dance.",
    "_Bees dance._",
    "**Note:** Bees dance.",
    "`Bee.dance()` is called.",
    "¿Bailan las abejas?",
    "¡Bailan!",
    "„Bienen tanzen.“",
    "Élan is a word.",
    "E\u0301lan is a word.",
    "Ärger.",
    "Ǆungla.",
    "Пчёлы танцуют.",
    "Οι μέλισσες χορεύουν.",
    "蜜蜂会跳舞。",
    "蜜蜂会跳舞吗？",
    "“蜜蜂会跳舞。”",
    "「ミツバチは踊る。」",
    "ミツバチは踊る。",
    "벌은 춤을 춘다.",
    "النحل يرقص.",
    "هل يرقص النحل؟",
    "شہد کی مکھیاں ناچتی ہیں۔",
    "הדבורים רוקדות.",
    "मधुमक्खियाँ नाचती हैं।",
    "मधुमक्खियाँ नाचती हैं॥",
    "Մեղուները պարում են։",
    "ንቦች ይጨፍራሉ።",
]

GOOD_WITH_OTHER_QUOTES = [
    "« Les abeilles dansent. »",  # French: a blank within the quotes, mostly a no-break space
    "«\u00a0Les abeilles dansent.\u00a0»",
    "Il dit : « Les abeilles dansent.\u202f»",
    "»Bienen tanzen.«",  # German and Danish books
    "”Bin dansar.”",  # Swedish and Finnish
    "ფუტკრები ცეკვავენ.",  # Georgian has small letters only, as Unicode counts them
]

BAD_START = [
    "bees dance.",
    "and so bees dance.",
    ", they dance.",
    "3 bees dance.",
    "1. Bees dance.",
    "- Bees dance.",
    "# Bees dance.",
    "> Bees dance.",
    "| Bees | dance.",
    "• Bees dance.",
    "... and they dance.",
    "“bees dance.”",
    "**bees dance.**",
    "пчёлы танцуют.",
    "。蜜蜂会跳舞。",
    "！",
    "",
    " \n\t",
    "“”",
    "***",
    "🐝 Bees dance.",
    "```python\nprint('buzz')\n```",
    "\u0301Elan.",
]

BAD_END = [
    "Bees dance",
    "Bees dance:",
    "Bees dance,",
    "Bees dance;",
    "Bees dance -",
    "Bees (dance.) and",
    "“Bees dance”",
    "**Bees dance**",
    "Bees:\n\n- dance",
    "Bees number 3",
    "蜜蜂会跳舞",
    "蜜蜂会跳舞，",
    "蜜蜂会跳舞：",
    "النحل يرقص",
    "मधुमक्खियाँ नाचती हैं",
    "B",
]


def decision(chosen: str, rejected: str = "whatever") -> Decision:
    (only,) = Format()([make_pair(chosen, rejected)])
    return only


@pytest.mark.parametrize("text", GOOD + GOOD_WITH_OTHER_QUOTES)
def test_a_whole_sentence_is_kept_in_any_script_with_any_quotes(text: str) -> None:
    result = decision(text)
    assert (result.keep, result.code, result.measured) == (True, "", 1.0)


@pytest.mark.parametrize(
    ("text", "code"), [*((text, "start") for text in BAD_START), *((text, "end") for text in BAD_END)]
)
def test_a_fragment_is_dropped_and_the_code_says_at_which_end(text: str, code: str) -> None:
    result = decision(text)
    assert (result.keep, result.code, result.measured) == (False, code, 0.0)


@pytest.mark.parametrize("text", ["", "fragment", "Fine."])
def test_the_rejected_answer_is_not_looked_at(text: str) -> None:
    assert decision("Bees dance.", text).keep


@given(
    st.text(st.sampled_from(sorted(OPENING)), max_size=3),
    st.text(max_size=20),
    st.sampled_from(sorted(SENTENCE_MARKS)),
    st.text(st.sampled_from(sorted(CLOSING)), max_size=3),
    st.sampled_from(["", " ", "\n", "\u3000"]),
)
@settings(STEADY, max_examples=200)
def test_quotes_brackets_emphasis_and_blanks_around_a_sentence_never_matter(
    opening: str, middle: str, mark: str, closing: str, blank: str
) -> None:
    assert decision(f"{blank}{opening}A{middle}{mark}{closing}{blank}").keep
    assert decision(f"{blank}{opening}a{middle}{mark}{closing}{blank}").code == "start"
    assert decision(f"{blank}{opening}A{middle}x{closing}{blank}").code == "end"
