"""What every part that a recipe can use keeps to, run over all that are registered."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from judges.calibration import Calibration, save
from pipeline.errors import UserError
from pipeline.recipe import parse
from pipeline.records import Address
from pipeline.registry import PARTS, Engine, Filter, Generator, Judge, Part, Policy, Ranking, Source, known, register

KINDS: dict[str, type[Part]] = {
    "source": Source,
    "engine": Engine,
    "generator": Generator,
    "judge": Judge,
    "policy": Policy,
    "ranking": Ranking,
    "filter": Filter,
}

SAMPLE: dict[str, object] = {
    "engine": "writer",
    "model": "some-model",
    "benchmarks": [{"path": "questions.jsonl"}],
    "ledger": "ledger.sqlite",
    "provider": "https://api.openai.com/v1",
}
"""A value for each option that parts need; one that is new goes here."""

SAMPLES: dict[str, dict[str, object]] = {
    "articles": {"path": "articles.json"},
    "instructions": {"path": "tasks.json"},
    "contrast": {"weak": "writer"},
}
"""The same for parts that need one of several options."""

OF_TASKS = {"instructions", "sample", "directed", "contrast", "revise"}
"""Parts that are for tasks, and fit no recipe about articles."""

REGISTERED = [(kind, name) for kind in PARTS for name in known(kind)]

each_part = pytest.mark.parametrize(("kind", "name"), REGISTERED, ids=[f"{kind} {name}" for kind, name in REGISTERED])


class _Writer:
    """An engine as far as a recipe's other parts know it."""

    def address(self, name: str) -> Address:
        """How it is addressed."""
        return Address(engine=name, model="m", provider="p", family="f")


@pytest.fixture(autouse=True, scope="session")
def _a_calibration(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    save(Calibration(gold="0", pairs=0, judges={}), path)
    SAMPLE["calibration"] = str(path)


@pytest.fixture(autouse=True)
def _a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


def _named(part: type[Part]) -> dict[str, FieldInfo]:
    """A part's options as a recipe names them."""
    return {field.alias or option: field for option, field in part.model_fields.items()}


def _options(part: type[Part], name: str) -> dict[str, object]:
    needed = {option: SAMPLE[option] for option, field in _named(part).items() if field.is_required()}
    return {"use": name, **needed, **SAMPLES.get(name, {})}


def _make(part: type[Part], options: dict[str, Any]) -> Part:
    return part.model_validate(options, context={"engines": {"writer": _Writer()}, "folder": Path("/somewhere")})


def test_every_kind_has_at_least_one_part() -> None:
    assert set(PARTS) == set(KINDS)
    assert {kind for kind, _ in REGISTERED} == set(PARTS)


@each_part
def test_a_part_is_what_its_kind_says_and_lives_in_its_package(kind: str, name: str) -> None:
    part = known(kind)[name]
    assert issubclass(part, KINDS[kind])
    assert part.__module__.rpartition(".")[0] == PARTS[kind]
    assert {"policy": "deliberate", "ranking": "contest"}.get(kind, "__call__") in vars(part)


@each_part
def test_the_name_in_a_recipe_is_the_only_value_of_use_and_its_default(kind: str, name: str) -> None:
    use = known(kind)[name].model_fields["use"]
    assert use.default == name
    assert get_args(use.annotation) == (name,)


@each_part
def test_a_part_and_each_of_its_options_is_described(kind: str, name: str) -> None:
    part = known(kind)[name]
    assert "__doc__" in vars(part)
    assert (part.__doc__ or "").strip()
    assert [option for option, field in part.model_fields.items() if not (field.description or "").strip()] == []


@each_part
def test_settings_are_frozen(kind: str, name: str) -> None:
    part = known(kind)[name]
    made = _make(part, _options(part, name))
    for option in part.model_fields:
        with pytest.raises(ValidationError):
            setattr(made, option, getattr(made, option))


@each_part
def test_a_misspelt_option_is_refused_with_the_right_name(kind: str, name: str) -> None:
    part = known(kind)[name]
    for option in (option for option in _named(part) if len(option) > 3):
        text = yaml.safe_dump(_recipe_with(kind, _options(part, name) | {option + "x": 1}))
        with pytest.raises(UserError, match=re.escape(f"{option}x: ")) as caught:
            parse(text, Path("/somewhere/recipe.yaml"))
        assert f"Did you mean '{option}'?" in str(caught.value)
        assert "\n" not in str(caught.value)


@each_part
def test_a_part_survives_the_way_to_another_process(kind: str, name: str) -> None:
    part = known(kind)[name]
    made = _make(part, _options(part, name))
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert type(again) is part
    assert again.model_dump() == made.model_dump()


@each_part
def test_equal_options_make_equal_parts(kind: str, name: str) -> None:
    part = known(kind)[name]
    assert _make(part, _options(part, name)) == _make(part, _options(part, name))


def _recipe_with(kind: str, part: dict[str, object]) -> dict[str, Any]:
    recipe: dict[str, Any] = {
        "name": "every",
        "sources": [{"use": "articles", "path": "a"}],
        "engines": {"writer": {"use": "offline"}},
        "generate": {"use": "triples", "engine": "writer"},
        "judge": {"label": "extracted"},
    }
    if part["use"] in OF_TASKS:
        recipe["sources"] = [{"use": "instructions", "path": "a"}]
        recipe["generate"] = {"use": "sample", "engine": "writer"}
        recipe["judge"] = {"jury": [{"use": "pairwise", "engine": "writer"}]}
    match kind:
        case "source":
            recipe["sources"] = [part]
        case "engine":
            recipe["engines"]["other"] = part
        case "generator":
            recipe["generate"] = part
        case "judge":
            recipe["judge"]["jury"] = [part]
        case "policy":
            recipe["judge"]["policy"] = part
        case "ranking":
            recipe["judge"]["rank"] = part
        case "filter":
            recipe["filters"] = [part]
    return recipe


@each_part
def test_a_recipe_takes_every_part_by_its_name(kind: str, name: str) -> None:
    recipe = _recipe_with(kind, _options(known(kind)[name], name))
    made = parse(yaml.safe_dump(recipe), Path("/somewhere/recipe.yaml")).recipe
    deciding = [*made.judge.jury, made.judge.policy, made.judge.rank]
    found = [*made.sources, *made.engines.values(), made.generate, *deciding, *made.filters]
    assert any(type(item) is known(kind)[name] for item in found)


def test_parts_are_listed_in_alphabetical_order() -> None:
    for kind in PARTS:
        assert list(known(kind)) == sorted(known(kind))


def test_a_second_part_of_one_name_is_refused() -> None:
    class Impostor(Filter):
        """Calls itself length."""

        use: Literal["length"] = "length"
        """Its name in a recipe."""

    before = known("filter")["length"]
    with pytest.raises(ValueError, match="two filters are called 'length'"):
        register("filter")(Impostor)
    assert known("filter")["length"] is before


@pytest.mark.parametrize(
    ("model", "family"),
    [("gpt-4o-mini", "gpt"), ("Qwen/Qwen3-8B", "qwen"), ("meta-llama/Llama-3.1-8B", "llama"), ("o3", "o")],
)
def test_a_models_family_is_the_letters_that_its_name_begins_with(model: str, family: str) -> None:
    engine = _make(known("engine")["openai"], {"use": "openai", "model": model})
    assert isinstance(engine, Engine)
    assert engine.address("writer").family == family
    assert engine.model_copy(update={"family": "own"}).address("writer").family == "own"
