"""An answer and its smallest correction: the two differ in what is wrong, and in little else."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.asking import request_to
from pipeline.generators.draws import Further, draw, mark
from pipeline.generators.given import as_given, drawn, given_answer, of_no_use, pair_of
from pipeline.options import EngineName, PromptName
from pipeline.records import Ask, Generated, Rendered, Sampling, Task
from pipeline.registry import Generator, register
from prompts import render


@register("generator")
class Revise(Generator):
    """A given or a drawn answer is rejected, and its smallest correction chosen.

    Source: contrastive revisions, CLAIR (arXiv 2408.06266): minimal corrections of a model's own answers taught more
    than pairs that differ in everything.
    """

    reads: ClassVar[Literal["articles", "tasks"]] = "tasks"
    use: Literal["revise"] = "revise"
    """Its name in a recipe."""
    engine: EngineName
    """Engine that corrects."""
    author: EngineName | None = None
    """Engine that writes the answer to be corrected; none for the given answer."""
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Spread of the corrector's words; null leaves it to the server."""
    author_temperature: float | None = Field(default=0.7, ge=0, le=2)
    """Spread of the author's words; null leaves it to the server."""
    max_tokens: int = Field(default=1024, ge=16)
    """Longest answer in tokens; one that is cut off is asked for once more with twice as many."""
    attempts: int = Field(default=3, ge=1, le=10)
    """How often to ask in all when a reply is of no use."""
    language: Literal["en", "zh"] = "en"
    """Which wording of the prompt `revise` to use; answers keep their own language either way."""
    prompt: PromptName = "revise"
    """The prompt for the correction: `revise`, or a .j2 file of your own with the same variables."""

    async def __call__(self, task: Task, ask: Ask) -> Generated:
        """The answer and its correction; nothing if the corrector finds nothing to correct.

        Raises:
            RecordFailed: one of the two failed.
        """
        if self.author is None and not task.output:
            return of_no_use(task, "no_output", "the task has no given answer")
        first = await self._first(task, ask)
        rendered = self.render(task, first.answer.text)
        sampling = Sampling(temperature=self.temperature, max_tokens=self.max_tokens)
        request = request_to(self.engine, rendered, sampling)
        corrected = drawn(await draw(request, self.engine.family, ask, self.attempts))
        if corrected.answer.text == first.answer.text:
            return of_no_use(task, "nothing_to_correct", "the answer came back as it was")
        return pair_of(task, corrected, first, rendered)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The correction's, and the author's if there is one."""
        return (self._prompt, *(("sample",) if self.author else ()))

    @property
    def prefers(self) -> bool:
        """It does."""
        return True

    @property
    def calls_each(self) -> int:
        """The correction, and the answer that is corrected unless it was given."""
        return 1 if self.author is None else 2

    @property
    def _prompt(self) -> str:
        own = self.language == "en" or self.prompt.endswith(".j2")
        return self.prompt if own else f"{self.prompt}.{self.language}"

    def render(self, task: Task, answer: str) -> Rendered:
        """The prompt for the correction of an answer.

        Raises:
            UserError: the question or the answer is not in it.
        """
        question = task.question
        return render(
            self._prompt,
            must_show=(question, answer),
            question=question,
            answer=answer,
            fence=mark(f"{question}\n{answer}"),
        )

    def rehearse(self, task: Task) -> None:
        """As `render`, and the author's prompt if there is one."""
        self.render(task, task.output or "A canary's answer.")
        if self.author is not None:
            as_given("sample", task)

    async def _first(self, task: Task, ask: Ask) -> Further:
        if self.author is None:
            return Further(given_answer(task), ())
        sampling = Sampling(temperature=self.author_temperature, max_tokens=self.max_tokens)
        request = request_to(self.author, as_given("sample", task), sampling)
        return drawn(await draw(request, self.author.family, ask, self.attempts))
