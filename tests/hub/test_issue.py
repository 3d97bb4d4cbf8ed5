"""Issuing: orders are queued, decided, processed and announced; each once, and visibly."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from arifa import dialects
from arifa.clock import now_us
from arifa.errors import AlreadyExists, DataRefused, NotFound, Refused
from arifa.hub import approval, process
from arifa.hub.announce import Announcement, announce
from arifa.hub.approval import Decision, NewRule
from arifa.hub.issue import BATCH_MAX, EventOutcome
from arifa.hub.processor import Instant, Payment, Settlement
from arifa.hub.processor import get as get_processor
from arifa.money import Money
from arifa.notification import Status
from arifa.signing import Credentials
from arifa.store import deliveries, transactions
from arifa.store.opened import Store
from arifa.store.schema import deliveries as deliveries_table
from tests.hub.issuing import Bank, event, order, raw

BASIC = Credentials(username="shop", passwords=("sesame",))
ENTERED, KNOWN, REFUSED = EventOutcome


@pytest.fixture
def bank(store: Store) -> Bank:
    """A bank on one of the engines, with a merchant `duka` beside the default one."""
    return Bank(store, "duka")


# ---------------------------------------------------------------------------------- submitting


def test_an_order_is_queued(bank: Bank) -> None:
    """What is submitted waits for a decision, and nobody is told of it yet."""
    (identity,) = bank.submit(by="Otieno").transactions
    row = bank.row(identity)
    assert (row.state, row.reference, row.source_account) == ("submitted", "ORD-1", "0010001")
    assert transactions.reading_of(row).status is Status.PENDING
    assert bank.history(identity) == [("submitted", "Otieno")]
    assert bank.notifications() == []
    assert bank.run() == 0


def test_the_same_key_gets_the_same_answer(bank: Bank) -> None:
    """Under an idempotency key the same content is answered alike, other content is refused."""
    first = bank.submit(order("A"), order("B"), key="k1")
    again = bank.submit(order("A"), order("B"), key="k1")
    assert again.transactions == first.transactions
    assert (first.is_repeat, again.is_repeat) == (False, True)
    with pytest.raises(Refused, match="used before"):
        bank.submit(order("A"), order("B", account="1"), key="k1")
    with pytest.raises(Refused, match="used before"):
        bank.submit(order("C"), key="k1")
    assert len(bank.rows()) == 2


def test_a_key_belongs_to_its_merchant(bank: Bank) -> None:
    """Another merchant's key, or a test twin's, is another key."""
    owners = ("default", "default:test", "duka")
    made = [bank.submit(merchant=owner, key="k1").transactions[0] for owner in owners]
    assert len(set(made)) == 3
    assert [row.merchant for row in bank.rows()] == list(owners)


def test_a_reference_is_taken_once(bank: Bank) -> None:
    """Without a key the reference does the same: alike is the same transaction, unlike refused."""
    (first,) = bank.submit().transactions
    assert bank.submit().transactions == [first]
    with pytest.raises(Refused, match="submitted before"):
        bank.submit(order(amount={"amount": "150.01", "currency": "KES"}))
    with pytest.raises(Refused, match="submitted before"):
        bank.submit(order(payer={"name": "John Doe"}))
    assert bank.states() == ["submitted"]


def test_a_batch_is_all_or_nothing(bank: Bank) -> None:
    """One order of a batch that cannot be taken leaves nothing of the batch behind."""
    bank.submit(order("A"))
    with pytest.raises(Refused, match="submitted before"):
        bank.submit(order("B"), order("A", account="1"), key="k2")
    with pytest.raises(Refused, match="2 times"):
        bank.submit(order("B"), order("B"))
    with pytest.raises(Refused, match="1 to 500"):
        bank.submit(*(order(str(number)) for number in range(BATCH_MAX + 1)))
    assert [row.reference for row in bank.rows()] == ["A"]
    made = bank.submit(order("B"), order("A"), key="k2")
    assert len({row.batch for row in bank.rows()}) == 2
    assert made.transactions[1] == bank.rows()[0].id


def test_submitted_by_many_at_once(bank: Bank) -> None:
    """However many submit one order at the same moment, it is one transaction."""
    barrier = threading.Barrier(4)

    def one_of_many(key: str | None) -> list[str]:
        barrier.wait()
        return bank.submit(order("A"), order("B"), key=key).transactions

    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(one_of_many, ["k", "k", None, None]))
    assert len({tuple(answer) for answer in answers}) == 1
    assert len(bank.rows()) == 2


def test_an_unknown_merchant(bank: Bank) -> None:
    """An order for a merchant that there is not is not found, and leaves nothing."""
    with pytest.raises(NotFound, match="no merchant"):
        bank.submit(merchant="nobody")
    assert bank.rows() == []


# ---------------------------------------------------------------------------------- deciding


def test_a_person_decides_once(bank: Bank) -> None:
    """Approved or declined by name and with a reason; a second decision is refused."""
    first, second = bank.submit(order("A"), order("B")).transactions
    bank.approve(first)
    declined = approval.decide(
        bank.store, second, Decision.DECLINE, by="Amina", reason="not known", now_us=now_us()
    )
    assert (declined.state, declined.reason) == ("declined", "not known")
    assert bank.history(first) == [("submitted", "operator"), ("approved", "Amina")]
    for identity in (first, second):
        for decision in Decision:
            with pytest.raises(Refused, match="cannot become"):
                approval.decide(
                    bank.store, identity, decision, by="Amina", reason="again", now_us=now_us()
                )
    assert bank.states() == ["approved", "declined"]
    assert len(bank.history(first)) == 2


@pytest.mark.parametrize(
    ("by", "reason"), [("", "why"), (" ", "why"), ("Amina", ""), ("A", "\x00")]
)
def test_a_decision_has_a_name_and_a_reason(bank: Bank, by: str, reason: str) -> None:
    """Without either nothing is decided."""
    (identity,) = bank.submit().transactions
    with pytest.raises(Refused):
        approval.decide(
            bank.store, identity, Decision.APPROVE, by=by, reason=reason, now_us=now_us()
        )
    assert bank.states() == ["submitted"]


def rule(bank: Bank, name: str, decision: Decision, **conditions: Any) -> None:
    wanted = NewRule(name=name, decision=decision, merchant="default", **conditions)
    approval.add_rule(bank.store, wanted, now_us())


def test_rules_decide_at_once(bank: Bank) -> None:
    """Up to a limit in its currency, by who pays; what declines goes first, the rest waits."""
    rule(bank, "small", Decision.APPROVE, up_to=Money(15000, "KES"))
    rule(bank, "payroll", Decision.APPROVE, source_account="77", up_to=Money(10_00, "USD"))
    rule(bank, "blocked", Decision.DECLINE, source_account="13")
    cases = [
        ("approved", "150.00", "KES", "0010001"),
        ("submitted", "150.01", "KES", "0010001"),
        ("submitted", "1.00", "USD", "0010001"),
        ("approved", "10.00", "USD", "77"),
        ("declined", "1.00", "KES", "13"),
        ("submitted", "10.01", "USD", "77"),
    ]
    made = [
        bank.submit(
            order(
                str(number),
                amount={"amount": amount, "currency": currency},
                source_account=account,
            )
        ).transactions[0]
        for number, (_, amount, currency, account) in enumerate(cases)
    ]
    assert bank.states() == [case[0] for case in cases]
    assert bank.history(made[4]) == [("submitted", "operator"), ("declined", "rule blocked")]
    assert bank.row(made[0]).reason == "approve what is up to 150.00 KES"
    approval.remove_rule(bank.store, "default", "small", now_us())
    assert bank.row(bank.submit(order("later")).transactions[0]).state == "submitted"


def test_rules_belong_to_their_merchant(bank: Bank) -> None:
    """A rule of one merchant decides nothing of another, nor of its own test twin."""
    rule(bank, "small", Decision.APPROVE, up_to=Money(10**9, "KES"))
    bank.submit(merchant="duka")
    bank.submit(merchant="default:test")
    assert bank.states() == ["submitted", "submitted"]


def test_rules_that_cannot_be(bank: Bank) -> None:
    """A rule without a condition, with a name that is taken, or for nobody is refused."""
    rule(bank, "small", Decision.APPROVE, source_account="1")
    with pytest.raises(AlreadyExists):
        rule(bank, "small", Decision.DECLINE, source_account="2")
    with pytest.raises(Refused, match="everything"):
        rule(bank, "all", Decision.APPROVE)
    with pytest.raises(Refused, match="above zero"):
        rule(bank, "none", Decision.APPROVE, up_to=Money(0, "KES"))
    with pytest.raises(Refused, match="cannot name"):
        rule(bank, "Small ones", Decision.APPROVE, source_account="1")
    with pytest.raises(NotFound):
        approval.remove_rule(bank.store, "default", "none", now_us())


# ---------------------------------------------------------------------------------- processing


def test_settled_and_announced(bank: Bank) -> None:
    """What was approved is settled, announced in one commit, and complete when the shop said OK."""
    bank.endpoint()
    (identity,) = bank.approved(order())
    assert bank.run() == 1
    (told,) = bank.notifications()
    assert (told.source, told.dialect, told.reading.status) == ("issue", "issue", Status.SUCCESS)
    assert told.reading.bank_reference == "FT-ORD-1"
    assert bank.row(identity).notification == told.id
    assert bank.completion(identity).state == "unacknowledged"
    bank.answer("delivered")
    completion = bank.completion(identity)
    assert (completion.state, completion.told, completion.acknowledged) == ("complete", 1, 1)
    assert bank.row(identity).state == "unacknowledged"
    assert (bank.follow(), bank.follow()) == (1, 0)
    assert bank.row(identity).state == "complete"
    assert bank.history(identity) == [
        ("submitted", "operator"),
        ("approved", "Amina"),
        ("processing", "processor ledger"),
        ("settled", "processor ledger"),
        ("unacknowledged", "announce"),
        ("complete", "delivery"),
    ]


@pytest.mark.parametrize("state", ["pending", "sending", "dead", "cancelled"])
def test_without_an_ok_it_is_unacknowledged(bank: Bank, state: str) -> None:
    """Whatever else became of the delivery, nothing calls the transaction complete."""
    bank.endpoint()
    (identity,) = bank.approved(order())
    bank.run()
    bank.answer(state)
    completion = bank.completion(identity)
    assert completion.state == "unacknowledged"
    assert bank.deliveries()[0].id in str(completion.note)
    assert bank.follow() == 0


def test_all_who_were_told_must_say_ok(bank: Bank) -> None:
    """Of two endpoints both must; one that was removed meanwhile does not count."""
    first, second = bank.endpoint("first"), bank.endpoint("second")
    (identity,) = bank.approved(order())
    bank.run()
    bank.answer("delivered", endpoint=first.id)
    bank.answer("dead", endpoint=second.id)
    assert bank.completion(identity).state == "unacknowledged"
    bank.answer("cancelled", endpoint=second.id)
    assert bank.completion(identity).state == "complete"


def test_what_a_person_skipped_is_no_ok(bank: Bank) -> None:
    """A delivery that was skipped was heard by nobody, and the note says so."""
    first, second = bank.endpoint("first"), bank.endpoint("second")
    (identity,) = bank.approved(order())
    bank.run()
    bank.answer("delivered", endpoint=first.id)
    (other,) = [row for row in bank.deliveries() if row.endpoint == second.id]
    with bank.store.database.write() as connection:
        assert deliveries.skip(connection, other, now_us())
    completion = bank.completion(identity)
    assert completion.state == "unacknowledged"
    assert f"skipped by a person: {other.id}" in str(completion.note)
    assert bank.follow() == 0


def test_a_replay_completes_it(bank: Bank) -> None:
    """Where the first delivery died, one that was sent again and acknowledged is the OK."""
    bank.endpoint()
    (identity,) = bank.approved(order())
    bank.run()
    bank.answer("dead")
    (dead,) = bank.deliveries()
    replay = deliveries.Entry(
        "default", "dlv_replay", dead.notification, dead.endpoint, now_us(), now_us()
    )
    with bank.store.database.write() as connection:
        deliveries.insert(connection, [replay])
        connection.execute(
            deliveries_table.update()
            .where(deliveries_table.c.id == replay.id)
            .values(replay_of=dead.id, state="delivered", finished_at=now_us())
        )
    assert bank.completion(identity).state == "complete"
    assert bank.follow() == 1


def test_nobody_to_tell(bank: Bank) -> None:
    """Where nobody wants to hear of it, it stays settled and says so; later it can be announced."""
    bank.endpoint(accounts=frozenset({"another"}))
    (identity,) = bank.approved(order())
    bank.run()
    completion = bank.completion(identity)
    assert (completion.state, completion.told) == ("settled", 0)
    assert "nobody is told" in str(completion.note)
    with pytest.raises(Refused, match="still nobody"):
        process.announce_again(bank.store, identity, now_us())
    bank.endpoint("own", accounts=frozenset({"0021024000039"}))
    told = process.announce_again(bank.store, identity, now_us())
    assert [item.id for item in bank.notifications()] == [told.notification]
    assert bank.completion(identity).state == "unacknowledged"
    with pytest.raises(Refused, match="cannot become"):
        process.announce_again(bank.store, identity, now_us())
    assert len(bank.deliveries()) == 1


def test_a_failure_is_told_where_there_are_words(bank: Bank) -> None:
    """A failed payment goes to who can say so; a dialect without the word is told nothing."""
    bank.endpoint(
        "bank", dialect="credit_bank", profile=profile_of("credit_bank"), credentials=BASIC
    )
    bank.endpoint("jenga", dialect="jenga", profile=profile_of("jenga"), credentials=BASIC)
    bank.ledger.failing["ORD-1"] = "insufficient funds"
    (identity,) = bank.approved(order())
    bank.run()
    (delivery,) = bank.deliveries()
    row = bank.row(identity)
    assert (row.state, row.reason) == ("unacknowledged", "insufficient funds")
    (untold,) = transactions.untold(row)
    assert untold["name"] == "bank"
    assert "no word for the status" in untold["reason"]
    (told,) = bank.notifications()
    assert told.reading.status is Status.FAILED
    assert ("failed", "processor ledger") in bank.history(identity)
    assert delivery.notification == told.id


def profile_of(dialect: str) -> Any:
    return dialects.get(dialect).defaults


def test_what_never_came_is_not_passed_on(bank: Bank) -> None:
    """as_received passes on what came; nothing came, so it is told nothing, and that is written."""
    bank.endpoint("raw", dialect="as_received")
    (identity,) = bank.approved(order())
    bank.run()
    assert bank.deliveries() == []
    completion = bank.completion(identity)
    assert completion.state == "settled"
    assert "raw: as_received passes" in str(completion.note)
    with bank.store.database.read() as connection:
        notification = bank.row(identity).notification
        (said,) = transactions.moves_of(connection, "default", notification)
    assert (said.action, said.actor) == ("announce.untold", "announce")


def test_one_endpoint_at_a_url_of_its_own(bank: Bank) -> None:
    """An announcement to one endpoint goes there alone, whatever its filter, to the URL given."""
    bank.endpoint("others")
    chosen = bank.endpoint("chosen", accounts=frozenset({"another"}))
    reading = transactions.reading_of(bank.row(bank.submit().transactions[0]))
    url = "https://client.example/callback"
    with bank.store.database.write() as connection:
        told = announce(
            connection, bank.store, Announcement("default", reading, chosen, url), now_us()
        )
    (delivery,) = bank.deliveries()
    assert (delivery.id, delivery.endpoint, delivery.url) == (told.deliveries[0], chosen.id, url)


def test_not_known_yet_is_asked_again(bank: Bank) -> None:
    """A processor that cannot say yet is asked again after the lease, with the same id."""
    bank.endpoint()
    (identity,) = bank.approved(order())
    bank.ledger.slow.add("ORD-1")
    assert bank.run(lease_seconds=0) == 0
    row = bank.row(identity)
    assert (row.state, row.reason) == ("processing", "the switch has not answered")
    bank.ledger.slow.clear()
    assert bank.run(lease_seconds=60) == 1
    assert bank.ledger.asked[identity] == 2
    assert bank.states() == ["unacknowledged"]


def test_within_a_lease_nobody_else_asks(bank: Bank) -> None:
    """What one has claimed, another leaves alone until the lease is over."""
    (identity,) = bank.approved(order())
    bank.ledger.slow.add("ORD-1")
    assert bank.run(lease_seconds=60) == 0
    bank.ledger.slow.clear()
    assert bank.run(lease_seconds=60) == 0
    assert bank.ledger.asked[identity] == 1


def test_a_bug_of_the_processor_stops_nobody(bank: Bank) -> None:
    """One payment that a processor breaks on says so; the next is settled."""
    bank.endpoint()
    first, second = bank.approved(order("A"), order("B"))

    def broken(payment: Payment) -> None:
        if payment.reference == "A":
            raise ZeroDivisionError("secret of a payer")

    bank.ledger.before = broken
    assert bank.run() == 1
    assert bank.row(first).state == "processing"
    assert bank.row(first).reason == "the processor failed: ZeroDivisionError"
    assert bank.row(second).state == "unacknowledged"


def test_a_late_answer_changes_nothing(bank: Bank) -> None:
    """Whose lease is over and replaced records nothing, and nothing is announced twice."""
    bank.endpoint()
    (identity,) = bank.approved(order())

    def overtaken(_: Payment) -> None:
        bank.ledger.after = lambda _: None
        assert bank.processing().step() == 1

    bank.ledger.after = overtaken
    assert bank.processing(lease_seconds=0).step() == 0
    assert (bank.ledger.moved[identity], bank.ledger.asked[identity]) == (1, 2)
    assert (len(bank.notifications()), len(bank.deliveries())) == (1, 1)
    assert [state for state, _ in bank.history(identity)].count("settled") == 1


def test_many_processes_settle_once(bank: Bank) -> None:
    """Several that process at once share the work, and each transaction is asked about once."""
    bank.endpoint()
    made = bank.submit(*(order(str(number)) for number in range(40))).transactions
    bank.approve(*made)
    barrier = threading.Barrier(4)

    def one_of_many(_: int) -> int:
        barrier.wait()
        return bank.run()

    with ThreadPoolExecutor(4) as processes:
        assert sum(processes.map(one_of_many, range(4))) == 40
    assert bank.ledger.asked == dict.fromkeys(made, 1)
    assert len(bank.notifications()) == len(bank.deliveries()) == 40


def test_the_built_in_processor() -> None:
    """It settles at once, fails as told, and says the same however often it is asked."""
    payment = Payment("trx_1", "default", "R", None, None)  # type: ignore[arg-type]
    told = Instant({"R": "no funds"})
    assert told.settle(payment) == told.settle(payment)
    assert told.settle(payment) == Settlement(Status.FAILED, reason="no funds")
    assert get_processor("instant").settle(payment).status is Status.SUCCESS
    with pytest.raises(NotFound, match="instant"):
        get_processor("no-such")


# ---------------------------------------------------------------------------------- events


def test_events_are_announced(bank: Bank) -> None:
    """Each is entered and announced in one commit, and waits for the merchant's OK."""
    bank.endpoint()
    found = bank.accept(event("FT1"), event("FT2", status="failed"))
    assert [verdict.outcome for verdict in found] == [ENTERED, ENTERED]
    assert bank.states() == ["unacknowledged", "unacknowledged"]
    assert [item.reading.status.value for item in bank.notifications()] == ["success", "failed"]
    assert len(bank.deliveries()) == 2
    assert bank.history(str(found[0].transaction)) == [
        ("settled", "origin core"),
        ("unacknowledged", "announce"),
    ]


def test_an_event_enters_once(bank: Bank) -> None:
    """A repeat is known, within one call and between calls, whatever else it says."""
    bank.endpoint()
    (first,) = bank.accept(event("FT1"))
    found = bank.accept(event("FT1", channel="USSD"), event("FT2"), event("FT2"))
    assert [verdict.outcome for verdict in found] == [KNOWN, ENTERED, KNOWN]
    assert found[0].transaction == first.transaction
    assert found[1].transaction == found[2].transaction
    assert len(bank.notifications()) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"amount": {"amount": "300.01", "currency": "KES"}},
        {"amount": {"amount": "300.00", "currency": "USD"}},
        {"account": "1"},
        {"direction": "debit"},
        {"status": "failed"},
        {"kind": "reversal"},
    ],
)
def test_other_money_under_a_reference_is_refused(bank: Bank, change: dict[str, Any]) -> None:
    """It is never announced, and the sentence names the transaction that has the reference."""
    bank.endpoint()
    (first,) = bank.accept(event("FT1"))
    (verdict,) = bank.accept(event("FT1", **change))
    assert verdict.outcome is REFUSED
    assert str(first.transaction) in str(verdict.reason)
    assert len(bank.notifications()) == len(bank.rows()) == 1


def test_a_reference_of_its_own(bank: Bank) -> None:
    """Two events of one payment share the bank's reference, where each has a reference itself."""
    bank.endpoint()
    found = bank.accept(event("FT1", reference="E1", status="failed"), event("FT1", reference="E2"))
    assert [verdict.outcome for verdict in found] == [ENTERED, ENTERED]


def test_origins_and_merchants_are_apart(bank: Bank) -> None:
    """The same reference from another system, or of another merchant, is another event."""
    assert bank.accept(event())[0].outcome is ENTERED
    assert bank.accept(event(), origin="cards")[0].outcome is ENTERED
    assert bank.accept(event(merchant="duka"))[0].outcome is ENTERED
    assert bank.accept(event(merchant="duka"), merchant="default:test")[0].outcome is ENTERED
    owners = [row.merchant for row in bank.rows()]
    assert owners == ["default", "default", "duka", "duka:test"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b"[]", "not an object"),
        (b'{"amount": 1, "amount": 2}', "twice"),
        (raw(event(ammount="1")), "did you mean 'amount'"),
        (raw(event(amount="100")), "not money"),
        (raw(event(amount={"amount": 100, "currency": "KES"})), "not money"),
        (raw(event(amount={"amount": "1.005", "currency": "KES"})), "decimals"),
        (raw(event(amount={"amount": "-1", "currency": "KES"})), "below zero"),
        (raw(event(amount={"amount": "0", "currency": "KES"})), "is zero"),
        (raw(event(amount={"amount": "1", "currency": "XXX"})), "ISO 4217"),
        (raw(event(kind="unknown")), "kind is none of"),
        (raw(event(status="pending")), "status is none of success, failed"),
        (raw(event(occurred_at="yesterday")), "not a time"),
        (raw(event(occurred_at="2026-11-20")), "no offset"),
        (raw(event(occurred_at="2026-11-20T07:42:38")), "no offset"),
        (raw(event(account="a\x00b")), "cannot be kept"),
        (raw(event(account="\ud800")), "cannot be kept"),
        (raw(event(account=7)), "not a text"),
        (raw(event(payer={"nom": "Jane"})), "payer is an object with name"),
        (raw(event(bank_reference=None)), "bank_reference is missing"),
        (raw(event(merchant="nobody")), "merchant that there is not"),
        (raw(event(merchant="duka:test")), "live feed"),
        (raw(event(extra={"a": "x" * 3000})), "longer than"),
        (b" " * 70_000, "longer than 65536 bytes"),
    ],
)
def test_what_is_wrong_is_said(bank: Bank, body: bytes, sentence: str) -> None:
    """A bad event is refused with its sentence; the good ones around it are entered."""
    found = bank.accept(event("before"), body, event("after"))
    assert [verdict.outcome for verdict in found] == [ENTERED, REFUSED, ENTERED]
    assert sentence in str(found[1].reason)
    assert [row.reference for row in bank.rows()] == ["before", "after"]


def test_no_value_is_in_a_refusal(bank: Bank) -> None:
    """What is said of a bad event names its fields, never what a payer's fields hold."""
    secret = "254712345678"
    bad = [event(payer={"phone": int(secret)}), event(payer=secret), event(status=secret)]
    for verdict in bank.accept(*bad):
        assert verdict.outcome is REFUSED
        assert secret not in str(verdict.reason)


def test_what_the_database_refuses_holds_up_nobody(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event that the store will not have is refused alone; those beside it are entered."""
    insert = transactions.insert

    def picky(connection: Any, entries: Any) -> None:
        if any(entry.reference == "bad" for entry in entries):
            raise DataRefused("the database refused a value")
        insert(connection, entries)

    monkeypatch.setattr(transactions, "insert", picky)
    bank.endpoint()
    found = bank.accept(event("FT1"), event("bad"), event("FT2"))
    assert [verdict.outcome for verdict in found] == [ENTERED, REFUSED, ENTERED]
    assert len(bank.notifications()) == len(bank.deliveries()) == 2


def test_the_origin_of_orders_is_theirs(bank: Bank) -> None:
    """No system may speak under the name that orders are known by."""
    with pytest.raises(Refused, match="orders"):
        bank.accept(event(), origin="submit")


def test_events_from_many_at_once(bank: Bank) -> None:
    """However many enter the same events at the same moment, each is announced once."""
    bank.endpoint()
    barrier = threading.Barrier(4)

    def one_of_many(number: int) -> int:
        barrier.wait()
        mine = [event(str(name)) for name in range(20)]
        found = bank.accept(*(mine if number % 2 else mine[::-1]))
        return sum(verdict.outcome is ENTERED for verdict in found)

    with ThreadPoolExecutor(4) as systems:
        assert sum(systems.map(one_of_many, range(4))) == 20
    assert len(bank.rows()) == len(bank.notifications()) == len(bank.deliveries()) == 20
