"""What follows from a result, in the transaction that records it.

    what has ended               ► its order goes on with the next, or halts behind what is dead
    what is dead                 ► an alert for each endpoint and cause
    an endpoint that is gone     ► it is disabled, and an alert
    a breaker opens, or closes   ► a trouble begins, or ends; an alert where people knew of it
    a trouble lasts              ► an alert, once

And an order that was lost on the way goes on all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import structlog

from arifa.delivery.alerts import AlertKind, News, written
from arifa.delivery.cause import SENTENCE, Cause
from arifa.delivery.known import KnownEndpoints
from arifa.delivery.lanes import Turned
from arifa.store import alerts, deliveries, endpoints, ordering, troubles
from arifa.store.database import Connection
from arifa.store.deliveries import AttemptResult, Claimed, DeliveryState
from arifa.store.ordering import Key

log: Final = structlog.get_logger("arifa")

FAILING_SECONDS: Final = 3600
"""How long a breaker has been open before an operator is told."""
SWEEP_KEYS: Final = 200
"""Orders that are looked through at each beat for one that was lost."""
_OVER: Final = frozenset({DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.CANCELLED})


class Consequences:
    """What follows at one worker. Used by one thread at a time, in its caller's transactions."""

    def __init__(
        self, known: KnownEndpoints, *, clock: Callable[[], int], is_mailed: bool = False
    ) -> None:
        self._known = known
        self._clock = clock
        self._is_mailed = is_mailed
        self._swept: Key = ordering.BEFORE_ALL
        self._due: set[str] = set()

    def take_due(self) -> set[str]:
        """The endpoints that have something more due since the last call."""
        due, self._due = self._due, set()
        return due

    # ------------------------------------------------------------------ what it follows from

    def of_results(self, connection: Connection, moved: Sequence[AttemptResult]) -> None:
        """Of results that have just moved their deliveries."""
        dead = [item for item in moved if item.state is DeliveryState.DEAD]
        gone = [item for item in moved if item.gone is not None]
        if dead or gone:
            self._known.keep_current(connection)
        self._go_on(connection, [item for item in moved if item.claimed.order_key is not None])
        self._announce_dead(connection, dead)
        for item in gone:
            self._disable(connection, item)

    def of_breakers(self, connection: Connection, turned: Sequence[Turned]) -> None:
        """Of breakers that have opened or closed."""
        self._known.keep_current(connection)
        for item in turned:
            endpoint = self._known.by_id.get(item.endpoint)
            if endpoint is None:
                continue
            if item.is_open:
                now = self._clock()
                troubles.begin(connection, endpoint.merchant, endpoint.id, item.cause, now)
            elif troubles.end(connection, endpoint.merchant, endpoint.id):
                self._tell(connection, [News(AlertKind.RECOVERED, endpoint.merchant, endpoint.id)])

    def of_lasting_troubles(self, connection: Connection, now_us: int) -> None:
        """Of breakers that have been open for so long that people have to know."""
        failing = troubles.announce(connection, now_us - FAILING_SECONDS * 1_000_000, now_us)
        self._tell(
            connection,
            [
                News(AlertKind.FAILING, row.merchant, row.endpoint, row.cause, since=row.since)
                for row in failing
            ],
        )

    def of_lost_orders(self, connection: Connection, now_us: int) -> bool:
        """Of orders in which something waits although nothing is before it; whether any was found.

        Each call looks through the next `SWEEP_KEYS` of them.
        """
        halting = {item.id for item in self._known.by_id.values() if item.manner.halts}
        lost, self._swept = ordering.lost(connection, self._swept, SWEEP_KEYS, halting)
        if lost:
            log.warning("delivery.order_lost", orders=len(lost))
            ordering.release(connection, lost, now_us, past_dead=True)
        return bool(lost)

    # ------------------------------------------------------------------ orders

    def _go_on(self, connection: Connection, ordered: Sequence[AttemptResult]) -> None:
        """Let each order whose head has ended go on, or halt; hold back what comes again."""
        ended = [item for item in ordered if item.state in _OVER]
        if ended:
            halted = [item for item in ended if self._halts(item)]
            self._halt(connection, halted)
            self._release(connection, {_key(item) for item in ended if not self._halts(item)})
        again = {_key(item) for item in ordered} - {_key(item) for item in ended}
        if again:
            # A person may have reopened one that stands before them while they were out.
            ordering.hold_back(connection, again)

    def _halts(self, item: AttemptResult) -> bool:
        endpoint = self._known.by_id.get(item.claimed.endpoint)
        is_dead = item.state is DeliveryState.DEAD
        return is_dead and endpoint is not None and endpoint.manner.halts

    def _halt(self, connection: Connection, dead: Sequence[AttemptResult]) -> None:
        ordering.halt(connection, {_key(item): item.claimed.id for item in dead})
        self._tell(
            connection,
            [
                News(
                    AlertKind.HALTED,
                    item.claimed.merchant,
                    item.claimed.endpoint,
                    item.cause,
                    [item.claimed.id],
                    [item.claimed.notification],
                )
                for item in dead
            ],
        )

    def _release(self, connection: Connection, keys: Collection[Key]) -> None:
        self._due.update(ordering.release(connection, keys, self._clock()))

    # ------------------------------------------------------------------ endpoints

    def _disable(self, connection: Connection, item: AttemptResult) -> None:
        """Disable an endpoint that says that it is gone, unless it has another URL by now."""
        endpoint = self._known.by_id.get(item.claimed.endpoint)
        if endpoint is None or endpoint.url != item.gone:
            return
        is_changed = endpoints.set_state(
            connection,
            endpoint,
            endpoints.DISABLED,
            self._clock(),
            reason=SENTENCE[Cause.GONE],
            actor="delivery",
        )
        if is_changed:
            news = News(AlertKind.DISABLED, endpoint.merchant, endpoint.id, item.cause)
            self._tell(connection, [news])

    # ------------------------------------------------------------------ alerts

    def _announce_dead(self, connection: Connection, dead: Sequence[AttemptResult]) -> None:
        """One alert for each endpoint and cause, however many died at once."""
        together: dict[tuple[str, str, str], list[Claimed]] = {}
        for item in dead:
            claimed = item.claimed
            if alerts.is_alert(claimed.notification):
                log.error("alert.dead", delivery=claimed.id, cause=item.cause)
                continue
            together.setdefault((claimed.merchant, claimed.endpoint, item.cause), []).append(
                claimed
            )
        self._tell(
            connection,
            [
                News(
                    AlertKind.DEAD,
                    merchant,
                    endpoint,
                    cause,
                    [item.id for item in items],
                    [item.notification for item in items],
                )
                for (merchant, endpoint, cause), items in together.items()
            ],
        )

    def _tell(self, connection: Connection, news: Iterable[News]) -> None:
        """Write alerts, and queue them to whoever hears them."""
        now = self._clock()
        made = written(news, self._known.by_id, now, is_mailed=self._is_mailed)
        if made.alerts:
            alerts.insert(connection, made.alerts)
        if made.deliveries:
            deliveries.insert(connection, made.deliveries)
            self._due.update(item.endpoint for item in made.deliveries)
        for row in made.alerts:
            if row.merchant == row.about:
                log.warning("alert", alert=row.id, kind=row.kind, endpoint=row.endpoint)


def _key(item: AttemptResult) -> Key:
    claimed = item.claimed
    assert claimed.order_key is not None
    return Key(claimed.merchant, claimed.endpoint, claimed.order_key)
