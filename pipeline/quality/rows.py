"""Rows of any preference dataset: ours, a peer's, one from the Hub, told apart by their columns.

    prompt, chosen, rejected                     TRL: texts, or lists of messages ({role, content} or {from, value})
    chosen, rejected                             TRL with the prompt inside: what both begin with, up to an answer
    prompt (text), chosen, rejected (messages)    UltraFeedback: the turns that both sides begin with are the prompt
    instruction, input, chosen, rejected         Alpaca with two answers; `history` holds pairs of turns
    conversations, chosen, rejected, system      ShareGPT, as LLaMA-Factory reads it
    question | query | instruction for `prompt`, and `<side>_response` or `response_<side>` for a side

A row that lacks a text stays a row, with an empty one: that is one of the faults that are looked for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.errors import ProviderDown, UserError
from pipeline.store import DATASET, MANIFEST

PROMPTS = ("prompt", "question", "query", "conversations", "messages", "instruction")
"""Columns that may hold the prompt, the likeliest first."""

SIDES = ("{}", "{}_response", "response_{}", "{}_answer", "answer_{}")
"""What the column of a chosen or rejected answer may be called."""

SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"} | {
    "function_call": "call",
    "observation": "tool",
}
"""Roles, and what ShareGPT calls them."""

TEXTS = ("prompt", "conversations", "instruction", "input", "history", "system", "chosen", "rejected")
"""The columns of our own datasets that hold texts, in whatever layout."""

READERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
"""Files that can be read, by their ending."""


@dataclass(frozen=True, slots=True)
class Row:
    """One pair."""

    place: str
    """Where it stands, such as `train[17]`."""
    split: str
    """Its split."""
    prompt: str
    """All turns up to the answers; the instruction alone if there is one turn."""
    instruction: str
    """The last thing that was asked."""
    chosen: str
    """The better answer; empty if the row has none."""
    rejected: str
    """The worse answer; empty if the row has none."""


def dataset_of(name: str) -> str:
    """The dataset that a name stands for: of a run's folder the dataset inside it."""
    path = Path(name)
    return str(path / DATASET) if (path / MANIFEST).is_file() else name


def read_rows(dataset: str, *, config: str | None = None, split: str | None = None) -> Iterator[Row]:
    """Every row of a dataset, split by split.

    Args:
        dataset: a run's folder, a dataset's folder, a .parquet, .jsonl, .json or .csv file, or an id on the Hub, with
            `@revision` behind it if need be.
        config: which configuration, if it has several.
        split: which split; by default all.

    Raises:
        UserError: there is no such dataset, or its columns are not those of pairs.
        ProviderDown: the Hub cannot be reached.
    """
    with _translated(dataset):
        for name, rows in _splits(dataset_of(dataset), dataset, config, split):
            for index, raw in enumerate(rows):
                yield row_of(raw, f"{name}[{index}]", name, dataset)


@contextmanager
def _translated(dataset: str) -> Iterator[None]:
    """What `datasets` raises, in our words."""
    for name in ("datasets", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they tell of every try; we tell the outcome
    try:
        yield
    except ConnectionError as error:
        raise ProviderDown(f"the Hub cannot be reached: {error}", where=dataset, remedy="Try again later") from error
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        remedy = "Check its name, config and split"
        raise UserError(f"cannot be loaded: {reason}", where=dataset, remedy=remedy) from error


def read_parquet(folder: Path) -> Iterator[Row]:
    """Every row of a dataset that a run has just written: `data/<split>-*.parquet`."""
    for path in sorted((folder / "data").glob("*.parquet"), reverse=True):  # train before test
        split = path.name.partition("-")[0]
        file = pq.ParquetFile(path)
        columns = [name for name in TEXTS if name in file.schema_arrow.names]
        rows = (row for batch in file.iter_batches(columns=columns) for row in batch.to_pylist())
        for index, raw in enumerate(rows):
            yield row_of(raw, f"{split}[{index}]", split, str(folder))


def _splits(
    dataset: str, shown: str, config: str | None, split: str | None
) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from datasets import load_dataset, load_from_disk  # noqa: PLC0415  0.9 s that only datasets need

    path = Path(dataset)
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        loaded: Any = load_from_disk(dataset)
    elif path.is_file() and not path.stat().st_size:
        raise UserError("there is nothing in it", where=shown, remedy="Name a file with rows")
    elif path.suffix in READERS and not path.exists():
        raise UserError("there is no such file", where=shown, remedy="Check its path")
    elif path.is_file():
        loaded = load_dataset(_reader(path), data_files=str(path), streaming=True)
    else:
        name, _, revision = dataset.partition("@") if not path.exists() else (dataset, "", "")
        loaded = load_dataset(name, config, revision=revision or None, streaming=True)
    splits: Mapping[str, Any] = loaded if isinstance(loaded, dict) else {"train": loaded}
    if split is not None and split not in splits:
        raise UserError(f"no split {split!r}", where=shown, remedy=f"It has {', '.join(splits)}")
    for name in [split] if split else splits:
        yield name, iter(splits[name])


def _reader(path: Path) -> str:
    if path.suffix not in READERS:
        raise UserError("not a file of rows", where=str(path), remedy=f"Name one that ends in {', '.join(READERS)}")
    return READERS[path.suffix]


def row_of(raw: Mapping[str, Any], place: str, split: str, dataset: str) -> Row:
    """A row in whatever format.

    Raises:
        UserError: its columns are not those of a pair.
    """
    chosen, rejected = (_side(raw, side, dataset) for side in ("chosen", "rejected"))
    first, second = _turns(chosen), _turns(rejected)
    before = _prompt(raw)
    if before is None or (len(before) == 1 and len(first) > 1):  # the prompt told as one text, and again in turns
        before = _shared(first, second) or before or []
    turns = [f"{role}: {text}" for role, text in before] if len(before) > 1 else [text for _, text in before]
    asked = next((text for role, text in reversed(before) if role == "user"), "")
    return Row(place, split, "\n".join(turns), asked, _answer(first, before), _answer(second, before))


def _side(raw: Mapping[str, Any], side: str, dataset: str) -> Any:
    column = next((name.format(side) for name in SIDES if name.format(side) in raw), None)
    if column is None:
        found = f"Its columns: {', '.join(raw) or 'none'}"
        raise UserError(f"no column {side!r}: not a dataset of pairs", where=dataset, remedy=found)
    return raw[column]


Turns = list[tuple[str, str]]
"""Roles and texts."""


def _turns(value: Any) -> Turns:
    """Messages, or a text as the one thing that an assistant says; nothing for what is neither."""
    if isinstance(value, str):
        return [("assistant", value)]
    if isinstance(value, Mapping):
        value = [value]
    return [_turn(item) for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _turn(item: Mapping[str, Any]) -> tuple[str, str]:
    role = item.get("role") or item.get("from") or ""
    words = item.get("content") if "content" in item else item.get("value")
    return SPEAKERS.get(str(role), str(role)), words if isinstance(words, str) else ""


def _prompt(raw: Mapping[str, Any]) -> Turns | None:
    """The turns before the answers; None if they are inside the answers."""
    column = next((name for name in PROMPTS if raw.get(name) is not None), None)
    if column is None:
        return None
    value = raw[column]
    if isinstance(value, str):
        more = raw.get("input") if column == "instruction" else None
        value = f"{value}\n{more}" if isinstance(more, str) and more else value
        before: Turns = [*_history(raw.get("history")), ("user", value)]
    else:
        before = _turns(value)
    system = raw.get("system")
    return [("system", system), *before] if isinstance(system, str) and system else before


def _history(value: Any) -> Turns:
    """Alpaca's earlier turns: pairs of what was asked and answered."""
    pairs = [pair for pair in value if isinstance(pair, list | tuple)] if isinstance(value, list) else []
    return [turn for asked, answered in pairs for turn in (("user", asked), ("assistant", answered))]


def _shared(first: Turns, second: Turns) -> Turns:
    """What both begin with, less an answer at its end."""
    count = 0
    while count < min(len(first), len(second)) and first[count] == second[count]:
        count += 1
    shared = first[:count]
    while shared and shared[-1][0] == "assistant":
        shared.pop()
    return shared


def _answer(turns: Turns, before: Turns) -> str:
    """What a side says after the prompt, which some formats repeat in it."""
    rest = turns[len(before) :] if before and turns[: len(before)] == before else turns
    return "\n".join(text for role, text in rest if role == "assistant")
