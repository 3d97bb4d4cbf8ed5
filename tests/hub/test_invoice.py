"""Invoices: made once, paid once, announced when all is paid, taken back once; on both engines."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arifa import billing, dialects
from arifa.billing import Code, Order, Receipt, Recipient, Refusal
from arifa.clock import now_us
from arifa.dialects.base import Dialect
from arifa.errors import AlreadyExists, NotFound, Refused, Unavailable
from arifa.feed import Endpoint, Profile
from arifa.hub.configure import NewEndpoint, add_endpoint, set_paused
from arifa.hub.generate import Generator
from arifa.hub.invoice import (
    NewInvoice,
    Settled,
    Taken,
    add_invoice,
    announce_invoice,
    announcement_of,
    cancel,
    pay,
    reverse,
)
from arifa.hub.invoice_number import check_digit, is_number, new_number
from arifa.hub.receive import Receiver
from arifa.money import Money
from arifa.notification import Kind, Notification, QueryAnswer, Reading, State, Status
from arifa.outcome import Insertion
from arifa.signing import Credentials
from arifa.store import deliveries, endpoints, invoices, notifications
from arifa.store.opened import Store
from arifa.store.schema import audit
from arifa.wire import WireRequest, WireResponse
from tests.engines import Opener
from tests.hub.bank import BANK, SECRET, Hub, request

OWN = "https://shop.example/paid/17"
NGN = Profile(currency="NGN", timezone="Africa/Lagos")
ORDER = Order(
    revenue_head="16",
    amount=Money(200_000, "NGN"),
    reference="6075b3ebc5015",
    callback_url=OWN,
    category="1",
    payer=Recipient(name="Jane Doe", address="1 Marina"),
)
CBS = dialects.get("cbs")


@pytest.fixture
def hub(store: Store) -> Hub:
    """A hub with one endpoint that wants everything."""
    made = Hub(store)
    made.endpoint(name="erp")
    return made


def client_of(hub: Hub, **changes: Any) -> Endpoint:
    """A client: an endpoint in the billing system's form."""
    return hub.endpoint(
        **{
            "name": "school",
            "url": "https://school.example/cbs",
            "dialect": "cbs",
            "profile": NGN,
            "credentials": Credentials(secrets=(SECRET,)),
            **changes,
        }
    )


def made(hub: Hub, client: Endpoint | None = None, **changes: Any) -> Any:
    """An invoice of 2000.00 NGN."""
    wanted = NewInvoice(
        **{
            "merchant": "default",
            "amount": Money(200_000, "NGN"),
            "client": client,
            "reference": "6075b3ebc5015",
            **changes,
        }
    )
    return add_invoice(hub.store, wanted, now_us()).invoice


def paid(hub: Hub, invoice: Any, reference: str, minor: int | None = None) -> Settled:
    amount = None if minor is None else Money(minor, "NGN")
    taken = Taken(reference=reference, amount=amount, provider="PayDirect", channel="Web")
    return pay(hub.store, invoice.number, taken, now_us())


def told(hub: Hub, settled: Settled) -> list[tuple[str, str | None]]:
    """(endpoint's name, URL) of the deliveries of what was announced."""
    assert settled.announced is not None
    with hub.store.database.read() as connection:
        named = endpoints.names(connection)
        found = deliveries.listed(connection, notification=settled.announced.notification)
    return [(named[item.endpoint], item.url) for item in found]


def reading_of(hub: Hub, settled: Settled) -> Reading:
    assert settled.announced is not None
    with hub.store.database.read() as connection:
        row = notifications.get(connection, settled.announced.notification)
    return notifications.built(row).reading


def money_told(hub: Hub) -> int:
    """What whoever hears of everything has in his hands, in kobo."""
    return sum(
        (-1 if item.reading.kind is Kind.REVERSAL else 1) * item.reading.amount.minor
        for item in hub.notifications()
        if item.reading.amount is not None
    )


# ---------------------------------------------------------------------------------- the number


def test_a_number_notices_what_a_hand_does() -> None:
    """Eleven digits that begin with 1; one wrong digit or two neighbours swapped are noticed."""
    assert check_digit("572") == "4"  # the example of Damm's
    for number in {new_number() for _ in range(50)}:
        assert is_number(number)
        assert number[0] == "1"
        for place, digit in enumerate(number):
            for other in set("0123456789") - {digit}:
                assert not is_number(number[:place] + other + number[place + 1 :])
        for place in range(10):
            first, second = number[place], number[place + 1]
            if first != second:
                assert not is_number(number[:place] + second + first + number[place + 2 :])


# ---------------------------------------------------------------------------------- making


def test_an_invoice_is_made_once_by_its_reference(hub: Hub) -> None:
    """The same reference with the same content is the same invoice; with other content, refused."""
    client = client_of(hub)
    wanted = NewInvoice(
        merchant="default", amount=Money(5, "NGN"), client=client, reference="A", description="x"
    )

    first = add_invoice(hub.store, wanted, now_us())
    again = add_invoice(hub.store, wanted, now_us())

    assert (first.insertion, again.insertion) == (Insertion.CREATED, Insertion.EXISTS)
    assert again.invoice == first.invoice
    for change in (
        {"amount": Money(6, "NGN")},
        {"description": "y"},
        {"callback_url": OWN},
        {"payer": {"name": "Jane"}},
        {"revenue_head": "1"},
    ):
        with pytest.raises(AlreadyExists, match="another invoice"):
            add_invoice(hub.store, replace(wanted, **change), now_us())
    other = replace(wanted, client=client_of(hub, name="other"))
    assert add_invoice(hub.store, other, now_us()).insertion is Insertion.CREATED


def test_content_that_is_joined_alike_is_told_apart(hub: Hub) -> None:
    """What moves from one field into the next makes another invoice."""
    wanted = NewInvoice(
        merchant="default", amount=Money(5, "NGN"), reference="A", category="1", description="2"
    )
    add_invoice(hub.store, wanted, now_us())

    with pytest.raises(AlreadyExists):
        add_invoice(hub.store, replace(wanted, category="12", description=None), now_us())


def test_invoices_without_a_reference_are_many(hub: Hub) -> None:
    """Nothing makes two of them one."""
    numbers = {made(hub, reference=None).number for _ in range(3)}

    assert len(numbers) == 3
    assert all(is_number(number) for number in numbers)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"amount": Money(0, "NGN")}, "more than nothing"),
        ({"amount": Money(-1, "NGN")}, "more than nothing"),
        ({"amount": Money(5, "KES")}, "told of NGN only"),
        ({"reference": " x"}, "spaces"),
        ({"reference": ""}, "empty"),
        ({"reference": "x" * 129}, "longer"),
        ({"description": "\x00"}, "no text"),
        ({"payer": {"name": "x" * 501}}, "longer"),
        ({"callback_url": "http://shop.example/"}, "https"),
        ({"callback_url": "https://user:pw@shop.example/"}, "password"),
        ({"client": None, "callback_url": OWN}, "needs a client"),
        ({"merchant": "default:test"}, "endpoint of default"),
    ],
)
def test_what_cannot_be_announced_is_refused_at_once(
    sqlite_store: Store, change: dict[str, Any], sentence: str
) -> None:
    """An invoice whose payment could not be told, or told only wrongly, is not made."""
    hub = Hub(sqlite_store)
    client = client_of(hub)

    with pytest.raises(Refused, match=sentence):
        made(hub, **{"client": client, **change})


def test_only_an_endpoint_in_its_form_is_a_client(sqlite_store: Store) -> None:
    """An endpoint of another dialect signs nothing that an integrator of the form could prove."""
    hub = Hub(sqlite_store)

    with pytest.raises(Refused, match="--dialect cbs"):
        made(hub, hub.endpoint(name="erp"))


def test_two_who_make_one_invoice_at_once_get_one(opener: Opener) -> None:
    """Nodes that race for a reference all get the same invoice."""
    stores = [opener(worker) for worker in range(4)]
    hub = Hub(stores[0])
    client = client_of(hub)
    wanted = NewInvoice(merchant="default", amount=Money(5, "NGN"), client=client, reference="A")
    barrier = threading.Barrier(len(stores))

    def race(store: Store) -> Any:
        barrier.wait()
        return add_invoice(store, wanted, now_us())

    with ThreadPoolExecutor(len(stores)) as pool:
        found = list(pool.map(race, stores))

    assert len({item.invoice.id for item in found}) == 1
    assert [item.insertion for item in found].count(Insertion.CREATED) == 1


# ---------------------------------------------------------------------------------- paying


def test_a_payment_is_announced_to_the_url_of_the_invoice(hub: Hub) -> None:
    """To its own URL, signed for its client; nobody else hears of it."""
    client = client_of(hub)
    invoice = made(hub, client, callback_url=OWN)

    settled = paid(hub, invoice, "PR-0001")

    assert settled.invoice.state == "paid"
    assert settled.invoice.paid_at is not None
    assert told(hub, settled) == [("school", OWN)]
    reading = reading_of(hub, settled)
    assert reading.amount == Money(200_000, "NGN")
    assert reading.bank_reference == "PR-0001"
    assert reading.end_to_end_id == invoice.number
    assert reading.related_reference == "6075b3ebc5015"
    assert (reading.provider, reading.channel) == ("PayDirect", "Web")


def test_without_a_url_the_clients_own_is_called(hub: Hub) -> None:
    """The client is told at the URL of its endpoint."""
    settled = paid(hub, made(hub, client_of(hub)), "PR-0001")

    assert told(hub, settled) == [("school", None)]


def test_without_a_client_whoever_wants_it_is_told(hub: Hub) -> None:
    """Every endpoint of the merchant whose filter lets it through."""
    client_of(hub, name="other", kinds=frozenset({"fee"}))

    settled = paid(hub, made(hub), "PR-0001")

    assert told(hub, settled) == [("erp", None)]


def test_a_client_need_not_hear_of_its_merchants_other_money(hub: Hub) -> None:
    """With the filter `issue` an integrator hears of its invoices, and of no bank's payment."""
    wanted = NewEndpoint(
        name="school",
        url="https://school.example/cbs",
        dialect="cbs",
        merchant="default",
        credentials=Credentials(secrets=(SECRET,)),
        statuses=frozenset({Status.SUCCESS}),
        kinds=frozenset({Kind.PAYMENT, Kind.REVERSAL}),
        sources=("issue",),
    )
    client = add_endpoint(hub.store, wanted, now_us()).endpoint
    hub.source("cbs")

    hub.one("cbs", request("cbs"))
    paid(hub, made(hub, client), "PR-0001")

    with hub.store.database.read() as connection:
        found = deliveries.listed(connection)
    assert [item.endpoint == client.id for item in found] == [True, False]


def test_a_part_waits_for_the_rest(hub: Hub) -> None:
    """Parts are recorded and not announced; the last announces all of it, by its reference."""
    invoice = made(hub, client_of(hub))

    first = paid(hub, invoice, "P1", 50_000)
    second = paid(hub, invoice, "P2", 50_000)
    last = paid(hub, invoice, "P3")

    assert (first.announced, second.announced) == (None, None)
    assert (first.invoice.state, second.invoice.paid) == ("open", 100_000)
    assert last.payment.amount == 100_000
    assert reading_of(hub, last).amount == Money(200_000, "NGN")
    assert reading_of(hub, last).bank_reference == "P3"
    assert len(hub.notifications()) == 1
    with hub.store.database.read() as connection:
        rows = invoices.payments_of(connection, last.invoice)
    assert {row.notification for row in rows} == {last.payment.notification}


def test_what_is_paid_beyond_is_announced(hub: Hub) -> None:
    """More than the amount is announced as it is, also what comes when nothing is owed."""
    invoice = made(hub, client_of(hub))

    over = paid(hub, invoice, "P1", 250_000)
    more = paid(hub, invoice, "P2", 1)

    assert over.invoice.state == more.invoice.state == "overpaid"
    assert reading_of(hub, over).amount == Money(250_000, "NGN")
    assert reading_of(hub, more).amount == Money(1, "NGN")
    assert reading_of(hub, more).order_amount == Money(200_000, "NGN")


def test_a_payment_counts_once(hub: Hub) -> None:
    """The same reference of a provider again changes nothing; with other money it is refused."""
    invoice = made(hub, client_of(hub))
    first = paid(hub, invoice, "P1", 200_000)

    for again in (paid(hub, invoice, "P1", 200_000), paid(hub, invoice, "P1")):
        assert again.insertion is Insertion.EXISTS
        assert again.announced is None
        assert again.payment == first.payment
    with pytest.raises(Refused, match="another amount"):
        paid(hub, invoice, "P1", 1)
    other = Taken(reference="P1", amount=Money(1, "NGN"), provider="Remita")
    assert pay(hub.store, invoice.id, other, now_us()).insertion is Insertion.CREATED
    assert len(hub.notifications()) == 2


@pytest.mark.parametrize(
    ("taken", "sentence"),
    [
        (Taken(reference=""), "empty"),
        (Taken(reference="x" * 129), "longer"),
        (Taken(reference="x", amount=Money(0, "NGN")), "more than nothing"),
        (Taken(reference="x", amount=Money(1, "KES")), "is in NGN"),
        (Taken(reference="x", amount=Money(2**63 - 1, "NGN")), "63 bits"),
        (Taken(reference="x", provider=" x"), "spaces"),
        (Taken(reference="x", channel="\x1b"), "no text"),
        (Taken(reference="x", bank={"Code": "1"}), "BankCode"),
        (Taken(reference="second"), "nothing is owed"),
    ],
)
def test_a_payment_that_cannot_be_is_refused(
    sqlite_store: Store, taken: Taken, sentence: str
) -> None:
    """And leaves no trace."""
    hub = Hub(sqlite_store)
    invoice = made(hub, client_of(hub))
    if taken.reference == "second" or taken.amount == Money(2**63 - 1, "NGN"):
        paid(hub, invoice, "first")

    with pytest.raises(Refused, match=sentence):
        pay(hub.store, invoice.number, taken, now_us())

    with hub.store.database.read() as connection:
        rows = invoices.payments_of(connection, invoice)
    assert [row.reference for row in rows] in ([], ["first"])


def test_payments_at_one_moment_all_count(opener: Opener) -> None:
    """Parts that several nodes record at once are summed up, and all of it is announced once."""
    stores = [opener(worker) for worker in range(4)]
    hub = Hub(stores[0])
    invoice = made(hub, client_of(hub))
    barrier = threading.Barrier(len(stores))

    def race(number: int) -> Settled:
        barrier.wait()
        taken = Taken(reference=f"P{number}", amount=Money(50_000, "NGN"))
        return pay(stores[number], invoice.number, taken, now_us())

    with ThreadPoolExecutor(len(stores)) as pool:
        found = list(pool.map(race, range(len(stores))))

    assert [item.announced is None for item in found].count(False) == 1
    assert money_told(hub) == 200_000


def test_an_unknown_invoice_is_not_found(sqlite_store: Store) -> None:
    """Nothing is recorded for a number that nobody has."""
    hub = Hub(sqlite_store)

    with pytest.raises(NotFound, match="arifa invoice list"):
        pay(hub.store, new_number(), Taken(reference="x"), now_us())


# ---------------------------------------------------------------------------------- taking back


def test_a_reversal_goes_by_the_same_form(hub: Hub) -> None:
    """To the same URL, with a reference of its own; the invoice is owed again."""
    invoice = made(hub, client_of(hub), callback_url=OWN)
    paid(hub, invoice, "PR-0001")

    back = reverse(hub.store, invoice.number, now_us(), reason="the card was stolen")

    assert back.invoice.state == "reversed"
    assert told(hub, back) == [("school", OWN)]
    reading = reading_of(hub, back)
    assert (reading.kind, reading.direction) == ("reversal", "debit")
    assert reading.amount == Money(200_000, "NGN")
    assert reading.bank_reference == "REV-PR-0001"
    assert paid(hub, invoice, "PR-0002").invoice.state == "paid"


def test_a_payment_goes_back_once(hub: Hub) -> None:
    """The same reversal again changes nothing; under another reference it is refused."""
    invoice = made(hub, client_of(hub))
    paid(hub, invoice, "P1")
    first = reverse(hub.store, invoice.id, now_us(), payment="P1", reference="R1")

    for payment in ("P1", None):
        again = reverse(hub.store, invoice.id, now_us(), payment=payment, reference="R1")
        assert (again.insertion, again.announced) == (Insertion.EXISTS, None)
        assert again.payment == first.payment
    with pytest.raises(Refused, match="goes back once"):
        reverse(hub.store, invoice.id, now_us(), payment="P1", reference="R2")
    assert len(hub.notifications()) == 2


def test_of_several_payments_one_is_named(hub: Hub) -> None:
    """A reversal is of one payment; what was never announced goes back without a word."""
    invoice = made(hub, client_of(hub))
    paid(hub, invoice, "P1", 50_000)
    paid(hub, invoice, "P2", 60_000)

    with pytest.raises(Refused, match="say which"):
        reverse(hub.store, invoice.id, now_us())
    with pytest.raises(NotFound, match="no payment 'P9'"):
        reverse(hub.store, invoice.id, now_us(), payment="P9")
    silent = reverse(hub.store, invoice.id, now_us(), payment="P1")
    last = paid(hub, invoice, "P3")

    assert silent.announced is None
    assert silent.invoice.state == "open"
    assert last.payment.amount == 140_000
    assert reading_of(hub, last).amount == Money(200_000, "NGN")


def test_nothing_goes_back_where_nothing_came(sqlite_store: Store) -> None:
    """A reversal needs a payment."""
    hub = Hub(sqlite_store)

    with pytest.raises(Refused, match="nothing to take back"):
        reverse(hub.store, made(hub).number, now_us())


def test_cancelling_is_for_good(hub: Hub) -> None:
    """Only what nobody has paid; nothing is taken for it any more."""
    invoice = made(hub, client_of(hub))
    paid(hub, invoice, "P1", 5)
    with pytest.raises(Refused, match="take that back first"):
        cancel(hub.store, invoice.number, "made twice", now_us())
    reverse(hub.store, invoice.number, now_us())

    for _ in range(2):
        assert cancel(hub.store, invoice.number, "made twice", now_us()).state == "cancelled"
    with pytest.raises(Refused, match="give the money back"):
        paid(hub, invoice, "P2")


def test_every_act_is_in_the_audit_log(hub: Hub) -> None:
    """Who looks at an invoice later sees what was done with it."""
    invoice = made(hub, client_of(hub))
    paid(hub, invoice, "P1")
    reverse(hub.store, invoice.id, now_us())
    cancel(hub.store, invoice.id, "made twice", now_us())

    with hub.store.database.read() as connection:
        query = sa.select(audit.c.action).where(audit.c.subject == invoice.id)
        found = set(connection.execute(query).scalars())
    assert found == {f"invoice.{act}" for act in ("add", "payment", "reversal", "cancel")}


ACTS = st.lists(
    st.tuples(st.sampled_from(["pay", "reverse"]), st.integers(0, 4), st.integers(1, 300)),
    max_size=12,
)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(acts=ACTS)
def test_what_is_told_sums_up_to_what_is_paid(sqlite_store: Store, acts: Any) -> None:
    """Whatever comes and goes back, in any order: once all is paid, as much was told as is paid."""
    hub = Hub(sqlite_store)
    name = now_us()
    client = client_of(hub, name=f"client-{name}")
    invoice = made(hub, client, amount=Money(300, "NGN"), reference=str(name))
    before = money_told(hub)
    total = 0

    for act, number, minor in acts:
        reference = f"P{number}"
        try:
            if act == "pay":
                settled = paid(hub, invoice, reference, minor)
            else:
                settled = reverse(hub.store, invoice.id, now_us(), payment=reference)
        except Refused:
            continue
        if settled.insertion is Insertion.CREATED:
            total += settled.payment.amount * (1 if act == "pay" else -1)
        assert settled.invoice.paid == total >= 0
        assert (settled.invoice.state in ("paid", "overpaid")) == (total >= 300)
        if settled.invoice.state in ("paid", "overpaid"):
            assert money_told(hub) - before == total
        assert 0 <= money_told(hub) - before <= total


# ---------------------------------------------------------------------------------- the words


def rendered(reading: Reading, dialect: Dialect = CBS) -> Any:
    """What the billing system would send: its members, and what its receiver reads of it."""
    notification = Notification(
        id="ntf_1",
        merchant="default",
        source="issue",
        dialect="issue",
        received_at=now_us(),
        state=State.ACCEPTED,
        reading=reading,
    )
    signed = dialect.sign(dialect.render(notification, NGN, None), BANK["cbs"], now_us())
    (found,) = dialect.receive(signed, BANK["cbs"], NGN, now_us())  # type: ignore[misc]
    return signed.document(), found


@pytest.mark.parametrize(
    ("reference", "request_reference", "kind", "mac"),
    [
        ("PR-0001 ", "6075b3ebc5015", "payment", "i38osKGEeOl2KlsXn61JLhFrWTQUHcojJmr8pJwK4gc="),
        ("PR-0001", None, "payment", "1EeJB67t8zqyw7z19eARnPdO5SFwjppaEvFGCyoSKnk="),
        ("PR-0002", "6075b3ebc5015", "reversal", "Xn8oPPbXDeosl9Sq1LhTINMPm7stFVgnylgzfBVZoQg="),
    ],
)
def test_an_announcement_has_the_mac_that_is_known(
    reference: str, request_reference: str | None, kind: str, mac: str
) -> None:
    """The known hashes of the form, made from an invoice and its payment."""
    invoice = SimpleNamespace(
        number="1000000001",
        reference=request_reference,
        amount=200_000,
        currency="NGN",
        payer="{}",
        description=None,
    )
    payment = SimpleNamespace(
        id="pay_2",
        kind=kind,
        reference=reference,
        reverses="pay_1" if kind == "reversal" else None,
        bank='{"BankCode":"058"}',
        channel="Web",
        provider="Bank3D",
        occurred_at=1_555_164_680_000_000,
    )

    document, heard = rendered(announcement_of(invoice, payment, Money(200_000, "NGN"), [payment]))

    assert document["Mac"] == mac
    assert document["PaymentRef"] == reference
    assert document["IsReversal"] is (kind == "reversal")
    assert document["BankCode"] == "058"
    assert heard.kind == kind
    assert heard.amount == Money(200_000, "NGN")


# ---------------------------------------------------------------------------------- the form


@pytest.fixture
def form(hub: Hub) -> Form:
    """A client of the form."""
    return Form(hub)


class Form:
    """A client and the hub that answers it."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.client = client_of(hub)
        self.generator = Generator(hub.store)

    def ask(self, order: Order = ORDER, **changes: Any) -> Receipt | Refusal:
        """What is answered to this order."""
        signed = billing.sign(billing.write(replace(order, **changes)), self.client.id, SECRET)
        return self.send(signed)

    def send(self, signed: WireRequest) -> Receipt | Refusal:
        """What is answered to this request."""
        answer = self.generator.generate(signed)
        assert isinstance(answer, WireResponse)
        return billing.read_answer(answer)

    def made(self, **changes: Any) -> Receipt:
        """The invoice that is made."""
        found = self.ask(**changes)
        assert isinstance(found, Receipt), found
        return found

    def refused(self, **changes: Any) -> tuple[Code, list[str]]:
        """(code, fields) of a refusal."""
        found = self.ask(**changes)
        assert isinstance(found, Refusal), found
        return found.code, [fault.field for fault in found.faults]


def test_the_form_makes_one_invoice_of_one_reference(form: Form) -> None:
    """The same request again gets the same number, and says so; other content is refused."""
    first, again = form.made(), form.made()

    assert is_number(first.number)
    assert (again.number, first.is_repeat, again.is_repeat) == (first.number, False, True)
    assert form.refused(amount=Money(1, "NGN")) == (Code.FORM, ["RequestReference"])
    assert form.refused(payer=replace(ORDER.payer, name="John")) == (
        Code.FORM,
        ["RequestReference"],
    )
    assert form.made(reference="another").number != first.number
    with form.hub.store.database.read() as connection:
        row = invoices.get(connection, first.number)
    assert (row.origin, row.client, row.callback_url) == ("form", form.client.id, OWN)
    assert invoices.unpack(row.payer) == {"name": "Jane Doe", "address": "1 Marina"}


def test_what_is_refused_is_refused_in_its_words(form: Form) -> None:
    """Each code of the page, with its status; nothing is made."""
    signed = billing.sign(billing.write(ORDER), form.client.id, SECRET)
    unsigned = billing.write(ORDER)

    assert form.send(unsigned) == billing.NO_CLIENT
    assert form.send(unsigned.with_headers((billing.CLIENT, b"end_x"))) == billing.UNKNOWN_CLIENT
    assert (
        form.send(billing.sign(unsigned, form.client.id, b"another secret")) == billing.NOT_SIGNED
    )
    odd = form.send(replace(signed, body=b"hello"))
    assert isinstance(odd, Refusal)
    assert (odd.code, odd.status) == (Code.FORM, 400)
    with form.hub.store.database.read() as connection:
        assert invoices.listed(connection) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/",
        "ftp://shop.example/",
        "https://user:pw@shop.example/",
        "https://shop.example/#a",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://localhost/",
        "https://metadata.internal/",
        "https:///x",
        "https://127.1/",
        "https://0x7f.1/",
        "https://localhost./",
        "https://a..b/",
        "not a url",
        "https://shop.example/" + "x" * 2100,
    ],
)
def test_a_url_that_will_not_be_called_is_refused(sqlite_store: Store, url: str) -> None:
    """A callback URL is looked at as an endpoint's is; an inner one only where that is allowed."""
    form = Form(Hub(sqlite_store))

    assert form.refused(callback_url=url) == (Code.FORM, ["CallBackURL"])


def test_an_inner_url_is_taken_where_that_is_allowed(sqlite_store: Store) -> None:
    """As with --allow-private, since deliveries go there then."""
    form = Form(Hub(sqlite_store))
    form.generator = Generator(form.hub.store, is_called=lambda _: True)

    assert form.made(callback_url="http://127.0.0.1:8000/paid")


def test_a_client_that_was_just_made_is_known(form: Form) -> None:
    """Changes of the configuration count at the next request, in both directions."""
    form.made()
    other = client_of(form.hub, name="other")
    theirs = billing.sign(billing.write(ORDER), other.id, SECRET)

    assert isinstance(form.send(theirs), Receipt)
    with form.hub.store.database.write() as connection:
        endpoints.remove(connection, other, now_us())
    assert form.send(theirs) == billing.UNKNOWN_CLIENT


def test_an_old_secret_is_taken_while_it_retires(form: Form) -> None:
    """Until the end of the rotation, and not a moment longer."""
    old = billing.sign(billing.write(ORDER), form.client.id, SECRET)
    rotated = replace(
        form.client,
        credentials=Credentials(secrets=(b"the new one",)),
        retiring=Credentials(secrets=(SECRET,)),
        retires_at=2_000,
    )
    with form.hub.store.database.write() as connection:
        endpoints.update(connection, form.hub.store.vault, rotated, now_us())
    now = 1_000
    form.generator = Generator(form.hub.store, clock=lambda: now)

    assert isinstance(form.send(old), Receipt)
    now = 2_000
    assert form.send(old) == billing.NOT_SIGNED


def test_without_a_client_there_is_nothing(hub: Hub) -> None:
    """A hub that has no client speaks as no billing system; other endpoints are no clients."""
    signed = billing.sign(billing.write(ORDER), "end_x", SECRET)

    assert Generator(hub.store).generate(signed) is None


def test_clients_of_two_merchants_do_not_meet(form: Form) -> None:
    """The same reference of a client of the test twin is an invoice of its own."""
    twin = client_of(form.hub, name="twin", merchant="default:test")
    live = form.made()

    other = form.send(billing.sign(billing.write(ORDER), twin.id, SECRET))

    assert isinstance(other, Receipt)
    assert not other.is_repeat
    with form.hub.store.database.read() as connection:
        assert invoices.get(connection, live.number).merchant == "default"
        assert len(invoices.listed(connection, merchant="default:test")) == 1


def test_a_store_that_is_away_is_ppie(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own failures are told in the form: try again where that helps, and no word of what it was."""

    def fail(*_: Any) -> None:
        raise Unavailable("the database is locked by another program for too long")

    monkeypatch.setattr(form.generator, "_written", fail)
    assert form.ask() == billing.TRY_AGAIN
    monkeypatch.setattr(form.generator, "_written", lambda *_: 1 / 0)
    assert form.ask() == billing.FAILED


# ---------------------------------------------------------------------------------- the question


def asked(hub: Hub, reference: str, source: str = "kcb") -> QueryAnswer:
    """What a bank is answered to its question before a payment."""
    kcb = dialects.get("kcb")
    body = (
        b'{"requestId": "c1f2", "customerReference": "%b", "organizationReference": "777777"}'
        % reference.encode()
    )
    signed = kcb.sign(request("kcb"), BANK["kcb"], now_us())
    signed = kcb.sign(replace(signed, body=body), BANK["kcb"], now_us())
    return kcb.read_answer(hub.one(source, signed), kcb.defaults)


def test_a_question_is_answered_from_what_is_owed(hub: Hub) -> None:
    """By number or reference: whose it is, and what is still owed; then it is not known any more."""
    hub.source("kcb", account="12345")
    invoice = made(hub, amount=Money(200_000, "KES"), payer={"name": "Jane Doe"}, reference="T1")
    expected = QueryAnswer(
        found=True,
        transaction_id="c1f2",
        name="Jane Doe",
        amount=Money(200_000, "KES"),
        partial=True,
        account="12345",
    )

    assert asked(hub, invoice.number) == asked(hub, "T1") == expected
    part = Taken(reference="P1", amount=Money(150_000, "KES"))
    pay(hub.store, invoice.number, part, now_us())
    assert asked(hub, "T1").amount == Money(50_000, "KES")
    pay(hub.store, invoice.number, Taken(reference="P2"), now_us())
    for name in (invoice.number, "T1", "unknown", "1", "%"):
        assert asked(hub, name) == QueryAnswer(found=False, transaction_id="c1f2")
    reverse(hub.store, invoice.number, now_us(), payment="P2")
    assert asked(hub, "T1").found
    assert hub.outcomes() == ["ACCEPTED"] * 9


def test_a_question_among_payments_of_a_group_is_answered(hub: Hub) -> None:
    """Who else is in a group makes no difference to it, nor it to them."""
    hub.source("kcb")
    invoice = made(hub, amount=Money(200_000, "KES"))
    question = replace(
        request("kcb"),
        body=b'{"requestId":"1","customerReference":"%b",'
        b'"organizationReference":"7"}' % invoice.number.encode(),
    )
    kcb = dialects.get("kcb")
    question = kcb.sign(question, BANK["kcb"], now_us())

    for reference in ("A", "B"):
        payment = request("kcb", transactionReference=reference)
        answers = hub.receive(("kcb", payment), ("kcb", question), ("kcb", payment))
        assert kcb.read_answer(answers[1], kcb.defaults).found
        assert answers[0] == answers[2]
    assert len(hub.accepted()) == 2


def test_a_question_meets_no_other_merchants_invoices(hub: Hub) -> None:
    """A bank's source knows of its own merchant's alone: live and test cannot meet."""
    hub.source("kcb", "test", merchant="default:test")
    live = made(hub, amount=Money(5, "KES"))

    assert not asked(hub, live.number, "test").found


def test_a_reference_that_several_have_is_not_known(hub: Hub) -> None:
    """A wrong name on the payer's screen is worse than none; a number is always its own."""
    hub.source("kcb")
    kes = Profile(currency="KES", timezone="Africa/Nairobi")
    clients = [client_of(hub, name=name, profile=kes) for name in ("a", "b")]
    first, _ = (made(hub, client, amount=Money(5, "KES"), reference="T1") for client in clients)
    made(hub, clients[1], amount=Money(7, "KES"), reference=first.number)

    assert not asked(hub, "T1").found
    assert asked(hub, first.number).amount == Money(5, "KES")
    assert hub.outcomes() == ["ACCEPTED"] * 2


def test_a_paused_source_answers_no_question(hub: Hub) -> None:
    """It answers that it is not to be had, as to anything."""
    source = hub.source("kcb")
    invoice = made(hub, amount=Money(5, "KES"))
    set_paused(hub.store, source, now_us(), paused=True)

    assert not asked(hub, invoice.number).found


def test_a_receiver_that_starts_with_a_question_answers_it(hub: Hub) -> None:
    """Also as the very first request, before any seal is known."""
    hub.source("kcb")
    invoice = made(hub, amount=Money(5, "KES"))
    hub.receiver = Receiver(hub.store)

    assert asked(hub, invoice.number).found


# ---------------------------------------------------------------------------------- nobody to tell


def test_what_nobody_could_be_told_waits(store: Store) -> None:
    """It is announced once somebody can be, once; a reversal before that goes back silently."""
    hub = Hub(store)
    first, second = made(hub), made(hub, reference="other")
    for invoice in (first, second):
        settled = paid(hub, invoice, f"PR-{invoice.number}")
        assert settled.announced is not None
        assert settled.announced.deliveries == []
        assert settled.payment.notification is None
    assert hub.notifications() == []
    back = reverse(store, second.number, now_us())
    assert (back.announced, hub.notifications()) == (None, [])
    hub.endpoint(name="erp")
    late = announce_invoice(store, first.number, now_us())
    assert late is not None
    assert len(late.deliveries) == 1
    assert announce_invoice(store, first.number, now_us()) is None
    assert announce_invoice(store, second.number, now_us()) is None
    (told_of,) = hub.notifications()
    assert told_of.reading.amount == Money(200_000, "NGN")
    taken_back = reverse(store, first.number, now_us())
    assert taken_back.announced is not None
    assert len(taken_back.announced.deliveries) == 1


def test_a_removed_clients_invoice_is_nobody_elses_business(hub: Hub) -> None:
    """No other endpoint of the merchant hears of it."""
    client, _ = client_of(hub), client_of(hub, name="hospital")
    invoice = made(hub, client)
    with hub.store.database.write() as connection:
        endpoints.remove(connection, client, now_us())
    settled = paid(hub, invoice, "PR-1")
    assert settled.announced is not None
    assert settled.announced.deliveries == []
    assert "removed" in settled.announced.untold[0].reason
    assert hub.notifications() == []


def test_a_part_is_announced_with_the_rest(store: Store) -> None:
    """Nobody is told of a part by itself, also when asked."""
    hub = Hub(store)
    invoice = made(hub)
    hub.endpoint(name="erp")
    paid(hub, invoice, "PR-1", 50_000)
    with pytest.raises(Refused, match="only a part"):
        announce_invoice(store, invoice.number, now_us())
