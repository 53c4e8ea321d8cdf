"""Finds what was planted: each kind of fault at 1% in a set of clean rows; and how long 100,000 rows take.

    python benchmarks/audit.py --articles ../shared/data/articles/handbook_raw_documents.json
    python benchmarks/audit.py --rows 100000 --articles ...

Clean rows are made of the articles' own sentences: a question that names words of them, and two answers of two
sentences each. Must hold: of 100 planted rows of each kind at least 99 are flagged, and at most 1% of the rows that
nothing was planted in; 100,000 rows in under two minutes on one core. With scikit-learn installed, its TF-IDF and
logistic regression stands beside our own measure of how well the sides are told apart without the prompt.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from filters.contamination import Questions
from pipeline.quality.measure import audit
from pipeline.quality.rows import Row
from pipeline.records import Article
from pipeline.sources.articles import Articles
from pipeline.starting import SAMPLES
from pipeline.text.sentences import sentences
from pipeline.text.words import words

Plant = Callable[[Row, Row, random.Random], Row]
"""A fault: from a row, another one and a source of chance, to the row with the fault."""

CHINESE = "蜜蜂在蜂巢里跳舞，告诉同伴花在哪里；下雨的时候它们待在家里不出门。茶叶在四月的雨前采摘最好。"
DEGREES = ("quite", "rather", "very")


def main() -> None:
    """Plant, audit, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=Path, default=SAMPLES, help="where sentences are taken from")
    parser.add_argument("--rows", type=int, default=10_000, help="rows in all")
    given = parser.parse_args()
    draw = random.Random(2026)
    rows = _clean(_sentences(given.articles), given.rows, draw)
    asked = draw.sample(rows, 50)
    questions = [f"{row.prompt} {row.chosen}" for row in asked]
    kinds = _plant(rows, draw, questions)
    began = time.process_time()
    quality, flagged = audit(rows, questions=Questions(questions))
    seconds = time.process_time() - began
    planted = {row.place for places in kinds.values() for row in places}
    contradicted = {rows[rows.index(row) - 1].place for row in kinds["contradictions"]}
    planted |= contradicted | {row.place for row in asked}  # rightly flagged too, though nothing was put there
    _print(kinds, flagged, planted, len(rows))
    print(f"\n{len(rows):,} rows in {seconds:.1f} s of one core; 100,000 must take less than 120 s")
    _compare(rows, next(measure.value for measure in quality.measures if measure.name == "separable"))


def _print(kinds: dict[str, list[Row]], flagged: dict[str, list[str]], planted: set[str], rows: int) -> None:
    print(f"{'kind':18} {'planted':>8} {'found':>8} {'recall':>8} {'false alarms':>13}   must hold")
    for kind, places in kinds.items():
        found = set(flagged[kind])
        recall = sum(row.place in found for row in places) / len(places)
        false = len(found - planted) / (rows - len(planted))
        holds = "holds" if recall >= 0.99 and false <= 0.01 else "DOES NOT HOLD"
        print(f"{kind:18} {len(places):8,} {round(recall * len(places)):8,} {recall:8.1%} {false:13.2%}   {holds}")


def _sentences(path: Path) -> list[str]:
    """Plain English sentences of 60 to 300 characters, each once."""
    found: dict[str, None] = {}
    for article in Articles(path=path)():
        if isinstance(article, Article):
            for span in sentences(article.text):
                text = " ".join(article.text[span.start : span.end].split())
                if 60 <= len(text) <= 300 and text.isascii() and text[0].isupper() and text[-1] in ".!?":
                    found[text] = None
    return list(found)


def _clean(pool: list[str], count: int, draw: random.Random) -> list[Row]:
    rows = []
    for number in range(count):
        first, second, third, fourth = draw.sample(pool, 4)
        named = draw.sample(sorted(set(words(first) + words(second) + words(third))), 8)
        prompt = f"What do {', '.join(named[:7])} and {named[7]} have to do with one another?"
        split = "test" if number % 20 == 0 else "train"
        rows.append(Row(f"{split}[{number}]", split, prompt, prompt, f"{first} {second}", f"{third} {fourth}"))
    return rows


def _plant(rows: list[Row], draw: random.Random, questions: list[str]) -> dict[str, list[Row]]:
    """Puts faults into the rows; gives for each kind the rows that have it."""
    places = iter(draw.sample(range(1, len(rows), 2), len(rows) // 2))
    each = len(rows) // 100
    kinds: dict[str, list[Row]] = {}
    for kind, plant in _plants(questions).items():
        kinds[kind] = []
        for _ in range(each):
            place = next(places)
            rows[place] = plant(rows[place], rows[place - 1], draw)
            kinds[kind].append(rows[place])
    return kinds


def _plants(questions: list[str]) -> dict[str, Plant]:
    return {
        "empty": lambda row, _, draw: replace(row, **{draw.choice(["prompt", "chosen", "rejected"]): " "}),
        "identical": lambda row, _, draw: replace(row, rejected=draw.choice([row.chosen, f" {row.chosen.upper()}"])),
        "near-identical": lambda row, _, draw: replace(row, rejected=_retouched(row.chosen, draw)),
        "names source": lambda row, _, draw: _asking(row, draw.choice(POINTING)),
        "chosen refuses": lambda row, _, draw: replace(row, chosen=draw.choice(REFUSALS)),
        "repetition": lambda row, _, __: replace(row, chosen=" ".join([row.chosen] * 4)),
        "duplicates": lambda row, other, _: replace(other, place=row.place, split=row.split),
        "near-duplicates": _near,
        "contradictions": lambda row, other, _: replace(
            other, place=row.place, split=row.split, chosen=other.rejected, rejected=other.chosen
        ),
        "across splits": lambda row, other, _: _across(row, other),
        "language": lambda row, _, draw: replace(row, **{draw.choice(["chosen", "rejected"]): CHINESE}),
        "private: secret": lambda row, _, draw: _with(row, draw.choice(_secrets(draw)), draw),
        "private: email": lambda row, _, draw: _with(row, f"{_letters(draw, 6)}.{_letters(draw, 4)}@bee.org", draw),
        "private: phone": lambda row, _, draw: _with(row, f"+44 20 79{draw.randrange(46_0000, 46_9999)}", draw),
        "contamination": lambda row, _, draw: replace(row, chosen=f"{row.chosen} {draw.choice(questions)}"),
    }


POINTING = ("What does the author recommend?", "According to the passage, why is it so?", "Summarize the text above.")
REFUSALS = ("I'm sorry, but I can't help with that.", "As an AI language model, I cannot have opinions on tools.")


def _asking(row: Row, prompt: str) -> Row:
    return replace(row, prompt=f"{row.prompt} {prompt}", instruction=f"{row.prompt} {prompt}")


def _retouched(text: str, draw: random.Random) -> str:
    place = draw.randrange(len(text))
    return f"{text[:place]}x{text[place:]}"


def _near(row: Row, other: Row, draw: random.Random) -> Row:
    said = other.chosen.split()
    said[draw.randrange(len(said))] = draw.choice(DEGREES)
    return replace(other, place=row.place, split=row.split, chosen=" ".join(said))


def _across(row: Row, other: Row) -> Row:
    side = "train" if other.split == "test" else "test"
    return replace(row, split=side, prompt=other.prompt, instruction=other.instruction)


def _with(row: Row, private: str, draw: random.Random) -> Row:
    side = draw.choice(["prompt", "chosen", "rejected"])
    return replace(row, **{side: f"{getattr(row, side)} Write to {private} today."})


def _letters(draw: random.Random, count: int) -> str:
    return "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=count))


def _secrets(draw: random.Random) -> list[str]:
    """Keys in the shape of known services', and nobody's."""
    token = "".join(draw.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=36))
    return [f"AKIA{token[:16]}", f"ghp_{token}", f"hf_{_letters(draw, 34)}", f"https://bee:{token[:9]}@hive.org"]


def _compare(rows: list[Row], ours: float) -> None:
    if importlib.util.find_spec("sklearn") is None:
        print(f"separable without the prompt: {ours:.3f}; scikit-learn is not installed")
        return
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    full = [row for row in rows if row.chosen.strip() and row.rejected.strip()][:5_000]
    texts = [text for row in full for text in (row.chosen, row.rejected)]
    scores = cross_val_predict(
        LogisticRegression(max_iter=1000),
        TfidfVectorizer(sublinear_tf=True).fit_transform(texts),
        [1, 0] * len(full),
        cv=[
            ([i for i in range(len(texts)) if i // 2 % 5 != fold], [i for i in range(len(texts)) if i // 2 % 5 == fold])
            for fold in range(5)
        ],
        method="decision_function",
    )
    right = sum(scores[2 * i] > scores[2 * i + 1] for i in range(len(full))) / len(full)
    print(f"separable without the prompt: ours {ours:.3f}, TF-IDF and logistic regression {right:.3f}")


if __name__ == "__main__":
    main()
