"""A language model compares two answers by criteria and says which is better."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.asking import Asked, ask_until_read, read_json, request_to
from pipeline.errors import did_you_mean
from pipeline.identity import digest
from pipeline.options import EngineName, PromptName
from pipeline.records import Ask, Rendered, ResponseSchema, Said, Sampling, Showing, Verdict
from pipeline.registry import Judge, register
from prompts import render

CRITERIA = {
    "relevance": "Relevance: it answers what was asked, and nothing else.",
    "accuracy": "Accuracy: what it states is correct.",
    "completeness": "Completeness: it covers every part of what was asked.",
    "clarity": "Clarity: it is easy to understand.",
    "structure": "Structure: its parts follow one another in a sensible order.",
    "conciseness": "Conciseness: it says so without a needless word.",
}
"""The criteria of the LLM Engineer's Handbook's table 6.2, in its order, worded for the prompt."""

ALIASES = {"concision": "conciseness"}


class VerdictReply(BaseModel):
    """The reply of a judge that gives no reason."""

    model_config = ConfigDict(extra="forbid")

    verdict: Literal["first", "second", "tie"]


class ReasonedReply(BaseModel):
    """The reply of a judge that gives its reason, before the verdict so that it can matter."""

    model_config = ConfigDict(extra="forbid")

    reason: str
    verdict: Literal["first", "second", "tie"]


SCHEMAS = {
    form: ResponseSchema(name=name, json_schema=form.model_json_schema())
    for form, name in ((VerdictReply, "verdict"), (ReasonedReply, "reasoned_verdict"))
}
"""Made once: making a schema takes longer than all else that a verdict takes here."""

SAID: dict[str, Said] = {"first": "a", "second": "b", "tie": "tie"}


@register("judge")
class Pairwise(Judge):
    """A language model compares two answers, shown one after the other, by named criteria."""

    use: Literal["pairwise"] = "pairwise"
    """Its name in a recipe."""
    engine: EngineName
    """Engine that judges."""
    criteria: tuple[str, ...] = Field(default=tuple(CRITERIA), min_length=1)
    """What counts: known names, or `name: description` for one of your own."""
    reason: bool = False
    """Ask for a reason before the verdict. Off: it costs tokens, and its effect on accuracy is mixed to negative."""
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Spread of the model's words; 0 gives the steadiest verdicts, null leaves it to the server."""
    max_tokens: int = Field(default=512, ge=1)
    """Longest reply in tokens; a reply that is cut off is asked for once more with twice as many."""
    attempts: int = Field(default=2, ge=1, le=10)
    """How often to ask in all when a verdict cannot be read."""
    prompt: PromptName = "pairwise"
    """The prompt: `pairwise`, or a .j2 file of your own with the same variables."""

    @field_validator("criteria", mode="before")
    @classmethod
    def _spell_out(cls, criteria: object) -> object:
        if not isinstance(criteria, list | tuple):
            return criteria
        return tuple(_wording(criterion) for criterion in criteria)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The one that it renders."""
        return (self.prompt,)

    @property
    def label(self) -> str:
        """How verdicts name it: by default after its kind and its engine."""
        return self.name or f"{self.use}:{self.engine.engine}"

    async def __call__(self, showing: Showing, ask: Ask) -> Verdict:
        """What the model says of two answers.

        Raises:
            RecordFailed: the engine could not deliver.
        """
        form = ReasonedReply if self.reason else VerdictReply
        sampling = Sampling(temperature=self.temperature, max_tokens=self.max_tokens)
        request = request_to(self.engine, self.render(showing), sampling, SCHEMAS[form])
        asked = await ask_until_read(lambda text: _read_verdict(text, form), request, ask, self.attempts)
        return self._verdict(showing, asked)

    def render(self, showing: Showing) -> Rendered:
        """The prompt for one showing.

        Raises:
            UserError: the instruction or an answer is not in it.
        """
        return render(
            self.prompt,
            must_show=(showing.instruction, showing.a, showing.b),
            criteria=self.criteria,
            with_reason=self.reason,
            instruction=showing.instruction,
            first=showing.a,
            second=showing.b,
            # a digest of the answers cannot stand in them: no answer can close its fence and speak for the judge
            fence=digest("fence", sorted([showing.a, showing.b]), length=8),
        )

    def rehearse(self, showing: Showing) -> None:
        """As `render`."""
        self.render(showing)

    def _verdict(self, showing: Showing, asked: Asked[ReasonedReply | VerdictReply]) -> Verdict:
        value = asked.value
        return Verdict(
            judge=self.label,
            model=asked.reply.model,
            x=showing.x.id,
            y=showing.y.id,
            swapped=showing.swapped,
            said=SAID[value.verdict] if value else "unreadable",
            reason=getattr(value, "reason", "") if value else f"{asked.code}: {asked.detail}",
            requests=asked.requests,
        )


def _wording(criterion: object) -> str:
    """The prompt's line for a criterion: a known name, `{name: description}`, or a line that was spelt out before."""
    if isinstance(criterion, dict) and len(criterion) == 1:
        (name, description), *_ = criterion.items()
        return f"{str(name).capitalize()}: {description}"
    name = str(criterion)
    if name in CRITERIA.values():
        return name
    if (known := ALIASES.get(name, name)) in CRITERIA:
        return CRITERIA[known]
    raise ValueError(
        f"no criterion is called {name!r}; write `{name}: what it means` for one of your own. "
        f"{did_you_mean(name, CRITERIA)}"
    )


def _read_verdict(text: str, form: type[ReasonedReply | VerdictReply]) -> ReasonedReply | VerdictReply:
    """Only the one constrained field counts, never a letter somewhere in the text.

    Raises:
        ValueError: the reply is not exactly one object of the expected form.
    """
    return form.model_validate(read_json(text))
