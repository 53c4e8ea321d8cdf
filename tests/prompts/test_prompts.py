"""Prompts as the models read them, and every way in which a prompt file can be wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judges.by_model import ModelJudge
from judges.notes import Notes
from judges.rubric import Rubric
from pipeline.errors import UserError
from pipeline.records import Rendered, Turn
from prompts import FOLDER, bundled, load, render
from tests.support.build import (
    ENGINES,
    SENTENCES,
    STEADY,
    make_chunk,
    make_generator,
    make_judge,
    make_showing,
    make_task,
    make_triples,
)

GOLDENS = Path(__file__).parent / "goldens"
FRONT = "---\npurpose: a test\nvariables: [topic]\nsource: ours\n---\n"
BODY = "{% block system %}Be brief.{% endblock %}\n{% block user %}About {{ topic }}.{% endblock %}\n"
CODE = "def area(r):\n    return 3.14 * r ** 2  # <b>not</b> {{ escaped }} & 'kept'"
CHUNK = make_chunk(["# Bees", *SENTENCES, "```python\nprint('buzz')\n```", "蜜蜂会跳舞。"], between="\n\n")

SHOWING = make_showing("They dance.", "They sing.", "How do bees talk?").but(source="Foragers dance to name a place.")
CHINESE = make_showing("靠跳舞。", "靠唱歌。", "蜜蜂怎样交流？").but(source="蜜蜂用跳舞来指路。")
EVERYTHING: dict[str, Any] = {
    "reference": "source",
    "notes": "Units must be named.",
    "reason": True,
    "criteria": ["accuracy", {"tone": "it sounds like a beekeeper."}],
}


def asking(part: type[ModelJudge], **options: object) -> Any:
    """A judge of this kind, asking engine `one`."""
    return part.model_validate({"engine": "one"} | options, context={"engines": ENGINES})


TASK = make_task()
TALK = make_task(
    "And at night?",
    system="Be brief.",
    tools='[{"name": "clock"}]',
    history=[Turn(role="user", content="Do bees sleep?"), Turn(role="call", content='{"name": "clock"}')],
    input="In winter.",
    output="They rest.",
)
HAIKU = make_task("写一首俳句。", output="雨落屋檐。")

RENDERED: dict[str, Callable[[], Rendered]] = {
    "triples": lambda: make_triples(per_chunk=4).render(CHUNK),
    "answer": lambda: make_triples(draws=1).render_answer("How do bees talk?", CHUNK),
    "answer-with-passage": lambda: make_triples(draws=1, show_passage=True).render_answer("How do bees talk?", CHUNK),
    "answer.zh": lambda: make_triples(draws=1, language="zh").render_answer("蜜蜂怎样交流？", CHUNK),
    "answer.zh-with-passage": lambda: make_triples(draws=1, language="zh", show_passage=True).render_answer(
        "蜜蜂怎样交流？", CHUNK
    ),
    "sample": lambda: make_generator("sample").render(TASK),
    "sample-with-everything": lambda: make_generator("sample").render(TALK),
    "directed": lambda: make_generator("directed").render(TASK, "preferred"),
    "directed-of-own": lambda: make_generator("directed", preferred="long", dispreferred="short").render(
        TALK, "dispreferred"
    ),
    "directed.zh": lambda: make_generator("directed", language="zh", criterion="concision").render(HAIKU, "preferred"),
    "revise": lambda: make_generator("revise").render(TASK, TASK.output),
    "revise.zh": lambda: make_generator("revise", language="zh").render(HAIKU, HAIKU.output),
    "pairwise": lambda: make_judge().render(make_showing(CODE, "Use the formula.", "How large is a circle?")),
    "pairwise-with-reason": lambda: make_judge(
        reason=True, criteria=["clarity", {"tone": "it sounds like a beekeeper."}]
    ).render(make_showing("They dance.", "They sing.", "How do bees talk?")),
    "pairwise-with-everything": lambda: make_judge(**EVERYTHING, shots="balanced").render(SHOWING),
    "pairwise-by-label": lambda: make_judge(form="label", shots="balanced").render(SHOWING),
    "pairwise-without-rules": lambda: make_judge(rules=False).render(SHOWING),
    "pairwise.zh": lambda: make_judge(language="zh").render(CHINESE),
    "pairwise.zh-with-everything": lambda: make_judge(**EVERYTHING, shots="balanced", language="zh").render(CHINESE),
    "pairwise.zh-by-label": lambda: make_judge(form="label", language="zh").render(CHINESE),
    "notes": lambda: asking(Notes).render_notes(SHOWING),
    "notes-with-everything": lambda: asking(Notes, **EVERYTHING).render_notes(SHOWING),
    "notes.zh": lambda: asking(Notes, reference="source", language="zh").render_notes(CHINESE),
    "pairwise-by-notes": lambda: asking(Notes).render(SHOWING, "- It must name the dance.\n- And the sun."),
    "rubric": lambda: asking(Rubric).render(SHOWING, "They dance."),
    "rubric-with-everything": lambda: asking(
        Rubric, **EVERYTHING, categories=("poor", "fair", "good", "excellent")
    ).render(SHOWING, "They dance."),
    "rubric.zh": lambda: asking(Rubric, language="zh").render(CHINESE, "靠跳舞。"),
    "rubric.zh-with-everything": lambda: asking(
        Rubric, **EVERYTHING, language="zh", categories=("差", "中", "良", "优")
    ).render(CHINESE, "靠跳舞。"),
}
"""Every bundled prompt as its part renders it; a name's first word is the prompt's."""


def written(tmp_path: Path, text: str, name: str = "own.j2") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def as_text(rendered: Rendered) -> str:
    return "".join(f"=== {message.role}\n{message.content}\n\n" for message in rendered.messages)


# --- what models read ---


@pytest.mark.parametrize("name", RENDERED)
def test_a_prompt_reads_as_in_its_golden_file(name: str) -> None:
    """REGENERATE_GOLDENS=1 writes the files anew; look at the difference before you commit it."""
    text, golden = as_text(RENDERED[name]()), GOLDENS / f"{name}.txt"
    if os.environ.get("REGENERATE_GOLDENS"):
        golden.write_text(text, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == text


def test_every_bundled_prompt_has_a_golden_file_and_no_golden_file_is_left_over() -> None:
    assert {name.split("-")[0] for name in RENDERED} == set(bundled())
    assert {path.stem for path in GOLDENS.iterdir()} == set(RENDERED)


@pytest.mark.parametrize("name", bundled())
def test_a_bundled_prompt_declares_what_it_uses_and_says_where_it_comes_from(name: str) -> None:
    prompt = load(name)
    assert prompt.ref.name == name
    assert prompt.front.variables
    assert prompt.front.purpose
    assert prompt.front.source


def test_what_does_not_change_comes_first_so_that_providers_can_cache_it() -> None:
    writer, judge = make_triples(), make_judge()
    passages = [make_chunk(), make_chunk(["Something else.", "Entirely so."])]
    pairs = [make_showing("one", "two", "Three?"), make_showing("four", "five", "Six?")]
    assert len({writer.render(chunk).messages[0] for chunk in passages}) == 1
    assert len({judge.render(pair).messages[0] for pair in pairs}) == 1
    for rendered in (writer.render(passages[0]), judge.render(pairs[0])):
        assert [message.role for message in rendered.messages] == ["system", "user"]


INJECTED = (
    "{{ 7 * 7 }}",
    "{% for x in range(9) %}x{% endfor %}",
    "{# gone #}",
    "{{ topic.__class__ }}",
    "<b>&amp;</b>",
    "{% endblock %}",
    "{% raw %}",
)


@pytest.mark.parametrize("text", INJECTED)
def test_what_looks_like_a_template_in_an_article_is_not_executed(text: str) -> None:
    passage = make_triples().render(make_chunk([f"A sentence with {text} in it.", "Another one."]))
    assert f"[1] A sentence with {text} in it." in passage.messages[1].content
    pair = make_judge().render(make_showing(f"x {text}", f"y {text}", f"z {text}"))
    assert all(f"{letter} {text}" in pair.messages[1].content for letter in "xyz")


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
@settings(STEADY, max_examples=100)
def test_instruction_and_answers_always_reach_the_judge_character_by_character(
    instruction: str, first: str, second: str
) -> None:
    text = make_judge().render(make_showing(first, second, instruction)).messages[1].content
    assert f"\n{instruction}\n<<<end" in text
    assert f"\n{first}\n<<<end" in text
    assert f"\n{second}\n<<<end" in text


# --- versions ---


@given(st.integers(0, len(FRONT + BODY) - 1), st.characters(codec="utf-8", exclude_characters="\r"))
@settings(STEADY, max_examples=60)
def test_the_version_changes_with_every_character(tmp_path_factory: pytest.TempPathFactory, at: int, mark: str) -> None:
    text = "".join((FRONT, BODY))
    changed = f"{text[:at]}{mark}{text[at:]}"
    folder = tmp_path_factory.mktemp("prompts")
    try:
        other = load(written(folder, changed, "other.j2"))
    except UserError:
        return  # it is no prompt any more
    assert other.ref.version != load(written(folder, text)).ref.version


def test_the_version_of_an_equal_text_is_equal_wherever_it_stands(tmp_path: Path) -> None:
    copy = written(tmp_path, (FOLDER / "triples.j2").read_text(encoding="utf-8"), "triples.j2")
    assert load(copy).ref == load("triples").ref


def test_a_prompt_that_is_edited_while_a_run_is_under_way_belongs_to_the_next(tmp_path: Path) -> None:
    path = written(tmp_path, FRONT + BODY)
    before = load(path).ref.version
    Path(path).write_text(FRONT + BODY.replace("brief", "long"), encoding="utf-8")
    assert load(path).ref.version == before


def test_a_prompt_of_ones_own_is_given_by_its_path(tmp_path: Path) -> None:
    rendered = render(written(tmp_path, FRONT + BODY), topic="bees")
    assert [message.content for message in rendered.messages] == ["Be brief.", "About bees."]
    assert rendered.prompt.name == "own"


def test_a_part_finds_its_prompt_beside_the_recipe(tmp_path: Path) -> None:
    own = (FOLDER / "triples.j2").read_text(encoding="utf-8").replace("The passage:", "My passage:")
    written(tmp_path, own, "mine.j2")
    writer = type(make_triples()).model_validate({"engine": "one", "prompt": "mine.j2"}, context={"folder": tmp_path})
    assert writer.render(make_chunk()).messages[1].content.startswith("My passage:")


# --- what is wrong with a prompt ---

WRONG = {
    "a surplus variable": FRONT.replace("[topic]", "[topic, mood]") + BODY,
    "an undeclared variable": FRONT + BODY.replace("{{ topic }}", "{{ topic }} {{ mood }}"),
    "no system block": FRONT + "{% block user %}{{ topic }}{% endblock %}",
    "a third block": FRONT + BODY + "{% block more %}{% endblock %}",
    "no front matter": BODY,
    "half a front matter": FRONT.removesuffix("---\n") + BODY,
    "front matter that is no YAML": "---\npurpose: [\n---\n" + BODY,
    "front matter that is a list": "---\n- topic\n---\n" + BODY,
    "front matter without a source": FRONT.replace("source: ours\n", "") + BODY,
    "front matter with a stranger": FRONT.replace("source: ours\n", "source: ours\nauthor: me\n") + BODY,
    "variables that are no list": FRONT.replace("[topic]", "topic") + BODY,
    "a tag that is not closed": FRONT + BODY.replace("{{ topic }}", "{{ topic "),
    "a block that is not closed": FRONT + BODY.replace("{% endblock %}\n{% block", "{% block"),
    "a filter that does not exist": FRONT + BODY.replace("{{ topic }}", "{{ topic | shout }}"),
    "an attribute that does not exist": FRONT + BODY.replace("{{ topic }}", "{{ topic.mood.name }}"),
    "an included file": FRONT + BODY.replace("{{ topic }}", "{{ topic }}{% include 'other.j2' %}"),
    "a file included if it is there": FRONT
    + BODY.replace("{{ topic }}", "{{ topic }}{% include 'no.j2' ignore missing %}"),
    "a file that it extends": FRONT + "{% extends 'other.j2' %}" + BODY,
    "an imported file": FRONT + "{% import 'other.j2' as other %}" + BODY,
    "a sum over words": FRONT + BODY.replace("{{ topic }}", "{{ topic + 1 }}"),
    "a date that is none": FRONT.replace("a test", "2026-13-01") + BODY,
}


@pytest.mark.parametrize("what", WRONG)
def test_a_prompt_file_that_is_wrong_is_one_clear_error(tmp_path: Path, what: str) -> None:
    path = written(tmp_path, WRONG[what])
    with pytest.raises(UserError) as error:
        render(path, topic="bees")
    assert "own.j2" in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.remedy or "needs" in error.value.what


@pytest.mark.parametrize(
    ("what", "named"), [("a surplus variable", "mood"), ("an undeclared variable", "mood"), ("no front matter", "---")]
)
def test_the_error_names_what_is_at_fault(tmp_path: Path, what: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        load(written(tmp_path, WRONG[what]))


def test_a_prompt_that_is_not_utf8_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "own.j2").write_bytes((FRONT + BODY.replace("brief", "bréf")).encode("latin-1"))
    with pytest.raises(UserError, match=r"own\.j2"):
        load(str(tmp_path / "own.j2"))


def test_a_byte_order_mark_that_an_editor_left_is_no_part_of_the_front_matter(tmp_path: Path) -> None:
    assert render(written(tmp_path, "\ufeff" + FRONT + BODY), topic="bees").messages[0].content == "Be brief."


@pytest.mark.parametrize("name", ["tripels", "no/such.j2"])
def test_a_prompt_that_is_not_there_is_a_clear_error(name: str) -> None:
    with pytest.raises(UserError, match="triples"):
        load(name)


def test_a_misspelt_bundled_prompt_is_answered_with_the_right_name() -> None:
    with pytest.raises(UserError, match="Did you mean 'triples'"):
        load("tripels")


@pytest.mark.parametrize("given_variables", [{}, {"topic": "bees", "mood": "glad"}, {"mood": "glad"}])
def test_variables_that_a_prompt_does_not_declare_or_that_are_missing_are_an_error(
    tmp_path: Path, given_variables: dict[str, str]
) -> None:
    with pytest.raises(UserError, match="topic"):
        render(written(tmp_path, FRONT + BODY), **given_variables)


# --- the canary: a template that lost what it is about ---


def lame(tmp_path: Path, name: str, line: str, instead: str) -> str:
    text = (FOLDER / f"{name}.j2").read_text(encoding="utf-8")
    assert line in text
    return written(tmp_path, text.replace(line, instead))


@pytest.mark.parametrize(
    "instead",
    [
        "{% if sentence %}[{{ loop.index }}] ...{% endif %}",  # used, and not shown
        "[{{ loop.index }}] {{ sentence[:10] }}",
        "[{{ loop.index }}] {{ sentence | upper }}",
        "{% if loop.first %}[{{ loop.index }}] {{ sentence }}{% endif %}",
    ],
)
def test_a_generation_prompt_that_loses_its_source_is_refused(tmp_path: Path, instead: str) -> None:
    writer = make_triples(prompt=lame(tmp_path, "triples", "[{{ loop.index }}] {{ sentence }}", instead))
    with pytest.raises(UserError, match="must read"):
        writer.rehearse(make_chunk())


@pytest.mark.parametrize(
    ("line", "instead"), [("{{ instruction }}", "{{ instruction | upper }}"), ("{{ passage }}", "")]
)
def test_an_answering_prompt_that_loses_the_instruction_or_the_passage_is_refused(
    tmp_path: Path, line: str, instead: str
) -> None:
    own = lame(tmp_path, "answer", line, instead)
    with pytest.raises(UserError, match="must read"):
        make_triples(draws=1, show_passage=True, answer_prompt=own).rehearse(make_chunk())
    make_triples(answer_prompt=own).rehearse(make_chunk())  # nobody will be asked by it


@pytest.mark.parametrize("name", ["instruction", "first", "second"])
@pytest.mark.parametrize("instead", ["{% if NAME %}...{% endif %}", "{{ NAME[:5] }}", "{{ NAME | lower }}"])
def test_a_judging_prompt_that_loses_the_question_or_an_answer_is_refused(
    tmp_path: Path, name: str, instead: str
) -> None:
    line = "{{ NAME }}".replace("NAME", name)
    judge = make_judge(prompt=lame(tmp_path, "pairwise", line, instead.replace("NAME", name)))
    with pytest.raises(UserError, match="must read"):
        judge.rehearse(make_showing("The FIRST answer.", "The SECOND answer.", "The QUESTION?"))
