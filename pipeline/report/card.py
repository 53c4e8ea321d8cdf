"""The dataset card: what the rows are, how they were made, in numbers, and how to load them."""

from __future__ import annotations

import re

from huggingface_hub import DatasetCardData

from pipeline.records import Audit, Quality
from pipeline.report.quality import worth
from pipeline.report.summary import NO_MODEL, behaviour, stages, strengths
from pipeline.report.words import dollars, listed, usd
from pipeline.store import DatasetFacts, Manifest

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card(manifest: Manifest, recipe: str) -> str:
    """The README.md of a dataset folder; `recipe` is the recipe's text."""
    sections = (
        _head(manifest),
        _making(manifest),
        _judges(manifest.audit),
        _counts(manifest),
        _quality(manifest.quality),
        _costs(manifest),
        _licences(manifest.dataset),
        _recipe(recipe),
    )
    return f"---\n{_data(manifest).to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _data(manifest: Manifest) -> DatasetCardData:
    licences = [licence for licence in manifest.dataset.licences if licence]
    single = licences[0] if len(licences) == 1 and len(manifest.dataset.licences) == 1 else "other"
    return DatasetCardData(
        license=single.lower(),
        task_categories=["text-generation"],
        tags=["preference", "dpo", "trl", "synthetic"],
        size_categories=next((name for bound, name in SIZES if manifest.dataset.rows < bound), "n>1M"),
        configs=[{"config_name": "default", "data_files": _data_files(manifest.dataset)}],
    )


def _data_files(data: DatasetFacts) -> list[dict[str, str]]:
    rows = {"train": data.train, "test": data.test}
    return [{"split": name, "path": f"data/{name}-*.parquet"} for name, count in rows.items() if count]


def _head(manifest: Manifest) -> str:
    warning = f"> **{NO_MODEL}**\n\n" if manifest.embedded else ""
    data = manifest.dataset
    return (
        f"# {manifest.name}\n\n{warning}"
        f"{data.rows:,} preference pairs (prompt, chosen, rejected) from {data.articles:,} articles: {data.train:,} to "
        f"train on and {data.test:,} held out, split by article.\n\n"
        "```python\nfrom datasets import load_dataset\n\n"
        'pairs = load_dataset("path/to/this/folder")\n```\n\n'
        "`prompt`, `chosen` and `rejected` are conversational, as TRL's DPOTrainer reads them. An extracted answer is "
        "cut from its article, character by character, at `extracted_spans`; `candidates` says how many answers "
        "competed, and `votes` holds every verdict between the two that became the pair."
    )


def _making(manifest: Manifest) -> str:
    data = manifest.dataset
    rows = max(1, data.rows)
    facts = {
        "run": manifest.run_id,
        "made by": f"pairwright {manifest.version}",
        "models": ", ".join(f"{model} ({engine})" for engine, model in manifest.models.items()),
        "prompts": ", ".join(f"{name} {version}" for name, version in manifest.prompts.items()),
        "calls": f"{manifest.bill.calls:,}, {dollars(manifest.bill)}",
        "mean characters, chosen": f"{data.chosen_characters / rows:,.0f}",
        "mean characters, rejected": f"{data.rejected_characters / rows:,.0f}",
        "chosen is the longer answer": f"{data.chosen_longer / rows:.0%} of rows",
    }
    return "## How it was made\n\n| | |\n|---|---|\n" + "\n".join(
        f"| {key} | {value} |" for key, value in facts.items()
    )


def _judges(audit: Audit) -> str:
    """How the judges behaved; a share of 0.5 for the first answer is fair."""
    lines = [f"- {name} ({judge.verdicts:,} verdicts): {behaviour(judge)}" for name, judge in audit.judges.items()]
    baseline = f"- the chosen answer is the longer one in {audit.longer_wins}" if audit.longer_wins else ""
    more = [f"- {line}" for line in strengths(audit)]
    body = "\n".join(filter(None, [*lines, baseline, *more])) or "No judge was asked."
    return f"## How the judges behaved\n\nShares with 95% intervals, by instruction.\n\n{body}"


def _counts(manifest: Manifest) -> str:
    rows = [
        f"| {name} | {count.seen:,} | {count.kept:,} | {listed(count.dropped)} | {listed(count.failed)} |"
        for stage, name in stages(manifest).items()
        for count in [manifest.counts[stage]]
    ]
    return (
        "## What was kept, and what was not\n\n| | in | on | dropped | failed |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
    )


def _quality(quality: Quality) -> str:
    rows = [f"| {it.name} | {it.outlook} | {_cell(it.words)} |" for it in quality.measures]
    return (
        "## What was looked for\n\n`pairwright audit` tells the same of any dataset.\n\n| | | |\n|---|---|---|\n"
        + "\n".join([*rows, "", worth(quality.rows)])
    )


def _costs(manifest: Manifest) -> str:
    parts = {"all": manifest.bill} | manifest.by_stage | {f"engine {k}": bill for k, bill in manifest.by_engine.items()}
    rows = [
        f"| {name} | {bill.calls:,} | {bill.prompt_tokens:,} | {bill.cached_tokens:,} | {bill.completion_tokens:,} | "
        f"{dollars(bill)} |"
        for name, bill in parts.items()
    ]
    each = "" if manifest.usd_per_pair is None else f"\n\nThat is {usd(manifest.usd_per_pair)} for each pair."
    return (
        "## What it cost\n\nAll replies that the dataset rests on, whenever they were paid for.\n\n"
        "| | calls | tokens sent | of them cached | tokens received | cost |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + each
    )


def _licences(data: DatasetFacts) -> str:
    rows = [
        f"| {_cell(licence) or 'not stated by the source'} | {count:,} |" for licence, count in data.licences.items()
    ]
    return (
        "## Licences\n\nThe articles keep their own licences; the generator's terms apply to generated answers.\n\n"
        "| licence of the article | rows |\n|---|---|\n" + "\n".join(rows)
    )


def _recipe(recipe: str) -> str:
    longest = max(map(len, re.findall("`{3,}", recipe)), default=2)
    fence = "`" * (longest + 1)  # so that no fence in the recipe can close ours
    return f"## Recipe\n\n{fence}yaml\n{recipe.strip()}\n{fence}"


def _cell(text: str) -> str:
    """A text that cannot break the table it stands in."""
    return " ".join(text.replace("|", "\\|").split())
