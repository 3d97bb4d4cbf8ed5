"""One attempt: what each answer, and each thing that can go wrong, comes to."""

from __future__ import annotations

import asyncio

import pytest
from standardwebhooks.webhooks import Webhook

from arifa.clock import now_us
from arifa.delivery import schedule as schedules
from arifa.delivery.attempt import Errand, Verdict, attempt, judge, prepare, result
from arifa.delivery.cause import SENTENCE, Cause
from arifa.delivery.transport import Reach, Transports
from arifa.feed import Endpoint, Profile
from arifa.notification import Kind, Notification, State
from arifa.signing import Credentials
from arifa.store.deliveries import Claimed, DeliveryState
from arifa.wire import WireResponse
from tests.delivery.hub import ORIGINAL, READING, SECOND, SECRET, shop, status

NOW = 1_800_000_000 * SECOND
CLAIMED = Claimed("default", "dlv_1", "ntf_1", "end_1", 0, 1, NOW)


def endpoint(dialect="standard_webhooks", url="https://shop.example/", **credentials):
    return Endpoint(
        id="end_1",
        name="shop",
        merchant="default",
        url=url,
        dialect=dialect,
        profile=Profile(currency="KES", timezone="Africa/Nairobi"),
        credentials=Credentials(**(credentials or {"secrets": (SECRET,)})),
    )


def notification(**changed):
    from msgspec import structs

    return Notification(
        id="ntf_1",
        merchant="default",
        source="src_1",
        dialect="kcb",
        received_at=NOW,
        state=State.ACCEPTED,
        reading=structs.replace(READING, **changed),
    )


# ---------------------------------------------------------------------------------- prepare


def test_prepared_is_rendered_and_signed():
    """The request verifies under the standard's own library."""
    prepared = prepare(Errand(CLAIMED, endpoint(), notification()), now_us())
    assert prepared.verdict is None
    assert prepared.request is not None
    headers = {name.decode(): value.decode() for name, value in prepared.request.headers}
    event = Webhook(SECRET.decode()).verify(prepared.request.body, headers)
    assert event["data"]["id"] == headers["webhook-id"] == "ntf_1"


def test_as_received_needs_the_original():
    """With the original its bytes go out; without it there is nothing to say, for good."""
    errand = Errand(CLAIMED, endpoint("as_received"), notification(), ORIGINAL)
    passed_on = prepare(errand, NOW).request
    assert passed_on is not None
    assert passed_on.body == ORIGINAL.body
    gone = prepare(errand._replace(original=None), NOW)
    assert gone.request is None
    assert gone.verdict is not None
    assert gone.verdict.cause is Cause.INEXPRESSIBLE


@pytest.mark.parametrize(
    ("errand", "cause", "state"),
    [
        (Errand(CLAIMED, None, notification()), Cause.ENDPOINT_REMOVED, DeliveryState.CANCELLED),
        (Errand(CLAIMED, endpoint(), None), Cause.MISSING, DeliveryState.DEAD),
        (
            Errand(CLAIMED, endpoint("kcb"), notification(kind=Kind.DISPUTE)),
            Cause.INEXPRESSIBLE,
            DeliveryState.DEAD,
        ),
        (
            Errand(CLAIMED, endpoint(username="user"), notification()),
            Cause.MISCONFIGURED,
            DeliveryState.PENDING,
        ),
        (Errand(CLAIMED, endpoint("nobody's"), notification()), Cause.MISCONFIGURED, None),
    ],
)
def test_what_cannot_be_sent_is_not_sent(errand, cause, state):
    """Nothing goes out, and the reason is the outcome: dead where it can never be otherwise."""

    async def main():
        async with Transports() as transports:
            return await attempt(
                prepare(errand, NOW), transports, schedules.DEFAULT, lambda: NOW, lambda: 0.5
            )

    found = asyncio.run(main())
    assert (found.cause, found.status) == (cause.value, None)
    assert found.state is (state or DeliveryState.PENDING)
    assert SENTENCE[cause] in found.detail


def test_a_dialect_that_breaks_stops_nobody(monkeypatch):
    """A bug in rendering is our own error: it is named as such, and tried again."""
    from arifa import dialects

    def broken(*_):
        raise ZeroDivisionError("John Doe")

    monkeypatch.setattr(type(dialects.get("standard_webhooks")), "write", broken)
    verdict = prepare(Errand(CLAIMED, endpoint(), notification()), NOW).verdict
    assert verdict is not None
    assert verdict.cause is Cause.INTERNAL
    assert "ZeroDivisionError" in verdict.detail
    assert "John" not in verdict.detail


# ---------------------------------------------------------------------------------- judge


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (200, Cause.DELIVERED),
        (201, Cause.DELIVERED),
        (204, Cause.DELIVERED),
        (301, Cause.REDIRECTED),
        (302, Cause.REDIRECTED),
        (304, Cause.REDIRECTED),
        (308, Cause.REDIRECTED),
        (400, Cause.CLIENT_ERROR),
        (401, Cause.CLIENT_ERROR),
        (404, Cause.CLIENT_ERROR),
        (410, Cause.GONE),
        (429, Cause.THROTTLED),
        (500, Cause.SERVER_ERROR),
        (503, Cause.SERVER_ERROR),
        (599, Cause.SERVER_ERROR),
        (101, Cause.NOT_HTTP),
    ],
)
def test_causes_by_status(code, cause):
    """Each class of status has its word."""
    verdict = judge(endpoint(), WireResponse(code), NOW)
    assert (verdict.cause, verdict.status) == (cause, code)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (
            b'{"transactionID":"T1","statusCode":0,"statusMessage":"Notification received"}',
            Cause.DELIVERED,
        ),
        (b'{"transactionID":"T1","statusCode":1,"statusMessage":"No"}', Cause.REFUSED),
        (b"<html>all is well</html>", Cause.REFUSED),
        (b"", Cause.REFUSED),
        (b"[" * 60_000, Cause.REFUSED),
    ],
)
def test_success_is_the_dialects(body, cause):
    """KCB's form has to say zero: a 200 with anything else is not a yes."""
    verdict = judge(endpoint("kcb"), WireResponse(200, body), NOW)
    assert verdict.cause is cause


def test_details_hold_nobodys_data():
    """What an answer says is shown by its shape only, and bounded."""
    body = b'{"name":"John Doe","phone":"254711111111","error":"' + b"x" * 5000 + b'"}\x00'
    verdict = judge(endpoint(), WireResponse(500, body), NOW)
    assert "HTTP 500" in verdict.detail
    assert "John" not in verdict.detail
    assert "2547" not in verdict.detail
    assert "\x00" not in verdict.detail
    assert len(verdict.detail) <= 600


def test_retry_after_is_read():
    """From any answer that is not a yes; nonsense is ignored."""
    for value, wait in ((b"90", 90.0), (b"\xff", None)):
        headers = ((b"Retry-After", value),)
        assert judge(endpoint(), WireResponse(503, b"", headers), NOW).retry_after == wait


# ---------------------------------------------------------------------------------- result


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_its_end(cause):
    """Each cause has a sentence, and leads to one state; only a pending delivery has a time."""
    found = result(
        CLAIMED,
        Verdict(cause, SENTENCE[cause]),
        schedule=schedules.DEFAULT,
        started_at=NOW,
        finished_at=NOW + 1,
        random=lambda: 0.5,
    )
    assert (found.next_attempt_at is not None) == (found.state is DeliveryState.PENDING)
    ends = {
        Cause.DELIVERED: DeliveryState.DELIVERED,
        Cause.ENDPOINT_REMOVED: DeliveryState.CANCELLED,
        Cause.INEXPRESSIBLE: DeliveryState.DEAD,
        Cause.MISSING: DeliveryState.DEAD,
    }
    assert found.state is ends.get(cause, DeliveryState.PENDING)


def test_over_real_http():
    """The whole of one attempt, against a server that asks to be left alone for a minute."""

    async def main():
        async with (
            shop(status(503, retry_after="60")) as merchant,
            Transports(Reach(allow_private=True)) as transports,
        ):
            errand = Errand(CLAIMED, endpoint(url=merchant.url), notification())
            return await attempt(
                prepare(errand, NOW), transports, schedules.DEFAULT, lambda: NOW, lambda: 0.5
            )

    found = asyncio.run(main())
    assert (found.cause, found.status) == ("server_error", 503)
    assert found.next_attempt_at == NOW + 10 * SECOND
