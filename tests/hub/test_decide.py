"""Deciding cases: what counts, what is taken back, what is delivered, and never twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from arifa.clock import now_us
from arifa.errors import NotFound, Refused
from arifa.hub.decide import Decision, decide
from arifa.money import Money
from arifa.notification import Kind, State
from arifa.store import cases, deliveries
from arifa.store.opened import Store
from arifa.store.schema import audit
from tests.hub.bank import Hub, altered, request


@pytest.fixture
def hub(store: Store) -> Hub:
    """A hub with sources and one endpoint that wants everything."""
    made = Hub(store)
    made.endpoint()
    for dialect in ("kcb", "cbs", "credit_bank"):
        made.source(dialect)
    return made


def conflicted(hub: Hub, *amounts: str) -> list[str]:
    """The first payment of 100.00, then others under its reference: the ids of their cases."""
    hub.one("kcb", request("kcb"))
    for amount in amounts:
        hub.one("kcb", request("kcb", transactionAmount=amount))
    return [case.id for case in hub.cases()]


def queued_for(hub: Hub, notification: str) -> int:
    with hub.store.database.read() as connection:
        return len(deliveries.listed(connection, notification=notification))


def test_accepting_counts_and_delivers(hub: Hub) -> None:
    """An accepted conflict counts beside the earlier payment, and is delivered once."""
    (case,) = conflicted(hub, "150.00")
    decided = decide(hub.store, case, Decision.ACCEPT, "two payments indeed", now_us())
    assert decided.reversal is None
    assert [item.reading.amount for item in hub.accepted()] == [
        Money(10000, "KES"),
        Money(15000, "KES"),
    ]
    assert decided.notification.state is State.ACCEPTED
    assert decided.notification.reading.held is None
    assert decided.deliveries == queued_for(hub, decided.notification.id) == 1
    assert hub.cases() == []


def test_replacing_takes_the_earlier_one_back(hub: Hub) -> None:
    """Replacing makes a reversal of the earlier payment, tells the merchant of it, then accepts."""
    (case,) = conflicted(hub, "150.00")
    earlier = hub.accepted()[0]
    decided = decide(hub.store, case, Decision.REPLACE, "the bank corrected it", now_us())
    assert decided.reversal is not None
    reading = decided.reversal.reading
    assert (reading.kind, reading.direction.value) == (Kind.REVERSAL, "debit")
    assert reading.amount == earlier.reading.amount
    assert reading.related_reference == earlier.reading.bank_reference
    assert reading.bank_reference is None
    assert {item.id for item in hub.accepted()} == {
        earlier.id,
        decided.notification.id,
        decided.reversal.id,
    }
    with hub.store.database.read() as connection:
        rows = {row.notification: row for row in deliveries.listed(connection)}
    assert len(rows) == 3
    told = [rows[item.id].next_attempt_at for item in (decided.reversal, decided.notification)]
    assert told == sorted(told)
    assert told[0] < told[1]


def test_rejecting_leaves_it_held(hub: Hub) -> None:
    """A rejected notification stays held, and nobody is told."""
    (case,) = conflicted(hub, "150.00")
    decided = decide(hub.store, case, Decision.REJECT, "a mistake of theirs", now_us())
    assert decided.notification.state is State.HELD
    assert queued_for(hub, decided.notification.id) == 0
    assert hub.cases() == []
    assert len(hub.accepted()) == 1


@pytest.mark.parametrize("again", list(Decision))
def test_a_decision_is_final(hub: Hub, again: Decision) -> None:
    """A decided case is refused, whatever is said the second time, and nothing changes."""
    (case,) = conflicted(hub, "150.00")
    decide(hub.store, case, Decision.ACCEPT, "fine", now_us())
    before = hub.totals(), len(hub.notifications())
    with pytest.raises(Refused, match="decided already"):
        decide(hub.store, case, again, "other", now_us())
    assert (hub.totals(), len(hub.notifications())) == before


def test_two_people_at_once(hub: Hub) -> None:
    """Of many who decide one case at the same moment one is heard, and the others are told."""
    (case,) = conflicted(hub, "150.00")
    barrier = threading.Barrier(4)

    def one_of_many(decision: Decision) -> str:
        barrier.wait()
        try:
            decide(hub.store, case, decision, "at once", now_us())
        except Refused as error:
            return str(error)
        return "decided"

    choices = [Decision.ACCEPT, Decision.REPLACE] * 2
    with ThreadPoolExecutor(4) as people:
        heard = list(people.map(one_of_many, choices))
    assert heard.count("decided") == 1
    assert sum("decided already" in answer for answer in heard) == 3
    reversals = [item for item in hub.notifications() if item.reading.kind is Kind.REVERSAL]
    assert len(reversals) == (choices[heard.index("decided")] is Decision.REPLACE)


def test_one_payment_is_taken_back_once(hub: Hub) -> None:
    """Of two cases against one payment only the first takes it back; the second stays open."""
    first, second = conflicted(hub, "150.00", "160.00")
    decide(hub.store, first, Decision.REPLACE, "corrected", now_us())
    with pytest.raises(Refused, match="taken back already"):
        decide(hub.store, second, Decision.REPLACE, "corrected again", now_us())
    assert [case.id for case in hub.cases()] == [second]
    reversals = [item for item in hub.notifications() if item.reading.kind is Kind.REVERSAL]
    assert len(reversals) == 1


def test_a_reversal_replaces_nothing(hub: Hub) -> None:
    """A held reversal takes the payment back itself: one of ours beside it would do so twice."""
    hub.one("cbs", request("cbs"))
    hub.one("cbs", request("cbs", IsReversal=True))
    (case,) = hub.cases()
    with pytest.raises(Refused, match="taken back twice"):
        decide(hub.store, case.id, Decision.REPLACE, "the bank took it back", now_us())
    assert [item.reading.kind for item in hub.accepted()] == [Kind.PAYMENT]
    assert len(hub.cases()) == 1
    decide(hub.store, case.id, Decision.ACCEPT, "the bank took it back", now_us())
    assert [item.reading.kind for item in hub.accepted()] == [Kind.PAYMENT, Kind.REVERSAL]


def test_after_the_banks_reversal_nobody_else_takes_it_back(hub: Hub) -> None:
    """An accepted reversal of the bank's own and a replacement cannot both undo one payment."""
    genuine = request("cbs")
    hub.one("cbs", genuine)
    hub.one("cbs", altered(genuine, b'"IsReversal":false', b'"IsReversal":true'))
    hub.one("cbs", altered(genuine, b'"1000000001"', b'"100000000"', b'"PR-', b'"1PR-'))
    reversal, split = [case.id for case in hub.cases()]

    decide(hub.store, reversal, Decision.ACCEPT, "the bank confirmed it", now_us())
    with pytest.raises(Refused, match="taken back already"):
        decide(hub.store, split, Decision.REPLACE, "another split", now_us())

    assert [item.reading.kind for item in hub.accepted()] == [Kind.PAYMENT, Kind.REVERSAL]


def test_a_held_payment_cannot_be_taken_back(hub: Hub) -> None:
    """Where the earlier one never counted, there is nothing to reverse."""
    hub.one("credit_bank", request("credit_bank", "refund"))
    hub.one("credit_bank", request("credit_bank", "refund", data__amount="77.00"))
    by_kind = {case.kind: case.id for case in hub.cases()}
    with pytest.raises(Refused, match="held itself"):
        decide(hub.store, by_kind["conflict"], Decision.REPLACE, "newer", now_us())


def test_a_lone_doubt_has_nothing_to_replace(hub: Hub) -> None:
    """A case about one notification only can be accepted or rejected."""
    hub.one("cbs", request("cbs", "reversal"))
    (case,) = hub.cases()
    with pytest.raises(Refused, match="nothing to replace"):
        decide(hub.store, case.id, Decision.REPLACE, "why not", now_us())
    decided = decide(hub.store, case.id, Decision.ACCEPT, "on the statement", now_us())
    assert decided.notification.reading.kind is Kind.REVERSAL
    assert decided.deliveries == 1


def test_what_has_no_amount_cannot_count(hub: Hub) -> None:
    """A notification whose amount is not known can only be rejected."""
    hub.one("kcb", request("kcb", transactionAmount="100.005"))
    (case,) = hub.cases()
    with pytest.raises(Refused, match="amount"):
        decide(hub.store, case.id, Decision.ACCEPT, "it came", now_us())
    decide(hub.store, case.id, Decision.REJECT, "asked the bank", now_us())


@pytest.mark.parametrize("reason", ["", "  \n", "a\x00b", "x" * 3000])
def test_a_reason_is_needed(hub: Hub, reason: str) -> None:
    """A decision without a reason that can be read later is refused."""
    (case,) = conflicted(hub, "150.00")
    with pytest.raises(Refused, match="reason"):
        decide(hub.store, case, Decision.REJECT, reason, now_us())
    assert len(hub.cases()) == 1


def test_the_audit_log_has_it(hub: Hub) -> None:
    """Who decided what, and why, is in the log that cannot be changed."""
    (case,) = conflicted(hub, "150.00")
    decide(hub.store, case, Decision.REJECT, "a mistake of theirs", now_us())
    with hub.store.database.read() as connection:
        row = connection.execute(sa.select(audit).where(audit.c.subject == case)).one()
        decided = cases.get(connection, case)
    assert (row.action, row.detail) == ("case.reject", "a mistake of theirs")
    assert (decided.decision, decided.decision_reason) == ("reject", "a mistake of theirs")


def test_an_unknown_case(hub: Hub) -> None:
    """A case that is not there is not found."""
    with pytest.raises(NotFound):
        decide(hub.store, "case_0", Decision.REJECT, "none", now_us())


def test_repeats_of_an_accepted_conflict_stay_one(hub: Hub) -> None:
    """The bank may send the accepted one again and again: it is stored and counted once."""
    (case,) = conflicted(hub, "150.00")
    decide(hub.store, case, Decision.ACCEPT, "two payments", now_us())
    hub.one("kcb", request("kcb", transactionAmount="150.00"))
    assert hub.cases() == []
    assert len(hub.accepted()) == 2
