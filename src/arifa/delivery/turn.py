"""One turn at the store: record what came back, keep the lease, claim, read, render and sign.

The synchronous half of the worker: it runs in one thread, and holds no transaction open while a
request is out. Results and the next claim share a transaction, and so a disk sync.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog

from arifa import dialects
from arifa.clock import monotonic
from arifa.delivery.attempt import Errand, Prepared, prepare
from arifa.errors import ArifaError, DataRefused
from arifa.feed import Endpoint
from arifa.store import changes, deliveries, endpoints, inbox, notifications
from arifa.store.database import Connection, Urgency
from arifa.store.deliveries import AttemptResult, Claimed
from arifa.store.opened import Store
from arifa.wire import WireRequest

log: Final = structlog.get_logger("arifa")

BEATS_A_LEASE: Final = 3


class Turns:
    """What one worker does at the store. Used by one thread at a time.

    Attributes:
        worker: its name: new at every start, so that no lease of an earlier run passes for its own.
    """

    def __init__(
        self,
        store: Store,
        worker: str,
        *,
        clock: Callable[[], int],
        lease_seconds: int = deliveries.LEASE_SECONDS,
        per_endpoint: int | None = None,
    ) -> None:
        self.worker = worker
        self._store = store
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._per_endpoint = per_endpoint
        self._number: int | None = None
        self._endpoints: dict[str, Endpoint] = {}
        self._closed: frozenset[str] = frozenset()
        self._beat_at = 0.0
        self._is_doubtful = False

    @property
    def beat_seconds(self) -> float:
        """How often the lease is prolonged."""
        return self._lease_seconds / BEATS_A_LEASE

    def start(self) -> int:
        """Register the worker, and put back what dead ones left; gives how many.

        Raises:
            StoreError: the store cannot be written.
        """
        # One process serves an SQLite file, so at its start every other worker is dead.
        others = self.worker if self._store.database.is_sqlite else None
        with self._store.database.write(Urgency.DELIVERY) as connection:
            deliveries.beat(connection, self.worker, self._clock(), self._lease_seconds)
            rescued = deliveries.rescue(connection, all_others_than=others)
        self._beat_at = monotonic() + self.beat_seconds
        return rescued

    def is_beat_due(self) -> bool:
        """Whether the lease has to be prolonged now."""
        return self._is_doubtful or monotonic() >= self._beat_at

    def due_in(self) -> float | None:
        """Seconds until the next delivery is due, negative where it is; None if nothing waits.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._store.database.read() as connection:
            due_at = deliveries.next_due(connection)
        return None if due_at is None else (due_at - self._clock()) / 1_000_000

    def take(
        self,
        results: list[AttemptResult],
        in_hand: Collection[str],
        room: int,
        busy: Mapping[str, int],
    ) -> list[Prepared]:
        """Record these results, and claim up to `room` deliveries that can be sent at once.

        Args:
            in_hand: the ids of deliveries that are being sent, or whose result waits.
            busy: by endpoint: attempts that are out.

        Raises:
            StoreError: nothing is known to be recorded or claimed; the same call may come again.
        """
        try:
            claimed = self._committed(results, in_hand, room, busy)
        except DataRefused:
            self._record_singly(results)
            claimed = self._committed([], in_hand, room, busy)
        try:
            return self._prepared(claimed)
        except BaseException:
            # Claimed, but nobody will send it: the next turn puts it back.
            self._is_doubtful = self._is_doubtful or bool(claimed)
            raise

    def leave(self, results: list[AttemptResult]) -> int:
        """Record the last results, put back what is not finished, and give up the lease.

        Raises:
            StoreError: the lease ends by itself then.
        """
        with self._store.database.write(Urgency.DELIVERY) as connection:
            deliveries.record(connection, self.worker, results)
            left = deliveries.put_back(connection, self.worker)
            deliveries.leave(connection, self.worker)
        return left

    def _committed(
        self,
        results: list[AttemptResult],
        in_hand: Collection[str],
        room: int,
        busy: Mapping[str, int],
    ) -> list[Claimed]:
        now, claimed = self._clock(), []
        is_beat = self.is_beat_due()
        # Until the commit has answered: a claim whose fate is not known would be sent by nobody.
        self._is_doubtful = True
        with self._store.database.write(Urgency.DELIVERY) as connection:
            moved = deliveries.record(connection, self.worker, results)
            if is_beat:
                self._keep_alive(connection, in_hand)
            if room > 0:
                self._keep_current(connection)
                claimed = deliveries.claim(
                    connection,
                    self.worker,
                    now,
                    room,
                    self._closed,
                    busy=busy,
                    per_endpoint=self._per_endpoint,
                )
        self._is_doubtful = False
        if is_beat:
            self._beat_at = monotonic() + self.beat_seconds
        if moved < len(results):
            log.warning("delivery.late", results=len(results) - moved)
        return claimed

    def _keep_alive(self, connection: Connection, in_hand: Collection[str]) -> None:
        """Prolong the lease before anything is claimed in its name, and put strays back."""
        deliveries.beat(connection, self.worker, self._clock(), self._lease_seconds)
        strays = deliveries.put_back(connection, self.worker, keep=in_hand)
        rescued = deliveries.rescue(connection)
        if strays or rescued:
            log.warning("delivery.rescued", strays=strays, of_others=rescued)

    def _keep_current(self, connection: Connection) -> None:
        number = changes.number(connection)
        if number != self._number:
            self._load(connection)
            self._number = number

    def _load(self, connection: Connection) -> None:
        found = endpoints.listed(connection, self._store.vault)
        self._endpoints = {endpoint.id: endpoint for endpoint in found}
        self._closed = frozenset(endpoint.id for endpoint in found if not endpoint.active)

    def _prepared(self, claimed: list[Claimed]) -> list[Prepared]:
        if not claimed:
            return []
        with self._store.database.read() as connection:
            if any(item.endpoint not in self._endpoints for item in claimed):
                # Removed, or else made after we looked and before we claimed.
                self._load(connection)
            errands = self._errands(connection, claimed)
        now = self._clock()
        return [prepare(errand, now) for errand in errands]

    def _errands(self, connection: Connection, claimed: list[Claimed]) -> list[Errand]:
        rows = deliveries.notifications_of(connection, claimed)
        originals: dict[tuple[str, str], WireRequest | None] = {}
        errands = []
        for item in claimed:
            endpoint = self._endpoints.get(item.endpoint)
            row = rows.get((item.merchant, item.notification))
            notification = None if row is None else notifications.built(row)
            original = None
            if row is not None and endpoint is not None and _passes_on(endpoint):
                place = (row.inbox_merchant, row.inbox)
                if place not in originals:
                    originals[place] = inbox.request_of(connection, *place)
                original = originals[place]
            errands.append(Errand(item, endpoint, notification, original))
        return errands

    def _record_singly(self, results: list[AttemptResult]) -> None:
        """One of them has something that the database will not have: the others must not wait."""
        for result in results:
            try:
                with self._store.database.write(Urgency.DELIVERY) as connection:
                    deliveries.record(connection, self.worker, [result])
            except DataRefused as error:
                log.error("delivery.unrecorded", delivery=result.claimed.id, detail=str(error))


def _passes_on(endpoint: Endpoint) -> bool:
    try:
        return dialects.get(endpoint.dialect).passes_on
    except ArifaError:
        # Said when it is prepared, with the delivery's own name to it.
        return False
