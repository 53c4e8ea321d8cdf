"""Labels by origin: what was meant to be better is chosen, a jury measures or has a say, and sees the whole prompt."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.records import Answer, Candidates, Request, Task, Turn
from pipeline.stages.judge import Judged, judge
from tests.support.build import PROMPT, Line, Saying, make_jury, make_task, shown, verdict

BETTER, WORSE = "The better one.", "The worse one."


def meant(task: Task | None = None, *, first_preferred: bool = True) -> Candidates:
    answers = (Answer(text=BETTER, origin="given"), Answer(text=WORSE, origin="generated"))
    task = task or make_task()
    preferred = answers[0 if first_preferred else 1].id
    return Candidates(
        instruction=task.instruction, answers=answers, source=task, prompt=PROMPT, requests=(), preferred=preferred
    )


def judged(rule: object, pair: Candidates, *, agree: bool = False) -> Judged:
    ask = rule if isinstance(rule, Saying) else Saying(rule)  # type: ignore[arg-type]  a rule, as below
    return asyncio.run(judge(pair, make_jury("one", label="origin").model_copy(update={"agree": agree}), 1, ask))


def finds(text: str) -> object:
    def rule(request: Request) -> Line:
        return verdict("first" if shown(request).first == text else "second")

    return rule


def ties(_: Request) -> Line:
    return verdict("tie")


def nobody_can_read(_: Request) -> Line:
    return "?"


@pytest.mark.parametrize("first_preferred", [True, False])
@pytest.mark.parametrize("said", [BETTER, WORSE])
def test_what_was_meant_to_be_better_is_chosen_whatever_the_jury_says(said: str, first_preferred: bool) -> None:
    preference = judged(finds(said), meant(first_preferred=first_preferred)).preference
    assert preference.chosen == preference.candidates.preferred
    assert preference.chosen_answer.text == (BETTER if first_preferred else WORSE)
    assert preference.rejected_answer.text != preference.chosen_answer.text
    assert preference.strength == (1.0 if preference.chosen_answer.text == said else 0.0)
    assert len(preference.verdicts) == 2


def test_a_jury_that_has_a_say_drops_only_pairs_on_which_it_settles_on_the_other_answer() -> None:
    against = judged(finds(WORSE), meant(), agree=True)
    assert not against.preference.decided
    assert against.loss is not None
    assert (against.loss.stage, against.loss.fate, against.loss.code) == ("judge", "dropped", "jury_disagrees")
    for rule in (finds(BETTER), ties, nobody_can_read):
        assert judged(rule, meant(), agree=True).preference.chosen_answer.text == BETTER


def test_candidates_that_say_nothing_of_it_are_dropped_with_their_reason() -> None:
    loss = judged(ties, meant().but(preferred=None)).loss
    assert loss is not None
    assert (loss.fate, loss.code) == ("dropped", "no_preferred_answer")


def test_a_preferred_answer_that_is_none_of_them_is_refused() -> None:
    with pytest.raises(ValueError, match="none of these"):
        meant().but(preferred="0" * 16)


def test_judges_see_system_tools_history_instruction_and_input_as_the_question() -> None:
    task = make_task(
        "And at night?",
        system="Be brief.",
        tools='[{"name": "clock"}]',
        history=[Turn(role="user", content="Do bees sleep?"), Turn(role="assistant", content="They do.")],
        input="In winter.",
    )
    ask = Saying(finds(BETTER))  # type: ignore[arg-type]  a rule
    judged(ask, meant(task))
    for request in ask.requests:
        question = shown(request).instruction
        for words in ("Be brief.", "clock", "Do bees sleep?", "They do.", "And at night?", "In winter."):
            assert words in question
