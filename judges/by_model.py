"""What judges that ask a language model have in common: their options, the wording of criteria, and the fences.

The order of every judging prompt is: what never changes (rules, criteria, examples, the form of the reply), then the
instruction and what goes with it, then the first answer, then the second, then the closing line. Requests about one
instruction that share the first answer therefore share everything up to the second one, and a provider's prompt cache
or vLLM's prefix cache serves it. A mark drawn per request, or from both answers, would share nothing that follows it.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Literal, NamedTuple, TypeVar

from pydantic import Field, field_validator

from pipeline.asking import Asked
from pipeline.errors import did_you_mean
from pipeline.identity import digest
from pipeline.options import EngineName
from pipeline.records import Answer, Said, Sampling, Showing, Verdict
from pipeline.registry import Judge

T = TypeVar("T")

Language = Literal["en", "zh"]

CRITERIA: dict[Language, dict[str, str]] = {
    "en": {
        "relevance": "Relevance: it answers what was asked, and nothing else.",
        "accuracy": "Accuracy: what it states is correct.",
        "completeness": "Completeness: it covers every part of what was asked.",
        "clarity": "Clarity: it is easy to understand.",
        "structure": "Structure: its parts follow one another in a sensible order.",
        "conciseness": "Conciseness: it says so without a needless word.",
    },
    "zh": {
        "relevance": "切题：回答了所问的内容，没有旁生枝节。",
        "accuracy": "准确：所说的内容正确无误。",
        "completeness": "完整：问题的每个方面都回答到了。",
        "clarity": "清楚：容易看懂。",
        "structure": "条理：各部分的先后顺序合理。",
        "conciseness": "简洁：没有多余的话。",
    },
}
"""The criteria of the LLM Engineer's Handbook's table 6.2, in its order, worded for the prompts."""

ALIASES = {"concision": "conciseness"}


class Criterion(NamedTuple):
    """One thing that counts."""

    key: str
    """Its name in a reply: lower case, no spaces."""
    wording: str
    """Its line in the prompt."""


class ModelJudge(Judge):
    """The options of every judge that asks a language model."""

    use: str
    """Its name in a recipe."""
    engine: EngineName
    """Engine that judges."""
    criteria: tuple[str, ...] = Field(default=tuple(CRITERIA["en"]), min_length=1)
    """What counts: known names, or `name: what it means` for one of your own."""
    rules: bool = True
    """Tell the model how to judge: correctness before style, and no reward for position or length. Worth 9.9 points of
    accuracy to GPT-4 on LLMBar's adversarial pairs (recorded judgments of LLMBar, princeton-nlp/LLMBar)."""
    reason: bool = False
    """Ask for a reason before the verdict. Off: it costs tokens, and its effect on accuracy is mixed to negative
    (GPT-4 -3.9 points, PaLM2 -11.6 on LLMBar)."""
    reference: Literal["none", "source"] = "none"
    """`source`: show the passage that the instruction was made from. An extracted answer is a part of it, so the judge
    may come to prefer the extracted one for its words: compare with `none` before you rely on it."""
    notes: str = ""
    """Grading notes of your own, for all pairs: what a good answer must have, in your words."""
    language: Language = "en"
    """Which wording of the prompt and of the known criteria to use; with a prompt of your own, only of the criteria."""
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Spread of the model's words; 0 gives the steadiest verdicts, null leaves it to the server."""
    max_tokens: int = Field(default=512, ge=1)
    """Longest reply in tokens; a reply that is cut off is asked for once more with twice as many."""
    attempts: int = Field(default=2, ge=1, le=10)
    """How often to ask in all when a reply cannot be read."""

    @field_validator("criteria", mode="before")
    @classmethod
    def _spell_out(cls, criteria: object) -> object:
        if not isinstance(criteria, list | tuple):
            return criteria
        named = tuple(_named(criterion) for criterion in criteria)
        twice = [key for key, times in Counter(_key(name) for name in named).items() if times > 1]
        if twice:
            raise ValueError(f"the criterion {twice[0]!r} stands there twice")
        return named

    @property
    def label(self) -> str:
        """How verdicts name it: by default after its kind and its engine."""
        return self.name or f"{self.use}:{self.engine.engine}"

    @property
    def family(self) -> str:
        """Kin of the model that it asks."""
        return self.engine.family

    @property
    def sampling(self) -> Sampling:
        """How its replies are drawn."""
        return Sampling(temperature=self.temperature, max_tokens=self.max_tokens)

    def spelt_out(self) -> list[Criterion]:
        """The criteria in its language, in the recipe's order."""
        return [Criterion(_key(name), CRITERIA[self.language].get(name, name)) for name in self.criteria]

    def in_its_language(self, prompt: str) -> str:
        """The name of a bundled prompt in its language; a prompt of the user's own stays what it is."""
        return prompt if self.language == "en" or prompt.endswith(".j2") else f"{prompt}.{self.language}"

    def background(self, showing: Showing) -> str:
        """The passage, if it may look at it and there is one."""
        return showing.source if self.reference == "source" else ""

    def canary(self, showing: Showing) -> Showing:
        """For a rehearsal: the showing with a source, so that a prompt that loses it is found out."""
        return showing.but(source=showing.source or "The canary's own passage.")


def _named(criterion: object) -> str:
    """A known name, or `Name: what it means`, given so or as `{name: what it means}`."""
    if isinstance(criterion, dict) and len(criterion) == 1:
        (name, meaning), *_ = criterion.items()
        if not isinstance(meaning, str) or not meaning.strip():
            raise ValueError(f"the criterion {name!r} does not say what it means")
        return f"{str(name).capitalize()}: {meaning}"
    name = str(criterion)
    title, _, meaning = name.partition(": ")
    if isinstance(criterion, str) and title.strip() and meaning.strip():
        return name
    if (known := ALIASES.get(name, name)) in CRITERIA["en"]:
        return known
    raise ValueError(
        f"no criterion is called {name!r}; write `{name}: what it means` for one of your own. "
        f"{did_you_mean(name, CRITERIA['en'])}"
    )


def _key(name: str) -> str:
    """A criterion's name in a reply."""
    return "_".join(name.partition(": ")[0].lower().split())


def fences(**texts: str) -> dict[str, str]:
    """A mark for the fence around each text, given in the order in which the prompt shows them.

    A mark is a digest of its own text and of those before it, so that it does not depend on what comes later: the
    prefix up to the second answer is the same whatever the second answer is. And it stands in none of these texts (if
    ever it did, the next digest is taken), so that no text can close its own fence. A later text may hold an earlier
    text's mark; for whoever reads from the top, that fence was closed long before.
    """
    marks: dict[str, str] = {}
    shown: list[str] = []
    for name, text in texts.items():
        shown.append(text)
        marks[name] = _mark(shown)
    return marks


def _mark(shown: list[str]) -> str:
    marks = (digest("fence", [*shown, turn], length=8) for turn in count())
    return next(mark for mark in marks if not any(mark in text for text in shown))


def verdict(judge: Judge, showing: Showing, said: Said, **more: object) -> Verdict:
    """What this judge said of this showing."""
    x, y, swapped = showing.x.id, showing.y.id, showing.swapped
    own = tuple(answer.id for answer in (showing.x, showing.y) if is_kin(judge, answer))
    said_of = {"judge": judge.label, "x": x, "y": y, "swapped": swapped, "said": said, "own": own}
    return Verdict.model_validate(said_of | more)


def is_kin(judge: Judge, answer: Answer) -> bool:
    """Whether a model of the judge's family wrote the answer; one that it only cut out is the author's."""
    return bool(judge.family) and answer.family == judge.family and answer.origin != "extracted"


def unreadable(judge: Judge, showing: Showing, asked: Asked[T]) -> Verdict:
    """No verdict, and why.

    It names only the requests whose replies were of no use: they are forgotten when the run ends, and what was read
    (scores of the other answer, grading notes) may have served other pairs.
    """
    why = f"{asked.code}: {asked.detail}"
    return verdict(judge, showing, "unreadable", model=asked.reply.model, reason=why, requests=asked.requests)
