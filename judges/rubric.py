"""A language model grades each answer by itself, criterion by criterion; the comparison follows from the grades.

One call per answer, and the request is the same wherever the answer stands and whatever it is compared with: the
ledger then serves it once. Ten answers cost ten calls, where all pairs of them in both orders would be ninety. The
price is resolution: equal grades are frequent (a tie in 10-18% of GPT-4's pairs and 47-52% of ChatGPT's, recorded
judgments of LLMBar, princeton-nlp/LLMBar), and a tie stays a tie, since whatever broke it would be no judgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from judges.by_model import ModelJudge, fences, unreadable, verdict
from pipeline.asking import Asked, ask_until_read, read_json, request_to
from pipeline.errors import did_you_mean
from pipeline.options import PromptName
from pipeline.records import Ask, Rendered, ResponseSchema, Said, Showing, Verdict
from pipeline.registry import register
from prompts import render

Grade = int | str
"""A number on the scale, or a category."""

MOST_GRADES = 101
"""0 to 100; a model tells far fewer apart."""


class Grades(NamedTuple):
    """One answer's grades."""

    reason: str
    """Why, if the model was asked."""
    by_criterion: dict[str, Grade]
    """The grade for each criterion."""


@register("judge")
class Rubric(ModelJudge):
    """A language model grades each answer by itself, by named criteria; the higher weighted mean wins."""

    use: Literal["rubric"] = "rubric"
    """Its name in a recipe."""
    scale: tuple[int, int] = (1, 5)
    """Worst and best grade, both included, in whole numbers."""
    categories: tuple[str, ...] = ()
    """Grades by name in place of the scale, worst first, such as [poor, fair, good, excellent]; they count 0, 1, 2."""
    weights: dict[str, float] = Field(default={})
    """How much a criterion counts, by its name; 1 if it is not named here."""
    at_least_margin: float = Field(default=0.0, ge=0)
    """Difference of the weighted means, in grades, from which one answer wins; anything less is a tie, as are equal
    means."""
    prompt: PromptName = "rubric"
    """The prompt: `rubric`, or a .j2 file of your own with the same variables."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        worst, best = self.scale
        if not worst < best < worst + MOST_GRADES:
            raise ValueError(f"a scale needs two to {MOST_GRADES} grades, the worst first, not {worst} to {best}")
        if self.categories and len(set(self.categories)) < max(2, len(self.categories)):
            raise ValueError("categories are at least two, all different")
        keys = [criterion.key for criterion in self.spelt_out()]
        for name, weight in self.weights.items():
            if name not in keys:
                raise ValueError(f"no criterion is called {name!r}. {did_you_mean(name, keys)}")
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {name} must be positive, not {weight}")
        return self

    @property
    def prompts(self) -> tuple[str, ...]:
        """The one that it renders."""
        return (self.in_its_language(self.prompt),)

    @property
    def grades(self) -> dict[Grade, int]:
        """What each grade counts, the worst first."""
        if self.categories:
            return {category: value for value, category in enumerate(self.categories)}
        return {value: value for value in range(self.scale[0], self.scale[1] + 1)}

    async def __call__(self, showing: Showing, ask: Ask) -> Verdict:
        """Which answer has the better grades.

        One answer after the other: the call in the opposite order, under way at the same time, begins with the other
        one, so that nothing is gained by hurry; and if the first cannot be graded, the second call is saved.

        Raises:
            RecordFailed: the engine could not deliver.
        """
        first = await self._grade(showing, showing.a, ask)
        if first.value is None:
            return unreadable(self, showing, first)
        second = first if showing.a == showing.b else await self._grade(showing, showing.b, ask)
        if second.value is None:
            return unreadable(self, showing, second)
        means = self.mean(first.value.by_criterion), self.mean(second.value.by_criterion)
        return verdict(
            self,
            showing,
            self._said(*means),
            model=first.reply.model,
            reason=_because(means, first.value, second.value),
            requests=tuple(dict.fromkeys((*first.requests, *second.requests))),
        )

    def mean(self, grades: Mapping[str, Grade]) -> Fraction:
        """The weighted mean of an answer's grades, exact: rounding must neither make a tie nor break one."""
        weights = {key: Fraction(str(self.weights.get(key, 1.0))) for key in grades}
        total = sum((weights[key] * self.grades[grade] for key, grade in grades.items()), Fraction(0))
        return total / sum(weights.values(), Fraction(0))

    def _said(self, first: Fraction, second: Fraction) -> Said:
        if first == second or abs(first - second) < Fraction(str(self.at_least_margin)):
            return "tie"
        return "a" if first > second else "b"

    async def _grade(self, showing: Showing, answer: str, ask: Ask) -> Asked[Grades]:
        request = request_to(self.engine, self.render(showing, answer), self.sampling, self._schema())
        return await ask_until_read(self._read, request, ask, self.attempts)

    def render(self, showing: Showing, answer: str) -> Rendered:
        """The prompt that asks for one answer's grades.

        Raises:
            UserError: the instruction, the answer or the reference is not in it.
        """
        texts = {"instruction": showing.instruction, "reference": self.background(showing), "answer": answer}
        return render(
            self.in_its_language(self.prompt),
            must_show=(*texts.values(), self.notes),
            criteria=self.spelt_out(),
            rules=self.rules,
            with_reason=self.reason,
            own_notes=self.notes,
            grades=list(self.grades),
            by_number=not self.categories,
            fence=fences(**texts),
            **texts,
        )

    def rehearse(self, showing: Showing) -> None:
        """As `render`, for both answers."""
        self.render(self.canary(showing), showing.a)
        self.render(self.canary(showing), showing.b)

    def _schema(self) -> ResponseSchema:
        grade = {"type": "string" if self.categories else "integer", "enum": list(self.grades)}
        scores = _object({criterion.key: grade for criterion in self.spelt_out()})
        if self.reason:
            form = _object({"reason": {"type": "string"}, "scores": scores})
            return ResponseSchema.model_validate({"name": "reasoned_scores", "json_schema": form})
        return ResponseSchema.model_validate({"name": "scores", "json_schema": _object({"scores": scores})})

    def _read(self, text: str) -> Grades:
        """Exactly the fields asked for, each criterion with one of the grades.

        Raises:
            ValueError: anything missing, surplus or of another kind: true is not 1, nor is "4" or 4.0 the number 4.
        """
        reply = read_json(text)
        if not isinstance(reply, dict) or set(reply) != ({"reason", "scores"} if self.reason else {"scores"}):
            raise ValueError("not the fields asked for")
        reason, scores = reply.get("reason", ""), reply["scores"]
        if not isinstance(reason, str) or not isinstance(scores, dict):
            raise ValueError("no reason in words, or no scores by criterion")  # noqa: TRY004  the reply's form
        if set(scores) != {criterion.key for criterion in self.spelt_out()}:
            raise ValueError(f"scores for {sorted(scores)}")
        kind = str if self.categories else int
        wrong = [score for score in scores.values() if type(score) is not kind or score not in self.grades]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no grade")
        return Grades(reason, scores)


def _object(properties: Mapping[str, object]) -> dict[str, object]:
    """The JSON schema of an object with exactly these properties."""
    required = list(properties)
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


def _because(means: tuple[Fraction, Fraction], first: Grades, second: Grades) -> str:
    """The grades side by side, and the model's own words if there are any."""
    grades = [f"{key} {grade} and {second.by_criterion[key]}" for key, grade in first.by_criterion.items()]
    said = f"{float(means[0]):.2f} against {float(means[1]):.2f}: {', '.join(grades)}"
    words = [f"{place}: {grades.reason}" for place, grades in (("first", first), ("second", second)) if grades.reason]
    return "; ".join([said, *words])
