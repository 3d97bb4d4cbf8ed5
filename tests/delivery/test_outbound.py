"""The client that calls out: where it will not go, and what it does not let others do to it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
import threading
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from arifa.delivery import outbound as module
from arifa.delivery.cause import Cause
from arifa.delivery.outbound import BODY_MAX, NoAnswer, Outbound, is_public, target
from arifa.errors import Refused
from arifa.wire import WireRequest
from tests.delivery.hub import ok, shop, status

REQUEST = WireRequest(b'{"a":1}', ((b"content-type", b"application/json"),))
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

# ---------------------------------------------------------------------------------- addresses

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:a9fe:a9fe",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:0:a9fe:a9fe::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2002:0a00:0001::1",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:127.0.0.1",
    "2606:4700::1%eth0",
    "not-an-address",
    "127.1",
    "0x7f.1",
    "2130706433",
]

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "41.90.0.1",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.0.1",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "2c0f:fe38::1",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2606:4700::5efe:8.8.8.8",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_special_addresses_are_not_public(address):
    """Everything of the special-purpose registries, also in an IPv6 disguise, is refused."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address):
    """The neighbours of what is refused, and ordinary hosts, are not."""
    assert is_public(address)


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.00.0.1",
    "0177.0.0.1",
    "0177.1",
    "017700000001",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0.0.1",
    "0X7F.0X0.0X0.0X1",
    "127.0.0.1.",
    "127.000.000.001",
    "0",
    "0.0.0.0",
    "00000000",
    "0x0",
    "127.127.127.127",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost.localdomain",
    "LocalHost.",
    "ip6-localhost",
    "ip6-loopback",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "0300.0250.0.1",
    "172.16.1",
    "0xa9fea9fe",
    "[fe80::1%25lo]",
    "[fe80::1%lo]",
    "[::1%lo]",
    "%6c%6f%63%61%6c%68%6f%73%74",
    "127%2e0%2e0%2e1",
    "127。0。0。1",
    "１２７.0.0.1",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "①②⑦.0.0.1",
    "a@127.0.0.1",
    "a:b@127.0.0.1",
    "1.1.1.1@127.0.0.1",
    "1.1.1.1%40127.0.0.1",
    "127.0.0.1%00.example.com",
    "127.0.0.1%09",
    "127.0.0.1\\@1.1.1.1",
    "169.254.169.254",
    "[::ffff:a9fe:a9fe]",
    "10.0.0.1",
    "192.168.0.1",
]


class Canary:
    """A server inside: every connection that it sees is a hole in the wall."""

    def __init__(self) -> None:
        self.connects = 0
        self.port = 0

    async def seen(self, reader, writer):
        self.connects += 1
        writer.close()


@asynccontextmanager
async def canary():
    bird = Canary()
    servers = [await asyncio.start_server(bird.seen, "127.0.0.1", 0)]
    bird.port = servers[0].sockets[0].getsockname()[1]
    # A machine without IPv6 has no hole there either.
    with contextlib.suppress(OSError):
        servers.append(await asyncio.start_server(bird.seen, "::1", bird.port))
    try:
        yield bird
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


async def _cause(client: Outbound, url: str) -> Cause:
    with pytest.raises(NoAnswer) as caught:
        await client.send(url, REQUEST)
    assert "127.0.0.1" not in str(caught.value)
    return caught.value.cause


@pytest.fixture
def alone(monkeypatch):
    """The system's resolver, but for questions to the network: names here and numbers only."""
    ask = socket.getaddrinfo

    def looked_up(host, *args, **kwargs):
        is_number = True
        try:
            socket.inet_aton(host)
        except OSError:
            is_number = False
        if is_number or host.lower() == "localhost":
            return ask(host, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_spelling_leads_inside(loop, alone):
    """Sixty spellings of inner addresses, and no connection inside."""

    async def main():
        causes = {}
        async with canary() as bird, Outbound(deadline=5) as client:
            for host in SPELLINGS:
                causes[host] = await _cause(client, f"https://{host}:{bird.port}/hook")
            assert bird.connects == 0
        return causes

    factory = None
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        causes = runner.run(main())
    assert len(SPELLINGS) >= 60
    assert set(causes.values()) <= {Cause.ADDRESS, Cause.URL, Cause.DNS}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1"])
def test_the_canary_sings(host):
    """The same way leads to the canary once private addresses are allowed."""

    async def main():
        async with canary() as bird, Outbound(deadline=5, allow_private=True) as client:
            await _cause(client, f"https://{host}:{bird.port}/hook")
            return bird.connects

    assert asyncio.run(main()) == 1


def _resolving(monkeypatch, *answers):
    """The system's resolver, saying these addresses, one list a look-up."""
    left = list(answers)

    def looked_up(host, port, **_):
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [
            (
                socket.AF_INET6 if ":" in item else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (item, port, 0, 0) if ":" in item else (item, port),
            )
            for item in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
        ["2606:4700:4700::1111", "::1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["::ffff:127.0.0.1"],
    ],
)
def test_a_name_that_leads_inside(monkeypatch, answer):
    """A name with one inner address among its own is not called at all."""
    _resolving(monkeypatch, answer)

    async def main():
        async with canary() as bird, Outbound(deadline=5) as client:
            assert await _cause(client, f"https://shop.example:{bird.port}/") is Cause.ADDRESS
            assert bird.connects == 0

    asyncio.run(main())


def test_the_wall_does_not_trust_the_resolver():
    """Where a resolver lets an inner address through, the connection is refused all the same."""

    class Treacherous(module._Resolver):
        async def resolve(self, host, port=0, family=socket.AF_UNSPEC):
            return [
                {
                    "hostname": host,
                    "host": "127.0.0.1",
                    "port": port,
                    "family": socket.AF_INET,
                    "proto": 6,
                    "flags": 0,
                }
            ]

    async def main():
        resolver = Treacherous(allow_private=False)
        async with canary() as bird, Outbound(deadline=5, resolver=resolver) as client:
            assert await _cause(client, f"https://shop.example:{bird.port}/") is Cause.ADDRESS
            assert bird.connects == 0

    asyncio.run(main())


# ---------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example",
        "//shop.example/",
        "https://",
        "https:///hook",
        "http://shop.example/",
        "ftp://shop.example/",
        "file:///etc/passwd",
        "https://user@shop.example/",
        "https://user:word@shop.example/",
        "https://@shop.example/",
        "https://shop.example:0/",
        "https://shop.example:99999/",
        "https://shop.example:x/",
        "https://shop.example/a b",
        "https://shop.example/\r\nx: y",
        "https://shop.example/\x00",
        "https://shop.example\\@evil.example/",
        "https://[::1/",
        "https://10.0.0.1/",
        "https://[fd00::1]/",
        "https://shop.example/" + "a" * 2100,
    ],
)
def test_urls_that_are_refused(url):
    """A URL that cannot be called safely is refused with a sentence, when it is entered."""
    with pytest.raises(Refused, match=r"\w{3,} \w+"):
        target(url)


def test_urls_that_are_taken():
    """An https URL is, with port and query; an http one in development; the fragment goes."""
    assert str(target("https://shop.example:8443/a/b?c=d@e")) == (
        "https://shop.example:8443/a/b?c=d@e"
    )
    assert str(target("https://shop.example/a#b")) == "https://shop.example/a"
    assert target("http://127.0.0.1:8000/", allow_private=True).port == 8000
    assert target("https://[2606:4700:4700::1111]/").host == "2606:4700:4700::1111"


# ---------------------------------------------------------------------------------- answers


@asynccontextmanager
async def raw(behaviour, tls=None):
    """A server that does as `behaviour(reader, writer)` says with each connection."""
    count = [0]
    tasks: set[asyncio.Task] = set()

    async def connected(reader, writer):
        count[0] += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await behaviour(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/", count
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def request_of(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(len(REQUEST.body))


def says(*parts):
    async def behaviour(reader, writer):
        await request_of(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return behaviour


def says_for_ever(first, again, pause=0.0):
    async def behaviour(reader, writer):
        await request_of(reader)
        writer.write(first)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause)

    return behaviour


async def hangs(reader, writer):
    await asyncio.Event().wait()


async def closes(reader, writer):
    await request_of(reader)


async def resets(reader, writer):
    await request_of(reader)
    # Without lingering a close is a reset.
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )


HEAD = b"HTTP/1.1 200 OK\r\n"
HOSTILE = {
    "hangs at once": (hangs, Cause.TIMEOUT),
    "closes without a word": (closes, Cause.RESET),
    "resets": (resets, Cause.RESET),
    "drips headers": (says_for_ever(HEAD + b"x: ", b"y", 0.05), Cause.TIMEOUT),
    "drips a body": (
        says_for_ever(HEAD + b"content-length: 5000\r\n\r\n", b"y", 0.05),
        Cause.TIMEOUT,
    ),
    "drips chunks": (
        says_for_ever(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\ny\r\n", 0.05),
        Cause.TIMEOUT,
    ),
    "floods with 1xx": (
        says_for_ever(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.001),
        Cause.TIMEOUT,
    ),
    "endless headers": (says_for_ever(HEAD, b"x: y\r\n"), Cause.NOT_HTTP),
    "a header of 10 MB": (says(HEAD + b"x: " + b"y" * 10_000_000 + b"\r\n\r\n"), Cause.NOT_HTTP),
    "an endless status line": (says_for_ever(b"HTTP/1.1 200 ", b"y" * 999), Cause.NOT_HTTP),
    "not HTTP": (says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), Cause.NOT_HTTP),
    "a length that is not one": (
        says(HEAD + b"content-length: -5\r\n\r\nhello"),
        Cause.NOT_HTTP,
    ),
    "two lengths": (
        says(HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
        Cause.NOT_HTTP,
    ),
    "less than it promised": (says(HEAD + b"content-length: 50\r\n\r\nhello"), Cause.NOT_HTTP),
    "broken chunks": (
        says(HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n"),
        Cause.NOT_HTTP,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_end_within_the_deadline(name):
    """Each ends by the deadline at the latest, and is told apart from the others."""
    behaviour, expected = HOSTILE[name]

    async def main():
        async with raw(behaviour) as (url, _), Outbound(deadline=0.5, allow_private=True) as client:
            async with asyncio.timeout(5):
                return await _cause(client, url)

    assert asyncio.run(main()) is expected


def _answer(behaviour):
    async def main():
        async with raw(behaviour) as (url, count), Outbound(allow_private=True) as client:
            return await client.send(url, REQUEST), count[0]

    return asyncio.run(main())


def test_an_endless_body_is_cut():
    """64 KiB are read of a body without an end, and no more."""
    response, _ = _answer(says_for_ever(HEAD + b"\r\n", b"y" * 10_000))
    assert (response.status, len(response.body)) == (200, BODY_MAX)


def test_a_body_of_just_the_limit_is_whole():
    """What fits is read whole, and the connection may be used again."""
    body = b"y" * BODY_MAX
    response, _ = _answer(says(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body))
    assert response.body == body


def test_a_compressed_body_is_not_unpacked():
    """A bomb stays as small as it came."""
    bomb = gzip.compress(bytes(30_000_000))
    head = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)
    response, _ = _answer(says(head + bomb))
    assert response.body == bomb[:BODY_MAX]


def test_a_redirection_is_an_answer():
    """It is given back as it is, and nobody goes where it points."""

    async def main():
        async with canary() as bird, Outbound(allow_private=True) as client:
            async with shop(status(307, location=f"http://127.0.0.1:{bird.port}/")) as merchant:
                response = await client.send(merchant.url, REQUEST)
            return response.status, bird.connects

    assert asyncio.run(main()) == (307, 0)


def test_nobody_listens():
    """A closed port is told apart from a host that hangs."""

    async def main():
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            async with Outbound(allow_private=True) as client:
                return await _cause(client, f"http://127.0.0.1:{port}/")

    assert asyncio.run(main()) is Cause.UNREACHABLE


def test_a_name_that_is_not_there(monkeypatch):
    """A name that nobody has is said so."""

    def missing(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", missing)

    async def main():
        async with Outbound() as client:
            return await _cause(client, "https://shop.example/")

    assert asyncio.run(main()) is Cause.DNS


def test_the_words_of_a_timeout_tell_how_far_it_came(monkeypatch):
    """A name that is not found out, no answer, and one that does not end: three ways to say so."""
    found_out = threading.Event()
    ask = socket.getaddrinfo

    def slow(host, *args, **kwargs):
        if host == "shop.example":
            found_out.wait(10)
        return ask("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def looking_up():
        async with Outbound(deadline=0.2) as client:
            with pytest.raises(NoAnswer) as caught:
                await client.send("https://shop.example/", REQUEST)
            found_out.set()
            return str(caught.value)

    async def main():
        said = []
        for behaviour in (hangs, says_for_ever(HEAD + b"content-length: 99\r\n\r\n", b"", 9)):
            async with (
                raw(behaviour) as (url, _),
                Outbound(deadline=0.2, allow_private=True) as client,
            ):
                with pytest.raises(NoAnswer) as caught:
                    await client.send(url, REQUEST)
                said.append(str(caught.value))
        return said

    waiting, reading = asyncio.run(main())
    assert "0.2 s, while we looked up its name" in asyncio.run(looking_up())
    assert "0.2 s, while we waited for its answer" in waiting
    assert "0.2 s, while it sent its answer" in reading


# ---------------------------------------------------------------------------------- connections


def test_a_connection_is_used_again():
    """Twenty requests after each other make one connection."""

    async def serves(reader, writer):
        while True:
            await request_of(reader)
            writer.write(OK)

    async def main():
        async with raw(serves) as (url, count), Outbound(allow_private=True) as client:
            for _ in range(20):
                assert (await client.send(url, REQUEST)).body == b"ok"
            return count[0]

    assert asyncio.run(main()) == 1


def test_a_stale_connection_is_no_failure():
    """A server that drops a kept connection when it is used again gets a new one."""

    async def serves_once(reader, writer):
        await request_of(reader)
        writer.write(OK)
        await request_of(reader)

    async def main():
        async with raw(serves_once) as (url, count), Outbound(allow_private=True) as client:
            for _ in range(3):
                assert (await client.send(url, REQUEST)).status == 200
            return count[0]

    assert asyncio.run(main()) == 3


def test_a_new_connection_that_is_dropped_is_a_failure():
    """Nothing is sent twice where the first time was on a connection of its own."""

    async def main():
        async with raw(closes) as (url, count), Outbound(allow_private=True) as client:
            assert await _cause(client, url) is Cause.RESET
            return count[0]

    assert asyncio.run(main()) == 1


def test_what_is_sent(monkeypatch):
    """The bytes as given, our name, no compression asked for, no header that steers HTTP."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    given = WireRequest(
        b"\x00\xffbody",
        (
            (b"content-type", b"text/xml; charset=utf-8"),
            (b"x-twice", b"one"),
            (b"x-twice", b"two"),
            (b"x-name", "Wanjikũ".encode()),
            (b"Host", b"evil.example"),
            (b"transfer-encoding", b"chunked"),
            (b"content-length", b"3"),
            (b"connection", b"close"),
            (b"cookie", b"a=b"),
        ),
        method="PUT",
    )

    async def main():
        seen = []

        async def keeps(reader, writer):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            seen.append(await reader.readexactly(len(given.body)))
            writer.write(OK)

        async with raw(keeps) as (url, _), Outbound(allow_private=True) as client:
            await client.send(url + "a%2Fb?c=d%20e", given)
        return seen

    head, body = asyncio.run(main())
    first, *lines = head.decode().rstrip().split("\r\n")
    headers = [line.split(": ", 1) for line in lines]
    named = {name.lower(): value for name, value in headers}
    assert first == "PUT /a%2Fb?c=d%20e HTTP/1.1"
    assert body == given.body
    assert [value for name, value in headers if name == "x-twice"] == ["one", "two"]
    assert named["x-name"] == "Wanjikũ"
    assert named["content-length"] == "6"
    assert named["accept-encoding"] == "identity"
    assert named["user-agent"].startswith("arifa/")
    assert named["host"].startswith("127.0.0.1:")
    assert not {"transfer-encoding", "cookie", "connection"} & named.keys()


def test_cookies_are_not_kept():
    """What one answer sets is not sent with the next request."""

    async def main():
        async with (
            shop(status(200, set_cookie="a=b")) as merchant,
            Outbound(allow_private=True) as client,
        ):
            await client.send(merchant.url, REQUEST)
            await client.send(merchant.url, REQUEST)
            return [headers for headers, _ in merchant.requests]

    assert all("cookie" not in headers for headers in asyncio.run(main()))


def test_a_header_that_breaks_out_is_refused():
    """A line break in a header never reaches the wire."""

    async def main():
        async with shop(ok) as merchant, Outbound(allow_private=True) as client:
            broken = WireRequest(b"", ((b"x-a", b"b\r\nx-c: d"),))
            with pytest.raises(NoAnswer) as caught:
                await client.send(merchant.url, broken)
            return caught.value.cause, merchant.requests

    assert asyncio.run(main()) == (Cause.URL, [])


# ---------------------------------------------------------------------------------- TLS


def _certificate(tmp_path, name="127.0.0.1", *, days=1):
    """A self-signed certificate for the name: (context of the server, file to trust it by)."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    try:
        general: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        general = x509.DNSName(name)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([general]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = tmp_path / "cert.pem", tmp_path / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key_pem)
    return context, pem


def _tls(tmp_path, *, name="127.0.0.1", days=1, is_trusted=True):
    context, pem = _certificate(tmp_path, name, days=days)
    trust = ssl.create_default_context(cafile=pem) if is_trusted else None

    async def main():
        async with (
            raw(says(OK), context) as (url, _),
            Outbound(deadline=5, allow_private=True, trust=trust) as client,
        ):
            return await client.send(url, REQUEST)

    return asyncio.run(main())


def test_tls_with_a_good_certificate(tmp_path):
    """A certificate for this host from somebody trusted is accepted."""
    assert _tls(tmp_path).status == 200


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"is_trusted": False}, "self-signed"),
        ({"name": "other.example"}, "mismatch"),
        ({"days": -1}, "expired"),
    ],
)
def test_tls_faults_are_named(tmp_path, kwargs, words):
    """Untrusted, for another host, expired: refused, and the words say which."""
    with pytest.raises(NoAnswer, match=words) as caught:
        _tls(tmp_path, **kwargs)
    assert caught.value.cause is Cause.TLS


def test_tls_where_there_is_none():
    """An https URL at a server that speaks plain HTTP is a TLS fault."""

    async def answers(reader, writer):
        await reader.read(1)
        writer.write(OK)
        await writer.drain()
        await reader.read()

    async def main():
        async with raw(answers) as (url, _), Outbound(deadline=5, allow_private=True) as client:
            return await _cause(client, url.replace("http:", "https:"))

    assert asyncio.run(main()) is Cause.TLS
