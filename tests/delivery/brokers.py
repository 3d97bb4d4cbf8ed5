"""What the tests of NATS endpoints share: streams on a real broker, and brokers that misbehave."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import nats
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nats.aio.client import Client
from nats.js.api import RawStreamMsg

from arifa.signing import Credentials
from arifa.testing.nats import NatsServer


class Topic(NamedTuple):
    """A stream, and a subject that it keeps."""

    stream: str
    subject: str


def user_of(server: NatsServer, secrets: tuple[bytes, ...] = ()) -> Credentials:
    """Whom the server lets in; `secrets` are what the endpoint's messages are signed with."""
    return Credentials(username=server.username, passwords=(server.password,), secrets=secrets)


@asynccontextmanager
async def client(server: NatsServer) -> AsyncIterator[Client]:
    """A client of its own, beside the code that is tried."""
    entry = {"user": server.username, "password": server.password} if server.username else {}
    connected = await nats.connect(server.url, allow_reconnect=False, **entry)
    try:
        yield connected
    finally:
        await connected.close()


async def topic_on(server: NatsServer, **settings: Any) -> Topic:
    """A new stream; `settings` are JetStream's."""
    name = uuid4().hex
    async with client(server) as connected:
        await connected.jetstream().add_stream(name=name, subjects=[f"{name}.>"], **settings)
    return Topic(name, f"{name}.payments")


async def kept(server: NatsServer, topic: Topic) -> list[RawStreamMsg]:
    """The messages that the stream has."""
    async with client(server) as connected:
        stream = connected.jetstream()
        state = (await stream.stream_info(topic.stream)).state
        sequences = range(state.first_seq, state.first_seq + state.messages)
        return [await stream.get_msg(topic.stream, number) for number in sequences]


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Fake:
    """A server that is no broker. `said` is all that its callers said, `calls` how many called."""

    def __init__(self) -> None:
        self.port = 0
        self.calls = 0
        self.called = asyncio.Event()
        self.said = bytearray()


@asynccontextmanager
async def fake(talk: Talk, trust: ssl.SSLContext | None = None) -> AsyncIterator[Fake]:
    """A server on this machine that talks so; what the caller says is kept meanwhile."""
    it = Fake()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        it.calls += 1
        it.called.set()

        async def listen() -> None:
            while data := await reader.read(65_536):
                it.said += data

        listening = asyncio.create_task(listen())
        try:
            await talk(reader, writer)
            await listening
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            listening.cancel()
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=trust)
    it.port = server.sockets[0].getsockname()[1]
    try:
        yield it
    finally:
        server.close()


def greets(info: bytes, after: bytes = b"PONG\r\n") -> Talk:
    """A server that sends this INFO, and then this, without listening."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + info + b"\r\n")
        await asyncio.sleep(0)
        writer.write(after)
        await writer.drain()

    return talk


def certificate(folder: Path, name: str = "127.0.0.1") -> tuple[Path, Path, ssl.SSLContext]:
    """A certificate for the name: its file, its key's, and what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "broker.pem", folder / "broker.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, key_pem, ssl.create_default_context(cafile=pem)
