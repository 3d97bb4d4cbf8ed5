"""The way out through an egress proxy: what it is told, what it may refuse, what never reaches it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from contextlib import asynccontextmanager

import pytest

from arifa.delivery.cause import SENTENCE, Cause, NoAnswer
from arifa.delivery.outbound import Outbound
from arifa.delivery.transport import Reach
from arifa.simulator.behaviours import OK, Behaviour
from arifa.simulator.certificates import Authority
from arifa.simulator.hostile import HostileReceiver
from arifa.wire import WireRequest
from tests.delivery.canary import Resolver
from tests.delivery.hub import LoopClock

REQUEST = WireRequest(b"{}")


class Proxy:
    """An egress proxy that leads every tunnel to one port of this machine, or says what it is told.

    Attributes:
        asked: the heads of the requests that came.
    """

    def __init__(self, port: int, answer: bytes) -> None:
        self.asked: list[str] = []
        self.was_asked = asyncio.Event()
        self.url = ""
        self._port = port
        self._answer = answer

    async def came(self, reader, writer):
        # Cancelled it is when the test ends.
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            self.was_asked.set()
            writer.write(self._answer)
            if self._answer.startswith(b"HTTP/1.1 200"):
                await self._tunnel(reader, writer)
            elif not self._answer:
                await reader.read()
        writer.close()

    async def _tunnel(self, reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))


async def _pass_on(reader, writer):
    try:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@asynccontextmanager
async def proxy(port=0, answer=ESTABLISHED):
    it = Proxy(port, answer)
    server = await asyncio.start_server(it.came, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        server.close()


def shop_at(name):
    """A merchant's server with a certificate for this name, which keeps its connections."""

    async def act(visit):
        while True:
            await visit.request()
            await visit.say(OK)

    return Behaviour("shop", "", "delivered", act, tls=lambda one, _: one.server(name))


def port_of(receiver):
    return int(receiver.url.rsplit(":", 1)[1].partition("/")[0])


def run(loop, main):
    factory = None
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def refused(client, url, deadline=30):
    with pytest.raises(NoAnswer) as caught:
        await client.send(url, REQUEST, identity="ntf_1", deadline=deadline)
    return caught.value


@pytest.fixture
def resolver(monkeypatch):
    return Resolver(monkeypatch)


@pytest.mark.usefixtures("resolver")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_https_goes_through_the_proxy(loop):
    """It is told the endpoint's name, though nobody here knows it, and sees nothing but TLS."""

    async def main():
        authority = Authority()
        async with (
            HostileReceiver(shop_at("shop.example"), authority=authority) as shop,
            proxy(port_of(shop)) as way,
        ):
            url = way.url.replace("//", "//hub:word@")
            async with Outbound(Reach(proxy=url, trust=authority.trust())) as client:
                for _ in range(3):
                    url = "https://shop.example/hook"
                    answer = await client.send(url, REQUEST, identity="ntf_1")
                    assert answer.status == 200
            return way.asked, shop.visits

    asked, visits = run(loop, main())
    assert visits == 1
    (head,) = asked
    first, *headers = head.strip().split("\r\n")
    assert first == "CONNECT shop.example:443 HTTP/1.1"
    named = {name.lower(): value for name, value in (line.split(": ", 1) for line in headers)}
    assert base64.b64decode(named["proxy-authorization"].split()[1]) == b"hub:word"


@pytest.mark.usefixtures("resolver")
def test_the_certificate_is_the_endpoint_s():
    """A tunnel that ends elsewhere is found out."""

    async def main():
        authority = Authority()
        async with (
            HostileReceiver(shop_at("other.example"), authority=authority) as shop,
            proxy(port_of(shop)) as way,
            Outbound(Reach(proxy=way.url, trust=authority.trust())) as client,
        ):
            return await refused(client, "https://shop.example/")

    assert asyncio.run(main()).cause is Cause.TLS


@pytest.mark.usefixtures("resolver")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_proxy_that_does_not_lead_there(loop):
    """Denied, failed, without its password, or not there: one cause and one sentence."""

    async def main():
        found = []
        for status in (b"403 Denied 10.0.0.1", b"407 Who are you", b"502 Bad Gateway"):
            answer = b"HTTP/1.1 " + status + b"\r\n\r\n"
            async with proxy(answer=answer) as way, Outbound(Reach(proxy=way.url)) as client:
                found.append(await refused(client, "https://shop.example/"))
        for url in ("http://127.0.0.1:1", "http://proxy.example:4750"):
            async with Outbound(Reach(proxy=url)) as client:
                found.append(await refused(client, "https://shop.example/"))
        return found

    found = run(loop, main())
    assert {(error.cause, str(error)) for error in found} == {(Cause.PROXY, SENTENCE[Cause.PROXY])}


@pytest.mark.usefixtures("resolver")
def test_a_proxy_that_waits_for_the_endpoint():
    """Where it cannot reach the endpoint in time, the deadline ends it, as without a proxy."""

    async def main():
        clock = LoopClock()
        async with proxy(answer=b"") as way, Outbound(Reach(proxy=way.url)) as client:
            waiting = asyncio.create_task(refused(client, "https://shop.example/", deadline=30))
            await way.was_asked.wait()
            clock.forward(30)
            return await waiting

    assert asyncio.run(main()).cause is Cause.CONNECT_TIMEOUT


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "[::1]", "inner.example", "mixed.example", "010.0.0.1", "0x8080808"]
)
def test_what_is_seen_to_lead_inside_never_reaches_the_proxy(host, resolver):
    """An inner address, a name that our own resolver knows to have one, an address in a spelling
    that the proxy may read in another way: refused before it."""
    resolver.names["inner.example"] = [["10.0.0.1"]]
    resolver.names["mixed.example"] = [["8.8.8.8", "10.0.0.1"]]

    async def main():
        async with proxy() as way, Outbound(Reach(proxy=way.url)) as client:
            error = await refused(client, f"https://{host}/")
            return error.cause, way.asked

    assert asyncio.run(main()) == (Cause.ADDRESS, [])
