"""Alerts by mail: one a minute at most, whatever happens, with counts.

    smtp://HOST[:587]          STARTTLS, or nothing is sent
    smtps://HOST[:465]         TLS from the first byte
    smtp+plain://HOST[:25]     without TLS, for a relay on this machine; nobody logs in

`USER:PASSWORD@` stands before the host, percent-encoded. What could not be sent is tried again.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
import structlog

from arifa.clock import now_us
from arifa.delivery.alerts import AlertKind
from arifa.errors import Refused, StoreBroken, StoreError
from arifa.store import alerts
from arifa.store.database import Urgency
from arifa.store.opened import Store
from arifa.timestamp import to_datetime, to_rfc3339

log: Final = structlog.get_logger("arifa")

INTERVAL_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 5.0
TIMEOUT_SECONDS: Final = 15.0
"""For each step of the conversation with the mail server."""
ALERTS_MAX: Final = 1000
LINES_MAX: Final = 40
_PORTS: Final = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
_SUBJECT: Final = {
    AlertKind.DEAD.value: "deliveries dead",
    AlertKind.DISABLED.value: "endpoints disabled",
    AlertKind.FAILING.value: "endpoints failing",
    AlertKind.RECOVERED.value: "endpoints recovered",
    AlertKind.HALTED.value: "orders halted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where mails go out, from whom, and to whom.

    Attributes:
        scheme: one of those of the module.
        trust: whose certificates are believed; None for the system's.
    """

    scheme: str
    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    trust: ssl.SSLContext | None = field(default=None, repr=False)


def mail_server(url: str, recipients: Sequence[str], sender: str | None) -> MailServer:
    """The mail server of these settings.

    Raises:
        Refused: the URL or an address cannot be used; no password is in the sentence.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise Refused(
            "smtp_url is none of smtp://USER:PASSWORD@HOST (STARTTLS), smtps://… (TLS) and "
            "smtp+plain://HOST (no TLS, no login)"
        )
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise Refused("the port of smtp_url is not a number up to 65535") from None
    if parts.username and parts.scheme == "smtp+plain":
        raise Refused("smtp+plain:// would send the password in the clear; use smtp:// or smtps://")
    if not recipients:
        raise Refused("smtp_url is set, and nobody is named to mail to: set smtp_to")
    sender = sender or f"arifa@{parts.hostname}"
    for address in (*recipients, sender):
        _check_address(address)
    return MailServer(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port,
        sender=sender,
        recipients=tuple(recipients),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or "") if parts.username else None,
    )


def _check_address(address: str) -> None:
    name, _, host = parseaddr(address)[1].partition("@")
    if not name or not host or not address.isprintable() or not address.isascii():
        raise Refused(f"{address!r} is not a mail address; write one such as ops@example.com")


# ---------------------------------------------------------------------------------- the message


def message(server: MailServer, rows: Sequence[Any], at_us: int) -> EmailMessage:
    """One mail that says what these alerts say together."""
    counted: Counter[tuple[str, str, str, str]] = Counter()
    totals: Counter[str] = Counter()
    sentences: dict[tuple[str, str, str, str], str] = {}
    for row in rows:
        data = msgspec.json.decode(row.data)
        name = data["endpoint"]["name"] or data["endpoint"]["id"]
        key = (row.kind, row.about, name, data["cause"] or "")
        count = max(1, data["count"])
        counted[key] += count
        totals[row.kind] += count
        sentences[key] = data["sentence"]
    mail = EmailMessage()
    parts = [f"{count} {_SUBJECT.get(kind, kind)}" for kind, count in totals.most_common()]
    mail["Subject"] = "Arifa: " + ", ".join(parts)
    mail["From"] = server.sender
    mail["To"] = ", ".join(server.recipients)
    mail["Date"] = format_datetime(to_datetime(at_us))
    mail["Message-ID"] = f"<{rows[0].id}@arifa.invalid>"
    mail["Auto-Submitted"] = "auto-generated"
    lines = [
        f"{count} x {kind}: {name} (merchant {about}){f', {cause}' if cause else ''}\n"
        f"    {sentences[kind, about, name, cause]}"
        for (kind, about, name, cause), count in counted.most_common(LINES_MAX)
    ]
    if len(counted) > LINES_MAX:
        lines.append(f"… and {len(counted) - LINES_MAX} more")
    first, last = min(row.at for row in rows), max(row.at for row in rows)
    lines.append(f"From {to_rfc3339(first)} to {to_rfc3339(last)}. See: arifa delivery list")
    mail.set_content("\n".join(lines) + "\n")
    return mail


def send(server: MailServer, mail: EmailMessage) -> None:
    """Hand one mail to the server.

    Raises:
        OSError, smtplib.SMTPException: it did not take it.
    """
    trust = server.trust or ssl.create_default_context()
    if server.scheme == "smtps":
        client: smtplib.SMTP = smtplib.SMTP_SSL(
            server.host, server.port, timeout=TIMEOUT_SECONDS, context=trust
        )
    else:
        client = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_SECONDS)
    with client:
        if server.scheme == "smtp":
            # Raises where the server offers none: nothing goes in the clear by mistake.
            client.starttls(context=trust)
        if server.username is not None:
            client.login(server.username, server.password or "")
        client.send_message(mail, server.sender, list(server.recipients))


# ---------------------------------------------------------------------------------- the sender


class Mailer:
    """Sends what waits for a mail. Of several nodes each may have one."""

    def __init__(
        self,
        store: Store,
        server: MailServer,
        *,
        clock: Callable[[], int] = now_us,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._store = store
        self._server = server
        self._clock = clock
        self._interval = interval_seconds

    async def run(self) -> None:
        """Send until cancelled.

        Raises:
            StoreBroken: a person has to look.
        """
        while True:
            try:
                await asyncio.to_thread(self.once)
            except StoreBroken:
                raise
            except StoreError as error:
                log.warning("mail.waiting", detail=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    def once(self) -> int:
        """Send one mail, if there is anything to say and it is time; gives how many alerts it has.

        Raises:
            StoreError: the store cannot be used.
        """
        now = self._clock()
        with self._store.database.read() as connection:
            if not alerts.is_any_to_mail(connection, now):
                return 0
        with self._store.database.write(Urgency.BACKGROUND) as connection:
            rows = alerts.take_to_mail(connection, now, self._interval, ALERTS_MAX)
        oldest = now - alerts.MAIL_AGE_SECONDS * 1_000_000
        fresh = [row for row in rows if row.at >= oldest]
        if fresh:
            try:
                send(self._server, message(self._server, fresh, now))
            except (OSError, smtplib.SMTPException, ValueError) as error:
                # The library's text may hold what the server said about a recipient.
                log.warning("mail.failed", error=type(error).__name__, alerts=len(fresh))
                return 0
        with self._store.database.write(Urgency.BACKGROUND) as connection:
            alerts.mailed(connection, rows)
        return len(fresh)
