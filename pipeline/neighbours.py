"""Makes sure that `pipeline`, `prompts`, `filters` and `judges` are ours.

They are plain top-level names, and PyPI has strangers that import as `judges` and `filters`. Two ways to be bitten:
another distribution has written into the folder of the same name, or another folder comes first on the path.
"""

from __future__ import annotations

from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import UserError

NAMES = ("pipeline", "prompts", "filters", "judges")
OURS = "pairwright"


def check_neighbours() -> None:
    """Looks at metadata and at where the names lead; imports nothing.

    Raises:
        UserError: a name belongs to somebody else.
    """
    installed = packages_distributions()
    home = Path(__file__).resolve().parents[1]
    for name in NAMES:
        for stranger in sorted(set(installed.get(name, ())) - {OURS}):
            raise UserError(
                f"the installed package {stranger!r} also calls itself {name!r}",
                where=str(home / name),
                remedy=f"Run `pip uninstall {stranger}` and reinstall {OURS}, or give {OURS} an environment of its own",
            )
        _check_place(name, home)


def _check_place(name: str, home: Path) -> None:
    spec = find_spec(name)
    origin = [spec.origin] if spec and spec.origin else []
    places = [Path(place).resolve() for place in (spec.submodule_search_locations or origin)] if spec else []
    if home / name not in places[:1]:
        found = places[0] if places else "nothing"
        raise UserError(
            f"the name {name!r} leads to {found}, not to {OURS}'s",
            where=str(home / name),
            remedy="Start from another folder, or take that one off PYTHONPATH",
        )
