"""A dialect as a third party would write it: in no registry, of a bank that does not exist.

Three of its four fields are signed, and which is which is hashed too.
"""

from __future__ import annotations

from typing import ClassVar

from arifa.dialects.base import Case, Dialect, Expresses, Identity, Verified
from arifa.dialects.fields import Fields
from arifa.document import JsonObject
from arifa.feed import Profile
from arifa.notification import Direction, Kind, Notification, Query, Reading, Status
from arifa.signing import HmacFields, Proof
from arifa.wire import WireRequest

TOY_SAMPLE = b'{"ref": "A1", "invoice": "77", "amount": "10.50", "note": "thanks", "mac": ""}'


def signed_texts(document: JsonObject) -> list[bytes]:
    """Reference, invoice and amount, each behind its length, so that no two read the same."""
    fields = Fields(document)
    texts = (fields.text(name, strip=False) or "" for name in ("ref", "invoice", "amount"))
    return ["".join(f"{len(text)}:{text}" for text in texts).encode("utf-8", "surrogatepass")]


def joined_texts(document: JsonObject) -> list[bytes]:
    """The same without a mark between them."""
    fields = Fields(document)
    texts = [fields.text(name, strip=False) or "" for name in ("ref", "invoice", "amount")]
    return ["".join(texts).encode("utf-8", "surrogatepass")]


COVERED = frozenset({"kind", "direction", "status", "bank_reference", "end_to_end_id", "amount"})


class ToyBank(Dialect):
    """Three signed fields and a note."""

    name = "toy"
    title = "A bank that does not exist"
    page = "https://bank.example"
    proofs: ClassVar[tuple[Proof, ...]] = (HmacFields("mac", signed_texts, covers=COVERED),)
    defaults = Profile(currency="KES", timezone="Africa/Nairobi")
    expresses = Expresses(currencies=frozenset())
    carries = frozenset(
        {"kind", "direction", "status", "amount", "bank_reference", "end_to_end_id"}
        | {"remittance_information"}
    )
    cases: ClassVar = {"payment": Case(title="a payment", body=TOY_SAMPLE)}

    def read(self, verified: Verified, profile: Profile) -> list[Reading] | Query:
        fields = verified.fields()
        fields.raw("mac")
        return [
            Reading(
                kind=Kind.PAYMENT,
                direction=Direction.CREDIT,
                status=Status.SUCCESS,
                bank_reference=fields.required("ref"),
                end_to_end_id=fields.text("invoice"),
                amount=fields.amount("amount", profile.currency),
                remittance_information=fields.text("note"),
                extra=fields.rest(),
                doubts=tuple(fields.doubts),
            )
        ]

    def write(
        self, notification: Notification, profile: Profile, original: WireRequest | None
    ) -> WireRequest:
        reading = notification.reading
        assert reading.amount is not None
        return self.request(
            {
                "ref": reading.bank_reference or "",
                "invoice": reading.end_to_end_id or "",
                "amount": reading.amount.text(),
                "note": reading.remittance_information or "",
            }
        )

    def identity(self, reading: Reading) -> Identity:
        return Identity(f"ref:{reading.bank_reference}")
