"""Rows: every format in which pairs are published is read, and what is not pairs is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from pipeline.errors import UserError
from pipeline.quality.rows import Row, read_parquet, read_rows, row_of

ASKED, GOOD, BAD = "How do bees name a place?", "They dance.", "They do not."


def turn(role: str, words: str) -> dict[str, str]:
    return {"role": role, "content": words}


def sharegpt(role: str, words: str) -> dict[str, str]:
    return {"from": role, "value": words}


USER, YES, NO = turn("user", ASKED), turn("assistant", GOOD), turn("assistant", BAD)

FORMATS: dict[str, dict[str, Any]] = {
    "TRL, texts": {"prompt": ASKED, "chosen": GOOD, "rejected": BAD},
    "TRL, messages": {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
    "TRL, prompt inside": {"chosen": [USER, YES], "rejected": [USER, NO]},
    "UltraFeedback, binarised": {
        "prompt": ASKED,
        "chosen": [USER, YES],
        "rejected": [USER, NO],
        "messages": [USER, YES],
    },
    "Alpaca": {"instruction": ASKED, "input": "", "chosen": GOOD, "rejected": BAD},
    "ShareGPT": {
        "conversations": [sharegpt("human", ASKED)],
        "chosen": sharegpt("gpt", GOOD),
        "rejected": sharegpt("gpt", BAD),
        "tools": "[]",
    },
    "Orca": {"system": "", "question": ASKED, "chosen": GOOD, "rejected": BAD},
    "responses": {"prompt": ASKED, "chosen_response": GOOD, "rejected_response": BAD},
}


def read(raw: dict[str, Any]) -> Row:
    return row_of(raw, "train[0]", "train", "set")


@pytest.mark.parametrize("raw", FORMATS.values(), ids=FORMATS)
def test_the_same_pair_is_read_from_every_format(raw: dict[str, Any]) -> None:
    assert read(raw) == Row("train[0]", "train", ASKED, ASKED, GOOD, BAD)


def test_a_conversation_is_the_prompt_and_its_last_question_the_instruction() -> None:
    history = [turn("system", "Be brief."), turn("user", "Hello"), turn("assistant", "Hello."), USER]
    for raw in (
        {"prompt": history, "chosen": [YES], "rejected": [NO]},
        {"chosen": [*history, YES], "rejected": [*history, NO]},
    ):
        row = read(raw)
        assert row.prompt == f"system: Be brief.\nuser: Hello\nassistant: Hello.\nuser: {ASKED}"
        assert (row.instruction, row.chosen, row.rejected) == (ASKED, GOOD, BAD)


def test_an_input_belongs_to_the_prompt() -> None:
    assert read({"instruction": ASKED, "input": "Look closely.", "chosen": "a", "rejected": "b"}).prompt.endswith(
        "place?\nLook closely."
    )


def test_equal_answers_with_the_prompt_inside_are_still_answers() -> None:
    row = read({"chosen": [USER, YES], "rejected": [USER, YES]})
    assert (row.prompt, row.chosen, row.rejected) == (ASKED, GOOD, GOOD)


@pytest.mark.parametrize(
    "raw",
    [
        {"prompt": ASKED, "chosen": None, "rejected": BAD},
        {"prompt": ASKED, "chosen": [], "rejected": BAD},
        {"prompt": ASKED, "chosen": [{"role": "assistant", "content": None}], "rejected": BAD},
        {"prompt": ASKED, "chosen": 3, "rejected": BAD},
        {"prompt": ASKED, "chosen": "", "rejected": BAD},
    ],
)
def test_a_missing_answer_is_an_empty_one(raw: dict[str, Any]) -> None:
    assert read(raw).chosen == ""
    assert read(raw).rejected == BAD


def test_what_is_not_pairs_is_refused_and_its_columns_are_told() -> None:
    with pytest.raises(UserError, match=r"no column 'rejected'.*prompt, chosen"):
        read({"prompt": ASKED, "chosen": GOOD})


# --- files


ROWS = [FORMATS["TRL, texts"], {"prompt": "And tides?", "chosen": "By the moon.", "rejected": "By the sun."}]


def file_of(folder: Path, kind: str) -> Path:
    path = folder / f"pairs.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "csv":
        path.write_text("prompt,chosen,rejected\n" + "".join(",".join(row.values()) + "\n" for row in ROWS))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_rows_are_read_from_files(kind: str, tmp_path: Path) -> None:
    rows = list(read_rows(str(file_of(tmp_path, kind))))
    assert [(row.place, row.prompt, row.chosen) for row in rows] == [
        ("train[0]", ASKED, GOOD),
        ("train[1]", "And tides?", "By the moon."),
    ]


def test_all_splits_of_a_saved_dataset_are_read_or_the_one_that_is_named(tmp_path: Path) -> None:
    saved = DatasetDict({name: Dataset.from_list(ROWS) for name in ("train", "test")})
    saved.save_to_disk(str(tmp_path / "saved"))
    assert [row.split for row in read_rows(str(tmp_path / "saved"))] == ["train", "train", "test", "test"]
    assert [row.place for row in read_rows(str(tmp_path / "saved"), split="test")] == ["test[0]", "test[1]"]


def test_a_runs_own_dataset_is_read_train_before_test(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("test", "train"):
        pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "data" / f"{name}-00000-of-00001.parquet")
    assert [row.place for row in read_parquet(tmp_path)] == ["train[0]", "train[1]", "test[0]", "test[1]"]


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("pairs.docx", "x", "not a file of rows"),
        ("pairs.jsonl", "not JSON\n", "cannot be loaded"),
        ("pairs.jsonl", "", "there is nothing in it"),
        ("pairs.jsonl", '{"a": 1}\n', "no column 'chosen'"),
        ("pairs.parquet", "not Parquet", "cannot be loaded"),
    ],
)
def test_a_file_that_holds_no_pairs_is_refused(name: str, text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=what) as caught:
        list(read_rows(str(tmp_path / name)))
    assert name in caught.value.where


def test_a_split_that_is_not_there_is_named_beside_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no split 'tset'.*train"):
        list(read_rows(str(file_of(tmp_path, "jsonl")), split="tset"))


def test_a_file_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        list(read_rows(str(tmp_path / "nowhere.jsonl")))
