"""What is different between two datasets: every row is counted once, with the right reason."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.gates import missed_against
from pipeline.recipe import Gates
from pipeline.report.diff import Dataset, Diff, dataset_in, diff, table, words
from tests.support.build import STEADY

Row = dict[str, object]


def row(row_id: str, source: str = "s1", article: str = "a1", chosen: str = "Yes.", rejected: str = "No, no.") -> Row:
    turns = {name: [{"role": "user", "content": text}] for name, text in (("chosen", chosen), ("rejected", rejected))}
    more: Row = {"id": row_id, "source_id": source, "article_id": article, "title": f"On {source}", "strength": 1.0}
    return {"prompt": [{"role": "user", "content": "Why?"}], **turns, **more, "licence": "mit"}


EMPTY = pa.Table.from_pylist([row("x")]).slice(0, 0)


def dataset(folder: Path, rows: list[Row], name: str = "d") -> Dataset:
    path = folder / name / "train-0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows) if rows else EMPTY, path)
    return Dataset(name, (path,))


def between(folder: Path, old: list[Row], new: list[Row]) -> Diff:
    return diff(dataset(folder, old, "old"), dataset(folder, new, "new"))


def test_a_dataset_is_the_same_as_itself(tmp_path: Path) -> None:
    found = between(tmp_path, [row("1"), row("2")], [row("2"), row("1")])
    assert found.same
    assert (found.kept, found.added, found.removed, found.relabelled, found.sources) == (2, {}, {}, 0, {})
    assert found.line == "no row changed"


def test_each_row_that_came_or_went_has_the_reason_that_its_source_gives(tmp_path: Path) -> None:
    old = [row("kept"), row("gone", "s2"), row("edited", "s3", "a3"), row("rewritten", "s1")]
    new = [row("kept"), row("new", "s4"), row("edit", "s3", "a3b"), row("again", "s1")]
    found = between(tmp_path, old, new)
    assert found.removed == {"article edited": 1, "article withdrawn": 1, "written anew": 1}
    assert found.added == {"article edited": 1, "new article": 1, "written anew": 1}
    assert {name: (moved.added, moved.removed) for name, moved in found.sources.items()} == {
        "s1": (1, 1),
        "s2": (0, 1),
        "s3": (1, 1),
        "s4": (1, 0),
    }


def test_a_row_whose_verdicts_fell_otherwise_is_relabelled_and_neither_came_nor_went(tmp_path: Path) -> None:
    found = between(tmp_path, [row("1")], [row("1", chosen="No, no.", rejected="Yes.")])
    assert (found.relabelled, found.kept, found.added, found.removed) == (1, 0, {}, {})
    assert found.sources["s1"].relabelled == 1
    assert found.line == "+0 -0 rows, 1 relabelled"


IDS = st.sets(st.integers(0, 30))


@given(IDS, IDS, IDS)
@settings(STEADY, max_examples=40)
def test_every_row_is_counted_once_on_each_side(
    tmp_path_factory: pytest.TempPathFactory, old: set[int], new: set[int], flipped: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("diff")
    after = [row(str(one), chosen="Else." if one in flipped else "Yes.") for one in sorted(new)]
    found = between(folder, [row(str(one)) for one in sorted(old)], after)
    assert found.kept + found.relabelled + sum(found.removed.values()) == len(old) == found.old.rows
    assert found.kept + found.relabelled + sum(found.added.values()) == len(new) == found.new.rows
    assert found.relabelled == len(old & new & flipped)
    for what in ("added", "removed", "relabelled"):
        total = getattr(found, what)
        count = sum(getattr(moved, what) for moved in found.sources.values())
        assert count == (total if isinstance(total, int) else sum(total.values()))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
@settings(STEADY, max_examples=40)
def test_lengths_are_those_of_the_rows(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]) -> None:
    rows = [row(str(number), chosen="x" * length) for number, length in enumerate(lengths)]
    shape = between(tmp_path_factory.mktemp("diff"), [], rows).new
    assert shape.chosen_characters.mean == pytest.approx(mean(lengths))
    assert shape.chosen_characters.quantiles[2] == sorted(lengths)[len(lengths) // 2]
    assert shape.chosen_longer == sum(length > len("No, no.") for length in lengths) / len(lengths)
    assert shape.rejected_characters.quantiles == (7.0,) * 5


def test_rows_without_an_id_are_known_by_their_words(tmp_path: Path) -> None:
    def bare(chosen: str, rejected: str) -> Row:
        return {"prompt": "Why?", "chosen": chosen, "rejected": rejected}

    found = between(tmp_path, [bare("Yes.", "No."), bare("A.", "B.")], [bare("No.", "Yes."), bare("A.", "C.")])
    assert (found.relabelled, sum(found.added.values()), sum(found.removed.values())) == (1, 1, 1)


def test_columns_that_came_went_or_changed_are_named_and_gated(tmp_path: Path) -> None:
    old = [row("1") | {"stars": 5, "mood": "good"}]
    new = [row("1") | {"stars": "five", "note": "x"}]
    found = between(tmp_path, old, new)
    assert (found.columns_added, found.columns_removed) == (("note",), ("mood",))
    assert found.columns_changed == ("stars: int64 is string",)
    (missed,) = missed_against(Gates(), found)
    assert missed == "same_columns: mood is gone; stars: int64 is string, against old"
    assert missed_against(Gates(same_columns=False), found) == ()


@pytest.mark.parametrize(
    ("old", "new", "gate", "missed"),
    [
        (10, 8, 0.2, False),
        (10, 7, 0.2, True),
        (10, 7, 0.3, False),
        (0, 0, 0.2, False),
        (10, 0, 1.0, False),
        (5, 9, 0, False),
    ],
)
def test_a_dataset_may_shrink_as_far_as_the_gate_says(
    tmp_path: Path, old: int, new: int, gate: float, missed: bool
) -> None:
    found = between(tmp_path, [row(str(one)) for one in range(old)], [row(str(one)) for one in range(new)])
    assert bool(missed_against(Gates(at_most_shrunk=gate), found)) == missed


def test_a_folder_without_a_dataset_and_one_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dataset"):
        dataset_in(tmp_path)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"no preference dataset.*prompt"):
        diff(dataset_in(tmp_path), dataset_in(tmp_path))
    (tmp_path / "other.parquet").write_text("no table")
    with pytest.raises(UserError, match="cannot be read"):
        diff(dataset_in(tmp_path), dataset_in(tmp_path))


def test_in_words_it_has_the_counts_the_reasons_and_both_distributions(tmp_path: Path) -> None:
    old = [row(str(number), f"s{number}") for number in range(20)]
    found = between(tmp_path, old, [row("0", "s0"), row("99", "s99", chosen="Longer than it was.")])
    text = words(found)
    assert text.startswith("old -> new: +1 -19 rows\n")
    assert "article withdrawn 19" in text
    assert "... and 10 more sources" in text
    assert ("rows", "20", "2") in table(found)
    assert Diff.model_validate_json(found.model_dump_json()) == found
