"""Signed notifications, rendered beforehand: what the load of a benchmark is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from arifa import dialects
from arifa.clock import now_us
from arifa.feed import Endpoint, Profile, Source
from arifa.identifiers import identifier, unguessable
from arifa.signing import Credentials
from arifa.signing.keys import new_rsa_key
from arifa.store import endpoints, merchants, sources
from arifa.store.opened import Store
from arifa.wire import WireRequest

SECRET = b"bench-client-secret"


@dataclass(frozen=True)
class Feed:
    """A source in the store, and what its bank signs with."""

    source: Source
    bank: Credentials

    @property
    def path(self) -> str:
        """The intake path."""
        return f"/ipn/{self.source.token}"


def feed(store: Store, dialect: str, merchant: str = "default") -> Feed:
    """Make a source of this dialect, and one endpoint that wants everything."""
    hub, bank = _credentials(dialect)
    at = now_us()
    profile = dialects.get(dialect).defaults
    source = Source(
        id=identifier("src", at),
        name=f"bench-{dialect}",
        merchant=merchant,
        dialect=dialect,
        token=unguessable(),
        scope=f"{dialect}:",
        profile=profile,
        credentials=hub,
    )
    endpoint = Endpoint(
        id=identifier("end", at),
        name=f"bench-{dialect}",
        merchant=merchant,
        url="http://127.0.0.1:9/",
        dialect="standard_webhooks",
        profile=Profile(currency=profile.currency, timezone="UTC"),
        credentials=Credentials(secrets=(b"whsec_" + b"A" * 32,)),
    )
    with store.database.write() as connection:
        merchants.check(connection, merchant, at)
        sources.add(connection, store.vault, source, at)
        endpoints.add(connection, store.vault, endpoint, at)
    return Feed(source, bank)


def _credentials(dialect: str) -> tuple[Credentials, Credentials]:
    """(the hub's, the bank's)."""
    if dialect == "kcb":
        private, public = new_rsa_key()
        return Credentials(public_keys=(public,)), Credentials(private_key=private)
    if dialect == "jenga":
        basic = Credentials(username="jenga", passwords=("correct horse",))
        return basic, basic
    shared = Credentials(secrets=(SECRET,))
    return shared, shared


def requests(feed: Feed, count: int, start: int = 0) -> Iterator[bytes]:
    """`count` raw HTTP messages, each a payment of its own."""
    dialect = dialects.get(feed.source.dialect)
    case = next(iter(dialect.cases.values()))
    for number in range(start, start + count):
        request = WireRequest(
            body=_numbered(feed.source.dialect, case.body, number),
            headers=(*dialect.headers, (b"host", b"localhost"), (b"user-agent", b"bench")),
            target=feed.path,
        )
        signed = dialect.sign(request, feed.bank, now_us())
        yield replace(signed, target=feed.path).to_bytes()


def _numbered(dialect: str, body: bytes, number: int) -> bytes:
    document = json.loads(body)
    if dialect == "kcb":
        document["transactionReference"] = f"FT{number:010d}"
    elif dialect == "jenga":
        document["transaction"]["reference"] = document["bank"]["reference"] = f"{number:012d}"
    else:
        document["PaymentRef"] = f"PR-{number:08d} "
    return json.dumps(document).encode()
