"""Small builders of records, and an `ask` that answers from a script and remembers what it was asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import settings

from judges.pairwise import Pairwise
from pipeline.engines.offline import Offline
from pipeline.errors import RecordFailed
from pipeline.generators.triples import Triples, cut, excerpt
from pipeline.recipe import JudgeSettings
from pipeline.records import (
    Answer,
    Article,
    Candidates,
    Chunk,
    FinishReason,
    Message,
    Preference,
    PromptRef,
    Reply,
    Request,
    Said,
    Sampling,
    Showing,
    Span,
    Task,
    Usage,
    Verdict,
)
from pipeline.registry import Workplace, known

STEADY = settings(deadline=None, derandomize=True)
"""The same examples every time, however slow the machine; say `@settings(STEADY, max_examples=...)`."""

SENTENCES = (
    "Bees keep their brood warm all year.",
    "A hive of forty thousand shares one store of honey.",
    "Foragers dance to name a place.",
    "The angle of the dance is the angle to the sun.",
    "Rain keeps them in.",
)
"""A passage for tests that do not care what it says."""

PROMPT = PromptRef(name="triples", version="0123456789abcdef")

ENGINES = {name: Offline() for name in ("one", "two", "three", "four", "five")}
"""What the parts below are told to ask; a scripted `ask` tells them apart by `request.engine`."""


class Memo:
    """An engine's notes, kept in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def note(self, key: str, words: str) -> None:
        """Keep words under a key."""
        self.kept[key] = words

    def noted(self, prefix: str) -> dict[str, str]:
        """All words under keys that begin so."""
        return {key: self.kept[key] for key in sorted(self.kept) if key.startswith(prefix)}

    def strike(self, key: str) -> None:
        """Drop what is kept under a key."""
        self.kept.pop(key, None)


WORKPLACE = Workplace(logs=Path("/nonexistent"), notes=Memo())
"""For an engine that needs nothing of the run around it."""


class Source(NamedTuple):
    """An article, and the chunk of it that holds some sentences."""

    article: Article
    chunk: Chunk


def make_source(
    sentences: Iterable[str] = SENTENCES, *, before: str = "# Bees\n\n", between: str = " ", source_id: str = "bees"
) -> Source:
    """An article with `before`, then the sentences with `between` between them; all but `before` is the chunk."""
    parts = list(sentences)
    text = between.join(parts)
    ends = list(accumulate((len(part) + len(between) for part in parts), initial=0))
    article = Article(source_id=source_id, title="Bees", licence="CC0-1.0", text=f"{before}{text}\n\nThe end.")
    spans = tuple(Span(start=start, end=start + len(part)) for start, part in zip(ends, parts, strict=False))
    start = len(before)
    return Source(article, Chunk(article_id=article.id, start=start, end=start + len(text), text=text, sentences=spans))


def make_chunk(sentences: Iterable[str] = SENTENCES, **where: str) -> Chunk:
    """A chunk of these sentences, somewhere in an article."""
    return make_source(sentences, **where).chunk


def make_candidates(
    instruction: str = "How do bees name a place?",
    generated: str = "They use a kind of dance, which other bees can read.",
    numbers: Sequence[int] = (3, 4),
    chunk: Chunk | None = None,
    temperature: float | None = 0.7,
) -> Candidates:
    """A triple: the sentences with these numbers, cut from the chunk, against `generated`."""
    chunk = chunk or make_chunk()
    spans = cut(chunk, numbers)
    return Candidates(
        instruction=instruction,
        answers=(
            Answer(text=excerpt(chunk, spans), origin="extracted", spans=spans, model="writer-1"),
            Answer(
                text=generated,
                origin="generated",
                model="writer-1",
                family="writer",
                sampling=Sampling(temperature=temperature),
            ),
        ),
        source=chunk,
        prompt=PROMPT,
        requests=("0" * 16,),
    )


def make_several(
    *generated: str, instruction: str = "How do bees name a place?", chunk: Chunk | None = None
) -> Candidates:
    """An excerpt of the chunk and these generated answers, each drawn another way."""
    pair = make_candidates(instruction, chunk=chunk)
    extracted, written = pair.answers
    further = [
        written.but(text=text, model=f"writer-{number}", sampling=Sampling(temperature=number / 10))
        for number, text in enumerate(generated, start=1)
    ]
    return pair.but(answers=(extracted, *further))


def make_pair(chosen: str, rejected: str, instruction: str = "How do bees name a place?") -> Preference:
    """A decided preference between two texts that no article holds: for filters that read nothing else."""
    answers = (Answer(text=chosen, origin="given"), Answer(text=rejected, origin="generated"))
    candidates = Candidates(
        instruction=instruction, answers=answers, source=make_chunk(), prompt=PROMPT, requests=("0" * 16,)
    )
    return Preference(candidates=candidates, verdicts=(), chosen=answers[0].id, rejected=answers[1].id, strength=None)


def make_verdict(candidates: Candidates, said: Said, *, swapped: bool = False, judge: str = "pairwise:one") -> Verdict:
    """What a judge said of these candidates, called x and y by their ids' order, as the judge stage does."""
    x, y = candidates.answer_ids
    return Verdict(judge=judge, model="judge-1", x=x, y=y, swapped=swapped, said=said, requests=("1" * 16,))


def make_preference(
    chosen: str = "extracted",
    candidates: Candidates | None = None,
    verdicts: Sequence[Verdict] = (),
    strength: float | None = 1.0,
) -> Preference:
    """A preference for the answer of this origin."""
    candidates = candidates or make_candidates()
    better = next(answer.id for answer in candidates.answers if answer.origin == chosen)
    worse = next(answer.id for answer in candidates.answers if answer.origin != chosen)
    return Preference(candidates=candidates, verdicts=tuple(verdicts), chosen=better, rejected=worse, strength=strength)


def make_showing(first: str, second: str, instruction: str = "Which?", *, swapped: bool = False) -> Showing:
    """Two texts as a judge sees them: `first` stands first, whatever `swapped`."""
    a, b = Answer(text=first, origin="given"), Answer(text=second, origin="generated")
    x, y = (b, a) if swapped else (a, b)
    return Showing(pair="p" * 16, instruction=instruction, x=x, y=y, swapped=swapped)


def make_triples(**options: Any) -> Triples:
    """The generator, writing by engine `one`."""
    return Triples.model_validate({"engine": "one"} | options, context={"engines": ENGINES})


def make_task(instruction: str = "How do bees name a place?", output: str = "They dance.", **fields: Any) -> Task:
    """A task with an answer."""
    given = {"source_id": "bees", "licence": "CC0-1.0", "instruction": instruction, "output": output}
    return Task.model_validate(given | fields)


def make_generator(use: str, **options: Any) -> Any:
    """A generator of this name, asking engine `one` where it needs one."""
    part = known("generator")[use]
    needed = {"engine": "one"} if part.model_fields.get("engine") else {}
    return part.model_validate(needed | options, context={"engines": ENGINES})


def make_judge(engine: str = "one", **options: Any) -> Pairwise:
    """A pairwise judge, asking this engine."""
    return Pairwise.model_validate({"engine": engine} | options, context={"engines": ENGINES})


def make_jury(*engines: str, label: str = "judge", **options: Any) -> JudgeSettings:
    """A recipe's `judge` section: one pairwise judge per engine, called after it, under the policy both-orders."""
    jury = [{"use": "pairwise", "engine": engine, "name": engine} | options for engine in engines]
    JudgeSettings.model_rebuild(force=False)
    return JudgeSettings.model_validate({"label": label, "jury": jury}, context={"engines": ENGINES})


def make_request(text: str = "hello", **fields: Any) -> Request:
    """A request for free text."""
    given = {
        "engine": "one",
        "model": "small",
        "provider": "local",
        "messages": (Message(role="user", content=text),),
        "sampling": Sampling(),
        "prompt": PROMPT,
    }
    return Request.model_validate(given | fields)


def make_reply(text: str, finish_reason: FinishReason = "stop") -> Reply:
    """A reply with a few tokens."""
    return Reply(
        text=text,
        finish_reason=finish_reason,
        usage=Usage(prompt_tokens=10, completion_tokens=len(text)),
        cost_usd=None,
        model="script-1",
    )


def triple(instruction: str = "Why?", answer: str = "Because.", numbers: object = (1,), **more: object) -> Any:
    """One triple as a model writes it."""
    written = list(numbers) if isinstance(numbers, tuple | list) else numbers
    return {"instruction": instruction, "generated_answer": answer, "extracted_sentences": written} | more


def triples(*items: object) -> str:
    """A whole reply to the prompt `triples`."""
    return json.dumps({"triples": list(items)}, ensure_ascii=False)


def verdict(said: str, **more: object) -> str:
    """A whole reply to the prompt `pairwise`."""
    return json.dumps({"verdict": said} | more)


Line = str | Reply | RecordFailed
"""One answer of a script: a complete reply's text, a reply, or an engine that could not deliver."""


class Script:
    """An `ask` that gives these answers one after the other; asked once more than that, the test fails."""

    def __init__(self, *lines: Line) -> None:
        self._lines = list(lines)
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Reply:
        """The next answer."""
        assert len(self.requests) < len(self._lines), f"asked for a {len(self.requests) + 1}th time"
        self.requests.append(request)
        return _spoken(self._lines[len(self.requests) - 1])

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the requests so far."""
        return tuple(request.id for request in self.requests)


class Saying:
    """An `ask` that answers each request by a rule, and remembers them."""

    def __init__(self, rule: Callable[[Request], Line]) -> None:
        self._rule = rule
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Reply:
        """What the rule says."""
        self.requests.append(request)
        return _spoken(self._rule(request))


def _spoken(line: Line) -> Reply:
    if isinstance(line, RecordFailed):
        raise line
    return line if isinstance(line, Reply) else make_reply(line)


class Shown(NamedTuple):
    """What a judge was shown."""

    instruction: str
    first: str
    second: str


def shown(request: Request) -> Shown:
    """The instruction and the two answers in a request to a pairwise judge."""
    parts = fenced(request.messages[-1].content)
    return Shown(parts["instruction"], parts["first"], parts["second"])


def fenced(text: str) -> dict[str, str]:
    """The texts in a judging prompt by name, in order, as anyone finds them who reads it once from the top."""
    parts: dict[str, str] = {}
    name, mark, lines = "", "", list[str]()
    for line in text.split("\n"):
        if mark and line == f"<<<end {mark}>>>":
            parts[name], mark, lines = "\n".join(lines), "", []
        elif mark:
            lines.append(line)
        elif opened := re.fullmatch(r"<<<(\w+) (\w+)>>>", line):
            assert opened[1] not in parts
            name, mark = opened[1], opened[2]
    assert not mark
    return parts
