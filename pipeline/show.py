"""Finds a run and its ledger, and tells one record's walk through them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from pipeline.engines.ledger import Ledger
from pipeline.errors import UserError
from pipeline.report.walk import walk
from pipeline.store import find_run, last_ledger


def show(run: str, record: str | None, outputs: Path, ledger: str | None) -> str:
    """One record's whole walk, as text. `ledger` says where the replies are, if not where the run left them.

    Raises:
        UserError: no such run or record, or the ledger is not there.
    """
    folder = find_run(run, outputs)
    location = ledger or last_ledger(folder)
    if location is None or ("://" not in location and not Path(location).is_file()):
        raise UserError("the ledger is not there", where=str(location), remedy="Say where it is with --ledger")
    with closing(Ledger(location, read_only=True)) as replies:
        return walk(folder, record, replies.find)
