"""The billing system's form over real HTTP: every request is answered in it, and the whole round."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from arifa import billing, dialects
from arifa.billing import Code, Order, Receipt, Recipient, Refusal
from arifa.clock import now_us
from arifa.document import JsonObject
from arifa.errors import StoreBroken
from arifa.feed import Endpoint, Profile
from arifa.hub.generate import Generator
from arifa.hub.invoice import Taken, pay, reverse
from arifa.identifiers import identifier
from arifa.money import Money
from arifa.notification import Kind, Reading
from arifa.observe import Figures
from arifa.signing import Credentials
from arifa.simulator.exchange import exchange
from arifa.simulator.merchant import Merchant
from arifa.store import deliveries, endpoints, invoices
from arifa.store.opened import Store, open_store
from arifa.testing.postgres import PostgresServer
from arifa.web.invoices import WAITING_MAX, Invoices
from arifa.wire import WireRequest, WireResponse
from tests.engines import KEY
from tests.hub.bank import SECRET, Hub
from tests.test_billing import SAMPLE
from tests.web import hostile
from tests.web.serving import Answer, Served, serving, wait_until

NGN = Profile(currency="NGN", timezone="Africa/Lagos")
ORDER = Order(
    revenue_head="16",
    amount=Money(200_000, "NGN"),
    reference="6075b3ebc5015",
    category="1",
    payer=Recipient(name="Jane Doe", address="1 Marina", phone="0800000000"),
)
NAMES = ("Error", "ErrorCode", "StatusCode", "ResponseObject")


def add_client(store: Store, url: str = "https://school.example/cbs", **changes: Any) -> Endpoint:
    """A client: an endpoint in the billing system's form."""
    client = Endpoint(
        **{
            "id": identifier("end", now_us()),
            "name": "school",
            "merchant": "default",
            "url": url,
            "dialect": "cbs",
            "profile": NGN,
            "credentials": Credentials(secrets=(SECRET,)),
            **changes,
        }
    )
    with store.database.write() as connection:
        endpoints.add(connection, store.vault, client, now_us())
    return client


class Integrator(Merchant):
    """A client's server: it proves each callback with its secret, and keeps what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, Reading]] = []

    def at(self, path: str) -> str:
        """Its URL of this path."""
        return self.url.replace("/events", path)

    def _proven(self, request: WireRequest) -> tuple[str, JsonObject]:
        credentials = Credentials(secrets=(SECRET,))
        found = dialects.get("cbs").receive(request, credentials, NGN, now_us())
        assert isinstance(found, list)
        self.heard.append((request.target, found[0]))
        return f"{found[0].kind} {found[0].bank_reference}", request.document()

    def heard_of(self, count: int) -> list[tuple[str, Reading]]:
        """What was heard, when so many different things were."""
        assert self.wait_for(lambda kept: len(kept.events) >= count, 60), self.kept
        return list(self.heard)


@pytest.fixture
def integrator() -> Iterator[Integrator]:
    """A client's server on this machine."""
    with Integrator() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The store that a serving process shares with the test."""
    opened = open_store(tmp_path / "data", None, KEY)
    Hub(opened)
    yield opened
    opened.close()


def signed(client: Endpoint, order: Order = ORDER, **changes: Any) -> WireRequest:
    return billing.sign(billing.write(replace(order, **changes)), client.id, SECRET)


def asked(served: Served, request: WireRequest) -> Receipt | Refusal:
    """What the serving hub answers."""
    url = f"http://127.0.0.1:{served.port}{billing.PATH}"
    return billing.read_answer(exchange(url, request))


def raw(request: WireRequest, method: bytes = b"POST", path: str = billing.PATH) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, path.encode()), b"Host: hub", b"Connection: close"]
    lines += [name + b": " + value for name, value in request.headers]
    lines.append(b"Content-Length: %d" % len(request.body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + request.body


def assert_in_the_form(answer: Answer | WireResponse) -> Any:
    """The answer is one of the billing system's, whatever was asked."""
    document = json.loads(answer.body)
    assert tuple(document) == NAMES
    assert document["StatusCode"] == answer.status
    told = document["ResponseObject"]
    if document["Error"]:
        assert document["ErrorCode"] in set(Code)
        assert answer.status in (400, 403, 404, 500, 503)
        assert told
        assert all(set(fault) == {"FieldName", "ErrorMessage"} for fault in told)
    else:
        assert (document["ErrorCode"], answer.status) == (None, 200)
        assert told["InvoiceNumber"]
    return document


# ---------------------------------------------------------------------------------- the whole round


def test_an_invoice_is_made_paid_and_its_client_hears_of_it(
    store: Store, integrator: Integrator
) -> None:
    """Generated, paid, called back at its own URL with a Mac that proves it, answered 200, delivered."""
    client = add_client(store, integrator.at("/of-the-client"))
    with serving(store.folder, "--allow-private") as served:
        own = asked(served, signed(client, callback_url=integrator.at("/own")))
        plain = asked(served, signed(client, reference="another", amount=Money(5, "NGN")))
        assert isinstance(own, Receipt)
        assert isinstance(plain, Receipt)

        for number, receipt in enumerate((own, plain), start=1):
            taken = Taken(reference=f"PR-{number} ", provider="Bank3D", channel="Web")
            pay(store, receipt.number, taken, now_us())
            integrator.heard_of(number)
        reverse(store, own.number, now_us())
        heard = integrator.heard_of(3)
        wait_until(lambda: states(store) == {"delivered"})

    assert [path for path, _ in heard] == ["/own", "/of-the-client", "/own"]
    first, second, back = (reading for _, reading in heard)
    assert first.amount == back.amount == Money(200_000, "NGN")
    assert second.amount == Money(5, "NGN")
    assert (first.end_to_end_id, first.related_reference) == (own.number, "6075b3ebc5015")
    assert first.extra["PaymentRef"] == "PR-1 "
    assert [reading.kind for _, reading in heard] == [Kind.PAYMENT, Kind.PAYMENT, Kind.REVERSAL]
    assert (integrator.kept.refused, integrator.kept.repeats) == (0, 0)


def states(store: Store) -> set[str]:
    with store.database.read() as connection:
        return {item.state for item in deliveries.listed(connection)}


def test_many_at_once_are_one_invoice_of_each_reference(store: Store) -> None:
    """Clients that ask at the same moment, twice each: one number a reference, all of them kept."""
    client = add_client(store)
    with serving(store.folder) as served, ThreadPoolExecutor(8) as pool:
        requests = [signed(client, reference=f"R{number % 20}") for number in range(40)]
        found = list(pool.map(lambda request: asked(served, request), requests))

    assert all(isinstance(item, Receipt) for item in found)
    assert len({item.number for item in found if isinstance(item, Receipt)}) == 20
    assert len([item for item in found if isinstance(item, Receipt) and item.is_repeat]) == 20
    with store.database.read() as connection:
        assert len(invoices.listed(connection)) == 20


# ---------------------------------------------------------------------------------- the door


def test_every_refusal_has_its_code_and_status(store: Store) -> None:
    """Over HTTP too: PPCK, PPU1, PPS1 and PPVE, and only POST; no payer's datum is in the log."""
    client = add_client(store)
    order = billing.write(ORDER)
    with serving(store.folder) as served:
        answers = [
            asked(served, order),
            asked(served, billing.sign(order, "end_x", SECRET)),
            asked(served, billing.sign(order, client.id, b"wrong")),
            asked(served, signed(client, callback_url="http://127.0.0.1/")),
            asked(served, signed(client, payer=Recipient(name="Jane Doe"))),
        ]
        got = served.exchange(raw(WireRequest(b""), b"GET"))
        elsewhere = served.exchange(raw(order, path=billing.PATH + "/"))
        head = served.exchange(raw(order, b"PUT"))

    assert [(item.code, item.status) for item in answers if isinstance(item, Refusal)] == [
        (Code.CLIENT, 403),
        (Code.USER, 404),
        (Code.SIGNATURE, 403),
        (Code.FORM, 400),
        (Code.FORM, 400),
    ]
    assert (got.status, head.status, elsewhere.status) == (405, 405, 404)
    assert "Jane Doe" not in served.stderr
    assert "0800000000" not in served.stderr
    assert served.stderr.count("invoice.refused") == 5


def test_bad_signatures_do_not_fill_the_log(store: Store) -> None:
    """However many come, a few a second are told of."""
    client = add_client(store)
    forged = billing.sign(billing.write(ORDER), client.id, b"wrong")
    now = 5_000_000
    generator = Generator(store, clock=lambda: now)
    with capture_logs() as lines:
        for _ in range(100):
            generator.generate(forged)
        now += 1_000_000
        generator.generate(forged)

    assert len(lines) == 6
    assert {line["client"] for line in lines} == {client.id}


def test_without_a_client_nothing_is_there(store: Store) -> None:
    """The path answers as any other that does not exist, until there is a client."""
    with serving(store.folder) as served:
        request = raw(billing.sign(billing.write(ORDER), "end_x", SECRET))
        assert served.exchange(request).status == 404
        client = add_client(store)
        assert isinstance(asked(served, signed(client)), Receipt)


def test_the_limits_of_the_intake_hold_here(store: Store) -> None:
    """A body beyond the limit is refused at the door, and the next request is answered."""
    client = add_client(store)
    with serving(store.folder) as served:
        assert served.exchange(raw(WireRequest(b"x" * 300_000))).status == 413
        assert isinstance(asked(served, signed(client)), Receipt)


@pytest.mark.parametrize(
    ("words", "url", "is_taken"),
    [
        ((), "https://shop.example/paid", True),
        ((), "https://shop.example:8443/paid", False),
        (("--allow-port", "8443"), "https://shop.example:8443/paid", True),
        (("--allow-private",), "http://127.0.0.1:8000/paid", True),
        (("--allow-port", "8443"), "https://10.0.0.1:8443/paid", False),
        (("--allow-port", "8443"), "https://school.internal:8443/paid", False),
    ],
)
def test_a_callback_is_taken_where_deliveries_go(
    store: Store, words: tuple[str, ...], url: str, is_taken: bool
) -> None:
    """What serve would never call is refused as the invoice is asked for, and nothing else."""
    client = add_client(store)
    with serving(store.folder, *words) as served:
        answer = asked(served, signed(client, callback_url=url))

    assert isinstance(answer, Receipt) is is_taken


class Held:
    """A generator that holds every request until it is let go."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.done = 0

    def generate(self, request: WireRequest) -> WireResponse:
        """Answer when it is let go."""
        self.begun.set()
        assert self.go_on.wait(60)
        self.done += 1
        return WireResponse(200, request.body)


async def posted(handler: Invoices, body: bytes = b"{}") -> tuple[int, bytes]:
    """(status, body) of what the handler answers to this body, which comes in two pieces."""
    sent: list[Any] = []
    pieces = [
        {"type": "http.request", "body": body[:1], "more_body": True},
        {"type": "http.request", "body": body[1:]},
    ]

    async def receive() -> Any:
        return pieces.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await handler({"method": "POST", "headers": []}, receive, send)
    return sent[0]["status"], sent[1]["body"]


def test_who_waits_too_long_is_told_to_try_again(store: Store) -> None:
    """At the deadline it is PPIE; what was begun goes on, and the next is answered."""
    held = Held(store)
    handler = Invoices(cast("Generator", held), Figures(), pytest.fail, answer_seconds=0.05)

    async def story() -> None:
        status, body = await posted(handler)
        assert (status, body) == (503, billing.refuse(billing.TRY_AGAIN).body)
        held.go_on.set()
        handler._answer_seconds = 60
        assert await posted(handler, b"next") == (200, b"next")

    asyncio.run(story())
    assert held.done == 2


def test_too_many_that_wait_are_sent_away(store: Store) -> None:
    """Beyond the bound they are told to try again at once; those that wait are answered."""
    held = Held(store)
    handler = Invoices(cast("Generator", held), Figures(), pytest.fail, answer_seconds=60)

    async def story() -> None:
        waiting = [asyncio.create_task(posted(handler)) for _ in range(WAITING_MAX)]
        await asyncio.to_thread(held.begun.wait, 60)
        assert (await posted(handler))[0] == 503
        held.go_on.set()
        assert {status for status, _ in await asyncio.gather(*waiting)} == {200}
        handler.close()
        assert (await posted(handler))[0] == 503

    asyncio.run(story())
    assert held.done == WAITING_MAX


def test_a_broken_disk_stops_the_hub(store: Store) -> None:
    """What failed here is told to whoever serves: nothing more may be taken."""
    told: list[str] = []
    handler = Invoices(Generator(store), Figures(), told.append)
    store.database.broken = StoreBroken("the disk failed")

    asyncio.run(posted(handler))

    assert told == ["the disk failed"]


# ---------------------------------------------------------------------------------- hostile bodies


def corpus() -> list[hostile.Item]:
    """Odd bodies made of the page's sample."""
    document = json.loads(SAMPLE)
    return [*hostile.whole_bodies(SAMPLE), *hostile.bodies_of_fields(document)]


def with_signature(client: Endpoint, body: bytes) -> WireRequest:
    """The request, genuine where there is anything to sign."""
    request = WireRequest(body, ((billing.CLIENT, client.id.encode()),))
    try:
        return billing.sign(request, client.id, SECRET)
    except Exception:
        return request


@pytest.fixture
def both(
    tmp_path: Path, postgres_template: tuple[PostgresServer, str]
) -> Iterator[list[tuple[Generator, Endpoint]]]:
    """The same hub with a client on SQLite and on PostgreSQL."""
    server, template = postgres_template
    url = server.create_database(template)
    stores = [open_store(tmp_path / "data", None, KEY), open_store(tmp_path / "pg", url, KEY)]
    for opened in stores:
        Hub(opened)
    yield [(Generator(opened), add_client(opened)) for opened in stores]
    for opened in stores:
        opened.close()
    server.drop_database(url)


def test_odd_bodies_are_answered_in_the_form_and_alike_on_both_engines(
    both: list[tuple[Generator, Endpoint]],
) -> None:
    """Proven or not, whatever is odd: one answer in the form, never a failure of ours."""
    for number, item in enumerate(corpus()):
        body = item.body.replace(b"6075b3ebc5015", b"6075b3%07d" % number)
        found = []
        for generator, client in both:
            answer = generator.generate(with_signature(client, body))
            assert answer is not None
            document = assert_in_the_form(answer)
            assert answer.status < 500, item
            if not document["Error"]:
                document["ResponseObject"]["InvoiceNumber"] = "a number"
            found.append(document)
            unsigned = replace(with_signature(client, body), headers=())
            refused = generator.generate(unsigned)
            assert refused == billing.refuse(billing.NO_CLIENT)
        assert found[0] == found[1], item


def test_odd_headers_are_refused_in_the_form(store: Store) -> None:
    """What stands where ClientID and Signature are expected is PPCK, PPU1 or PPS1."""
    client = add_client(store)
    generator = Generator(store)
    good = signed(client)
    for value in hostile.HEADER_VALUES:
        for name in (billing.CLIENT, billing.SIGNATURE):
            answer = generator.generate(good.with_headers((name, value)))
            assert answer is not None
            document = assert_in_the_form(answer)
            assert document["ErrorCode"] in (Code.CLIENT, Code.USER, Code.SIGNATURE), value


def test_odd_bodies_over_http_cost_nobody_an_answer(store: Store) -> None:
    """The bodies that are odd as a whole, over real HTTP, and then a good one."""
    client = add_client(store)
    with serving(store.folder) as served:
        for item in hostile.whole_bodies(SAMPLE):
            answer = served.exchange(raw(with_signature(client, item.body)))
            if answer.status != 413:
                assert_in_the_form(answer)
                assert answer.status < 500, item
        assert isinstance(asked(served, signed(client, reference="after all that")), Receipt)
