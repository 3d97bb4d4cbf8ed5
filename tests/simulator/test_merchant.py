"""The simulated merchant over real HTTP: it proves, keeps once, and fails as it was told."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest

from arifa.clock import now_us
from arifa.errors import Refused
from arifa.signing import Credentials, WebhookSignature
from arifa.simulator.exchange import exchange
from arifa.simulator.merchant import Failure, Merchant
from arifa.wire import JSON, WireRequest

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def event(identity: str, secret: str = SECRET) -> WireRequest:
    """A signed event."""
    body = b'{"type": "payment.success", "data": {"bank_reference": "%s"}}' % identity.encode()
    request = WireRequest(body, (JSON, (b"webhook-id", identity.encode())))
    return WebhookSignature().sign(request, Credentials(secrets=(secret.encode(),)), now_us())


def merchant_with(rates: Mapping[Failure, float] | None = None) -> Merchant:
    """A merchant with a secret."""
    made = Merchant(rates=rates, random=Random(1))
    made.secret = SECRET
    return made


def test_an_event_is_kept_once():
    """By its id, however often it comes; each time is counted."""
    with merchant_with() as merchant:
        for identity in ("ntf_1", "ntf_2", "ntf_1"):
            assert exchange(merchant.url, event(identity)).status == 200
        assert set(merchant.kept.events) == {"ntf_1", "ntf_2"}
        assert (merchant.kept.attempts, merchant.kept.repeats) == (3, 1)
        assert merchant.kept.events["ntf_1"].data == {"bank_reference": "ntf_1"}


def test_a_forged_event_is_refused():
    """Another's signature keeps nothing."""
    with merchant_with() as merchant:
        assert exchange(merchant.url, event("ntf_1", OTHER)).status == 401
        assert (merchant.kept.events, merchant.kept.refused) == ({}, 1)


def test_without_a_secret_nothing_is_proven():
    """A merchant that has not agreed on a secret yet takes nothing."""
    with Merchant() as merchant:
        assert exchange(merchant.url, event("ntf_1")).status == 401


def test_broken_keeps_nothing_and_then_takes_it():
    """500 the first time, 200 the second: an event fails once at most."""
    with merchant_with({Failure.BROKEN: 1.0}) as merchant:
        assert exchange(merchant.url, event("ntf_1")).status == 500
        assert merchant.kept.events == {}
        assert exchange(merchant.url, event("ntf_1")).status == 200
        assert (merchant.kept.failures[Failure.BROKEN], merchant.kept.repeats) == (1, 0)


def test_dropped_keeps_it_without_an_answer():
    """So that it comes again, and the merchant knows it already."""
    with merchant_with({Failure.DROPPED: 1.0}) as merchant:
        with pytest.raises(Refused, match="does not answer"):
            exchange(merchant.url, event("ntf_1"))
        assert exchange(merchant.url, event("ntf_1")).status == 200
        assert merchant.kept.repeats == 1


def test_slow_answers_in_the_end():
    """Late, and rightly."""
    with merchant_with({Failure.SLOW: 1.0}) as merchant:
        assert exchange(merchant.url, event("ntf_1")).status == 200
        assert merchant.kept.failures[Failure.SLOW] == 1


def test_waiting_for_events():
    """Whoever waits is woken by the event, and is told if it does not come."""
    with merchant_with() as merchant:
        assert not merchant.wait_for(lambda kept: len(kept.events) > 0, timeout=0.01)
        exchange(merchant.url, event("ntf_1"))
        assert merchant.wait_for(lambda kept: len(kept.events) > 0, timeout=60)


def test_a_seed_fails_the_same():
    """Two merchants of one seed fail for the same events."""
    failed = []
    for _ in range(2):
        with merchant_with({Failure.BROKEN: 0.5}) as merchant:
            statuses = [exchange(merchant.url, event(f"ntf_{n}")).status for n in range(20)]
        failed.append(statuses)
    assert failed[0] == failed[1]
    assert set(failed[0]) == {200, 500}
