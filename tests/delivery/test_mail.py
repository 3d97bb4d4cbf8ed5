"""Alerts by mail: over TLS, one a minute with counts, and none lost with a mail that failed."""

from __future__ import annotations

import asyncio
import email
import json
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.message import Message
from pathlib import Path

import pytest

from arifa.delivery.alerts import AlertKind, News, written
from arifa.delivery.mail import Mailer, MailServer, mail_server
from arifa.errors import Refused
from arifa.identifiers import identifier
from arifa.store import alerts
from tests.delivery.hub import Clock, Hub
from tests.delivery.test_outbound import _certificate as certificate


class Post:
    """A mail server, by RFC 5321 as far as a client needs it. `refuses` is its answer to DATA."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.tls = tls
        self.refuses = False
        self.mails: list[Message] = []
        self.logins: list[str] = []
        self.recipients: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 post\r\n")
        is_safe = False
        while line := (await reader.readline()).decode().strip():
            word = line.split()[0].upper()
            if word == "EHLO":
                offers = b"" if is_safe or self.tls is None else b"250-STARTTLS\r\n"
                writer.write(b"250-post\r\n" + offers + b"250 AUTH PLAIN\r\n")
            elif word == "STARTTLS" and self.tls is not None:
                writer.write(b"220 go on\r\n")
                await writer.start_tls(self.tls)
                is_safe = True
            elif word == "AUTH":
                assert is_safe
                self.logins.append(b64decode(line.split()[2]).decode())
                writer.write(b"235 welcome\r\n")
            elif word == "DATA":
                writer.write(b"354 go on\r\n")
                text = await reader.readuntil(b"\r\n.\r\n")
                if self.refuses:
                    writer.write(b"451 not now\r\n")
                else:
                    self.mails.append(email.message_from_bytes(text[:-5]))
                    writer.write(b"250 taken\r\n")
            elif word == "QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                if word == "RCPT":
                    self.recipients.append(line)
                writer.write(b"250 ok\r\n")
        writer.close()


@asynccontextmanager
async def post(
    tmp_path: Path, *, offers_tls: bool = True
) -> AsyncIterator[tuple[Post, MailServer]]:
    """A mail server on this machine, and how it is reached."""
    context, pem = certificate(tmp_path, "127.0.0.1")
    office = Post(context if offers_tls else None)
    server = await asyncio.start_server(office.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    told = mail_server(f"smtp://user:p%40ss@127.0.0.1:{port}", ["ops@example.com"], None)
    trust = ssl.create_default_context(cafile=str(pem))
    try:
        yield office, replace(told, sender="arifa@example.com", trust=trust)
    finally:
        server.close()


def write(hub: Hub, clock: Clock, count: int = 1) -> None:
    """So many alerts about dead deliveries."""
    endpoint = hub.endpoint("https://shop.example/", name=identifier("shop", clock.now))
    news = [
        News(AlertKind.DEAD, "default", endpoint.id, "timeout", [f"dlv_{number}"])
        for number in range(count)
    ]
    rows = written(news, {endpoint.id: endpoint}, clock.now, is_mailed=True)
    with hub.store.database.write() as connection:
        alerts.insert(connection, rows.alerts)


def body_of(mail: Message) -> str:
    found = mail.get_payload(decode=True)
    assert isinstance(found, bytes)
    return found.decode()


def test_a_thousand_dead_letters_are_one_mail_a_minute(hub: Hub, tmp_path: Path) -> None:
    """With their number; what comes within the minute is in the next mail, and nothing twice."""
    clock = Clock()

    async def main() -> Post:
        async with post(tmp_path) as (office, server):
            mailer = Mailer(hub.store, server, clock=clock)
            assert await asyncio.to_thread(mailer.once) == 0
            write(hub, clock, 1000)
            assert await asyncio.to_thread(mailer.once) == 1000
            write(hub, clock, 2)
            clock.forward(59)
            assert await asyncio.to_thread(mailer.once) == 0
            clock.forward(2)
            assert await asyncio.to_thread(Mailer(hub.store, server, clock=clock).once) == 2
            clock.forward(3600)
            assert await asyncio.to_thread(mailer.once) == 0
            return office

    office = asyncio.run(main())
    first, second = office.mails
    assert first["subject"] == "Arifa: 1000 deliveries dead"
    assert "1000 x delivery.dead: shop_" in body_of(first)
    assert second["subject"] == "Arifa: 2 deliveries dead"
    assert (first["to"], first["auto-submitted"]) == ("ops@example.com", "auto-generated")
    assert office.logins[0] == "\x00user\x00p@ss"
    assert "ops@example.com" in office.recipients[0]


def test_a_mail_that_failed_comes_again(hub: Hub, tmp_path: Path) -> None:
    """Its alerts are in a later one."""
    clock = Clock()

    async def main() -> Post:
        async with post(tmp_path) as (office, server):
            mailer = Mailer(hub.store, server, clock=clock)
            write(hub, clock)
            office.refuses = True
            assert await asyncio.to_thread(mailer.once) == 0
            office.refuses = False
            clock.forward(alerts.MAIL_LEASE_SECONDS + 1)
            assert await asyncio.to_thread(mailer.once) == 1
            return office

    assert len(asyncio.run(main()).mails) == 1


def test_without_tls_nothing_is_sent(sqlite_hub: Hub, tmp_path: Path) -> None:
    """A server that offers no STARTTLS, or has another's certificate, hears no password."""
    clock = Clock()

    async def main() -> None:
        async with post(tmp_path, offers_tls=False) as (office, server):
            write(sqlite_hub, clock)
            assert await asyncio.to_thread(Mailer(sqlite_hub.store, server, clock=clock).once) == 0
            assert (office.mails, office.logins) == ([], [])
        async with post(tmp_path) as (office, server):
            clock.forward(600)
            strange = replace(server, trust=None)
            assert await asyncio.to_thread(Mailer(sqlite_hub.store, strange, clock=clock).once) == 0
            assert (office.mails, office.logins) == ([], [])

    asyncio.run(main())


def test_what_is_old_is_not_mailed(sqlite_hub: Hub, tmp_path: Path) -> None:
    """Alerts of days ago, from before there was a mail server, are let go."""
    clock = Clock()

    async def main() -> None:
        async with post(tmp_path) as (office, server):
            write(sqlite_hub, clock)
            clock.forward(alerts.MAIL_AGE_SECONDS + 1)
            mailer = Mailer(sqlite_hub.store, server, clock=clock)
            assert await asyncio.to_thread(mailer.once) == 0
            assert office.mails == []
            with sqlite_hub.store.database.read() as connection:
                assert not alerts.is_any_to_mail(connection, clock.now)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "recipients", "sender", "said"),
    [
        ("http://mail.example", ["a@b.example"], None, "smtp://"),
        ("smtp://", ["a@b.example"], None, "smtp://"),
        ("smtp://mail.example:99999", ["a@b.example"], None, "port"),
        ("smtp+plain://me:secret@mail.example", ["a@b.example"], None, "in the clear"),
        ("smtp://mail.example", [], None, "smtp_to"),
        ("smtp://me:secret@mail.example", ["nobody"], None, "not a mail address"),
        ("smtp://mail.example", ["a@b.example\r\nBcc: c@d.example"], None, "not a mail address"),
        ("smtp://mail.example", ["a@b.example"], "nobody", "not a mail address"),
    ],
)
def test_wrong_settings_are_refused(
    url: str, recipients: list[str], sender: str | None, said: str
) -> None:
    """With a sentence that says what to write, and no password."""
    with pytest.raises(Refused, match=said) as refused:
        mail_server(url, recipients, sender)
    assert "secret" not in str(refused.value)


def test_a_password_does_not_show() -> None:
    """Neither in a repr nor in the mail."""
    server = mail_server("smtps://me:secret@mail.example", ["a@b.example"], None)
    assert "secret" not in repr(server)
    assert (server.port, server.sender) == (465, "arifa@mail.example")
    assert json.dumps(server.recipients) == '["a@b.example"]'
