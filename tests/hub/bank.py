"""What the tests of receiving share: a hub with sources, and banks that sign for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from arifa import dialects
from arifa.clock import now_us
from arifa.feed import Endpoint, Profile, Source
from arifa.hub.receive import Receiver
from arifa.identifiers import identifier
from arifa.notification import Notification
from arifa.signing import Credentials
from arifa.signing.keys import new_rsa_key
from arifa.store import cases, clerk, endpoints, inbox, merchants, notifications, sources
from arifa.store.opened import Store
from arifa.store.schema import deliveries, identities, inbox_bodies
from arifa.wire import WireRequest, WireResponse

PRIVATE, PUBLIC = new_rsa_key()
SECRET = b"test-client-secret"
HUB = {
    "kcb": Credentials(public_keys=(PUBLIC,)),
    "cbs": Credentials(secrets=(SECRET,)),
    "jenga": Credentials(username="jenga", passwords=("open:sesame",)),
    "credit_bank": Credentials(username="credit", passwords=("sesame",)),
    "xente": Credentials(addresses=("127.0.0.1/32",)),
}
BANK = {**HUB, "kcb": Credentials(private_key=PRIVATE)}


class Hub:
    """A receiver over a store, with one endpoint that wants everything."""

    def __init__(self, store: Store, clock: Callable[[], int] = now_us) -> None:
        self.store = store
        self.sources: dict[str, Source] = {}
        with store.database.write() as connection:
            merchants.check(connection, "default", now_us())
        self.receiver = Receiver(store, clock)

    def source(self, dialect: str, name: str | None = None, **changes: Any) -> Source:
        """Add a source of this dialect."""
        profile = dialects.get(dialect).defaults
        name = name or dialect
        made = Source(
            **{
                "id": identifier("src", now_us()),
                "name": name,
                "merchant": "default",
                "dialect": dialect,
                "token": f"token-of-{name}",
                "scope": f"{dialect}:",
                "profile": profile,
                "credentials": HUB.get(dialect, Credentials()),
                **changes,
            }
        )
        with self.store.database.write() as connection:
            sources.add(connection, self.store.vault, made, now_us())
        self.sources[name] = made
        return made

    def endpoint(self, **changes: Any) -> Endpoint:
        """Add an endpoint."""
        made = Endpoint(
            **{
                "id": identifier("end", now_us()),
                "name": "shop",
                "merchant": "default",
                "url": "http://127.0.0.1:9/",
                "dialect": "standard_webhooks",
                "profile": Profile(currency="KES", timezone="Africa/Nairobi"),
                "credentials": Credentials(secrets=(b"whsec_" + b"A" * 32,)),
                **changes,
            }
        )
        with self.store.database.write() as connection:
            endpoints.add(connection, self.store.vault, made, now_us())
        return made

    def receive(self, *requests: tuple[str, WireRequest]) -> list[Any]:
        """Receive (source name or token, request) in one group: answers, None where not found."""
        group = [
            self.receiver.prepare(
                self.sources[name].token if name in self.sources else name, request
            )
            for name, request in requests
        ]
        # As the committer does it.
        composed = self.receiver.compose(group)
        if composed is None:
            return self.receiver.receive(group)
        # What another process would be told to write is just this.
        assert clerk.read_rows(clerk.packed(composed.rows)[4:]) == composed.rows
        return self.receiver.commit(composed)

    def one(self, name: str, request: WireRequest) -> WireResponse:
        """Receive one request of the source `name`."""
        (answer,) = self.receive((name, request))
        assert isinstance(answer, WireResponse)
        return answer

    # ------------------------------------------------------------------ what is in the books

    def notifications(self) -> list[Notification]:
        """All of them, the oldest first."""
        with self.store.database.read() as connection:
            return notifications.listed(connection, limit=100_000)[::-1]

    def accepted(self) -> list[Notification]:
        """Those that count."""
        return [item for item in self.notifications() if item.state.value == "accepted"]

    def cases(self) -> list[Any]:
        """Those that are open."""
        with self.store.database.read() as connection:
            return cases.listed(connection, limit=100_000)

    def outcomes(self) -> list[str]:
        """Of the inbox, the oldest first."""
        with self.store.database.read() as connection:
            return [row.outcome for row in inbox.listed(connection, limit=100_000)][::-1]

    def count(self, table: sa.Table) -> int:
        """The rows of a table."""
        with self.store.database.read() as connection:
            return int(
                connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() or 0
            )

    def totals(self) -> dict[str, int]:
        """How many rows the tables of a payment have."""
        tables = (inbox_bodies, identities, deliveries)
        return {table.name: self.count(table) for table in tables}


def request(dialect: str, case: str | None = None, **fields: Any) -> WireRequest:
    """A genuine request of this bank: one of its cases, with members of its JSON replaced.

    A member within an object is named with `__`: `transaction__status="FAILED"`.
    """
    bank = dialects.get(dialect)
    sample = bank.cases[case or next(iter(bank.cases))]
    body = sample.body
    if fields:
        document = json.loads(body)
        for path, value in fields.items():
            place, *names = document, *path.split("__")
            for name in names[:-1]:
                place = place[name]
            place[names[-1]] = value
        body = json.dumps(document).encode()
    unsigned = WireRequest(
        body=body, headers=bank.headers, peer="127.0.0.1", received_at=now_us(), target="/ipn/"
    )
    return bank.sign(unsigned, BANK[dialect], now_us())


def altered(genuine: WireRequest, *changes: bytes) -> WireRequest:
    """The request with bytes of its body changed (old, new, …) and its proof left as it was."""
    body = genuine.body
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in body, old
        body = body.replace(old, new)
    return replace(genuine, body=body)
