"""Announcing what was issued here: a notification that no request brought, and its deliveries.

Everything is inside the caller's transaction, so that what is announced and why it is are one
commit. Whoever delivers finds the rows; a caller within `serve` wakes the worker after the commit.

An endpoint that wants to hear of it, but whose dialect has no words for it, is not told: each
message is rendered once before it is queued, and what cannot be said comes back as `Untold`, and
stands in the audit log. So does `as_received`, which passes on what came: nothing came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from arifa import dialects
from arifa.errors import CannotExpress
from arifa.feed import Endpoint
from arifa.hub.queue import delivery, interested
from arifa.identifiers import Identifiers
from arifa.notification import Notification, Reading, State, money_hash
from arifa.store import changes, configuration, deliveries, notifications
from arifa.store.configuration import Configuration
from arifa.store.database import Connection
from arifa.store.notifications import ISSUED
from arifa.store.opened import Store


class Announcement(NamedTuple):
    """What is to be announced. Without `to`, to all of the merchant's endpoints that want it.

    `to` is told whatever its filter lets through; `url`, of this one delivery, instead of its own.
    Where `waits` and nobody can be told, nothing is stored: it can be announced another time.
    """

    merchant: str
    reading: Reading
    to: Endpoint | None = None
    url: str | None = None
    waits: bool = False


class Untold(NamedTuple):
    """An endpoint (its id and name) that wanted to hear of it, and the sentence why it does not."""

    endpoint: str
    name: str
    reason: str


class Announced(NamedTuple):
    """The id of the notification, the ids of its deliveries, and who is not told."""

    notification: str
    deliveries: list[str]
    untold: list[Untold]


def announce(
    connection: Connection, store: Store, announcement: Announcement, now_us: int
) -> Announced:
    """Announce one thing; `Announcer` is for many.

    Raises:
        StoreError: it cannot be written.
    """
    (announced,) = Announcer(store).announce(connection, [announcement], now_us)
    return announced


class Announcer:
    """Announces for one caller; the configuration is loaded anew where it has changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._settings: Configuration | None = None

    def announce(
        self, connection: Connection, announcements: Sequence[Announcement], now_us: int
    ) -> list[Announced]:
        """Store a notification for each, and queue its deliveries.

        Raises:
            StoreError: they cannot be written.
        """
        ids = Identifiers(now_us)
        made = [_notification(item, ids, now_us) for item in announcements]
        found = self._told(connection, made, announcements, ids, now_us)
        rows = [
            _entry(item)
            for item, wanted, announced in zip(made, announcements, found, strict=True)
            if announced.deliveries or not wanted.waits
        ]
        if rows:
            notifications.insert(connection, rows)
        return found

    def tell(self, connection: Connection, notification: Notification, now_us: int) -> Announced:
        """Queue deliveries for a notification that was announced when nobody was there to hear it.

        Raises:
            StoreError: they cannot be written.
        """
        again = Announcement(notification.merchant, notification.reading)
        ids = Identifiers(now_us)
        (announced,) = self._told(connection, [notification], [again], ids, now_us)
        return announced

    def _told(
        self,
        connection: Connection,
        made: Sequence[Notification],
        announcements: Sequence[Announcement],
        ids: Identifiers,
        now_us: int,
    ) -> list[Announced]:
        settings = self._current(connection)
        rows: list[deliveries.Entry] = []
        found = []
        for notification, wanted in zip(made, announcements, strict=True):
            announced = Announced(notification.id, [], [])
            for endpoint in _hearers(settings, wanted):
                sentence = _unsayable(endpoint, notification)
                if sentence is not None:
                    announced.untold.append(Untold(endpoint.id, endpoint.name, sentence))
                    continue
                row = delivery(
                    notification.merchant,
                    notification.id,
                    endpoint,
                    ids,
                    now_us,
                    source=ISSUED,
                    reading=notification.reading,
                )._replace(url=wanted.url)
                rows.append(row)
                announced.deliveries.append(row.id)
            _record_untold(connection, notification, announced.untold, now_us)
            found.append(announced)
        if rows:
            deliveries.insert(connection, rows)
        return found

    def _current(self, connection: Connection) -> Configuration:
        number = changes.number(connection)
        if self._settings is None or self._settings.number != number:
            self._settings = configuration.load(connection, self._store.vault)
        return self._settings


def _hearers(settings: Configuration, wanted: Announcement) -> list[Endpoint]:
    if wanted.to is not None:
        return [wanted.to]
    return interested(settings, wanted.merchant, ISSUED, wanted.reading)


def _unsayable(endpoint: Endpoint, notification: Notification) -> str | None:
    """Why the endpoint's dialect cannot say it; None where it can."""
    try:
        dialects.get(endpoint.dialect).render(notification, endpoint.profile, None)
    except CannotExpress as error:
        return str(error)
    except Exception:  # noqa: BLE001  a missing dialect, or its bug, shows in its delivery alone
        return None
    return None


def _record_untold(
    connection: Connection, notification: Notification, untold: list[Untold], now_us: int
) -> None:
    for item in untold:
        changes.record(
            connection,
            merchant=notification.merchant,
            action="announce.untold",
            subject=notification.id,
            now_us=now_us,
            detail=f"{item.name} ({item.endpoint}): {item.reason}",
            actor="announce",
        )


def _notification(item: Announcement, ids: Identifiers, now_us: int) -> Notification:
    return Notification(
        id=ids.new("ntf"),
        merchant=item.merchant,
        source=ISSUED,
        dialect=ISSUED,
        received_at=now_us,
        state=State.ACCEPTED,
        reading=item.reading,
    )


def _entry(notification: Notification) -> notifications.Entry:
    return notifications.Entry(
        merchant=notification.merchant,
        id=notification.id,
        source=ISSUED,
        dialect=ISSUED,
        # Nothing came in for it.
        inbox="",
        inbox_merchant="",
        received_at=notification.received_at,
        state=notification.state.value,
        money_hash=money_hash(notification.reading),
        reading=notifications.pack_reading(notification.reading),
    )
