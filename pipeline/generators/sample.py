"""Several answers to each given prompt, drawn from one model or several: what a ranking chooses from.

The prompt goes out as it was given, with no word of ours, so that the answers are those that the model gives by
itself: pairs of a model's own answers are what it learns most from (arXiv 2404.14367, 2406.11827).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.asking import request_to
from pipeline.errors import RecordFailed
from pipeline.generators.draws import Further, Temperature, draw, failed_draws, same_answers
from pipeline.generators.given import as_given, given_answer, of_no_use
from pipeline.options import EngineName, PromptName
from pipeline.records import Address, Answer, Ask, Candidates, Generated, Rendered, Request, Sampling, Task
from pipeline.registry import Generator, register


@register("generator")
class Sample(Generator):
    """Several answers to each given prompt, drawn by one engine or several; a ranking makes a pair of them.

    Source: sampling of k answers and ranking them, as for UltraFeedback (arXiv 2310.01377) and in best-of-n.
    """

    reads: ClassVar[Literal["articles", "tasks"]] = "tasks"
    use: Literal["sample"] = "sample"
    """Its name in a recipe."""
    engine: EngineName
    """Engine that answers."""
    authors: tuple[EngineName, ...] = ()
    """Further engines that answer too."""
    draws: int = Field(default=10, ge=1, le=64)
    """Answers to each prompt, by each engine."""
    temperature: float | None = Field(default=1.0, ge=0, le=2)
    """Spread of the models' words; null leaves it to the server."""
    temperatures: tuple[Temperature, ...] = ()
    """Temperatures of the draws: each takes the next one in turn; by default `temperature` for all."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Smallest set of words whose probability reaches this; by default the server's."""
    top_k: int | None = Field(default=None, ge=1)
    """Only this many of the likeliest words are drawn from; not every server takes it."""
    seed: int | None = Field(default=None, ge=0)
    """Makes a server that takes it draw the same words again; each draw of a prompt has the next seed."""
    max_tokens: int = Field(default=1024, ge=16)
    """Longest answer in tokens; one that is cut off is asked for once more with twice as many."""
    attempts: int = Field(default=3, ge=1, le=10)
    """How often to ask in all when a reply is of no use."""
    with_given: bool = False
    """Whether the given answer competes too, where there is one."""
    prompt: PromptName = "sample"
    """The prompt: `sample`, which adds no word of ours, or a .j2 file of your own with the same variables."""

    @model_validator(mode="after")
    def _each_draw_is_another(self) -> Self:
        models = Counter((author.provider, author.model) for author in self._authors if author.model)
        twice = [model for (_, model), times in models.items() if times > 1]
        if twice:
            raise ValueError(f"two engines are {twice[0]!r}: they would give the same answers; raise `draws` instead")
        if Counter(self._ways)[self._sampling.but(temperature=0.0)] > 1:
            raise ValueError("at temperature 0 a model repeats itself: give more `temperatures`, or fewer `draws`")
        if self.answers_each < 2:  # noqa: PLR2004  two is what the word pair means
            raise ValueError("one answer makes no pair: raise `draws`, name `authors`, or set with_given")
        return self

    async def __call__(self, task: Task, ask: Ask) -> Generated:
        """All answers to one task that differ, and a Loss for every draw that failed or repeats another.

        Raises:
            RecordFailed: fewer than two answers, since draws failed.
        """
        rendered = self.render(task)
        draws = [
            draw(request, author.family, ask, self.attempts)
            for author in self._authors
            for request in self._requests(author, rendered)
        ]
        return self._joined(task, rendered, await asyncio.gather(*draws))

    @property
    def prompts(self) -> tuple[str, ...]:
        """The one that it renders."""
        return (self.prompt,)

    @property
    def answers_each(self) -> int:
        """Every draw, and the given answer if it competes."""
        return self.draws * len(self._authors) + self.with_given

    @property
    def calls_each(self) -> int:
        """One for each draw."""
        return self.draws * len(self._authors)

    @property
    def _authors(self) -> tuple[Address, ...]:
        return (self.engine, *self.authors)

    @property
    def _sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            max_tokens=self.max_tokens,
            seed=self.seed,
        )

    @property
    def _ways(self) -> list[Sampling]:
        """How each answer of one engine is drawn."""
        temperatures = self.temperatures or (self.temperature,)
        return [
            self._sampling.but(temperature=temperatures[number % len(temperatures)]) for number in range(self.draws)
        ]

    def render(self, task: Task) -> Rendered:
        """The prompt for one task. Raises UserError if a text of the task is not in it."""
        return as_given(self.prompt, task)

    def rehearse(self, task: Task) -> None:
        """As `render`."""
        self.render(task)

    def _requests(self, author: Address, rendered: Rendered) -> Iterator[Request]:
        """One for each draw; those of one temperature are numbered from 0, so that they are draws of one prompt."""
        numbers: Counter[Sampling] = Counter()
        for sampling in self._ways:
            yield request_to(author, rendered, sampling, draw=numbers[sampling])
            numbers[sampling] += 1

    def _joined(self, task: Task, rendered: Rendered, outcomes: Sequence[Further | RecordFailed]) -> Generated:
        """The answers as candidates; the first of equal texts stays."""
        answers: dict[str, Answer] = {}
        if self.with_given and task.output:
            answers[task.output] = given_answer(task)
        failures: dict[int, RecordFailed] = {}
        same: list[int] = []
        requests: list[str] = []
        for number, outcome in enumerate(outcomes, start=1):
            if isinstance(outcome, RecordFailed):
                failures[number] = outcome
                continue
            requests.extend(outcome.requests)
            if answers.setdefault(outcome.answer.text, outcome.answer) is not outcome.answer:
                same.append(number)
        if len(answers) < 2:  # noqa: PLR2004  as above
            return _too_few(task, failures)
        candidates = Candidates(
            instruction=task.instruction,
            answers=tuple(answers.values()),
            source=task,
            prompt=rendered.prompt,
            requests=tuple(requests),
        )
        losses = (*failed_draws(candidates.id, failures), *same_answers(candidates.id, same))
        return Generated(candidates=(candidates,), losses=losses, draws=len(outcomes))


def _too_few(task: Task, failures: dict[int, RecordFailed]) -> Generated:
    """No pair: a failure if draws failed, so that a later start asks again; a rule's word if all said the same."""
    if not failures:
        return of_no_use(task, "one_answer", "all draws say the same")
    first = next(iter(failures.values()))
    requests = tuple(request for failure in failures.values() for request in failure.requests)
    raise RecordFailed(first.code, f"{len(failures)} draws failed: {first.detail}", requests)
