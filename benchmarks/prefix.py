"""How much of a judging prompt the request before it has sent already: `python benchmarks/prefix.py [--answers 5]`.

What consecutive requests share from their first character on is what a provider's prompt cache and vLLM's prefix cache
can serve. Each passage of the bundled articles gives one instruction and k answers (an excerpt, the offline engine's
summary, and runs of the passage's own sentences); all k(k-1) comparisons are made, grouped by the first answer. Shares
are of characters, system and user part together; the first request of each set counts as sharing nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os.path
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise, permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pipeline
from judges.by_model import ModelJudge
from judges.notes import Notes
from judges.pairwise import Pairwise
from pipeline.engines.ledger import Ledger
from pipeline.engines.offline import Offline
from pipeline.generators.triples import Triples
from pipeline.records import Answer, Article, Chunk, Generated, Rendered, Showing
from pipeline.registry import Workplace
from pipeline.sources.articles import Articles
from pipeline.stages.chunk import chunk
from pipeline.text.settings import ChunkSettings

SAMPLES = Path(pipeline.__file__).parent / "samples"
CONTEXT = {"engines": {"one": Offline()}}
SETTINGS: dict[str, dict[str, Any]] = {
    "pairwise": {},
    "pairwise, no rules": {"rules": False},
    "pairwise, shots": {"shots": "balanced"},
    "pairwise, reference": {"reference": "source"},
    "pairwise, Chinese": {"language": "zh"},
    "notes": {"use": "notes"},
}
WRITTEN_NOTES = "- It must say what is asked for first of all.\n- It must give the reason.\n- One example is enough."


class Question(NamedTuple):
    """An instruction and the answers that compete for it."""

    instruction: str
    passage: str
    answers: list[str]


def main() -> None:
    """Print the share for each judge, over all passages that are long enough for so many answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=5, help="answers per instruction")
    parser.add_argument("--sentences", type=int, default=2, help="sentences per answer")
    given = parser.parse_args()
    with TemporaryDirectory() as folder, closing(Ledger(f"{folder}/ledger.sqlite")) as ledger:
        workplace = Workplace(logs=Path(folder), notes=ledger)
        asked = asyncio.run(_questions(given.answers, given.sentences, workplace))
    lengths = sorted(len(answer) for question in asked for answer in question.answers)
    print(f"{len(asked)} instructions, {given.answers} answers each, median {lengths[len(lengths) // 2]} characters")
    print(f"{'judge':22} {'characters a prompt':>20} {'shared with the one before':>28}")
    for name, options in SETTINGS.items():
        sets = [_prompts(_judge(options), question) for question in asked]
        everything = [prompt for prompts in sets for prompt in prompts]
        mean = sum(map(len, everything)) / len(everything)
        print(f"{name:22} {mean:20,.0f} {sum(map(_shared, sets)) / sum(map(len, everything)):28.1%}")


def _shared(prompts: list[str]) -> int:
    """Characters that stood at the beginning of the prompt before as well."""
    return sum(len(os.path.commonprefix(two)) for two in pairwise(prompts))  # noqa: RUF071  of texts, not of paths


def _judge(options: dict[str, Any]) -> ModelJudge:
    kind = Notes if options.get("use") == "notes" else Pairwise
    return kind.model_validate({"engine": "one"} | options, context=CONTEXT)


def _prompts(judge: ModelJudge, question: Question) -> list[str]:
    """All comparisons of the answers in both orders; permutations come grouped by what stands first."""
    return [_text(_rendered(judge, question, first, second)) for first, second in permutations(question.answers, 2)]


def _rendered(judge: ModelJudge, question: Question, first: str, second: str) -> Rendered:
    showing = Showing(
        pair="",
        instruction=question.instruction,
        source=question.passage,
        x=Answer(text=first, origin="given"),
        y=Answer(text=second, origin="given"),
        swapped=False,
    )
    if isinstance(judge, Notes):
        return judge.render(showing, WRITTEN_NOTES)
    assert isinstance(judge, Pairwise)
    return judge.render(showing)


def _text(rendered: Rendered) -> str:
    return "".join(f"{message.role}\n{message.content}\n" for message in rendered.messages)


async def _questions(answers: int, sentences: int, workplace: Workplace) -> list[Question]:
    writer = Triples.model_validate({"engine": "one", "per_chunk": 1}, context=CONTEXT)
    found: list[Question] = []
    async with Offline()(workplace) as ask:
        for article in Articles(path=SAMPLES)():
            assert isinstance(article, Article)
            for piece in chunk(article, ChunkSettings()).chunks:
                found.extend(_with_answers(await writer(piece, ask), piece, answers, sentences))
    return found


def _with_answers(generated: Generated, piece: Chunk, answers: int, sentences: int) -> Iterator[Question]:
    written = generated.candidates[0]
    runs = [
        piece.text[piece.sentences[start].start : piece.sentences[start + sentences - 1].end]
        for start in range(0, len(piece.sentences) - sentences + 1, sentences)
    ]
    texts = list(dict.fromkeys([*(answer.text for answer in written.answers), *runs]))
    if len(texts) >= answers:
        yield Question(written.instruction, piece.text, texts[:answers])


if __name__ == "__main__":
    main()
