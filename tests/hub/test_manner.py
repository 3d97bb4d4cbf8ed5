"""How an endpoint may be called: what cannot be, or would speak for us, is refused with a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arifa import dialects
from arifa.clock import now_us
from arifa.delivery.schedule import DEFAULT
from arifa.errors import Refused
from arifa.feed import Endpoint, Manner
from arifa.hub.configure import NewEndpoint, add_endpoint
from arifa.hub.manner import (
    ATTEMPTS_MAX,
    ORDER_FIELDS,
    SCHEDULE_SECONDS_MAX,
    check_delays,
    check_manner,
)
from arifa.notification import Direction, Kind, Status
from arifa.signing import Credentials
from arifa.store import endpoints
from arifa.store.opened import Store
from arifa.testing.genuine import plain_notification
from tests.hub.bank import PRIVATE

URL = "https://shop.example/hook"
WEBHOOKS = dialects.get("standard_webhooks")


def called(manner: Manner, dialect: str = "standard_webhooks", **changes: Any) -> None:
    """Check an endpoint that is to be called in this manner."""
    found = dialects.get(dialect)
    credentials = changes.pop("credentials", Credentials())
    check_manner(
        found,
        Endpoint(
            id="end_1",
            name="shop",
            merchant="default",
            url=URL,
            dialect=dialect,
            profile=found.defaults,
            credentials=credentials,
            manner=manner,
        ),
    )


def headers(*given: tuple[str, str]) -> Manner:
    return Manner(headers=given)


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        (Manner(timeout=0.5), "1 to 30 seconds"),
        (Manner(timeout=30.5), "1 to 30 seconds"),
        (Manner(timeout=float("nan")), "1 to 30 seconds"),
        (Manner(concurrency=0), "1 to 64"),
        (Manner(concurrency=65), "1 to 64"),
        (Manner(rate=0.0), "attempts a second"),
        (Manner(rate=float("inf")), "attempts a second"),
        (Manner(rate=float("nan")), "attempts a second"),
        (Manner(ordered="amount"), "cannot be ordered by 'amount'"),
        (Manner(halts=True), "--ordered KEY"),
        (Manner(delays=()), "one attempt at least"),
        (Manner(delays=(5, 30)), "begins with 0s"),
        (Manner(delays=(0, 5, 0)), "attempt 3 would follow without a wait"),
        (Manner(delays=(0, -5)), "attempt 2"),
        (Manner(delays=(0, 86_400 * 10 + 1)), "10.0 days"),
        (Manner(delays=(0,) + (1,) * 30), "at most 30 attempts; this one has 31"),
    ],
)
def test_a_manner_that_cannot_be_is_refused(manner: Manner, said: str) -> None:
    """Each is one sentence that says which bound it breaks."""
    with pytest.raises(Refused, match=said):
        called(manner)


@pytest.mark.parametrize(
    "manner",
    [
        Manner(timeout=1.0, concurrency=1, rate=0.01),
        Manner(timeout=30.0, concurrency=64, rate=1000.0),
        Manner(delays=(0,)),
        Manner(delays=(0, 86_400 * 10)),
        Manner(delays=DEFAULT.delays),
        Manner(ordered="payer.phone", halts=True),
    ],
)
def test_the_bounds_themselves_are_taken(manner: Manner) -> None:
    """What lies on a bound can be, and so can our own schedule, whose last wait is shorter."""
    called(manner)


@given(st.lists(st.integers(-2, 200_000), max_size=40))
def test_a_schedule_that_is_taken_ends_in_time(delays: list[int]) -> None:
    """No schedule that is taken hammers, goes on for more than ten days, or begins late."""
    try:
        check_delays(tuple(delays))
    except Refused:
        return
    assert delays[0] == 0
    assert all(delay >= 1 for delay in delays[1:])
    assert len(delays) <= ATTEMPTS_MAX
    assert sum(delays) <= SCHEDULE_SECONDS_MAX


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "content-length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade"),
        *("TE", "Trailer", "Expect", "Proxy-Authorization", "proxy-connection", "Cookie"),
        *("Set-Cookie", "User-Agent", "Content-Type", "Content-Encoding", "Accept-Encoding"),
        *("webhook-id", "Webhook-Signature", "WEBHOOK-X", "Signature", "Signature-Input"),
        *("X-Forwarded-For", "Forwarded", "Via", "Nats-Msg-Id", "Arifa-Replay-Of", ":authority"),
        *("", " X", "X ", "X Y", "X:Y", "X\r\nY", "X\0", "Ünicode", "X" * 65),
    ],
)
def test_a_header_that_would_speak_for_us_is_refused(name: str) -> None:
    """Neither the connection's nor the proof's headers, nor what is no name, can be set."""
    with pytest.raises(Refused, match="header"):
        called(headers((name, "x")))


@given(st.text(max_size=40))
def test_a_value_that_is_taken_ends_no_line(value: str) -> None:
    """Whatever is taken as a value is printable ASCII, and no sentence shows one that is not."""
    try:
        called(headers(("X-Key", value)))
    except Refused as error:
        assert len(value) < 3 or value not in str(error)  # noqa: PT017
        return
    assert value.isascii()
    assert value.isprintable()
    assert value == value.strip()
    assert value


def test_headers_are_bounded() -> None:
    """In number, in the length of each, and in their length together; none comes twice."""
    called(headers(*((f"X-{number}", "v" * 300) for number in range(10))))
    for many in (
        [(f"X-{number}", "v") for number in range(11)],
        [("X", "v" * 1025)],
        [(f"X-{number}", "v" * 1000) for number in range(5)],
        [("X-Key", "a"), ("x-key", "b")],
    ):
        with pytest.raises(Refused):
            called(headers(*many))


def test_the_header_of_a_proof_cannot_be_set() -> None:
    """KCB's signature is made, never given; Authorization is taken only where no Basic is."""
    with pytest.raises(Refused):
        called(headers(("Signature", "x")), "kcb")
    with pytest.raises(Refused, match="one of the two"):
        called(
            headers(("Authorization", "Bearer x")),
            "jenga",
            credentials=Credentials(username="u", passwords=("p",)),
        )
    called(headers(("Authorization", "Bearer x")))


def test_every_order_field_is_one_of_a_notification() -> None:
    """A key that no notification has would put all of them behind one another."""
    reading = plain_notification().reading
    for name in set(ORDER_FIELDS) - {"all", "source"}:
        value: object = reading
        for part in name.split("."):
            value = getattr(value, part)


def test_headers_are_sealed(store: Store) -> None:
    """A header's value comes back as it was, and lies nowhere in the clear."""
    wanted = NewEndpoint(name="shop", url=URL, manner=headers(("X-Key", "hunter2-header")))
    made = add_endpoint(store, wanted, now_us()).endpoint
    with store.database.read() as connection:
        assert endpoints.get(connection, store.vault, "shop") == made
        row = connection.exec_driver_sql("SELECT settings, filter, options FROM endpoints").one()
    assert made.manner.headers == (("X-Key", "hunter2-header"),)
    assert "hunter2" not in "".join(row)


def test_currencies_are_those_that_the_dialect_can_say(sqlite_store: Store) -> None:
    """CBS names no currency: an endpoint of it hears of one only, and may not be asked for more."""
    wanted: dict[str, Any] = {
        "name": "bills",
        "url": URL,
        "dialect": "cbs",
        "credentials": Credentials(secrets=(b"a secret of 16 b",)),
        "statuses": frozenset({Status.SUCCESS}),
        "kinds": frozenset({Kind.PAYMENT}),
        "currency": "NGN",
    }
    with pytest.raises(Refused, match="--currencies NGN"):
        add_endpoint(
            sqlite_store, NewEndpoint(**wanted, currencies=frozenset({"NGN", "KES"})), now_us()
        )
    made = add_endpoint(sqlite_store, NewEndpoint(**wanted), now_us()).endpoint
    said = {"source": "s", "kind": "payment", "direction": Direction.CREDIT, "status": "success"}
    assert made.wants(**said, currency="NGN")
    assert not made.wants(**said, currency="KES")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"currencies": frozenset({"KSH"})}, "ISO 4217"),
        ({"accounts": frozenset({"1\n2"})}, "printable"),
        ({"accounts": frozenset({"1" * 65})}, "64"),
        ({"alerts": True, "kinds": frozenset({Kind.PAYMENT})}, "no payment"),
        ({"alerts": True, "accounts": frozenset({"1"})}, "no payment"),
        ({"alerts": True, "sources": ("kcb",)}, "--sources"),
        (
            {"alerts": True, "dialect": "kcb", "credentials": Credentials(private_key=PRIVATE)},
            "standard_webhooks",
        ),
        ({"alerts": True, "dialect": "as_received"}, "standard_webhooks"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(
    sqlite_store: Store, wanted: dict[str, Any], said: str
) -> None:
    """Unknown words, and filters that would let nothing or the wrong thing through."""
    with pytest.raises(Refused, match=said):
        add_endpoint(sqlite_store, NewEndpoint(name="e", url=URL, **wanted), now_us())


def test_a_short_secret_of_ours_is_refused(sqlite_store: Store) -> None:
    """Fifteen bytes can be tried through; sixteen are taken."""
    wanted: dict[str, Any] = {
        "name": "bills",
        "url": URL,
        "dialect": "cbs",
        "statuses": frozenset({Status.SUCCESS}),
        "kinds": frozenset({Kind.PAYMENT}),
    }
    with pytest.raises(Refused, match="openssl rand"):
        given_secret = Credentials(secrets=(b"x" * 15,))
        add_endpoint(sqlite_store, NewEndpoint(**wanted, credentials=given_secret), now_us())
    long_enough = Credentials(secrets=(b"x" * 16,))
    add_endpoint(sqlite_store, NewEndpoint(**wanted, credentials=long_enough), now_us())
