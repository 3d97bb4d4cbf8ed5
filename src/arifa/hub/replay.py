"""Delivering again: one, those that are dead, a span of time, or what was never queued.

retry    one delivery: now, if it waits; from the start of its schedule, if it is over
skip     one that waits or is dead: never again; what waits behind it in its order goes on
recover  every dead one of a span, from the start of its schedule
replay   every delivered one of a span, as a new delivery of the same notification
missing  what an endpoint wants and was never told: it was made, or its filter widened, later

A receiver tells a replay by its header, and de-duplicates by the notification's id, which is the
same in every attempt. All but the first work in chunks, each a short transaction of its own, so
that nothing else waits: what is cut short goes on where it was left when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from arifa.errors import NotFound, Refused
from arifa.feed import Endpoint
from arifa.hub.queue import delivery, interested
from arifa.identifiers import Identifiers
from arifa.store import changes, configuration, deliveries, endpoints, notifications, replays
from arifa.store.configuration import Configuration
from arifa.store.database import Connection
from arifa.store.deliveries import DeliveryState
from arifa.store.opened import Store
from arifa.store.replays import Counted, Selection

CHUNK: Final = 200
_DEAD: Final = (DeliveryState.DEAD,)
_DELIVERED: Final = (DeliveryState.DELIVERED,)


class Goal(StrEnum):
    """Where to: the endpoint's URL of today, or the one that the first attempts went to."""

    CURRENT = "current"
    ORIGINAL = "original"


class Replayed(NamedTuple):
    """How many deliveries were queued, and how many passed over: they are being replayed already,
    or somebody else had reopened them."""

    queued: int
    passed_over: int


# ---------------------------------------------------------------------------------- one


def retry(store: Store, identity: str, now_us: int, goal: Goal = Goal.CURRENT) -> Any:
    """Let one delivery be tried now; gives its row as it is then.

    Raises:
        NotFound: there is none.
        Refused: it is being sent, has arrived, or its endpoint was removed.
    """
    with store.database.write() as connection:
        found = deliveries.get(connection, identity)
        url = _Places(store, goal).of(connection, found).url
        if found.state == DeliveryState.DELIVERED.value:
            raise Refused(
                f"{identity} has arrived; to send it all the same: arifa delivery replay "
                f"--delivery {identity}"
            )
        if found.state == DeliveryState.PENDING.value:
            is_moved = replays.hasten(connection, found, now_us, url)
        else:
            is_moved = replays.reopen(connection, found, now_us, url)
        if not is_moved:
            raise Refused(_unmoved(found))
        _record(
            connection,
            found.merchant,
            action="delivery.retry",
            subject=identity,
            now_us=now_us,
            detail=f"{goal.value} URL",
        )
        return deliveries.get(connection, identity)


def _unmoved(found: Any) -> str:
    if found.state == DeliveryState.SENDING.value:
        return f"{found.id} is being sent just now; look again: arifa delivery show {found.id}"
    return (
        f"{found.id} waits for an earlier delivery of its key, which must arrive, die or be "
        f"skipped first"
    )


def skip(store: Store, identity: str, now_us: int) -> Any:
    """Cancel one delivery for good; gives its row as it is then.

    Raises:
        NotFound: there is none.
        Refused: it is being sent, or is over.
    """
    with store.database.write() as connection:
        found = deliveries.get(connection, identity)
        if not deliveries.skip(connection, found, now_us):
            raise Refused(f"{identity} is {found.state}; only what waits or is dead can be skipped")
        _record(
            connection,
            found.merchant,
            action="delivery.skip",
            subject=identity,
            now_us=now_us,
            detail=f"was {found.state}",
        )
        return deliveries.get(connection, identity)


def replay_one(store: Store, identity: str, now_us: int, goal: Goal = Goal.CURRENT) -> str:
    """Queue a delivery that has arrived once more; gives the new one's id.

    Raises:
        NotFound: there is none.
        Refused: it has not arrived, is being replayed, or its endpoint was removed.
    """
    with store.database.write() as connection:
        found = deliveries.get(connection, identity)
        place = _Places(store, goal).of(connection, found)
        if found.state != DeliveryState.DELIVERED.value:
            raise Refused(
                f"{identity} is {found.state}, not delivered; for one more try: arifa delivery "
                f"retry {identity}"
            )
        if replays.open_replays(connection, [found]):
            raise Refused(f"{identity} is being replayed already")
        entry = _once_more(found, place, Identifiers(now_us), now_us)
        deliveries.insert(connection, [entry])
        _record(
            connection,
            found.merchant,
            action="delivery.replay",
            subject=identity,
            now_us=now_us,
            detail=f"{goal.value} URL",
        )
    return entry.id


# ---------------------------------------------------------------------------------- many


def count_dead(store: Store, selection: Selection) -> list[Counted]:
    """What `recover` would reopen."""
    with store.database.read() as connection:
        return replays.count(connection, selection, _DEAD)


def count_delivered(store: Store, selection: Selection) -> list[Counted]:
    """What `replay` would send again."""
    with store.database.read() as connection:
        return replays.count(connection, selection, _DELIVERED)


def recover(store: Store, selection: Selection, now_us: int, goal: Goal = Goal.CURRENT) -> Replayed:
    """Reopen every dead delivery that is selected.

    Raises:
        StoreError: the store cannot take it; what was reopened before that stays.
    """
    places = _Places(store, goal)

    def reopened(connection: Connection, rows: Sequence[Any]) -> int:
        return sum(
            replays.reopen(connection, row, now_us, places.of(connection, row).url) for row in rows
        )

    return _in_chunks(
        store, selection, _DEAD, reopened, action="delivery.recover", now_us=now_us, goal=goal
    )


def replay(store: Store, selection: Selection, now_us: int, goal: Goal = Goal.CURRENT) -> Replayed:
    """Queue every delivered delivery that is selected once more.

    Raises:
        StoreError: the store cannot take it; what was queued before that stays.
    """
    places, ids = _Places(store, goal), Identifiers(now_us)

    def queued(connection: Connection, rows: Sequence[Any]) -> int:
        going = replays.open_replays(connection, rows)
        entries = [
            _once_more(row, places.of(connection, row), ids, now_us)
            for row in rows
            if (row.merchant, row.id) not in going
        ]
        if entries:
            deliveries.insert(connection, entries)
        return len(entries)

    return _in_chunks(
        store, selection, _DELIVERED, queued, action="delivery.replay", now_us=now_us, goal=goal
    )


def _in_chunks(
    store: Store,
    selection: Selection,
    states: Sequence[DeliveryState],
    work: Callable[[Connection, Sequence[Any]], int],
    *,
    action: str,
    now_us: int,
    goal: Goal,
) -> Replayed:
    queued = looked_at = 0
    after = ("", "")
    while True:
        with store.database.write() as connection:
            rows = replays.page(connection, selection, states, after=after, limit=CHUNK)
            if rows:
                moved = work(connection, rows)
                detail = f"{moved} of {rows[0].id} to {rows[-1].id}, {goal.value} URL"
                _record(
                    connection,
                    rows[0].merchant,
                    action=action,
                    subject="deliveries",
                    now_us=now_us,
                    detail=detail,
                )
                queued, looked_at = queued + moved, looked_at + len(rows)
        if len(rows) < CHUNK:
            return Replayed(queued, looked_at - queued)
        after = (rows[-1].merchant, rows[-1].id)


# ---------------------------------------------------------------------------------- never queued


def missing(
    store: Store, selection: Selection, now_us: int, *, dry_run: bool = False
) -> list[Counted]:
    """Queue what endpoints want of the span and were never told; gives how many, by endpoint.

    Raises:
        StoreError: the store cannot take it; what was queued before that stays.
    """
    with store.database.read() as connection:
        settings = configuration.load(connection, store.vault)
        told = replays.told(connection, selection)
        chunks = replays.accepted(connection, selection, chunk=CHUNK)
        found: dict[str, list[int]] = {}
        for rows in chunks:
            wanted = _untold(settings, selection, rows, told)
            for row, endpoint in wanted:
                found.setdefault(endpoint.id, []).append(row.received_at)
            if wanted and not dry_run:
                _queue(store, wanted, now_us)
    return [
        Counted(endpoint, len(times), min(times), max(times))
        for endpoint, times in sorted(found.items())
    ]


def _untold(
    settings: Configuration,
    selection: Selection,
    rows: Sequence[Any],
    told: set[tuple[str, str]],
) -> list[tuple[Any, Endpoint]]:
    return [
        (row, endpoint)
        for row in rows
        for endpoint in interested(
            settings, row.merchant, row.source, notifications.built(row).reading
        )
        if selection.endpoint in (None, endpoint.id) and (row.id, endpoint.id) not in told
    ]


def _queue(store: Store, wanted: Sequence[tuple[Any, Endpoint]], now_us: int) -> None:
    ids = Identifiers(now_us)
    entries = [
        delivery(
            row.merchant,
            row.id,
            endpoint,
            ids,
            now_us,
            source=row.source,
            reading=notifications.built(row).reading,
        )
        for row, endpoint in wanted
    ]
    with store.database.write() as connection:
        deliveries.insert(connection, entries)
        detail = f"{len(entries)} of {wanted[0][0].id} to {wanted[-1][0].id}"
        _record(
            connection,
            wanted[0][0].merchant,
            action="delivery.missing",
            subject="deliveries",
            now_us=now_us,
            detail=detail,
        )


# ---------------------------------------------------------------------------------- parts


class _Place(NamedTuple):
    """The endpoint of a delivery, and the URL that it goes to if not to the endpoint's of today."""

    endpoint: Endpoint
    url: str | None


class _Places:
    """Where deliveries go again; each endpoint, and the URLs that it has had, are read once."""

    def __init__(self, store: Store, goal: Goal) -> None:
        self._store = store
        self._goal = goal
        self._known: dict[str, tuple[Endpoint, list[tuple[int, str]]]] = {}

    def of(self, connection: Connection, found: Any) -> _Place:
        """The place of one delivery (its row).

        Raises:
            Refused: its endpoint was removed.
        """
        if found.endpoint not in self._known:
            endpoint = self._endpoint(connection, found)
            self._known[endpoint.id] = endpoint, endpoints.urls(connection, endpoint)
        endpoint, history = self._known[found.endpoint]
        return _Place(endpoint, self._url(found, history))

    def _endpoint(self, connection: Connection, found: Any) -> Endpoint:
        try:
            return endpoints.get(connection, self._store.vault, found.endpoint, found.merchant)
        except NotFound:
            raise Refused(
                f"the endpoint of {found.id} was removed, so nobody can be told"
            ) from None

    def _url(self, found: Any, history: list[tuple[int, str]]) -> str | None:
        """What was queued with a URL of its own (an invoice's callback) goes there again."""
        own: str | None = found.url
        if own is not None and (found.replay_of is None or own not in (url for _, url in history)):
            return own
        if self._goal is Goal.CURRENT:
            return None
        ended_at = found.finished_at or found.created_at
        return next((url for since, url in reversed(history) if since <= ended_at), history[0][1])


def _once_more(found: Any, place: _Place, ids: Identifiers, now_us: int) -> deliveries.Entry:
    # It keeps no place in an order: what comes after it was sent long ago.
    entry = delivery(found.merchant, found.notification, place.endpoint, ids, now_us)
    return entry._replace(replay_of=found.id, url=place.url)


def _record(
    connection: Connection, merchant: str, *, action: str, subject: str, now_us: int, detail: str
) -> None:
    changes.record(
        connection,
        merchant=merchant,
        action=action,
        subject=subject,
        now_us=now_us,
        detail=detail,
    )
