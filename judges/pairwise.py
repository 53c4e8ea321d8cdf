"""A language model compares two answers by criteria and says which is better.

Where the server tells how likely each verdict was (`Reply.odds`), the verdict keeps it as the probability of the answer
that stands first against the one that stands second, ties left out. It is confidence for free: on recorded judgments a
second prompt agrees with a verdict of p < .75 in .60 of the pairs and with one of p > .995 in .988. A preference's
strength and the bins of the policies `sprt` and `weighted` go by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

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

LABELS = tuple(SAID)
"""The words one of which decides, in either form."""


class Comparer(ModelJudge):
    """The options of every judge that shows two answers at once."""

    form: Literal["json", "label"] = "json"
    """How the verdict is given. `json`: an object of one field, which every server can be held to; `label`: one bare
    word, some ten tokens less where a server can be held to it, as vLLM can. Elsewhere its engine wraps it in JSON all
    the same, or takes the prompt's word for it: what is not exactly one of the words is unreadable."""

    @model_validator(mode="after")
    def _a_word_has_no_room(self) -> Self:
        if self.form == "label" and self.reason:
            raise ValueError("a label leaves no room for a reason: take `reason: true` out, or write form: json")
        return self


@register("judge")
class Pairwise(Comparer):
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
    judge: Comparer, prompt: str, showing: Showing, *, with_shots: bool = False, written_notes: str = ""
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
        as_label=judge.form == "label",
        own_notes=judge.notes,
        fence=fences(**texts),
        **texts,
    )


async def compare(
    judge: Comparer, showing: Showing, rendered: Rendered, ask: Ask, before: tuple[str, ...] = ()
) -> Verdict:
    """The verdict on a rendered comparison; `before` names the requests that led up to it.

    Raises:
        RecordFailed: the engine could not deliver.
    """
    form = ReasonedReply if judge.reason else VerdictReply
    schema = None if judge.form == "label" else SCHEMAS[form]
    read = _read_label if judge.form == "label" else _reader(form)
    request = request_to(judge.engine, rendered, judge.sampling, schema, labels=LABELS)
    asked = await ask_until_read(read, request, ask, judge.attempts)
    if asked.value is None:
        return unreadable(judge, showing, asked)
    return verdict(
        judge,
        showing,
        SAID[asked.value.verdict],
        model=asked.reply.model,
        reason=asked.value.reason if isinstance(asked.value, ReasonedReply) else "",
        probability=_probability(asked.reply.odds),
        requests=(*before, *asked.requests),
    )


def _reader(form: type[ReasonedReply | VerdictReply]) -> Callable[[str], ReasonedReply | VerdictReply]:
    """Reads a reply of this form: only the one constrained field counts, never a letter somewhere in the text.

    It raises ValueError if the reply is not exactly one object of the form.
    """
    return lambda text: form.model_validate(read_json(text))


def _read_label(text: str) -> VerdictReply:
    """The whole reply is one of the words, or it is none.

    Raises:
        ValueError: it is none.
    """
    return VerdictReply.model_validate({"verdict": text.strip()})


def _probability(odds: Mapping[str, float] | None) -> float | None:
    """How likely the first answer was named rather than the second; None if not told, or if neither ever would be."""
    first, second = ((odds or {}).get(word, 0.0) for word in ("first", "second"))
    return first / (first + second) if first + second > 0 else None
