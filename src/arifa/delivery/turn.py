"""One turn at the store: record what came back, keep the lease, claim, read, render and sign.

The synchronous half of the worker: it runs in one thread, and holds no transaction open while a
request is out. Results, what follows from them (`consequences`) and the next claim share a
transaction, and so a disk sync.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import structlog

from arifa import dialects
from arifa.clock import monotonic
from arifa.delivery.attempt import Errand, Prepared, prepare
from arifa.delivery.cause import SENTENCE, Cause
from arifa.delivery.consequences import Consequences
from arifa.delivery.known import KnownEndpoints
from arifa.delivery.lanes import Turned
from arifa.errors import ArifaError, DataRefused
from arifa.feed import Endpoint
from arifa.store import alerts, deliveries, inbox, notifications, troubles
from arifa.store.database import Connection, Urgency
from arifa.store.deliveries import AttemptResult, Claimed, DeliveryState
from arifa.store.opened import Store
from arifa.wire import WireRequest

log: Final = structlog.get_logger("arifa")

BEATS_A_LEASE: Final = 3


class Seen(NamedTuple):
    """What a look at the queue shows.

    Attributes:
        heads: by endpoint, when the first of its pending deliveries is due.
        endpoints: by id, where they are described anew; else None.
    """

    heads: dict[str, int]
    endpoints: Mapping[str, Endpoint] | None


class Taken(NamedTuple):
    """What a turn came to.

    Attributes:
        prepared: what was claimed, ready to be sent.
        due: endpoints that have something due by it.
        endpoints: by id, where they are described anew; else None.
        is_stirred: deliveries were put back: the queue is to be looked at.
    """

    prepared: list[Prepared]
    due: Collection[str]
    endpoints: Mapping[str, Endpoint] | None
    is_stirred: bool


class _Committed(NamedTuple):
    claimed: list[Claimed]
    rows: list[Any]
    is_stirred: bool


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
        is_mailed: bool = False,
    ) -> None:
        self.worker = worker
        self._store = store
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._known = KnownEndpoints(store.vault)
        self._consequences = Consequences(self._known, clock=clock, is_mailed=is_mailed)
        self._beat_at = 0.0
        self._is_doubtful = False

    @property
    def beat_seconds(self) -> float:
        """How often the lease is prolonged."""
        return self._lease_seconds / BEATS_A_LEASE

    def start(self) -> tuple[int, list[str]]:
        """Register the worker, and put back what dead ones left.

        Returns:
            How many were put back, and the endpoints whose breakers were open.

        Raises:
            StoreError: the store cannot be written.
        """
        # One process serves an SQLite file, so at its start every other worker is dead.
        others = self.worker if self._store.database.is_sqlite else None
        with self._store.database.write(Urgency.DELIVERY) as connection:
            deliveries.beat(connection, self.worker, self._clock(), self._lease_seconds)
            rescued = deliveries.rescue(connection, all_others_than=others)
            troubled = [row.endpoint for row in troubles.all_of(connection)]
        self._beat_at = monotonic() + self.beat_seconds
        return rescued, troubled

    def is_beat_due(self) -> bool:
        """Whether the lease has to be prolonged now."""
        return self._is_doubtful or monotonic() >= self._beat_at

    def look(self) -> Seen:
        """See what waits, and for whom.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._store.database.read() as connection:
            self._known.keep_current(connection)
            heads = deliveries.heads(connection)
        return Seen(heads, self._known.news())

    def take(
        self,
        results: list[AttemptResult],
        in_hand: Collection[str],
        wanted: Sequence[tuple[str, int]],
        turned: Sequence[Turned] = (),
    ) -> Taken:
        """Record these results, and claim what can be sent at once.

        Args:
            in_hand: the ids of deliveries that are being sent, or whose result waits.
            wanted: endpoints, and how many deliveries of each at most.
            turned: breakers that have opened or closed.

        Raises:
            StoreError: nothing is known to be recorded or claimed; the same call may come again.
        """
        try:
            done = self._committed(results, in_hand, wanted, turned)
        except DataRefused:
            self._record_singly(results)
            done = self._committed([], in_hand, wanted, turned)
        due = self._consequences.take_due()
        try:
            prepared = self._prepared(done)
        except BaseException:
            # Claimed, but nobody will send it: the next turn puts it back.
            self._is_doubtful = self._is_doubtful or bool(done.claimed)
            raise
        return Taken(prepared, due, self._known.news(), done.is_stirred)

    def leave(self, results: list[AttemptResult]) -> int:
        """Record what came back last, put the rest back, and go; gives how many were put back.

        Raises:
            StoreError: the lease ends by itself then.
        """
        with self._store.database.write(Urgency.DELIVERY) as connection:
            self._record(connection, results)
            left = deliveries.put_back(connection, self.worker)
            deliveries.leave(connection, self.worker)
        return left

    # ------------------------------------------------------------------ the transaction

    def _committed(
        self,
        results: list[AttemptResult],
        in_hand: Collection[str],
        wanted: Sequence[tuple[str, int]],
        turned: Sequence[Turned],
    ) -> _Committed:
        is_beat, is_stirred = self.is_beat_due(), False
        claimed: list[Claimed] = []
        rows: list[Any] = []
        # Until the commit has answered: a claim whose fate is not known would be sent by nobody.
        self._is_doubtful = True
        with self._store.database.write(Urgency.DELIVERY) as connection:
            late = self._record(connection, results)
            if turned:
                self._consequences.of_breakers(connection, turned)
            if is_beat:
                is_stirred = self._keep_alive(connection, in_hand)
            if wanted:
                self._known.keep_current(connection)
                open_now = [item for item in wanted if self._is_open(item[0])]
                if open_now:
                    now = self._clock()
                    claimed = deliveries.claim(connection, self.worker, now, open_now)
                if claimed and not self._store.database.is_sqlite:
                    # Within this transaction: one of its own costs three round trips more.
                    rows = deliveries.notifications_of(connection, claimed)
        self._is_doubtful = False
        if is_beat:
            self._beat_at = monotonic() + self.beat_seconds
        if late:
            log.warning("delivery.late", results=late)
        return _Committed(claimed, rows, is_stirred)

    def _is_open(self, endpoint: str) -> bool:
        found = self._known.by_id.get(endpoint)
        # What is left of one that was removed is claimed too, and cancelled.
        return found is None or found.active

    def _keep_alive(self, connection: Connection, in_hand: Collection[str]) -> bool:
        """Prolong the lease before anything is claimed in its name, and look for what was lost."""
        now = self._clock()
        deliveries.beat(connection, self.worker, now, self._lease_seconds)
        strays = deliveries.put_back(connection, self.worker, keep=in_hand)
        rescued = deliveries.rescue(connection)
        if strays or rescued:
            log.warning("delivery.rescued", strays=strays, of_others=rescued)
        self._known.keep_current(connection)
        found = self._consequences.of_lost_orders(connection, now)
        self._consequences.of_lasting_troubles(connection, now)
        return bool(strays or rescued or found)

    # ------------------------------------------------------------------ results

    def _record(self, connection: Connection, results: Sequence[AttemptResult]) -> int:
        """Record results and what follows from them; gives how many came too late."""
        moved = deliveries.record(connection, self.worker, results)
        self._consequences.of_results(connection, moved)
        return len(results) - len(moved)

    def _record_singly(self, results: list[AttemptResult]) -> None:
        """One of them has something that the database will not have: the others must not wait."""
        for result in results:
            for attempt in (result, _plainly(result)):
                try:
                    with self._store.database.write(Urgency.DELIVERY) as connection:
                        self._record(connection, [attempt])
                    break
                except DataRefused as error:
                    log.error("delivery.unrecorded", delivery=result.claimed.id, detail=str(error))
            else:
                self._give_up(result)

    def _give_up(self, result: AttemptResult) -> None:
        """Not even a bare result can be kept: end it, rather than send it for ever."""
        claimed = result.claimed
        with self._store.database.write(Urgency.DELIVERY) as connection:
            if deliveries.give_up(connection, claimed, Cause.INTERNAL.value, self._clock()):
                given_up = result._replace(cause=Cause.INTERNAL.value, state=DeliveryState.DEAD)
                self._consequences.of_results(connection, [given_up])
        log.error("delivery.given_up", delivery=claimed.id)

    # ------------------------------------------------------------------ preparing

    def _prepared(self, done: _Committed) -> list[Prepared]:
        claimed, rows = done.claimed, done.rows
        if not claimed:
            return []
        notes = [item for item in claimed if alerts.is_alert(item.notification)]
        passed_on = [item for item in claimed if self._passes_on(item.endpoint)]
        is_unknown = any(item.endpoint not in self._known.by_id for item in claimed)
        found: dict[tuple[str, str], Any] = {}
        originals: dict[tuple[str, str], WireRequest | None] = {}
        if self._store.database.is_sqlite or notes or passed_on or is_unknown:
            with self._store.database.read() as connection:
                if is_unknown:
                    # Removed, or else made after we looked and before we claimed.
                    self._known.read(connection)
                if self._store.database.is_sqlite:
                    rows = deliveries.notifications_of(connection, claimed)
                found = _alerts_of(connection, notes)
                originals = self._originals(connection, rows, passed_on)
        by_place = {(row.merchant, row.id): row for row in rows}
        now = self._clock()
        return [prepare(self._errand(item, by_place, found, originals), now) for item in claimed]

    def _errand(
        self,
        item: Claimed,
        rows: Mapping[tuple[str, str], Any],
        found: Mapping[tuple[str, str], Any],
        originals: Mapping[tuple[str, str], WireRequest | None],
    ) -> Errand:
        place = (item.merchant, item.notification)
        row = rows.get(place)
        return Errand(
            claimed=item,
            endpoint=self._known.by_id.get(item.endpoint),
            notification=None if row is None else notifications.built(row),
            original=originals.get(place),
            alert=found.get(place),
        )

    def _originals(
        self, connection: Connection, rows: Iterable[Any], claimed: Sequence[Claimed]
    ) -> dict[tuple[str, str], WireRequest | None]:
        """(merchant, notification) → the request that it came in, where it is passed on."""
        wanted = {(item.merchant, item.notification) for item in claimed}
        return {
            (row.merchant, row.id): inbox.request_of(connection, row.inbox_merchant, row.inbox)
            for row in rows
            if (row.merchant, row.id) in wanted
        }

    def _passes_on(self, endpoint: str) -> bool:
        found = self._known.by_id.get(endpoint)
        try:
            return found is not None and dialects.get(found.dialect).passes_on
        except ArifaError:
            # Said when it is prepared, with the delivery's own name to it.
            return False


def _alerts_of(connection: Connection, claimed: Sequence[Claimed]) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for merchant in {item.merchant for item in claimed}:
        ids = {item.notification for item in claimed if item.merchant == merchant}
        found.update({(merchant, row.id): row for row in alerts.find(connection, merchant, ids)})
    return found


def _plainly(result: AttemptResult) -> AttemptResult:
    """The same without anything that came from outside: one of its texts was refused."""
    note = "what the attempt came to could not be recorded in full"
    if result.state is DeliveryState.DELIVERED:
        return result._replace(status=None, detail=note, reference=None)
    detail = f"{SENTENCE[Cause.INTERNAL]} ({note})"
    cause = Cause.INTERNAL.value
    return result._replace(status=None, cause=cause, detail=detail, reference=None)
