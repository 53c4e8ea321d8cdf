"""A strong model's answer against a weak one's, or a given answer against a model's: who wrote it says which is better.

Both models get the prompt as it was given, with no word of ours.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.asking import request_to
from pipeline.errors import RecordFailed
from pipeline.generators.draws import Further, draw
from pipeline.generators.given import as_given, drawn, given_answer, of_no_use, pair_of
from pipeline.options import EngineName, PromptName
from pipeline.records import Address, Ask, Generated, Rendered, Sampling, Task
from pipeline.registry import Generator, register


@register("generator")
class Contrast(Generator):
    """The better author's answer against the worse one's: two models, or the given answer and a model.

    Source: strong against weak models, Contrastive Post-training (arXiv 2310.02263); a human's answer against the
    model's own, SPIN (arXiv 2401.01335).
    """

    reads: ClassVar[Literal["articles", "tasks"]] = "tasks"
    use: Literal["contrast"] = "contrast"
    """Its name in a recipe."""
    strong: EngineName | None = None
    """Engine whose answer is meant to be better; none for the given answer."""
    weak: EngineName | None = None
    """Engine whose answer is meant to be worse; none for the given answer."""
    temperature: float | None = Field(default=0.7, ge=0, le=2)
    """Spread of the words of the strong, or the only, model; null leaves it to the server."""
    weak_temperature: float | None = Field(default=None, ge=0, le=2)
    """Spread of the weak model's words; by default that of the other."""
    max_tokens: int = Field(default=1024, ge=16)
    """Longest answer in tokens; one that is cut off is asked for once more with twice as many."""
    attempts: int = Field(default=3, ge=1, le=10)
    """How often to ask in all when a reply is of no use."""
    prompt: PromptName = "sample"
    """The prompt: `sample`, which adds no word of ours, or a .j2 file of your own with the same variables."""

    @model_validator(mode="after")
    def _two_authors(self) -> Self:
        if self.strong is None and self.weak is None:
            raise ValueError("name at least one engine, strong or weak; the other answer is then the given one")
        if self.strong is not None and self.weak is not None and self._way(weak=True) == self._way(weak=False):
            one, other = self.strong, self.weak
            if one.model and (one.provider, one.model) == (other.provider, other.model):
                raise ValueError(f"strong and weak are both {one.model!r}: they would say the same")
        return self

    async def __call__(self, task: Task, ask: Ask) -> Generated:
        """The two answers to one task.

        Raises:
            RecordFailed: an answer failed.
        """
        if (self.strong is None or self.weak is None) and not task.output:
            return of_no_use(task, "no_output", "the task has no given answer")
        rendered = self.render(task)
        outcomes = await asyncio.gather(
            self._answer(self.strong, task, rendered, ask, weak=False),
            self._answer(self.weak, task, rendered, ask, weak=True),
        )
        better, worse = (drawn(outcome) for outcome in outcomes)
        return pair_of(task, better, worse, rendered)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The one that it renders."""
        return (self.prompt,)

    @property
    def prefers(self) -> bool:
        """It does."""
        return True

    @property
    def calls_each(self) -> int:
        """One for each author but the given answer's."""
        return (self.strong is not None) + (self.weak is not None)

    def render(self, task: Task) -> Rendered:
        """The prompt for one task. Raises UserError if a text of the task is not in it."""
        return as_given(self.prompt, task)

    def rehearse(self, task: Task) -> None:
        """As `render`."""
        self.render(task)

    def _way(self, *, weak: bool) -> Sampling:
        own = self.weak_temperature if weak else None
        return Sampling(temperature=self.temperature if own is None else own, max_tokens=self.max_tokens)

    async def _answer(
        self, author: Address | None, task: Task, rendered: Rendered, ask: Ask, *, weak: bool
    ) -> Further | RecordFailed:
        if author is None:
            return Further(given_answer(task), ())
        request = request_to(author, rendered, self._way(weak=weak))
        return await draw(request, author.family, ask, self.attempts)
