"""Sentences are what a person calls sentences, and their places are exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.sentences import WINDOW, sentences

APART = [
    ["Use a cache, e.g. Redis, for speed.", "It helps."],
    ["Two models, i.e. GPT and BERT, differ.", "Both learn."],
    ["Dr. Smith met Prof. Jones and Mrs. Lee.", "They talked."],
    ["See Fig. 3 for details.", "Then read Sec. 4.2 and Eq. 5."],
    ["The U.S. Government paid.", "The U.K. did not."],
    ["He lives in the U.S.", "She lives in Spain."],
    ["Rafailov et al. (2023) proposed DPO.", "Others followed."],
    ["As shown by Brown et al. in 2020, scale helps.", "We agree."],
    ["Pi is 3.14 or so.", "E is 2.718."],
    ["Install v1.2.3 today.", "Python 3.11. is fine too."],
    ["We use Llama 3.1 8B here.", "It beats Llama 2."],
    ["Go to https://example.com/a.b?c=d. and look.", "Then stop."],
    ["See https://example.com/page.", "It is short."],
    ["Open config.yaml and main.py.", "Run them."],
    ["Well... maybe so.", "Let us see."],
    ["I waited…", "Nothing came."],
    ["I waited...", "Nothing came."],
    ["He said, “It works.”", "Then he left."],
    ['She asked, "Why?"', "Nobody knew."],
    ["“Does it work?” he asked.", "It did."],
    ["It is fast (see below).", "It is small."],
    ["Really?!", "Yes!", "Good."],
    ["¿Cómo estás?", "¡Muy bien!", "Gracias."],
    ["Am 3. Oktober feiern wir.", "Das ist z. B. ein Feiertag."],
    ["J. R. R. Tolkien wrote it.", "I read it."],
    ["It was written by George R.R. Martin.", "Fans wait."],
    ["Call `foo.bar()` first.", "Then call `x.y`."],
    ["Use torch.nn.Module here.", "Do not use self.fc."],
    ["Type `a. B` now.", "Done."],
    ["It runs on Node.js and .NET.", "Both work."],
    ["**This is bold.**", "This is not."],
    ["It is known.[1]", "It is so."],
    ["Read [the docs](https://a.b/c.html).", "They help."],
    ["Acme Inc. sells cars.", "Apple Inc. does not."],
    ["We met at 5 p.m. on Monday.", "It was late."],
    ["It is No. 5 on the list.", "Fine."],
    ["GPT vs. Claude is close.", "Who wins?"],
    ["Great 😀😀.", "More 🧑‍💻 work."],
    ["We love it.", "iPhones are fine."],
    ["1. First do this.", "Then do that."],
    ["Это тест.", "А это — второй."],
    ["यह एक परीक्षण है।", "यह दूसरा है।"],
    ["هل هذا اختبار؟", "نعم."],
    ["Quelle idée !", "Oui, bien sûr."],
    ["It costs $5.50.", "Cheap!"],
    ["Apples, pears, etc. are fruit.", "Eat them."],
    ["We sell apples, pears, etc.", "Come by."],
    ["It takes approx. 5 minutes.", "Wait."],
    ["The answer: “No. Never.”", "So be it."],
    ["I use LoRA, QLoRA, etc. for training.", "It is cheap."],
    ["Gen. Lee and Lt. Col. Jones left.", "Nobody saw."],
    ["The meeting is on Jan. 5 at noon.", "Come."],
    ["Prices rose 3.5%.", "Then fell 2%."],
    ["He works at OpenAI Inc.", "She works at Meta."],
    ["Mr. and Mrs. Brown arrived.", "They sat."],
    ["“Stop!” she cried.", "He ran."],
    ["(This is a whole sentence.)", "So is this."],
    ["What is 2.5 x 4?", "It is 10."],
    ["See p. 14 and pp. 20-25.", "Also ch. 3."],
    ["Ph.D. students read it.", "Few finish."],
    ["She has a Ph.D. in physics.", "He has none."],
    ["The St. Louis team won.", "Hooray!"],
    ["Visit www.example.org.", "It is free."],
    ["I like it :).", "You too."],
    ["Wait... what?", "Yes."],
    ["Set temperature=0.7.", "Set top_p=0.9."],
    ["Accuracy is .95 now.", "Loss is .1."],
    ["GPT-4 vs. GPT-3.5: who wins?", "Nobody."],
    ["Washington, D.C. is big.", "So is L.A."],
    ["It ended at 5 p.m.", "Then we left."],
    ["Vol. 2, No. 3 is out.", "Buy it."],
    ["**Note:** be careful.", "**Tip:** relax."],
    ["_It works._", "_It scales._"],
    ["Is it AGI?", "“No,” he said.", "“Not yet.”"],
    ["El Sr. García llegó a las 3 p.m. ayer.", "¿Qué hora es?"],
    ["Das kostet ca. 5 Euro.", "Dr. Müller zahlt."],
    ["Wir sehen uns am 12. März.", "Bis dann!"],
    ["C'est M. Dupont.", "Il est là."],
    ["Il est 3 h. 20.", "Partons."],
    ["ChatGPT was launched in Nov. 2022.", "It grew."],
    ["Llama 3.", "Mistral 7B."],
    ["Read it (cf. Smith et al., 2020).", "Then decide."],
    ["The U.N. Security Council met.", "It voted."],
    ["J. Smith and A. B. Jones agree.", "C. Doe does not."],
    ["Yahoo! is a company.", "So is Google."],
    ["Section 3.2.1. explains it.", "Section 4 does not."],
    ["Version 2.0 shipped.", "Version 2.1. did too."],
    ["I said “no.”", "She said “yes.”"],
    ["A.I. is here.", "It stays."],
    ["The end of the story.[12]", "A new one begins.[13]"],
    ["See Table 1.", "See Figure 2."],
    ["Model weights (7 GB!) download.", "Wait."],
    ["Rust 1.80 vs. Go 1.22.", "Which?"],
    ["Hello 世界。", "你好 world!"],
]


def _cut(text: str) -> list[str]:
    return [text[place.start : place.end] for place in sentences(text)]


@pytest.mark.parametrize("expected", APART, ids=lambda expected: expected[0][:30])
def test_hard_cases_are_cut_where_a_person_would(expected: list[str]) -> None:
    assert _cut(" ".join(expected)) == expected


@pytest.mark.parametrize(
    "expected",
    [
        ["今天天气很好。", "我们去公园吧！", "你觉得呢？"],
        ["他说：“今天很好。”", "然后他走了。"],
        ["他说：『你好！』", "我笑了。"],
        ["我们使用 Python 3.11 和 v1.2.3。", "它很快！"],
        ["他想了很久……最后同意了。", "真好。"],
        ["これはペンです。", "「本当ですか？」", "はい、そうです。"],
        ["彼は「行くよ。」と言った。", "私は笑った。"],
    ],
    ids=lambda expected: expected[0],
)
def test_chinese_and_japanese_need_no_blanks(expected: list[str]) -> None:
    assert _cut("".join(expected)) == expected


@pytest.mark.parametrize(
    "expected",
    [["This is the system.", "However, it is slow."], ["What is it?", "Bytewax is a library."], ["Yes!", "Good."]],
    ids=lambda expected: expected[0],
)
def test_sentences_that_lost_the_blank_between_them_are_cut(expected: list[str]) -> None:
    assert _cut("".join(expected)) == expected


@pytest.mark.parametrize(
    "name", ["torch.nn.Module", "settings.MODEL_TYPE", "Node.js", ".NET", "self._client", "a.b?C=d"]
)
def test_names_with_full_stops_in_them_stay_whole(name: str) -> None:
    text = f"Here {name} is used, and {name} is good."
    assert _cut(text) == [text]


def test_a_blank_that_is_not_ascii_after_an_initial_is_a_blank() -> None:
    assert _cut("L\u0085.\u0012") == ["L\u0085.\u0012"]  # on which sentencex panics


def test_long_texts_are_cut_alike_on_both_sides_of_a_window() -> None:
    one = "今天很好。"
    assert _cut(one * WINDOW) == [one] * WINDOW


def test_a_text_without_any_mark_is_one_sentence() -> None:
    assert _cut("word " * WINDOW) == [("word " * WINDOW).strip()]


@given(st.text() | st.text("aB. !?。”』\"'()[]`*_1…\u00a0\u0301😀", max_size=60))
def test_sentences_hold_every_character_but_blanks_in_order(text: str) -> None:
    end = 0
    for place in sentences(text):
        assert place.start >= end
        assert not text[end : place.start].strip()
        assert text[place.start : place.end] == text[place.start : place.end].strip() != ""
        end = place.end
    assert not text[end:].strip()
