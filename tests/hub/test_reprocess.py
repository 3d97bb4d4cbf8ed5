"""Reading again, after a fix, what was genuine and could not be read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from msgspec import structs

from arifa import dialects
from arifa.clock import now_us
from arifa.document import encode
from arifa.feed import Source
from arifa.hub.reprocess import Reprocessed, reprocess
from arifa.signing import Credentials
from arifa.signing.keys import new_rsa_key
from arifa.store import identities, seals, sources
from arifa.store.opened import Store
from arifa.wire import WireRequest
from tests.hub.bank import BANK, Hub, request


@pytest.fixture
def hub(store: Store) -> Hub:
    """A hub with sources and one endpoint."""
    made = Hub(store)
    made.endpoint()
    for dialect in ("kcb", "jenga"):
        made.source(dialect)
    return made


def renamed(reference: str = "FT-1", **fields: str) -> WireRequest:
    """A genuine KCB message in a form not known yet: the reference under another name."""
    sample = request("kcb", transactionReference=reference, **fields)
    document = json.loads(sample.body)
    document["txnRef"] = document.pop("transactionReference")
    body = json.dumps(document).encode()
    return dialects.get("kcb").sign(replace(sample, body=body), BANK["kcb"], now_us())


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch):
    """Call it, and the dialect reads the new form too."""
    kcb = type(dialects.get("kcb"))
    old = kcb.read

    def read(self, verified, profile):
        document = dict(verified.document())
        if "txnRef" not in document:
            return old(self, verified, profile)
        document["transactionReference"] = document.pop("txnRef")
        body = encode(document)
        changed = structs.replace(
            verified, request=replace(verified.request, body=body), content=body
        )
        return old(self, changed, profile)

    return lambda: monkeypatch.setattr(kcb, "read", read)


def test_what_can_be_read_now_counts(hub: Hub, fixed) -> None:
    """After the fix the payment is stored once, counts, and is delivered; again is no more."""
    assert hub.one("kcb", renamed()).status == 400
    assert reprocess(hub.store, now_us()) == Reprocessed(looked_at=1, unreadable=1)
    fixed()
    assert reprocess(hub.store, now_us()) == Reprocessed(looked_at=1, stored=1)
    assert reprocess(hub.store, now_us()) == Reprocessed(looked_at=1, known=1)
    (payment,) = hub.accepted()
    assert payment.reading.bank_reference == "FT-1"
    assert payment.reading.unproven == ()
    assert hub.totals()["deliveries"] == 1
    assert hub.outcomes() == ["UNREADABLE"]


def test_many_repeats_are_one_payment(hub: Hub, fixed) -> None:
    """A bank that has sent it five times meanwhile has made one payment."""
    for _ in range(5):
        hub.one("kcb", renamed())
    fixed()
    assert reprocess(hub.store, now_us()) == Reprocessed(looked_at=5, stored=1, known=4)
    assert len(hub.notifications()) == 1


def test_the_next_repeat_is_answered_as_received(hub: Hub, fixed) -> None:
    """The same bytes, refused before, now hear yes and the payment's own id."""
    message = renamed()
    assert hub.one("kcb", message).status == 400
    fixed()
    reprocess(hub.store, now_us())
    answer = hub.one("kcb", message)
    assert answer.status == 200
    assert json.loads(answer.body)["transactionID"] == hub.accepted()[0].id
    assert len(hub.notifications()) == 1


def test_a_conflict_is_a_case(hub: Hub, fixed) -> None:
    """What contradicts a payment that is in the books is held, once, however often it is read."""
    hub.one("kcb", request("kcb", transactionReference="FT-1"))
    hub.one("kcb", renamed(transactionAmount="999.00"))
    fixed()
    assert reprocess(hub.store, now_us()).held == 1
    reprocess(hub.store, now_us())
    assert [case.kind for case in hub.cases()] == ["conflict"]
    assert len(hub.notifications()) == 2


def test_another_node_is_faster(hub: Hub, fixed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another node stores the bank's repeat in the same moment, it is still one payment."""
    message = renamed()
    hub.one("kcb", message)
    fixed()
    hub.one("kcb", message)
    find, looks = identities.find, []

    def too_early(connection, keys, **given):
        looks.append(keys)
        return {} if len(looks) == 1 else find(connection, keys, **given)

    monkeypatch.setattr(identities, "find", too_early)
    assert reprocess(hub.store, now_us()) == Reprocessed(looked_at=1, known=1)
    assert len(looks) == 2
    assert len(hub.notifications()) == 1


def test_only_since(hub: Hub, fixed) -> None:
    """What came before the time is left alone."""
    hub.one("kcb", renamed())
    fixed()
    assert reprocess(hub.store, now_us(), since=now_us() + 1) == Reprocessed()
    assert hub.notifications() == []


def test_its_key_may_have_been_replaced(hub: Hub, fixed) -> None:
    """It was proven when it came; that the key has been rotated since does not matter."""
    hub.one("kcb", renamed())
    _set_key(hub, hub.sources["kcb"])
    fixed()
    assert reprocess(hub.store, now_us()).stored == 1


def test_its_source_may_have_been_removed(hub: Hub, fixed) -> None:
    """Money that came through a removed source has still come."""
    hub.one("kcb", renamed())
    with hub.store.database.write() as connection:
        sources.remove(connection, hub.sources["kcb"], now_us())
    fixed()
    assert reprocess(hub.store, now_us()).stored == 1


def test_a_masked_password_is_no_obstacle(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inbox does not keep the bank's password, and reading again does not ask for it."""
    jenga = type(dialects.get("jenga"))
    read = jenga.read

    def broken(self, verified, profile):
        raise RuntimeError("a bug")

    monkeypatch.setattr(jenga, "read", broken)
    assert hub.one("jenga", request("jenga")).status == 400
    monkeypatch.setattr(jenga, "read", read)
    assert reprocess(hub.store, now_us()).stored == 1
    (payment,) = hub.notifications()
    assert "amount" in payment.reading.unproven


def test_it_seals_nothing(hub: Hub, fixed) -> None:
    """The inbox stays as it was acknowledged, and its chain of seals holds."""
    hub.one("kcb", renamed())
    fixed()
    reprocess(hub.store, now_us())
    hub.one("kcb", request("kcb"))
    with hub.store.database.read() as connection:
        assert seals.verify(connection, hub.store.writer) == (2, None)
        seals.check_heads(connection, hub.store.folder)


def test_the_counters_do_not_move(hub: Hub, fixed) -> None:
    """The bank has sent one request, however often it is read."""
    hub.one("kcb", renamed())
    fixed()
    reprocess(hub.store, now_us())
    with hub.store.database.read() as connection:
        assert sources.counters(connection, hub.sources["kcb"])["received"] == 1


def _set_key(hub: Hub, source: Source) -> None:
    new = Credentials(public_keys=(new_rsa_key()[1],))
    with hub.store.database.write() as connection:
        sources.set_credentials(connection, hub.store.vault, source, new, now_us())
