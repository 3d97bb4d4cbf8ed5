"""The client that calls out: where it will not go, and what it does not let others do to it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import threading
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from arifa.delivery.cause import Cause, NoAnswer
from arifa.delivery.connection import Connection
from arifa.delivery.names import Address
from arifa.delivery.outbound import BODY_MAX, Outbound
from arifa.delivery.transport import DEADLINE_SECONDS, Reach
from arifa.simulator.behaviours import Behaviour, Visit
from arifa.simulator.certificates import Authority
from arifa.simulator.hostile import HostileReceiver
from arifa.wire import WireRequest
from tests.delivery.canary import Resolver, canary
from tests.delivery.hub import LoopClock, ok, shop, status

REQUEST = WireRequest(b'{"a":1}', ((b"content-type", b"application/json"),))
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Caller:
    """The client, with one deadline for all that it sends."""

    def __init__(self, *, deadline=DEADLINE_SECONDS, names=None, ports=(443,), **reach):
        self._outbound = Outbound(Reach(ports=frozenset(ports), **reach), names=names)
        self._deadline = deadline

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self._outbound.close()

    async def send(self, url, request):
        return await self._outbound.send(url, request, identity="ntf_1", deadline=self._deadline)


async def _cause(client: Caller, url: str) -> Cause:
    with pytest.raises(NoAnswer) as caught:
        await client.send(url, REQUEST)
    assert "127.0.0.1" not in str(caught.value)
    return caught.value.cause


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1"])
def test_the_canary_sings(host):
    """The same way leads to the canary once private addresses are allowed."""

    async def main():
        async with canary() as bird, Caller(deadline=30, allow_private=True) as client:
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
        async with canary() as bird, Caller(deadline=30, ports={bird.port}) as client:
            assert await _cause(client, f"https://shop.example:{bird.port}/") is Cause.ADDRESS
            assert bird.connects == 0

    asyncio.run(main())


def test_the_wall_does_not_trust_the_resolver():
    """Where a resolver lets an inner address through, the connection is refused all the same."""

    class Treacherous:
        async def addresses(self, host, port, **_):
            return [Address(socket.AF_INET, 6, "127.0.0.1", port)]

        def close(self):
            pass

    async def main():
        async with (
            canary() as bird,
            Caller(deadline=30, names=Treacherous(), ports={bird.port}) as client,
        ):
            assert await _cause(client, f"https://shop.example:{bird.port}/") is Cause.ADDRESS
            assert bird.connects == 0

    asyncio.run(main())


def test_a_connection_that_ends_inside_is_not_used(monkeypatch):
    """Whatever leads it there, such as a translation on the way: no request is sent over it."""
    authority = Authority()
    server = Behaviour("shop", "", "", Visit.request, tls=lambda one, _: one.server("shop.example"))

    connected = []
    really = socket.socket.connect

    async def main():
        async with HostileReceiver(server, authority=authority) as receiver:
            port = int(receiver.url.rsplit(":", 1)[1].partition("/")[0])

            def led_inside(it, address):
                connected.append(address[0])
                return really(it, ("127.0.0.1", port))

            monkeypatch.setattr(socket.socket, "connect", led_inside)
            reach = Reach(trust=authority.trust())
            async with Outbound(reach) as client:
                with pytest.raises(NoAnswer) as caught:
                    await client.send("https://shop.example/", REQUEST, identity="ntf_1")
                await receiver.left_alone()
            return caught.value.cause, receiver.ids

    Resolver(monkeypatch).names["shop.example"] = [["8.8.8.8"]]
    assert asyncio.run(main()) == (Cause.ADDRESS, [])
    assert connected == ["8.8.8.8"]


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


HEAD = b"HTTP/1.1 200 OK\r\n"


def _answer(behaviour):
    async def main():
        async with raw(behaviour) as (url, count), Caller(allow_private=True) as client:
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
        async with canary() as bird, Caller(allow_private=True) as client:
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
            async with Caller(allow_private=True) as client:
                return await _cause(client, f"http://127.0.0.1:{port}/")

    assert asyncio.run(main()) is Cause.UNREACHABLE


def test_a_name_that_is_not_there(monkeypatch):
    """A name that nobody has is said so."""

    def missing(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", missing)

    async def main():
        async with Caller() as client:
            return await _cause(client, "https://shop.example/")

    assert asyncio.run(main()) is Cause.DNS


def test_the_cause_of_a_timeout_tells_how_far_it_came(monkeypatch):
    """A name that is not found out, no answer, and one that does not end: three ways to say so."""
    found_out = threading.Event()
    ask = socket.getaddrinfo

    def slow(host, *args, **kwargs):
        if host == "shop.example":
            found_out.wait(60)
        return ask("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def looking_up():
        async with Caller(deadline=0.2) as client:
            with pytest.raises(NoAnswer) as caught:
                await client.send("https://shop.example/", REQUEST)
            found_out.set()
            assert "(0.2 s)" in str(caught.value)
            return caught.value.cause

    async def reads_and_hangs(reader, writer):
        await request_of(reader)
        is_far_enough.set()
        await hangs(reader, writer)

    really = Connection.data_received

    def noted(it, data):
        really(it, data)
        is_far_enough.set()

    monkeypatch.setattr(Connection, "data_received", noted)

    async def main():
        said, clock = [], LoopClock()
        behaviours = reads_and_hangs, says_for_ever(HEAD + b"content-length: 99\r\n\r\n", b"", 999)
        for behaviour in behaviours:
            is_far_enough.clear()
            async with (
                raw(behaviour) as (url, _),
                Caller(deadline=30, allow_private=True) as client,
            ):
                sending = asyncio.create_task(_cause(client, url))
                await is_far_enough.wait()
                clock.forward(30)
                said.append(await sending)
        return said

    is_far_enough = asyncio.Event()
    waiting, reading = asyncio.run(main())
    assert asyncio.run(looking_up()) is Cause.DNS_UNANSWERED
    assert (waiting, reading) == (Cause.TIMEOUT, Cause.SLOW_ANSWER)


# ---------------------------------------------------------------------------------- connections


def test_a_connection_is_used_again():
    """Twenty requests after each other make one connection."""

    async def serves(reader, writer):
        while True:
            await request_of(reader)
            writer.write(OK)

    async def main():
        async with raw(serves) as (url, count), Caller(allow_private=True) as client:
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
        async with raw(serves_once) as (url, count), Caller(allow_private=True) as client:
            for _ in range(3):
                assert (await client.send(url, REQUEST)).status == 200
            return count[0]

    assert asyncio.run(main()) == 3


def test_an_answer_that_nobody_asked_for_answers_nothing(monkeypatch):
    """What is sent over a kept connection before the next request is not taken for its answer."""
    has_come = asyncio.Event()
    really = Connection.data_received

    def watched(it, data):
        really(it, data)
        if b"unasked" in data:
            has_come.set()

    monkeypatch.setattr(Connection, "data_received", watched)

    async def main():
        is_read = asyncio.Event()

        async def answers_in_advance(reader, writer):
            await request_of(reader)
            writer.write(OK)
            await is_read.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nunasked")
            await reader.read()

        async with raw(answers_in_advance) as (url, count), Caller(allow_private=True) as client:
            assert (await client.send(url, REQUEST)).body == b"ok"
            is_read.set()
            await has_come.wait()
            return (await client.send(url, REQUEST)).body, count[0]

    assert asyncio.run(main()) == (b"ok", 2)


def test_a_new_connection_that_is_dropped_is_a_failure():
    """Nothing is sent twice where the first time was on a connection of its own."""

    async def main():
        async with raw(closes) as (url, count), Caller(allow_private=True) as client:
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

        async with raw(keeps) as (url, _), Caller(allow_private=True) as client:
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
            Caller(allow_private=True) as client,
        ):
            await client.send(merchant.url, REQUEST)
            await client.send(merchant.url, REQUEST)
            return [headers for headers, _ in merchant.requests]

    assert all("cookie" not in headers for headers in asyncio.run(main()))


def test_a_header_that_breaks_out_is_refused():
    """A line break in a header never reaches the wire."""

    async def main():
        async with shop(ok) as merchant, Caller(allow_private=True) as client:
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
            Caller(deadline=30, allow_private=True, trust=trust) as client,
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
        async with raw(answers) as (url, _), Caller(deadline=30, allow_private=True) as client:
            return await _cause(client, url.replace("http:", "https:"))

    assert asyncio.run(main()) is Cause.TLS_HANDSHAKE
