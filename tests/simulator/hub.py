"""A real hub in a process of its own, and sources in its store."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from arifa import dialects
from arifa.clock import now_us
from arifa.feed import Profile, Source
from arifa.identifiers import identifier, unguessable
from arifa.notification import Notification
from arifa.signing import Credentials
from arifa.signing.keys import new_rsa_key
from arifa.simulator.bank import Bank
from arifa.simulator.message import public_half
from arifa.store import cases, inbox, merchants, notifications, sources
from arifa.store.opened import Store, open_store

PASSWORD = "correct: horse é"
WEBHOOK_SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_SERVE = """
import sys
from pathlib import Path
from arifa.web.server import serve
sys.exit(serve(store_folder=Path(sys.argv[1]), port=0, admin_port=0, deliver=False))
"""


class Hub:
    """What a test needs of it: its address, its store, and sources."""

    def __init__(self, folder: Path, url: str, store: Store) -> None:
        self.folder = folder
        self.url = url
        self.store = store

    def source(
        self,
        dialect: str,
        credentials: Credentials,
        *,
        name: str = "bank",
        profile: Profile | None = None,
    ) -> Source:
        """A new source whose references are its own."""
        made = Source(
            id=identifier("src", now_us()),
            name=f"{name}-{unguessable()[:8]}",
            merchant="default",
            dialect=dialect,
            token=unguessable(),
            scope=unguessable(),
            profile=dialects.get(dialect).defaults if profile is None else profile,
            credentials=credentials,
        )
        with self.store.database.write() as connection:
            merchants.check(connection, "default", now_us())
            sources.add(connection, self.store.vault, made, now_us())
        return made

    def address(self, source: Source) -> str:
        """Where its bank posts to."""
        return f"{self.url}/ipn/{source.token}"

    def bank(self, way: str, options: Mapping[str, str] | None = None) -> tuple[Bank, Source]:
        """A bank and its source, both new; `way` is a key of `WAYS`."""
        dialect, theirs, ours = sides(way)
        profile = replace(dialects.get(dialect).defaults, options=options or {})
        source = self.source(dialect, ours, profile=profile)
        bank = Bank(
            dialects.get(dialect),
            credentials=theirs,
            url=self.address(source),
            profile=source.profile,
        )
        return bank, source

    def counts(self, source: Source) -> dict[str, int | None]:
        """What the hub counted for it."""
        with self.store.database.read() as connection:
            return sources.counters(connection, source)

    def cases(self, source: Source) -> list[str]:
        """The kinds of its open cases."""
        with self.store.database.read() as connection:
            found = cases.listed(connection, limit=10_000)
        return [row.kind for row in found if row.source == source.id]

    def notifications(self, source: Source) -> list[Notification]:
        """Its notifications, the newest first."""
        with self.store.database.read() as connection:
            return notifications.listed(connection, source=source.id, limit=10_000)

    def bodies(self, source: Source) -> list[bytes]:
        """The bodies that came, the newest first."""
        with self.store.database.read() as connection:
            rows = inbox.listed(connection, limit=10_000)
            found = [
                inbox.request_of(connection, row.merchant, row.id)
                for row in rows
                if row.source == source.id
            ]
        return [request.body for request in found if request is not None]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Hub]:
    """A hub on free ports, with its store in `folder`."""
    store = open_store(folder)
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), "the hub did not start"
        yield Hub(folder, line.split()[-1], store)
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()
        store.close()


_BANK_KEY, _ = new_rsa_key()
_HUB_KEY, _ = new_rsa_key()
_HERE = ("127.0.0.1",)

# way → dialect, the bank's credentials, the hub's
WAYS: dict[str, tuple[str, Credentials, Credentials]] = {
    "kcb": (
        "kcb",
        Credentials(private_key=_BANK_KEY),
        Credentials(public_keys=(public_half(_BANK_KEY),)),
    ),
    "credit_bank by password": (
        "credit_bank",
        Credentials(username="bank", passwords=(PASSWORD,)),
        Credentials(username="bank", passwords=(PASSWORD,), addresses=_HERE),
    ),
    "credit_bank by address": ("credit_bank", Credentials(), Credentials(addresses=_HERE)),
    "jenga": (
        "jenga",
        Credentials(username="bank", passwords=(PASSWORD,)),
        Credentials(username="bank", passwords=(PASSWORD,)),
    ),
    "xente by address": ("xente", Credentials(), Credentials(addresses=_HERE)),
    "xente by keys": (
        "xente",
        Credentials(private_key=_BANK_KEY, public_keys=(public_half(_HUB_KEY),)),
        Credentials(private_key=_HUB_KEY, public_keys=(public_half(_BANK_KEY),), addresses=_HERE),
    ),
    "cbs": (
        "cbs",
        Credentials(secrets=(b"a shared secret",)),
        Credentials(secrets=(b"a shared secret",)),
    ),
    "standard_webhooks": (
        "standard_webhooks",
        Credentials(secrets=(WEBHOOK_SECRET,)),
        Credentials(secrets=(WEBHOOK_SECRET,)),
    ),
}


def sides(way: str) -> tuple[str, Credentials, Credentials]:
    """(dialect, the bank's credentials, the hub's)."""
    return WAYS[way]
