"""Where notifications come from and where they go: frozen descriptions, built by the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from arifa.signing.credentials import Credentials

NO_OPTIONS: Final[Mapping[str, str]] = {}
ACTIVE: Final = "active"


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
class Manner:
    """How an endpoint is called. None is the worker's own, or the dialect's.

    Attributes:
        timeout: seconds that one attempt may take, from the name's look-up to the last byte.
        concurrency: attempts that are out at one moment; `rate`: attempts begun in a second.
        delays: seconds before each attempt, counted from the end of the one before it.
        headers: sent with every request, beside the dialect's own.
        ordered: the field by which notifications come one after the other; None: in any order.
        halts: whether a key waits behind a dead delivery, rather than go on without it.
    """

    timeout: float | None = None
    concurrency: int | None = None
    rate: float | None = None
    delays: tuple[int, ...] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    ordered: str | None = None
    halts: bool = False


DEFAULT_MANNER: Final = Manner()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a merchant wants to be told, how, and of what. Empty filters let everything pass.

    Attributes:
        accounts: the accounts whose money it wants to hear of; what names none is not among them.
        alerts: it is an operator's: it hears of dead deliveries and the like, not of money.
        state: active, paused (by a person) or disabled (by what happened: `reason`).
        retiring: the credentials of before a rotation, in use until `retires_at` (microseconds
            UTC); see `signing_credentials`.
    """

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
    currencies: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    alerts: bool = False
    state: str = ACTIVE
    reason: str | None = None
    show_phone: bool = False
    manner: Manner = DEFAULT_MANNER
    retiring: Credentials | None = None
    retires_at: int | None = None

    @property
    def active(self) -> bool:
        """Whether it is told anything now."""
        return self.state == ACTIVE

    def is_rotating(self, now_us: int) -> bool:
        """Whether the credentials of before a rotation are still in use."""
        return self.retiring is not None and now_us < (self.retires_at or 0)

    def signing_credentials(self, now_us: int, *, together: bool) -> Credentials:
        """What a request that is sent now is signed with. The overlap ends by itself, by the time.

        Where several secrets sign `together` (`Dialect.signs_together`), old and new both do, so
        that a receiver with either accepts. Where a request has room for one proof only, the old
        one signs until the end of the overlap: that is the time to install the new one in.
        """
        old = self.retiring
        if old is None or not self.is_rotating(now_us):
            return self.credentials
        if not together:
            return old
        both = dict.fromkeys((*self.credentials.secrets, *old.secrets))
        return replace(old, secrets=tuple(both))

    def wants(
        self,
        *,
        source: str,
        kind: str,
        direction: str,
        status: str,
        currency: str | None = None,
        account: str | None = None,
    ) -> bool:
        """Whether a notification of this source (id) and these words goes here.

        Also while it is paused or disabled: what comes meanwhile waits for it.
        """
        return (
            not self.alerts
            and (not self.currencies or currency in self.currencies)
            and (not self.accounts or account in self.accounts)
            and (not self.statuses or status in self.statuses)
            and (not self.kinds or kind in self.kinds)
            and (not self.directions or direction in self.directions)
            and (not self.sources or source in self.sources)
        )
