"""Every error the project raises on purpose, and the exit code each one ends in.

    PairwrightError
    ├── UserError        2    the recipe, the call or the input is wrong; the user can mend it
    ├── GateMissed       3    the run went well but missed a gate that the recipe sets
    ├── BudgetSpent      3    the next call might cost more than the recipe's budget has left; a raised one resumes
    ├── ProviderDown    75    a provider is away or refuses work; start again later (sysexits' EX_TEMPFAIL)
    │   └── Later       75    a provider is at work, and the run is not to wait for it
    ├── Interrupted    130    somebody pressed Ctrl-C or sent SIGTERM
    └── RecordFailed    --    a fact about one record: filed with its reason, never stops a run

Anything else that is raised is our bug: exit code 1, with a traceback. Each boundary (files, HTTP, the
ledger's database, YAML) translates its library's errors into these in one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class PairwrightError(Exception):
    """What went wrong, where, and what to do about it, as one readable line."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        """Args: what happened; where (a path, a recipe key); the remedy, an imperative."""
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line}{'' if line.endswith('?') else '.'} {self.remedy}" if self.remedy else line


class UserError(PairwrightError):
    """The recipe, the call or the input is wrong, and the user can mend it."""

    exit_code = 2


class GateMissed(PairwrightError):  # noqa: N818  says what it is
    """The run is complete and kept, but does not pass a gate of its recipe."""

    exit_code = 3


class BudgetSpent(PairwrightError):  # noqa: N818  says what it is
    """The next call might cost more than the budget has left; every reply that came is kept, a later start resumes."""

    exit_code = 3


class ProviderDown(PairwrightError):  # noqa: N818  says what it is
    """A provider cannot be reached or refuses all work; nothing is lost, a later start resumes."""

    exit_code = 75


class Later(ProviderDown):
    """The answer takes hours and the run is not to wait: a later start collects it. Stops one chunk, not the others."""


class Interrupted(PairwrightError):  # noqa: N818  says what it is
    """The run was asked to stop; nothing is lost, a later start resumes."""

    exit_code = 130


class RecordFailed(Exception):  # noqa: N818  a fact about a record, not an error of the run
    """One record could not be made: its reason code, what was seen, and the requests that were paid for it.

    Never a `PairwrightError`: it must be caught where the record is known, and filed.
    """

    def __init__(self, code: str, detail: str, requests: tuple[str, ...] = ()) -> None:
        """Args: code, a stable name for counting; detail, for people; ids of the requests asked so far."""
        self.code, self.detail, self.requests = code, detail, requests
        super().__init__(f"{code}: {detail}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence that helps after a misspelling: the nearest known name, and all of them."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{hint}Known: {', '.join(names) or 'none'}"
