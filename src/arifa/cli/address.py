"""Whether an endpoint may have a URL, by all ways out that there are."""

from __future__ import annotations

from arifa.delivery import transport
from arifa.hub.checks import check_url
from arifa.signing import Credentials

_FOR_DEVELOPMENT = "--allow-private"


def called_address(url: str, *, credentials: Credentials) -> list[str]:
    """The same, and where it is a broker's: that it is there, and would keep what is sent.

    Raises:
        Refused: it is not, or would not.
    """
    return checked_address(url) + transport.probe(url, credentials)


def checked_address(url: str) -> list[str]:
    """See that an endpoint may have this URL; gives notes on what may surprise.

    Of a web address the hub has its own rules; any other is for its transport to judge.

    Raises:
        Refused: it may not.
    """
    scheme = url.partition("://")[0].lower()
    notes = check_url(url) if scheme in ("https", "http") else []
    is_said = any(_FOR_DEVELOPMENT in note for note in notes)
    more = transport.check(url)
    return notes + [note for note in more if not (is_said and _FOR_DEVELOPMENT in note)]
