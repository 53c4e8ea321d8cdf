"""One message about a night, by apprise: mail, Slack, Telegram, a webhook and many more.

Its URLs hold passwords, so they come from the environment, and neither they nor what apprise says of them is shown.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.operating import Event, Notify

if TYPE_CHECKING:
    import apprise


class Messenger:
    """Tells those whom the recipe names."""

    def __init__(self, settings: Notify | None) -> None:
        """Args: whom, and of what; None tells nobody.

        Raises:
            UserError: apprise is not installed, or an address is none.
        """
        self._when: tuple[Event, ...] = settings.when if settings else ()
        self._line = _line(settings) if settings else None

    def tell(self, event: Event, title: str, body: str) -> bool:
        """Send a message, if this kind of event is wanted; gives whether all went well."""
        if self._line is None or event not in self._when:
            return True
        return bool(self._line.notify(title=title, body=body))


def _line(settings: Notify) -> apprise.Apprise:
    try:
        import apprise  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        remedy = "pip install 'pairwright[notify]'"
        raise UserError("apprise is not installed", where="night.notify", remedy=remedy) from error
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it would tell of addresses
    line = apprise.Apprise()
    for number, url in enumerate(settings.to):
        if not line.add(url.get_secret_value()):
            remedy = "Set the variable that it names to an apprise URL, such as mailto://user:password@example.org"
            raise UserError("this is no address that apprise knows", where=f"night.notify.to[{number}]", remedy=remedy)
    return line
