"""Making messages of a bank: a published one as it stands, one with changed words, a new payment.

    published ──changed──► the same message with other words
        └──────renewed───► a new payment of the same kind

A message that is not as published is its reading, rendered: so it says nothing that the dialect
could not say, and can be sent in every shape that the bank has.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from msgspec import structs

from arifa.dialects import Dialect
from arifa.dialects.base import Case
from arifa.errors import NotFound, Refused
from arifa.feed import Profile
from arifa.identifiers import identifier
from arifa.money import EXPONENT, Money
from arifa.notification import Direction, Kind, Notification, Reading, State
from arifa.signing import Credentials
from arifa.signing.keys import rsa_private_key
from arifa.wire import WireRequest

_LETTERS_AND_DIGITS: Final = string.ascii_uppercase + string.digits
_REFERENCE_CHARACTERS: Final = 12
# The id of an event among a reading's extra fields (dialects/standard_webhooks.py): it is what
# tells one event from another, so a message with other words must keep it.
_EVENT_ID: Final = "data.id"
_NOBODY: Final = "simulated"
_HERE: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a bank, without a proof yet.

    Attributes:
        identity: our id of it, where the form has room for one.
        as_published: the case whose body goes out byte for byte; None where it is rendered.
    """

    dialect: Dialect
    profile: Profile
    reading: Reading
    identity: str
    now_us: int
    as_published: Case | None = None

    def request(self) -> WireRequest:
        """The bank's request, without a proof.

        Raises:
            CannotExpress: the dialect has no words for it.
        """
        if self.as_published is not None:
            return self.dialect.sample(self.as_published)
        notification = Notification(
            id=self.identity,
            merchant=_NOBODY,
            source=_NOBODY,
            dialect=self.dialect.name,
            received_at=self.now_us,
            state=State.ACCEPTED,
            reading=self.reading,
        )
        return self.dialect.render(notification, self.profile)

    def with_reading(self, **changes: object) -> Message:
        """The same message with these fields of its reading changed."""
        reading = structs.replace(self.reading, **changes)
        return replace(self, reading=reading, as_published=None)

    def in_a_new_envelope(self) -> Message:
        """The same payment, announced anew: only what is the envelope's own differs."""
        return replace(self, identity=identifier("ntf", self.now_us), as_published=None)


def published(
    dialect: Dialect,
    name: str | None,
    *,
    profile: Profile,
    credentials: Credentials,
    now_us: int,
) -> Message:
    """The sample message `name` of the dialect, the first where it is None.

    Args:
        profile: the source's; the shape that the case needs is set in it.
        credentials: the bank's.

    Raises:
        NotFound: there is no such case, or the dialect has none.
        Refused: a credential is missing.
    """
    case = case_of(dialect, name)
    shaped = replace(profile, options={**profile.options, **case.options})
    reading = _read(dialect, dialect.sample(case), shaped, credentials, now_us)
    identity = reading.extra.get(_EVENT_ID) or identifier("ntf", now_us)
    return Message(dialect, shaped, reading, identity, now_us, as_published=case)


def case_of(dialect: Dialect, name: str | None) -> Case:
    """The case of this name, the first where it is None.

    Raises:
        NotFound: there is none.
    """
    if not dialect.cases:
        raise NotFound(f"{dialect.name} has no sample messages: it is for endpoints, not for banks")
    chosen = next(iter(dialect.cases)) if name is None else name
    case = dialect.cases.get(chosen)
    if case is None:
        known = ", ".join(dialect.cases)
        raise NotFound(f"{dialect.name} has no case {chosen!r}; its cases: {known}")
    return case


def _read(
    dialect: Dialect,
    request: WireRequest,
    profile: Profile,
    credentials: Credentials,
    now_us: int,
) -> Reading:
    """The one reading of a sample, by the way that every reading is made: proven first."""
    both = _both_sides(credentials)
    signed = dialect.sign(replace(request, peer=_HERE), both, now_us)
    readings = dialect.receive(signed, both, profile, now_us)
    if not isinstance(readings, list) or len(readings) != 1:
        raise Refused(f"this case of {dialect.name} is not one notification")
    return readings[0]


def _both_sides(credentials: Credentials) -> Credentials:
    """Credentials that verify what they sign."""
    private_key = credentials.private_key
    own = () if private_key is None else (public_half(private_key),)
    return replace(credentials, public_keys=own, addresses=(_HERE,))


def public_half(private_key: bytes) -> bytes:
    """The public key, SPKI PEM, that belongs to an RSA private key in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = rsa_private_key(private_key).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


# ---------------------------------------------------------------------------------- variations


def renewed(message: Message, random: Random, now_us: int) -> Message:
    """A new payment like `message`: references of its own, and it happened now.

    Raises:
        CannotExpress: when it is rendered, if the case has something that the dialect only reads.
    """
    reading = message.reading
    receipts = tuple(_like(receipt, random) for receipt in reading.other_references)
    information = reading.remittance_information
    for old, new in zip(reading.other_references, receipts, strict=True):
        # Some banks write the receipt into a text only, and it is read from there.
        information = information.replace(old, new) if information else information
    return replace(
        message,
        reading=structs.replace(
            reading,
            bank_reference=new_reference(reading.bank_reference, random),
            other_references=receipts,
            remittance_information=information,
            occurred_at=now_us // 1_000_000 * 1_000_000,
            occurred_text=None,
        ),
        identity=identifier("ntf", now_us),
        now_us=now_us,
        as_published=None,
    )


def new_reference(old: str | None, random: Random) -> str:
    """A reference that nobody has used, with the letters that `old` begins with."""
    text = old or ""
    letters = text[: len(text) - len(text.lstrip(string.ascii_uppercase))][:2]
    rest = random.choices(_LETTERS_AND_DIGITS, k=_REFERENCE_CHARACTERS - len(letters))
    return letters + "".join(rest)


def _like(text: str, random: Random) -> str:
    """A text of the same shape: letters stay letters, digits digits, and signs as they are."""
    choices = (string.ascii_uppercase, string.ascii_lowercase, string.digits)
    return "".join(
        random.choice(next((some for some in choices if character in some), character))
        for character in text
    )


def with_more_money(message: Message) -> Message:
    """The same message about one unit of money more.

    Raises:
        Refused: the message states no amount.
    """
    amount = message.reading.amount
    if amount is None:
        raise Refused("the message states no amount, so there is no other one")
    more = Money(amount.minor + 10 ** EXPONENT[amount.currency], amount.currency)
    return message.with_reading(amount=more)


def reversal_of(message: Message, random: Random) -> Message:
    """The reversal of the payment that `message` is.

    Where the form can name the payment apart from the reversal, the reversal has a reference of its
    own; else it comes under the payment's, which is then the only tie between the two.
    """
    reading = message.reading
    changes: dict[str, object] = {"kind": Kind.REVERSAL, "direction": Direction.DEBIT}
    if "related_reference" in message.dialect.carried(message.profile):
        changes["bank_reference"] = new_reference(reading.bank_reference, random)
        changes["related_reference"] = reading.related_reference or reading.bank_reference
    return message.with_reading(**changes).in_a_new_envelope()
