"""The bank's own request, passed on as it came: for a listener that was written for the bank.

A hand-written listener can be moved behind the hub in a day: the body is the bank's, byte for
byte, and so are the headers that say something about it, such as KCB's `Signature`, so that the
listener's own check still holds. What surprises:
- Our Standard Webhooks headers are added, over the same body. `webhook-id` is the notification's
  id on every attempt: by it a listener knows a repeat, whatever the bank's form has for that.
- Several notifications from one request are several deliveries of the same bytes.
- `authorization` is never passed on: behind a source that serves several merchants, one of them
  could speak as the bank to all others. A listener that checks Basic gets it from its endpoint's
  own user and password, which may be the same.
- Nothing is masked and nothing is rendered, so nothing can be misrepresented; but without the
  original request (an imported notification) there is nothing to say.
- Nobody sends this to a hub: what comes in is in the form of some bank, whose dialect reads it.
"""

from __future__ import annotations

from typing import Final, NoReturn

from arifa.dialects.base import ANYTHING, Dialect, Verified
from arifa.errors import CannotExpress, Unreadable
from arifa.feed import Profile
from arifa.notification import Notification
from arifa.signing import WebhookSignature
from arifa.signing.webhook import ID
from arifa.wire import Headers, WireRequest

# RFC 9110, 7.6.1: these speak of one connection; the others name hosts, people or secrets.
_NOT_PASSED_ON: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"}
    | {b"upgrade", b"expect", b"host", b"content-length", b"accept-encoding", b"user-agent"}
    | {b"authorization", b"proxy-authorization", b"proxy-authenticate", b"cookie"}
    | {b"forwarded", b"via", b"x-real-ip", b"x-client-cert"}
)
_FORWARDED: Final = b"x-forwarded-"


class AsReceived(Dialect):
    """The original request with our signature added."""

    name = "as_received"
    title = "The bank's own request, passed on"
    page = "https://www.standardwebhooks.com"
    proofs = (WebhookSignature(),)
    defaults = Profile(currency="KES", timezone="Africa/Nairobi")
    expresses = ANYTHING
    passes_on = True

    def read(self, verified: Verified, profile: Profile) -> NoReturn:
        """Never: the form is a bank's.

        Raises:
            Unreadable: always.
        """
        raise Unreadable(
            "as_received is for endpoints only; a source needs the dialect of the bank itself"
        )

    def write(
        self, notification: Notification, profile: Profile, original: WireRequest | None
    ) -> WireRequest:
        """The original body and headers, with the notification's id."""
        if original is None:
            raise CannotExpress(
                "as_received passes the bank's request on, and this notification came in none"
            )
        passed_on = WireRequest(body=original.body, headers=_end_to_end(original.headers))
        return passed_on.with_headers((ID, notification.id.encode("ascii")))


def _end_to_end(headers: Headers) -> Headers:
    named = {
        name.strip().lower()
        for key, value in headers
        if key.lower() == b"connection"
        for name in value.split(b",")
    }
    return tuple(
        (key, value)
        for key, value in headers
        if key.lower() not in _NOT_PASSED_ON | named and not key.lower().startswith(_FORWARDED)
    )
