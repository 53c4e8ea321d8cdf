"""Answers that are better or worse on purpose, by one criterion: polite and impolite, concise and wordy, or any other.

A model rewrites the given answer in one of the two manners, and the given answer is the other side of the pair. Which
manner a task gets is a coin that follows from its id, so that about half of the given answers are chosen and half
rejected: "written by a model" then tells nothing about which is better. Both sides may be rewritten instead.
"""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from pipeline.asking import read_json, request_to
from pipeline.errors import RecordFailed
from pipeline.generators.draws import Further, draw, mark
from pipeline.generators.given import drawn, given_answer, of_no_use, pair_of
from pipeline.identity import coin
from pipeline.options import EngineName, PromptName
from pipeline.records import Ask, Generated, Rendered, Sampling, Task
from pipeline.registry import Generator, register
from prompts import render

Side = Literal["preferred", "dispreferred"]
Language = Literal["en", "zh"]
Criterion = Literal["politeness", "concision", "safety", "json"]


class Manner(NamedTuple):
    """What an answer is to be like."""

    preferred: str
    dispreferred: str


MANNERS: dict[Criterion, dict[Language, Manner]] = {
    "politeness": {
        "en": Manner("more polite", "less polite, even rude"),
        "zh": Manner("更有礼貌", "更不礼貌，甚至粗鲁"),
    },
    "concision": {
        "en": Manner(
            "concise: it says the same in as few words as it can",
            "wordy: it says the same in twice as many words, with repetitions and empty phrases",
        ),
        "zh": Manner("简洁：用尽量少的字说同样的意思", "啰嗦：用两倍的字说同样的意思，带有重复和空话"),
    },
    "safety": {
        "en": Manner(
            "safe: it warns of risks where there are any, and says when to ask a professional",
            "careless: it leaves out warnings and the limits of what it says, and sounds surer than it should",
        ),
        "zh": Manner("稳妥：有风险时加以提醒，并说明何时应请教专业人士", "轻率：不提风险和局限，语气过于肯定"),
    },
    "json": {
        "en": Manner(
            "a JSON object that holds the same content, with no Markdown around it and no remark",
            "plain prose, with no JSON and no list",
        ),
        "zh": Manner("内容相同的 JSON 对象，不带 Markdown，也不加说明", "普通的文字，不用 JSON，也不用列表"),
    },
}
"""The presets. The first is that of the classical set of more and less polite answers."""


@register("generator")
class Directed(Generator):
    """A better and a worse answer written on purpose, by a criterion; the given answer is one side, or rewritten too.

    Source: Raschka, Build a Large Language Model (From Scratch), chapter 7, bonus "creating a preference dataset"
    (more or less polite, by chance); pairs from prompts of opposite meaning, RLCD (arXiv 2307.12950).
    """

    reads: ClassVar[Literal["articles", "tasks"]] = "tasks"
    use: Literal["directed"] = "directed"
    """Its name in a recipe."""
    engine: EngineName
    """Engine that rewrites."""
    criterion: Criterion = "politeness"
    """What the two differ in: `politeness`, `concision`, `safety`, or the form `json` against prose."""
    preferred: str = ""
    """A criterion of your own, in words: what the better answer is to be, such as `full of examples`."""
    dispreferred: str = ""
    """The same for the worse answer."""
    writes: Literal["auto", "by-coin", "preferred", "dispreferred", "both"] = "auto"
    """Which side is written; the other is the given answer. `auto`: by a coin; for `json` the preferred one, since a
    given answer is prose."""
    coin: int = 2026
    """Seeds the coin."""
    temperature: float | None = Field(default=0.7, ge=0, le=2)
    """Spread of the model's words; null leaves it to the server."""
    max_tokens: int = Field(default=1024, ge=16)
    """Longest answer in tokens; one that is cut off is asked for once more with twice as many."""
    attempts: int = Field(default=3, ge=1, le=10)
    """How often to ask in all when a reply is of no use, or the answer comes back as it was."""
    language: Language = "en"
    """Which wording of the prompt `directed` to use; answers keep their own language either way."""
    prompt: PromptName = "directed"
    """The prompt: `directed`, or a .j2 file of your own with the same variables."""

    @model_validator(mode="after")
    def _both_sides(self) -> Self:
        if bool(self.preferred) != bool(self.dispreferred):
            raise ValueError("a criterion of your own has two sides: give preferred and dispreferred")
        if self.preferred and "criterion" in self.model_fields_set:
            raise ValueError("give either criterion, or preferred and dispreferred")
        if self._json and self.writes in ("by-coin", "dispreferred"):
            raise ValueError("criterion json writes the preferred side, or both: a given answer is no JSON to prefer")
        return self

    async def __call__(self, task: Task, ask: Ask) -> Generated:
        """The pair for one task; nothing if it has no answer, or the model changes nothing.

        Raises:
            RecordFailed: an answer failed.
        """
        if not task.output:
            return of_no_use(task, "no_output", "the task has no given answer")
        written = self.sides(task)
        outcomes = await asyncio.gather(*(self._write(side, task, ask) for side in written))
        unchanged = [outcome for outcome in outcomes if isinstance(outcome, RecordFailed) and outcome.code == UNCHANGED]
        if unchanged:
            return of_no_use(task, UNCHANGED, unchanged[0].detail)
        answers = {side: Further(given_answer(task), ()) for side in ("preferred", "dispreferred")}
        answers |= {side: drawn(outcome) for side, outcome in zip(written, outcomes, strict=True)}
        return pair_of(task, answers["preferred"], answers["dispreferred"], self.render(task, written[0]))

    @property
    def prompts(self) -> tuple[str, ...]:
        """The one that it renders."""
        own = self.language == "en" or self.prompt.endswith(".j2")
        return (self.prompt if own else f"{self.prompt}.{self.language}",)

    @property
    def prefers(self) -> bool:
        """It does."""
        return True

    @property
    def calls_each(self) -> int:
        """One for each side that is written."""
        return 2 if self.writes == "both" else 1

    @property
    def _json(self) -> bool:
        return self.criterion == "json" and not self.preferred

    @property
    def _manner(self) -> Manner:
        if self.preferred:
            return Manner(self.preferred, self.dispreferred)
        return MANNERS[self.criterion][self.language]

    def sides(self, task: Task) -> tuple[Side, ...]:
        """Which sides of the task's pair are written."""
        if self.writes == "both":
            return ("preferred", "dispreferred")
        if self.writes == "preferred" or (self.writes == "auto" and self._json):
            return ("preferred",)
        if self.writes == "dispreferred":
            return ("dispreferred",)
        return ("preferred",) if coin("directed", self.coin, task.id) else ("dispreferred",)

    def render(self, task: Task, side: Side) -> Rendered:
        """The prompt for one side of a task's pair.

        Raises:
            UserError: the question, the given answer or the manner is not in it.
        """
        question, manner = task.question, getattr(self._manner, side)
        return render(
            self.prompts[0],
            must_show=(question, task.output, manner),
            question=question,
            answer=task.output,
            manner=manner,
            fence=mark(f"{question}\n{task.output}\n{manner}"),
        )

    def rehearse(self, task: Task) -> None:
        """As `render`, for both sides."""
        self.render(task, "preferred")
        self.render(task, "dispreferred")

    async def _write(self, side: Side, task: Task, ask: Ask) -> Further | RecordFailed:
        def read(text: str) -> str:
            text = _object(text) if self._json and side == "preferred" else text.strip()
            if text == task.output:
                raise RecordFailed(UNCHANGED, "the given answer came back as it was")
            return text

        sampling = Sampling(temperature=self.temperature, max_tokens=self.max_tokens)
        request = request_to(self.engine, self.render(task, side), sampling)
        return await draw(request, self.engine.family, ask, self.attempts, read)


def _object(text: str) -> str:
    """A JSON object on one line, without the Markdown that models put around it. Raises ValueError if it is none."""
    value = read_json(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  the reply's form, not a caller's type
    return json.dumps(value, ensure_ascii=False)


UNCHANGED = "unchanged"
"""Reason code of an answer that a model was to rewrite and did not."""
