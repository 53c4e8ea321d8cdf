"""A language model compares two answers by criteria and says which is better."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from judges.by_model import ModelJudge, fences, unreadable, verdict
from pipeline.asking import ask_until_read, read_json, request_to
from pipeline.options import PromptName
from pipeline.records import Ask, Rendered, ResponseSchema, Said, Showing, Verdict
from pipeline.registry import register
from prompts import render


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
class Pairwise(ModelJudge):
    """A language model compares two answers, shown one after the other, by named criteria."""

    use: Literal["pairwise"] = "pairwise"
    """Its name in a recipe."""
    shots: Literal["none", "balanced"] = "none"
    """`balanced`: show six solved examples first, in which first, second and tie, the longer and the shorter answer
    win equally often. Off: one or two examples brought no significant gain to five of six judges on LLMBar."""
    prompt: PromptName = "pairwise"
    """The prompt: `pairwise`, or a .j2 file of your own with the same variables."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The one that it renders."""
        return (self.in_its_language(self.prompt),)

    async def __call__(self, showing: Showing, ask: Ask) -> Verdict:
        """What the model says of two answers.

        Raises:
            RecordFailed: the engine could not deliver.
        """
        return await compare(self, showing, self.render(showing), ask)

    def render(self, showing: Showing) -> Rendered:
        """The prompt for one showing.

        Raises:
            UserError: the instruction, an answer or the reference is not in it.
        """
        return show(self, self.prompt, showing, with_shots=self.shots == "balanced")

    def rehearse(self, showing: Showing) -> None:
        """As `render`."""
        self.render(self.canary(showing))


def show(
    judge: ModelJudge, prompt: str, showing: Showing, *, with_shots: bool = False, written_notes: str = ""
) -> Rendered:
    """The prompt by which a judge compares two answers; `written_notes` are those about this one instruction.

    Raises:
        UserError: a text that the model must read is not in it.
    """
    background = judge.background(showing)
    texts = {"instruction": showing.instruction, "reference": background, "notes": written_notes}
    texts |= {"first": showing.a, "second": showing.b}
    return render(
        judge.in_its_language(prompt),
        must_show=(*texts.values(), judge.notes),
        criteria=judge.spelt_out(),
        rules=judge.rules,
        with_reason=judge.reason,
        with_shots=with_shots,
        own_notes=judge.notes,
        fence=fences(**texts),
        **texts,
    )


async def compare(
    judge: ModelJudge, showing: Showing, rendered: Rendered, ask: Ask, before: tuple[str, ...] = ()
) -> Verdict:
    """The verdict on a rendered comparison; `before` names the requests that led up to it.

    Raises:
        RecordFailed: the engine could not deliver.
    """
    form = ReasonedReply if judge.reason else VerdictReply
    request = request_to(judge.engine, rendered, judge.sampling, SCHEMAS[form])
    asked = await ask_until_read(lambda text: _read(text, form), request, ask, judge.attempts)
    if asked.value is None:
        return unreadable(judge, showing, asked)
    return verdict(
        judge,
        showing,
        SAID[asked.value.verdict],
        model=asked.reply.model,
        reason=asked.value.reason if isinstance(asked.value, ReasonedReply) else "",
        requests=(*before, *asked.requests),
    )


def _read(text: str, form: type[ReasonedReply | VerdictReply]) -> ReasonedReply | VerdictReply:
    """Only the one constrained field counts, never a letter somewhere in the text.

    Raises:
        ValueError: the reply is not exactly one object of the expected form.
    """
    return form.model_validate(read_json(text))
