"""Fields that need more than a type: secrets, paths, prompts, engines; and groups of options as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.options import EngineName, Options, PromptName, RecipePath, Secret
from pipeline.records import Address


class Camera(Options):
    """A group of options with one field of each kind."""

    lens: RecipePath = Path("lens.glass")
    """A file."""
    manual: PromptName = "manual"
    """A prompt."""
    key: Secret = None
    """A secret."""
    writer: EngineName | None = None
    """An engine."""


class Named:
    """An engine as far as a recipe's other parts know it."""

    def address(self, name: str) -> Address:
        """How it is addressed."""
        return Address(engine=name, model="m", provider="p", family="f")


def _mistakes(data: dict[str, object], context: dict[str, object] | None = None) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Camera.model_validate(data, context=context)
    return [detail["msg"] for detail in caught.value.errors()]


def test_every_misspelt_option_of_a_group_is_refused_not_only_the_first() -> None:
    assert len(_mistakes({"manuel": "x", "lenz": "y"})) == 2


def test_options_are_frozen() -> None:
    camera = Camera()
    with pytest.raises(ValidationError):
        camera.manual = "other"  # type: ignore[misc]


def test_a_path_is_relative_to_the_recipes_folder_and_an_absolute_one_stays(tmp_path: Path) -> None:
    context = {"folder": tmp_path}
    assert Camera.model_validate({"lens": "a/b.glass"}, context=context).lens == tmp_path / "a/b.glass"
    assert Camera.model_validate({"lens": "/a/b.glass"}, context=context).lens == Path("/a/b.glass")


def test_a_prompt_is_a_bundled_name_or_a_file_relative_to_the_recipes_folder(tmp_path: Path) -> None:
    context = {"folder": tmp_path}
    assert Camera.model_validate({"manual": "pairwise"}, context=context).manual == "pairwise"
    assert Camera.model_validate({"manual": "own.j2"}, context=context).manual == str(tmp_path / "own.j2")


def test_a_secret_is_read_from_the_environment_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_KEY", "hunter2")
    camera = Camera.model_validate({"key": "${CAMERA_KEY}"})
    assert camera.key is not None
    assert camera.key.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{camera!r} {camera} {camera.model_dump()} {camera.model_dump_json()}"


@pytest.mark.parametrize("value", [None, ""])
def test_a_secret_whose_variable_is_not_set_or_empty_is_refused_by_name(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAMERA_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("CAMERA_KEY", value)
    (mistake,) = _mistakes({"key": "${CAMERA_KEY}"})
    assert "CAMERA_KEY is not set" in mistake


@given(st.text().filter(lambda text: not text.startswith("${")) | st.integers() | st.lists(st.text()))
@settings(deadline=None)
def test_a_secret_in_clear_is_always_refused_in_the_same_words(value: object) -> None:
    assert _mistakes({"key": value}) == _mistakes({"key": "sk-something"})


def test_the_message_about_a_secret_shows_the_form_that_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "hunter2")
    (mistake,) = _mistakes({"key": "in clear"})
    shown = next(word for word in mistake.replace(",", " ").split() if word.startswith("$"))
    assert Camera.model_validate({"key": shown}).key is not None


@pytest.mark.parametrize("almost", ["x${HOME}", "${HOME}x", "$HOME", "${HOME", "${}", "${HOME}\n"])
def test_only_a_whole_reference_is_one(almost: str) -> None:
    assert len(_mistakes({"key": almost})) == 1


def test_an_engine_is_named_and_its_address_held() -> None:
    camera = Camera.model_validate({"writer": "pen"}, context={"engines": {"pen": Named()}})
    assert camera.writer == Address(engine="pen", model="m", provider="p", family="f")


@pytest.mark.parametrize("name", ["pin", 5, ["pen"], None])
def test_an_engine_that_the_recipe_does_not_have_is_refused_with_the_nearest_name(name: object) -> None:
    class Needs(Options):
        writer: EngineName

    with pytest.raises(ValidationError, match="no engine is called so"):
        Needs.model_validate({"writer": name}, context={"engines": {"pen": Named()}})
    if name == "pin":
        with pytest.raises(ValidationError, match="Did you mean 'pen'"):
            Needs.model_validate({"writer": name}, context={"engines": {"pen": Named()}})
