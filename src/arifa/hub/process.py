"""Processing what was approved, and telling the merchant: each step survives a crash after it.

    claim (a commit) ──► the processor, no transaction open ──► settled or failed, and announced
                                                                (one commit)

A claim has a lease by the database's clock and a fence. Whoever dies with one is replaced when its
lease is over: the processor is asked again with the same id, which it knows a repeat by. A late
answer of the first changes nothing. The result and the announcement are one commit, so that nothing
settled goes unannounced, and nothing is announced twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from msgspec import structs

from arifa.clock import monotonic, now_us
from arifa.errors import ArifaError, Refused
from arifa.hub.announce import Announced, Announcement, Announcer
from arifa.hub.issue import announcing
from arifa.hub.order import LONG_TEXT_CHARACTERS_MAX, checked_text
from arifa.hub.processor import NotKnownYet, Payment, Processor, Settlement
from arifa.identifiers import Identifiers, identifier
from arifa.notification import Reading, Status
from arifa.store import notifications, transactions
from arifa.store.database import Connection
from arifa.store.opened import Store
from arifa.store.transactions import Claim, Move, TransactionState

log: Final = structlog.get_logger("arifa")

LEASE_SECONDS: Final = 60.0
CLAIMS_MAX: Final = 16
_READ: Final = msgspec.json.Decoder(Reading).decode


class Processing:
    """Processes for one caller: the runner of `serve`, or the command line.

    Attributes:
        delivered_to: called after a commit that queued deliveries.
    """

    def __init__(
        self,
        store: Store,
        processor: Processor,
        *,
        clock: Callable[[], int] = now_us,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.delivered_to: Callable[[], None] = lambda: None
        self._store = store
        self._processor = processor
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._worker = identifier("prc", clock())
        self._announcer = Announcer(store)

    def take_over(self) -> None:
        """At the start of a process that serves: go on at once with what an earlier one left.

        One process serves an SQLite file, so whoever had a lease is dead, or is a command that
        processes at this moment: then the processor is asked twice with one id, which it knows.
        """
        if self._store.database.is_sqlite:
            with self._store.database.write() as connection:
                left = transactions.void_leases(connection)
            if left:
                log.info("processor.taken_over", transactions=left)

    def step(self, *, limit: int = CLAIMS_MAX, only: str | None = None) -> int:
        """Claim some, and process them; gives how many have ended. `only` is an id.

        Raises:
            StoreError: what was not recorded is processed again after the lease.
        """
        with self._store.database.read() as connection:
            if not transactions.waiting(connection):
                return 0
        until = monotonic() + self._lease_seconds / 2
        ended = 0
        for number, claimed in enumerate(self._claim(min(limit, CLAIMS_MAX), only)):
            if number and monotonic() > until:
                # The rest would outlive its lease; it is claimed again when that is over.
                break
            ended += self._process(claimed)
        return ended

    def _claim(self, limit: int, only: str | None) -> list[Claim]:
        now, ids, claims, moves = self._clock(), Identifiers(self._clock()), [], []
        actor = f"processor {self._processor.name}"
        with self._store.database.write() as connection:
            rows = transactions.approved(connection, limit, only)
            rows += transactions.abandoned(connection, limit - len(rows), only)
            for row in rows:
                claimed = transactions.claim(
                    connection, row, self._worker, self._lease_seconds, now
                )
                if claimed is not None:
                    claims.append(claimed)
                    detail = "again, after a lease that ended" if row.fence else ""
                    to = TransactionState.PROCESSING
                    moves.append(Move(row.merchant, row.id, to, actor, detail))
            transactions.record_moves(connection, ids, moves, now)
        return claims

    def _process(self, claimed: Claim) -> bool:
        payment = Payment(
            claimed.id,
            claimed.merchant,
            claimed.reference,
            claimed.source_account,
            _READ(claimed.reading),
        )
        try:
            settlement = _checked(self._processor.settle(payment))
        except NotKnownYet as error:
            self._put_off(claimed, str(error))
            return False
        except Exception as error:  # noqa: BLE001  a processor's bug must not stop the others
            log.error("processor.failed", transaction=claimed.id, error=type(error).__name__)
            said = str(error) if isinstance(error, ArifaError) else type(error).__name__
            self._put_off(claimed, f"the processor failed: {said}")
            return False
        return self._record(claimed, payment, settlement)

    def _put_off(self, claimed: Claim, reason: str) -> None:
        with self._store.database.write() as connection:
            transactions.put_off(connection, claimed, reason[:LONG_TEXT_CHARACTERS_MAX])

    def _record(self, claimed: Claim, payment: Payment, settlement: Settlement) -> bool:
        now = self._clock()
        reading = _reading(payment, settlement, now)
        is_settled = settlement.status is Status.SUCCESS
        to = TransactionState.SETTLED if is_settled else TransactionState.FAILED
        actor = f"processor {self._processor.name}"
        moves = [Move(claimed.merchant, claimed.id, to, actor, settlement.reason or "")]
        with self._store.database.write() as connection:
            packed = notifications.pack_reading(reading)
            if not transactions.finish(
                connection, claimed, to, reading=packed, reason=settlement.reason, now_us=now
            ):
                log.warning("processor.late", transaction=claimed.id)
                return False
            told = self._announce(connection, claimed, reading, to, now)
            if told.deliveries:
                moves.append(announcing(claimed.merchant, claimed.id, told))
            transactions.record_moves(connection, Identifiers(now), moves, now)
        if told.deliveries:
            self.delivered_to()
        return True

    def _announce(
        self,
        connection: Connection,
        claimed: Claim,
        reading: Reading,
        state: TransactionState,
        now: int,
    ) -> Announced:
        (told,) = self._announcer.announce(
            connection, [Announcement(claimed.merchant, reading)], now
        )
        keep_announced(connection, claimed, told, state, now)
        return told


def keep_announced(
    connection: Connection,
    row: object,
    told: Announced,
    state: TransactionState,
    now_us: int,
) -> None:
    """Keep who is told of a settled or failed one; where somebody is, it waits for the OK."""
    untold = [item._asdict() for item in told.untold]
    transactions.announced(connection, row, told.notification, told.deliveries, untold)
    if told.deliveries:
        to = TransactionState.UNACKNOWLEDGED
        transactions.move(connection, row, to, now_us, came_from=state)


def announce_again(store: Store, identity: str, now_us: int) -> Announced:
    """Announce one of which nobody was told: after a callback was registered.

    Raises:
        NotFound: there is no such transaction.
        Refused: it has not ended, it was announced, or there is still nobody to tell.
    """
    with store.database.write() as connection:
        row = transactions.get(connection, identity)
        state = TransactionState(row.state)
        transactions.check_move(row.id, state, TransactionState.UNACKNOWLEDGED)
        found = notifications.find(connection, row.merchant, row.notification)
        if found is None:
            raise Refused(f"the notification {row.notification} of {identity} is no longer there")
        told = Announcer(store).tell(connection, notifications.built(found), now_us)
        if not told.deliveries:
            reasons = "; ".join(f"{item.name}: {item.reason}" for item in told.untold)
            raise Refused(
                f"there is still nobody to tell of {identity}: "
                f"{reasons or f'no endpoint of {row.merchant} wants it; see: arifa callback new'}"
            )
        keep_announced(connection, row, told, state, now_us)
        move = announcing(row.merchant, row.id, told)
        transactions.record_moves(connection, Identifiers(now_us), [move], now_us)
    return told


def _checked(settlement: Settlement) -> Settlement:
    """The processor's answer, if the store can hold it and a merchant be told of it."""
    if settlement.status not in (Status.SUCCESS, Status.FAILED):
        raise NotKnownYet("the processor says neither success nor failed")
    reference, reason = settlement.bank_reference, settlement.reason
    if reference is not None:
        reference = checked_text(reference, "the processor's bank_reference")
    if reason is not None:
        reason = checked_text(reason, "the processor's reason", LONG_TEXT_CHARACTERS_MAX)
    return settlement._replace(bank_reference=reference, reason=reason)


def _reading(payment: Payment, settlement: Settlement, now_us: int) -> Reading:
    ordered = payment.reading
    return structs.replace(
        ordered,
        status=settlement.status,
        bank_reference=settlement.bank_reference or ordered.bank_reference or payment.id,
        fee=settlement.fee or ordered.fee,
        # Whole seconds, as banks write them: a fraction would be one that their forms do not have.
        occurred_at=settlement.occurred_at or ordered.occurred_at or now_us - now_us % 1_000_000,
    )
