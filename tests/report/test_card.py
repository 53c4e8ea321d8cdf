"""The card: metadata that the Hub and `datasets` believe must be true, and words that cannot break it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets.utils.info_utils import NonMatchingSplitsSizesError
from huggingface_hub import DatasetCard

from pipeline.report.card import Going, card, check_card
from pipeline.report.diff import dataset_in, diff
from pipeline.stages.publish import SCHEMA
from pipeline.store import Manifest
from tests.support.command import build, recipe_in, samples_in

RECIPE = "name: night\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("card")
    return build(recipe_in(home, sources=samples_in(home)), home / "outputs").folder


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "run.json").read_bytes())


def front(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text.split("---\n", 2)[1]))


def test_the_columns_on_the_card_are_as_datasets_itself_would_write_them(manifest: Manifest) -> None:
    told = front(card(manifest, RECIPE, SCHEMA))["dataset_info"]["features"]
    by_datasets = datasets.Features.from_arrow_schema(SCHEMA)
    assert datasets.Features._from_yaml_list(told) == by_datasets


def test_a_wrong_number_of_rows_on_the_card_is_found_by_datasets_and_the_right_one_is_not(
    folder: Path, manifest: Manifest, tmp_path: Path
) -> None:
    rows = datasets.load_dataset(str(folder / "dataset"), cache_dir=str(tmp_path / "good"))
    assert sum(len(split) for split in rows.values()) == manifest.dataset.rows
    wrong = tmp_path / "dataset"
    (wrong / "data").mkdir(parents=True)
    for path in (folder / "dataset" / "data").iterdir():
        (wrong / "data" / path.name).write_bytes(path.read_bytes())
    facts = manifest.dataset.but(train=manifest.dataset.train + 1)
    (wrong / "README.md").write_text(card(manifest.but(dataset=facts), RECIPE, SCHEMA))
    with pytest.raises(NonMatchingSplitsSizesError):
        datasets.load_dataset(str(wrong), cache_dir=str(tmp_path / "bad"))


def test_the_card_of_every_build_is_one_that_the_hubs_reader_understands(folder: Path, manifest: Manifest) -> None:
    check_card((folder / "dataset" / "README.md").read_text())
    data = DatasetCard(card(manifest, RECIPE, SCHEMA, Going("acme/prefs", ("en", "zh"), "CC-BY-4.0"))).data
    assert (data.language, data.license) == (["en", "zh"], "cc-by-4.0")
    with pytest.raises(ValueError, match="license"):
        check_card("---\ntags: [a]\n---\n# Hello\n")


@pytest.mark.parametrize(
    ("licences", "stated", "licence", "name"),
    [
        ({"CC0-1.0": 3}, "", "cc0-1.0", None),
        ({"House rules v2": 3}, "", "other", "House rules v2"),
        ({"mit": 1, "cc0-1.0": 2}, "", "other", "mixed"),
        ({"": 3}, "", "other", "not stated"),
        ({"mit": 1, "": 2}, "cc-by-sa-4.0", "cc-by-sa-4.0", None),
    ],
)
def test_a_licence_is_one_that_the_hub_knows_or_named_in_words_and_never_made_up(
    manifest: Manifest, licences: dict[str, int], stated: str, licence: str, name: str | None
) -> None:
    text = card(manifest.but(dataset=manifest.dataset.but(licences=licences)), RECIPE, SCHEMA, Going("a/b", (), stated))
    assert (front(text)["license"], front(text).get("license_name")) == (licence, name)
    for one in filter(None, licences):
        assert f"| {one} |" in text


def test_what_changed_is_told_and_a_title_breaks_no_table(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    old = dataset_in(folder)
    tables = []
    for path in old.files:
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            row["title"] = "Bees | and ---\n# a heading"
        tables.append(pa.Table.from_pylist(rows[1:], schema=SCHEMA))
    new = tmp_path / "new.parquet"
    pq.write_table(pa.concat_tables(tables), new)
    found = diff(old, dataset_in(tmp_path))
    text = card(manifest, RECIPE, SCHEMA, Going("acme/prefs", changes=found))
    section = text.split("## What changed")[1].split("\n## ")[0]
    assert f"| removed | {len(old.files)} | written anew {len(old.files)} |" in section
    assert not [line for line in section.splitlines() if line.startswith("# ")]
    assert "What changed" not in card(manifest, RECIPE, SCHEMA, Going("acme/prefs"))
