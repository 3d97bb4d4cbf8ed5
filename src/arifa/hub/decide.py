"""Deciding a case: a person says what becomes of a notification that was held.

accept    it counts, and is delivered, beside whatever it conflicted with
replace   the earlier one is taken back by a reversal of ours, and this one counts instead; not for
          what is itself money that goes back
reject    it stays held, for good

All of it is one transaction: the decision, the reversal, the deliveries and the audit log.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

from msgspec import structs

from arifa.dialects.base import BACKWARDS
from arifa.errors import AlreadyClaimed, Refused
from arifa.hub.queue import queued
from arifa.identifiers import Identifiers
from arifa.notification import (
    Direction,
    Kind,
    Notification,
    Reading,
    State,
    Status,
    money_hash,
)
from arifa.store import cases, changes, configuration, deliveries, identities, notifications
from arifa.store.configuration import Configuration
from arifa.store.database import Connection
from arifa.store.opened import Store

REASON_CHARACTERS_MAX: Final = 2000
# A scope that no source can have: theirs begin with the name of a dialect.
_SCOPE: Final = "\x00case"
_OTHER_WAY: Final = {
    Direction.CREDIT: Direction.DEBIT,
    Direction.DEBIT: Direction.CREDIT,
}


class Decision(StrEnum):
    """What a person may say."""

    ACCEPT = "accept"
    REPLACE = "replace"
    REJECT = "reject"


class Decided(NamedTuple):
    """What a decision came to: the notification, the reversal if one was made, what was queued."""

    notification: Notification
    reversal: Notification | None
    deliveries: int


def decide(store: Store, identity: str, decision: Decision, reason: str, now_us: int) -> Decided:
    """Decide the case of this id.

    Raises:
        NotFound: there is no such case.
        Refused: it is decided already, the reason is empty, or it cannot be decided so.
    """
    reason = _checked_reason(reason)
    with store.database.write() as connection:
        case = cases.get(connection, identity)
        # The update itself is the check: of two people who decide at once, one is told so here.
        if not cases.decide(
            connection, case, decision=decision.value, reason=reason, now_us=now_us
        ):
            raise Refused(
                f"the case {identity} was decided already ({case.decision or 'just now'}); a "
                f"decision is not changed"
            )
        settings = configuration.load(connection, store.vault)
        decided = _carried_out(connection, settings, case, decision, now_us)
        changes.record(
            connection,
            merchant=case.merchant,
            action=f"case.{decision.value}",
            subject=case.id,
            now_us=now_us,
            detail=reason,
        )
    return decided


def _checked_reason(reason: str) -> str:
    reason = reason.strip()
    if not reason or "\x00" in reason:
        raise Refused("a decision needs a reason that another person understands: --reason TEXT")
    if len(reason) > REASON_CHARACTERS_MAX:
        raise Refused(f"the reason is longer than {REASON_CHARACTERS_MAX} characters")
    return reason


def _carried_out(
    connection: Connection, settings: Configuration, case: Any, decision: Decision, now_us: int
) -> Decided:
    held = _notification(connection, case.notification_merchant, case.notification)
    if decision is Decision.REJECT:
        return Decided(held, None, 0)
    if held.reading.amount is None:
        raise Refused(
            f"the amount of {held.id} is not known, so it cannot count; reject it, and take the "
            f"payment from the bank's statement"
        )
    ids, reversal = Identifiers(now_us), None
    rows: list[deliveries.Entry] = []
    if held.reading.kind is Kind.REVERSAL and case.against is not None:
        # The bank's own reversal takes the payment back: nobody else may any more.
        earlier = _notification(connection, case.against_merchant, case.against)
        _claim_only_once(connection, earlier, held)
    if decision is Decision.REPLACE:
        reversal = _reversed(connection, case, held, ids, now_us)
        rows += _deliveries(settings, ids, reversal, now_us)
    accepted = notifications.accept(connection, held)
    # Due a moment later, so that the merchant hears of the reversal first.
    rows += _deliveries(settings, ids, accepted, now_us + 1)
    if rows:
        deliveries.insert(connection, rows)
    return Decided(accepted, reversal, len(rows))


def _notification(connection: Connection, merchant: str, identity: str) -> Notification:
    row = notifications.find(connection, merchant, identity)
    if row is None:
        raise Refused(f"the notification {identity} of the case is no longer there")
    return notifications.built(row)


def _deliveries(
    settings: Configuration, ids: Identifiers, notification: Notification, now_us: int
) -> list[deliveries.Entry]:
    return queued(
        settings,
        ids,
        merchant=notification.merchant,
        notification=notification.id,
        source=notification.source,
        reading=notification.reading,
        now_us=now_us,
    )


# ---------------------------------------------------------------------------------- replacing


def _reversed(
    connection: Connection, case: Any, held: Notification, ids: Identifiers, now_us: int
) -> Notification:
    """Store the reversal of the earlier notification, once and never again."""
    if case.against is None:
        raise Refused("there is nothing to replace: the case is about one notification only")
    earlier = _notification(connection, case.against_merchant, case.against)
    _check_reversible(earlier)
    if held.reading.kind in BACKWARDS:
        raise Refused(
            f"{held.id} is a {held.reading.kind.value} itself: with a reversal of ours beside it the "
            f"payment would be taken back twice; accept it, or reject it"
        )
    reversal = Notification(
        id=ids.new("ntf"),
        merchant=earlier.merchant,
        source=earlier.source,
        dialect=earlier.dialect,
        received_at=now_us,
        state=State.ACCEPTED,
        reading=reversal_of(earlier.reading, case.id, now_us),
    )
    _claim_only_once(connection, earlier, reversal)
    notifications.insert(
        connection,
        [
            notifications.Entry(
                merchant=reversal.merchant,
                id=reversal.id,
                source=reversal.source,
                dialect=reversal.dialect,
                # Nothing came in for it: a dialect that passes the bank's bytes on cannot say it.
                inbox="",
                inbox_merchant="",
                received_at=now_us,
                state=reversal.state.value,
                money_hash=money_hash(reversal.reading),
                reading=notifications.pack_reading(reversal.reading),
            )
        ],
    )
    return reversal


def _check_reversible(earlier: Notification) -> None:
    if earlier.state is not State.ACCEPTED:
        raise Refused(
            f"there is nothing to take back: {earlier.id} is held itself; decide its own case first"
        )
    if earlier.reading.amount is None or earlier.reading.status is not Status.SUCCESS:
        raise Refused(
            f"there is nothing to take back: {earlier.id} says that no money moved; accept this one"
        )


def _claim_only_once(connection: Connection, earlier: Notification, reversal: Notification) -> None:
    """Two cases may stand against one payment: it is taken back by the first of them only."""
    key = (earlier.merchant, identities.key_of(_SCOPE, f"reversal of {earlier.id}"))
    entry = identities.Entry(*key, reversal.id, reversal.merchant, money_hash(reversal.reading))
    try:
        identities.claim(connection, [entry])
    except AlreadyClaimed:
        raise Refused(
            f"{earlier.id} has been taken back already, by another case; accept this one as "
            f"separate, or reject it"
        ) from None


def reversal_of(earlier: Reading, case: str, now_us: int) -> Reading:
    """What takes `earlier` back: the same money the other way, related by the bank's reference."""
    return Reading(
        kind=Kind.REVERSAL,
        direction=_OTHER_WAY[earlier.direction],
        status=Status.SUCCESS,
        amount=earlier.amount,
        end_to_end_id=earlier.end_to_end_id,
        related_reference=earlier.bank_reference,
        account=earlier.account,
        short_code=earlier.short_code,
        payer=structs.replace(earlier.payer),
        occurred_at=now_us,
        extra={"case": case},
    )
