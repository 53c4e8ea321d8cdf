"""Prompts are data: one `.j2` file each, with front matter, versioned by the digest of its text.

    ---
    purpose: what it is for
    variables: [sentences, per_chunk]
    source: where the method comes from
    ---
    {% block system %}what never changes, so that providers' caches serve it{% endblock %}
    {% block user %}what changes, last{% endblock %}

The declared variables must equal the used ones: a template whose placeholder was never filled once made a whole
published dataset that had never seen its source.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal

import yaml
from jinja2 import Environment, StrictUndefined, Template, TemplateError, meta, nodes
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import UserError, did_you_mean
from pipeline.identity import digest
from pipeline.records import Message, PromptRef, Rendered

FOLDER = Path(__file__).parent
"""Where the bundled prompts are."""


class FrontMatter(BaseModel):
    """What a prompt says about itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    purpose: str
    """What the prompt is for."""
    variables: frozenset[str]
    """Names that must be given to render it: exactly those that it uses."""
    source: str
    """Where the method comes from."""


class Prompt(BaseModel):
    """A prompt file, read and checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ref: PromptRef
    """Name and version."""
    front: FrontMatter
    """What it says about itself."""
    body: str
    """The template with its blocks `system` and `user`."""


def bundled() -> list[str]:
    """Names of the prompts that come with pairwright."""
    return sorted(path.stem for path in FOLDER.glob("*.j2"))


def load(name: str) -> Prompt:
    """A bundled prompt by name, or one of the user's own by the path of its `.j2` file.

    Raises:
        UserError: no such prompt, not UTF-8, bad front matter, a template error, another file taken in, or variables
            that are declared and not used, or used and not declared.
    """
    path = Path(name) if name.endswith(".j2") else FOLDER / f"{name}.j2"
    try:
        return _load(path)
    except OSError as error:
        known = did_you_mean(name, bundled())
        raise UserError(f"no prompt {name!r}", remedy=f"Give a bundled name or a .j2 file. {known}") from error


@lru_cache(maxsize=64)
def _load(path: Path) -> Prompt:
    """Read once: a prompt that is edited while a run is under way belongs to the next run."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError("not UTF-8", where=str(path), remedy="Save the prompt as UTF-8") from error
    front, body = _split(text, path)
    used = _used(body, path)
    if used != front.variables:
        odd = ", ".join(sorted(used ^ front.variables))
        raise UserError(
            f"declared and used variables differ: {odd}",
            where=str(path),
            remedy="List in `variables` exactly the names that the template uses",
        )
    return Prompt(ref=PromptRef(name=path.stem, version=digest("prompt", text)), front=front, body=body)


def _split(text: str, path: Path) -> tuple[FrontMatter, str]:
    parts = text.removeprefix("\ufeff").split("---\n", 2)  # some editors begin UTF-8 with this mark
    if len(parts) != 3 or parts[0]:  # noqa: PLR2004  nothing, front matter, body
        raise UserError("no front matter", where=str(path), remedy="Begin with a YAML block between two lines of ---")
    try:
        return FrontMatter.model_validate(yaml.safe_load(parts[1])), parts[2]
    except (yaml.YAMLError, ValueError) as error:  # ValueError is pydantic's, and YAML's for a date such as 2026-13-01
        raise UserError(
            f"bad front matter: {_on_one_line(error)}",
            where=str(path),
            remedy="It holds purpose, variables (a list of names) and source",
        ) from error


def _on_one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(": ".join((*map(str, fault["loc"]), fault["msg"])) for fault in error.errors())
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 2}"  # counted from 0, below the line of ---
    return " ".join(str(error).split()).rstrip(".")


def _environment() -> Environment:
    # Not HTML: autoescape would change the author's words.
    return Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701


TAKES_IN: tuple[type[nodes.Node], ...] = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)
"""What would take in another file, whose text the version does not cover."""


def _used(body: str, path: Path) -> frozenset[str]:
    try:
        tree = _environment().parse(body)
        blocks = _environment().from_string(body).blocks
    except TemplateError as error:
        raise _bad_template(error, str(path)) from error
    if any(tree.find_all(TAKES_IN)):
        raise UserError(
            "takes in another file (include, extends or import)",
            where=str(path),
            remedy="A prompt is one file: write the other's text into it",
        )
    if set(blocks) != {"system", "user"}:
        raise UserError("needs the blocks `system` and `user`, no others", where=str(path))
    return frozenset(meta.find_undeclared_variables(tree))


def _bad_template(error: Exception, where: str) -> UserError:
    return UserError(f"bad template: {_on_one_line(error)}", where=where, remedy="See Jinja's documentation")


def render(name: str, must_show: Iterable[str] = (), **variables: object) -> Rendered:
    """The messages of a prompt with its variables filled in.

    `must_show` is the canary: texts that the model must read, character by character.

    Raises:
        UserError: as `load`; or the variables given are not those that the prompt declares; or it cannot be filled in
            (an attribute that is not there, a sum over words); or a text that must show does not, since a template
            that loses its source makes a dataset that never saw it.
    """
    prompt = load(name)
    if set(variables) != prompt.front.variables:
        raise UserError(
            f"needs the variables {sorted(prompt.front.variables)}, was given {sorted(variables)}",
            where=f"prompt {name!r}",
            remedy="A prompt of your own must use every variable that the bundled one uses",
        )
    try:
        messages = (_message("system", prompt, variables), _message("user", prompt, variables))
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:  # the template's own sums too
        raise _bad_template(error, f"prompt {name!r}") from error
    for text in must_show:
        if not any(text in message.content for message in messages):
            raise UserError(
                f"the prompt does not show {text[:40]!r}, which the model must read",
                where=f"prompt {name!r}",
                remedy="The template must show what it is about as it stands",
            )
    return Rendered(messages=messages, prompt=prompt.ref)


@lru_cache(maxsize=64)
def _template(body: str) -> Template:
    return _environment().from_string(body)


def _message(role: Literal["system", "user"], prompt: Prompt, variables: dict[str, object]) -> Message:
    template = _template(prompt.body)
    context = template.new_context(variables)
    return Message(role=role, content="".join(template.blocks[role](context)).strip())
