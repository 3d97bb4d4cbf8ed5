"""A simulated bank: it proves its messages, sends them over real HTTP and reads the answers.

It knows what a bank knows: its own keys, the address it was given, and its own form. What the hub
makes of a message it learns from the answer only.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Final

from arifa.clock import now_us
from arifa.dialects import Dialect
from arifa.dialects.base import Acknowledgement
from arifa.feed import Profile
from arifa.outcome import RECEIVED, Outcome
from arifa.signing import AddressList, Basic, Credentials, HmacFields, Proof, Unproven
from arifa.signing.keys import new_rsa_key
from arifa.simulator.exchange import AT_ONCE, TIMEOUT_SECONDS, Pace, exchange
from arifa.simulator.message import Message, published, renewed
from arifa.wire import WireRequest, WireResponse

_WEBHOOK_SECRETS: Final = (b"whsec_", b"whsk_")
_STRANGERS_PASSWORD: Final = "not the password"  # noqa: S105 - that is what it is


@dataclass(frozen=True, slots=True)
class Answer:
    """What a bank was answered, and how it understands that."""

    response: WireResponse
    acknowledgement: Acknowledgement

    @property
    def outcome(self) -> Outcome:
        """As far as the bank's form tells outcomes apart."""
        return self.acknowledgement.outcome

    @property
    def is_received(self) -> bool:
        """Whether the bank takes it as received and will not send again."""
        return self.outcome in RECEIVED

    def is_the_same_as(self, other: Answer) -> bool:
        """Whether status and body are the very same."""
        mine, theirs = self.response, other.response
        return mine.status == theirs.status and mine.body == theirs.body


class Bank:
    """One feed as its bank sees it.

    Args:
        credentials: the bank's side: its private key, the shared secret, its user and password.
        url: where to post to.
        profile: as the source's: the form of the messages and of the answers depends on it.
        random: makes references; seeded where a run must be the same twice.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        credentials: Credentials,
        url: str,
        profile: Profile | None = None,
        random: Random | None = None,
        clock: Callable[[], int] = now_us,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.dialect = dialect
        self.credentials = credentials
        self.url = url
        self.profile = dialect.defaults if profile is None else profile
        self.random = Random() if random is None else random  # noqa: S311 - references, no secrets
        self.clock = clock
        self.timeout = timeout

    # ------------------------------------------------------------------ messages

    def published(self, case: str | None = None) -> Message:
        """A sample message as published; the first case where none is named.

        Raises:
            NotFound: the dialect has no such case.
            Refused: a credential is missing.
        """
        return published(
            self.dialect,
            case,
            profile=self.profile,
            credentials=self.credentials,
            now_us=self.clock(),
        )

    def renewed(self, message: Message) -> Message:
        """A new payment like `message`."""
        return renewed(message, self.random, self.clock())

    # ------------------------------------------------------------------ proofs

    @property
    def proofs(self) -> list[Proof]:
        """The proofs that a message of ours carries; an address is none that it carries."""
        credentials = self.credentials
        declared: list[Proof] = [
            proof
            for proof in self.dialect.proofs
            if not isinstance(proof, (AddressList, Unproven))
            and (not proof.is_optional or all(getattr(credentials, n) for n in proof.signs_with))
        ]
        if credentials.username and not any(isinstance(proof, Basic) for proof in declared):
            declared.append(Basic())
        return declared

    def signed(self, request: WireRequest) -> WireRequest:
        """The request with our proofs on it.

        Raises:
            Refused: a credential is missing.
        """
        return self._signed_with(request, self.credentials)

    def forged(self, request: WireRequest) -> WireRequest:
        """The request with every proof made by somebody who lacks our keys."""
        return self._signed_with(request, strangers(self.credentials))

    def _signed_with(self, request: WireRequest, credentials: Credentials) -> WireRequest:
        signed = self.dialect.sign(request, credentials, self.clock())
        return _laid_out_as_before(request, signed, self.proofs)

    # ------------------------------------------------------------------ sending

    def send(self, request: WireRequest, pace: Pace = AT_ONCE) -> Answer:
        """Send it once and read the answer.

        Raises:
            Refused: nobody answers.
        """
        response = exchange(self.url, request, pace=pace, timeout=self.timeout)
        return Answer(response, self.dialect.read_acknowledgement(response, self.profile))


def _laid_out_as_before(
    request: WireRequest, signed: WireRequest, proofs: list[Proof]
) -> WireRequest:
    """A body that only got its hash filled in, with its own layout: a published one stays so.

    Signing writes such a body anew. The bank's own bytes with the one value exchanged say the same.
    """
    for proof in proofs:
        if not isinstance(proof, HmacFields):
            continue
        before, after = (item.document().get(proof.field) for item in (request, signed))
        old, new = (f'"{value}"'.encode() for value in (before, after))
        if before and request.body.count(old) == 1:
            return replace(signed, body=request.body.replace(old, new))
    return signed


def strangers(credentials: Credentials) -> Credentials:
    """Keys, secrets and passwords of the same kinds that nobody has agreed on.

    The receiver's public key stays: everybody may have it.
    """
    private_key = None if credentials.private_key is None else _strangers_key()
    return replace(
        credentials,
        private_key=private_key,
        secrets=tuple(_strangers_secret(secret) for secret in credentials.secrets),
        passwords=tuple(_STRANGERS_PASSWORD for _ in credentials.passwords),
    )


@lru_cache(maxsize=1)
def _strangers_key() -> bytes:
    private, _ = new_rsa_key()
    return private


def _strangers_secret(secret: bytes) -> bytes:
    for prefix in _WEBHOOK_SECRETS:
        if secret.startswith(prefix):
            return prefix + b64encode(secrets.token_bytes(32))
    return secrets.token_hex(16).encode("ascii")
