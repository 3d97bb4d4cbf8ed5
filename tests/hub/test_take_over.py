"""Taking over from an earlier listener: what it handled is known, counts, and is told nobody."""

from __future__ import annotations

import json

import pytest

from arifa.clock import now_us
from arifa.hub.replay import missing
from arifa.hub.take_over import CHUNK, Form, take_over
from arifa.notification import notification_as_json
from arifa.store.notifications import IMPORTED
from arifa.store.opened import Store
from arifa.store.replays import Selection
from arifa.store.schema import deliveries, notifications
from tests.hub.bank import Hub, request

WITHOUT_REFERENCE = (
    b'{"kind": "fee", "direction": "credit", "status": "success", '
    b'"amount": {"amount": "5.00", "currency": "KES"}}'
)


def body(**fields: str) -> bytes:
    """A KCB body on one line."""
    return json.dumps(json.loads(request("kcb", **fields).body)).encode()


def test_the_banks_repeat_of_it_is_a_duplicate(store: Store) -> None:
    """It is answered as one, books nothing, and nobody is told."""
    hub = Hub(store)
    hub.endpoint()
    source = hub.source("kcb")
    total = take_over(store, source, [body()], Form.BODY, now_us())
    assert (total.imported, total.refused) == (1, [])
    answer = hub.one("kcb", request("kcb"))
    assert answer.status == 200
    assert hub.outcomes() == ["DUPLICATE"]
    assert len(hub.accepted()) == 1
    assert hub.count(deliveries) == 0


@pytest.mark.parametrize("dialect", ["kcb", "cbs", "jenga", "credit_bank", "xente"])
def test_either_form_is_known_again(store: Store, dialect: str) -> None:
    """A notification as it was printed, and the bank's own body, are the same payment."""
    hub = Hub(store)
    source = hub.source(dialect)
    sent = request(dialect)
    line = json.dumps(json.loads(sent.body)).encode()
    assert take_over(store, source, [line], Form.BODY, now_us()).imported == 1
    (known,) = hub.notifications()
    printed = json.dumps(notification_as_json(known)).encode()
    again = take_over(store, source, [printed], Form.NOTIFICATION, now_us())
    assert (again.imported, again.known, again.refused) == (0, 1, [])
    hub.one(dialect, sent)
    assert hub.outcomes() == ["DUPLICATE"]


def test_a_file_can_be_imported_again(store: Store) -> None:
    """Each line is stored once, however many there are and however often it comes."""
    hub = Hub(store)
    source = hub.source("kcb")
    lines = [body(transactionReference=f"FT{number}") for number in range(CHUNK + 5)]
    told: list[int] = []
    first = take_over(store, source, [*lines, *lines[:3]], Form.BODY, now_us(), advance=told.append)
    assert (first.imported, first.known) == (CHUNK + 5, 3)
    assert sum(told) == len(lines) + 3
    second = take_over(store, source, lines, Form.BODY, now_us())
    assert (second.imported, second.known) == (0, CHUNK + 5)
    assert hub.count(notifications) == CHUNK + 5


def test_other_money_waits_as_a_case(store: Store) -> None:
    """A line that contradicts what the bank has said is held, and does not count."""
    hub = Hub(store)
    source = hub.source("kcb")
    hub.one("kcb", request("kcb"))
    total = take_over(store, source, [body(transactionAmount="999.00")], Form.BODY, now_us())
    assert (total.imported, total.held) == (0, 1)
    assert len(hub.cases()) == 1
    assert len(hub.accepted()) == 1


def test_it_is_not_missing(store: Store) -> None:
    """No replay of what is missing tells an endpoint of what was handled."""
    hub = Hub(store)
    source = hub.source("kcb")
    take_over(store, source, [body()], Form.BODY, now_us())
    hub.endpoint()
    assert missing(store, Selection(0, now_us() + 1), now_us()) == []


def test_where_it_came_from_is_seen(store: Store) -> None:
    """No request stands behind it, and its row says so."""
    hub = Hub(store)
    source = hub.source("kcb")
    take_over(store, source, [body()], Form.BODY, now_us())
    with store.database.read() as connection:
        (row,) = connection.execute(notifications.select()).all()
    assert (row.inbox, row.source) == (IMPORTED, source.id)


@pytest.mark.parametrize(
    ("form", "line", "said"),
    [
        (Form.BODY, b"{", "JSON"),
        (Form.BODY, b"{}", ""),
        (Form.NOTIFICATION, b'{"kind": "payment"}', "direction"),
        (Form.NOTIFICATION, b"[]", "object"),
        (
            Form.NOTIFICATION,
            b'{"kind": "payment", "direction": "credit", "status": "success", "amount": 5}',
            "--json",
        ),
        (
            Form.NOTIFICATION,
            WITHOUT_REFERENCE,
            "bank_reference",
        ),
        (
            Form.NOTIFICATION,
            b'{"kind": "gift", "direction": "credit", "status": "success", "amount": null}',
            "--json",
        ),
    ],
)
def test_a_bad_line_is_told_by_its_number(
    sqlite_store: Store, form: Form, line: bytes, said: str
) -> None:
    """The lines around it are taken."""
    hub = Hub(sqlite_store)
    source = hub.source("kcb")
    good = body(transactionReference="FT1")
    if form is Form.NOTIFICATION:
        hub.one("kcb", request("kcb"))
        row = {**notification_as_json(hub.notifications()[0]), "bank_reference": "FT2"}
        good = json.dumps(row).encode()
    total = take_over(sqlite_store, source, [good, b"", line], form, now_us())
    assert total.imported == 1
    ((number, reason),) = total.refused
    assert number == 3
    assert said in reason
