"""The seam: an endpoint's scheme says which transport it takes, and none is loaded before."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import ClassVar

import pytest

from arifa.clock import now_us
from arifa.delivery import schedule as schedules
from arifa.delivery import transport as module
from arifa.delivery.attempt import Errand, Prepared, attempt
from arifa.delivery.cause import Cause, NoAnswer
from arifa.delivery.outbound import Outbound
from arifa.delivery.transport import Reach, Receipt, Transports, check
from arifa.errors import Refused
from arifa.feed import Endpoint, Profile
from arifa.signing import Credentials
from arifa.store.deliveries import Claimed, DeliveryState
from arifa.wire import WireRequest
from tests.delivery.hub import ok, shop

REQUEST = WireRequest(b"{}")


class Broker:
    """A transport as a broker's would be: it keeps what it is sent, and gives a receipt."""

    made: ClassVar[list[Broker]] = []

    def __init__(self, reach):
        self.reach = reach
        self.sent = []
        self.is_closed = False
        Broker.made.append(self)

    @staticmethod
    def check(url):
        return ["noted"]

    async def send(self, url, request, **kwargs):
        self.sent.append((url, request, kwargs))
        return Receipt("stream PAYMENTS, sequence 7")

    async def close(self):
        self.is_closed = True


@pytest.fixture
def broker(monkeypatch):
    """`toy://` leads to a broker."""
    monkeypatch.setattr(Broker, "made", [])
    line = module._Line(f"{__name__}:Broker")
    monkeypatch.setattr(module, "_TRANSPORTS", {**module._TRANSPORTS, "toy": line})


def test_a_broker_s_receipt_is_a_delivery(broker):
    """What a broker keeps is delivered, under the notification's id, and the attempt says where."""
    endpoint = Endpoint(
        id="end_1",
        name="shop",
        merchant="default",
        url="toy://broker.example/payments",
        dialect="standard_webhooks",
        profile=Profile(currency="KES", timezone="Africa/Nairobi"),
        credentials=Credentials(username="user", passwords=("word",)),
    )
    claimed = Claimed("default", "dlv_1", "ntf_1", "end_1", 0, 1, now_us())
    prepared = Prepared(Errand(claimed, endpoint, None), REQUEST, None)

    async def main():
        async with Transports() as transports:
            return await attempt(
                prepared, transports, schedules.DEFAULT, now_us, lambda: 0.5, deadline=7
            )

    found = asyncio.run(main())
    assert (found.cause, found.status) == ("delivered", None)
    assert found.state is DeliveryState.DELIVERED
    assert "sequence 7" in found.detail
    (made,) = Broker.made
    assert made.is_closed
    ((url, request, told),) = made.sent
    assert (url, request) == (endpoint.url, REQUEST)
    assert told == {"identity": "ntf_1", "deadline": 7, "credentials": endpoint.credentials}


def test_one_transport_serves_all_its_endpoints(broker):
    """It is made once, with what the operator allows, whatever the case of the scheme."""
    reach = Reach(allow_private=True)

    async def main():
        async with Transports(reach) as transports:
            for url in ("toy://a/b", "TOY://c/d"):
                await transports.send(url, REQUEST, identity="ntf_1")

    asyncio.run(main())
    (made,) = Broker.made
    assert made.reach is reach
    assert len(made.sent) == 2


def test_http_goes_out_over_http():
    """http and https share one client."""

    async def main():
        async with (
            shop(ok) as merchant,
            Transports(Reach(allow_private=True)) as transports,
        ):
            return await transports.send(merchant.url, REQUEST, identity="ntf_1")

    answer = asyncio.run(main())
    assert answer.status == 200
    assert module._maker(module._line("https://a")) is Outbound


@pytest.mark.parametrize("url", ["", "shop.example", "ftp://a/b", "kafka://a/b", "://a", "nats:a"])
def test_a_scheme_that_nobody_has(url):
    """It is refused with a sentence when it is entered, and ends an attempt with the same one."""
    with pytest.raises(Refused, match="begins with none of https://") as refused:
        check(url)

    async def main():
        async with Transports() as transports:
            with pytest.raises(NoAnswer) as caught:
                await transports.send(url, REQUEST, identity="ntf_1")
            return caught.value

    answer = asyncio.run(main())
    assert answer.cause is Cause.URL
    assert str(refused.value) in str(answer)


def test_an_extra_that_is_not_installed(monkeypatch):
    """The sentence says what to install."""
    line = module._Line("arifa.delivery.nothing_here:Nothing", extra="toy")
    monkeypatch.setattr(module, "_TRANSPORTS", {**module._TRANSPORTS, "toy": line})
    with pytest.raises(Refused, match=r"install arifa\[toy\]"):
        check("toy://a/b")


def test_notes_are_the_transport_s_own(broker):
    """Checking a URL asks the transport that would take it."""
    assert check("toy://a/b") == ["noted"]
    assert check("https://shop.example/hook") == []
    assert "--allow-private" in check("http://127.0.0.1:8000/hook")[0]


def test_no_transport_is_loaded_before_it_is_used():
    """Importing the seam costs no HTTP client and no broker's."""
    code = (
        "import sys, arifa.delivery.transport; print([name for name in ('aiohttp', 'nats',"
        " 'arifa.delivery.outbound', 'arifa.delivery.nats') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
