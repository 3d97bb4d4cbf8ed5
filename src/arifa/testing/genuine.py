"""Messages that are genuine, and the keys that make them so: what the laws begin with.

The credentials here are their own twins: the public key belongs to the private one, so that one
`Credentials` both signs and verifies, whatever the dialect's proofs are.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final

from msgspec import structs

from arifa.dialects.base import Dialect
from arifa.errors import CannotExpress, Refused
from arifa.feed import Profile
from arifa.money import Money
from arifa.notification import Direction, Kind, Notification, Payer, Reading, State, Status
from arifa.signing import Credentials
from arifa.signing.keys import new_rsa_key
from arifa.timestamp import from_rfc3339
from arifa.wire import WireRequest

PEER: Final = "192.0.2.7"
NOW_US: Final = from_rfc3339("2026-11-20T07:42:38Z")
ORIGINAL: Final = WireRequest(
    body=b'{"as": "received"}',
    headers=((b"content-type", b"application/json"), (b"signature", b"c2lnbmF0dXJl")),
)

_SECRETS: Final = (
    b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    b"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    b"whsec_plJ3nmyCDGBKInavdOK15jsl4gQbNc9l",
)


@dataclass(frozen=True, slots=True)
class Genuine:
    """A request that its dialect verifies with these credentials at this moment.

    `bare` is the same without its proofs, where that is known.
    """

    name: str
    request: WireRequest
    credentials: Credentials
    profile: Profile
    now_us: int = NOW_US
    bare: WireRequest | None = None


@lru_cache(maxsize=1)
def _rsa_keys() -> tuple[tuple[bytes, bytes], ...]:
    return tuple(new_rsa_key() for _ in _SECRETS)


def full_credentials(number: int = 0) -> Credentials:
    """Every credential there is; another `number` (0 to 2) has other keys of the same user."""
    private, public = _rsa_keys()[number]
    return Credentials(
        public_keys=(public,),
        private_key=private,
        secrets=(_SECRETS[number],),
        username="bank",
        passwords=(f"correct: horse {number} é",),
        addresses=(f"192.0.{2 + number}.0/24",),
    )


def limited(credentials: Credentials, names: frozenset[str]) -> Credentials:
    """Only the credentials of these names."""
    kept = {name: getattr(credentials, name) for name in Credentials.__slots__ if name in names}
    return Credentials(**kept)


def names_in(credentials: Credentials) -> frozenset[str]:
    """The names of the credentials that are there."""
    return frozenset(name for name in Credentials.__slots__ if getattr(credentials, name))


@dataclass(frozen=True)
class Subject:
    """What a law judges: a dialect, and twin credentials with which a feed of it is proven."""

    dialect: Dialect
    credentials: Credentials

    @cached_property
    def samples(self) -> list[Genuine]:
        """The dialect's own cases and one rendered message, each signed."""
        dialect, credentials = self.dialect, self.credentials
        found = [
            (name, dialect.sample(case), self.with_options(case.options))
            for name, case in dialect.cases.items()
        ]
        plain = plain_notification(amount=Money(123450, dialect.defaults.currency))
        # There is a law against a dialect that cannot say this, and it says it better.
        with suppress(CannotExpress):
            rendered = dialect.render(plain, dialect.defaults, ORIGINAL)
            found.append(("rendered", rendered, dialect.defaults))
        samples = []
        for name, request, profile in found:
            bare = replace(request, peer=PEER)
            signed = dialect.sign(bare, credentials, NOW_US)
            samples.append(Genuine(name, signed, credentials, profile, bare=bare))
        return samples

    @cached_property
    def proof_headers(self) -> frozenset[bytes]:
        """The names of the headers that signing adds."""
        return frozenset(
            name
            for sample in self.samples
            if sample.bare is not None
            for name, _ in sample.request.headers
            if not sample.bare.values(name)
        )

    @cached_property
    def profiles(self) -> list[Profile]:
        """The dialect's defaults, then one profile for each other value of each option."""
        options = self.dialect.options.items()
        others = [self.with_options({name: one}) for name, all_ in options for one in all_[1:]]
        return [self.dialect.defaults, *others]

    def with_options(self, options: Mapping[str, str]) -> Profile:
        """The dialect's defaults with these options."""
        defaults = self.dialect.defaults
        return replace(defaults, options={**defaults.options, **options})


def subjects(dialect: Dialect) -> dict[str, Subject]:
    """The ways in which a feed of this dialect can be proven, by name; at least one.

    `alone` has what the dialect cannot do without, `optional` adds what its optional proofs take,
    `controlled` adds user, password and address list to that.
    """
    alone, optional = (_needed(dialect, with_optional=flag) for flag in (False, True))
    controls = frozenset({"username", "passwords", "addresses"})
    found: dict[str, Subject] = {}
    for name, names in {
        "alone": alone,
        "optional": optional,
        "controlled": optional | controls,
    }.items():
        subject = Subject(dialect, limited(full_credentials(), names))
        if subject in found.values():
            continue
        try:
            dialect.check_credentials(subject.credentials)
        except Refused:
            continue
        found[name] = subject
    return found


def _needed(dialect: Dialect, *, with_optional: bool) -> frozenset[str]:
    return frozenset(
        name
        for proof in dialect.proofs
        if with_optional or not proof.is_optional
        for name in (*proof.verifies_with, *proof.signs_with)
    )


_PLAIN: Final = Notification(
    id="ntf_0123456789abcdef0123456789ab",
    merchant="default",
    source="src_0123456789abcdef0123456789ab",
    dialect="kcb",
    received_at=NOW_US,
    state=State.ACCEPTED,
    reading=Reading(
        kind=Kind.PAYMENT,
        direction=Direction.CREDIT,
        status=Status.SUCCESS,
        amount=Money(123450, "KES"),
        bank_reference="FT25139M3RM6",
        end_to_end_id="INV-0001",
        account="0012345678",
        payer=Payer("Wanjikũ Njoroge", "254711222333", None),
        occurred_at=from_rfc3339("2025-05-19T10:30:54Z"),
    ),
)


def plain_notification(**changes: object) -> Notification:
    """A payment with these fields of its reading changed."""
    return structs.replace(_PLAIN, reading=structs.replace(_PLAIN.reading, **changes))
