"""Where notifications come from and where they go: frozen descriptions, built by the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from arifa.signing.credentials import Credentials

NO_OPTIONS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a bank leaves unsaid: `currency` (ISO 4217), `timezone` (IANA) and dialect options."""

    currency: str
    timezone: str
    options: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A configured feed from one bank.

    Attributes:
        token: the unguessable part of its intake path, `/ipn/{token}`.
        scope: what the bank's references are unique in; it survives the source.
        routes: account, short code or till → merchant; empty where all is `merchant`'s.
        paused: answers UNAVAILABLE.
    """

    id: str
    name: str
    merchant: str
    dialect: str
    token: str
    scope: str
    profile: Profile
    credentials: Credentials
    account: str | None = None
    routes: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a merchant wants to be told, how, and of what. Empty filters let everything pass."""

    id: str
    name: str
    merchant: str
    url: str
    dialect: str
    profile: Profile
    credentials: Credentials
    statuses: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    directions: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    active: bool = True
    show_phone: bool = False

    def wants(self, *, source: str, kind: str, direction: str, status: str) -> bool:
        """Whether a notification of this source (id), kind, direction and status goes here."""
        return (
            self.active
            and (not self.statuses or status in self.statuses)
            and (not self.kinds or kind in self.kinds)
            and (not self.directions or direction in self.directions)
            and (not self.sources or source in self.sources)
        )
