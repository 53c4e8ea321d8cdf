"""Writes down what a good answer must have, before it has seen any, and then compares answers by that.

For instructions without a reference answer: a judge that first says what it looks for is harder to impress by a fluent
answer to another question. In the recorded judgments of LLMBar (princeton-nlp/LLMBar), criteria generated per
instruction together with a reference answer brought GPT-4 +3.4 points on the adversarial pairs, and +20.3 on a set of
case studies.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from judges.by_model import fences, unreadable
from judges.pairwise import Comparer, compare, show
from pipeline.asking import Asked, ask_until_read, read_json, request_to
from pipeline.options import PromptName
from pipeline.records import Ask, Rendered, ResponseSchema, Showing, Verdict
from pipeline.registry import register
from prompts import render


class NotesReply(BaseModel):
    """Grading notes as the model writes them."""

    model_config = ConfigDict(extra="forbid")

    notes: list[str]


SCHEMA = ResponseSchema(name="grading_notes", json_schema=NotesReply.model_json_schema())


@register("judge")
class Notes(Comparer):
    """A language model writes grading notes for an instruction, then compares two answers by them.

    The notes are one request per instruction, with no answer in it: both orders and all pairs of the instruction share
    it, so that they cost one call more per instruction, not per verdict.
    """

    use: Literal["notes"] = "notes"
    """Its name in a recipe."""
    notes_prompt: PromptName = "notes"
    """The prompt that asks for notes: `notes`, or a .j2 file of your own with the same variables."""
    prompt: PromptName = "pairwise"
    """The prompt that compares: `pairwise`, or a .j2 file of your own with the same variables."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The two that it renders."""
        return (self.in_its_language(self.notes_prompt), self.in_its_language(self.prompt))

    async def __call__(self, showing: Showing, ask: Ask) -> Verdict:
        """What the model says of two answers, by notes that it wrote without having seen them.

        Raises:
            RecordFailed: the engine could not deliver.
        """
        written = await self._write(showing, ask)
        if written.value is None:
            return unreadable(self, showing, written)
        return await compare(self, showing, self.render(showing, written.value), ask, before=written.requests)

    async def _write(self, showing: Showing, ask: Ask) -> Asked[str]:
        request = request_to(self.engine, self.render_notes(showing), self.sampling, SCHEMA)
        return await ask_until_read(_read, request, ask, self.attempts)

    def render_notes(self, showing: Showing) -> Rendered:
        """The prompt that asks for notes: the same whatever the answers are.

        Raises:
            UserError: the instruction or the reference is not in it.
        """
        texts = {"instruction": showing.instruction, "reference": self.background(showing)}
        return render(
            self.in_its_language(self.notes_prompt),
            must_show=(*texts.values(), self.notes),
            criteria=self.spelt_out(),
            own_notes=self.notes,
            fence=fences(**texts),
            **texts,
        )

    def render(self, showing: Showing, written_notes: str) -> Rendered:
        """The prompt that compares two answers by the notes.

        Raises:
            UserError: the instruction, the notes, an answer or the reference is not in it.
        """
        return show(self, self.prompt, showing, written_notes=written_notes)

    def rehearse(self, showing: Showing) -> None:
        """As `render_notes` and `render`."""
        self.render_notes(self.canary(showing))
        self.render(self.canary(showing), "- A canary must be yellow.")


def _read(text: str) -> str:
    """The notes as a list in Markdown.

    Raises:
        ValueError: the reply is not exactly one list of notes, or there is nothing in it.
    """
    points = [" ".join(note.split()) for note in NotesReply.model_validate(read_json(text)).notes]
    if not any(points):
        raise ValueError("no notes")
    return "\n".join(f"- {point}" for point in points if point)
