"""What the books make of readings: created, existing, or in conflict. Pure decisions on a group.

the same identity, the same money    EXISTS     nothing happens twice
the same identity, other money       CONFLICT   a held notification and a case; never posts
a new identity                       CREATED
… that shares a second identity      CREATED    held, with a case: likely the same payment
… that its dialect holds             CREATED    held, with a case
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from arifa.feed import Source
from arifa.hub.prepare import Prepared
from arifa.notification import Reading, money_hash
from arifa.outcome import Insertion
from arifa.store.cases import CaseKind
from arifa.store.identities import Key, Known, key_of
from arifa.store.notifications import pack_reading

_TILL = "tillNumber"
# A member of an enumeration costs a look-up by name, eight times a request.
_CREATED = Insertion.CREATED
_DOUBTFUL = CaseKind.DOUBTFUL


class Judged:
    """One reading and what becomes of it.

    Attributes:
        notification, merchant: the id of its notification, new or earlier, and whose it is.
        held: why it waits; None where it counts.
        against: the earlier notification that it conflicts with or resembles.
    """

    __slots__ = (
        "_packed",
        "against",
        "case_kind",
        "held",
        "insertion",
        "keys",
        "merchant",
        "money_hash",
        "notification",
        "prepared",
        "reading",
    )

    def __init__(self, prepared: Prepared, source: Source, reading: Reading) -> None:
        dialect = prepared.dialect
        assert dialect is not None
        identity = dialect.identity(reading)
        owner, scope = source.merchant, source.scope
        self.prepared = prepared
        self.reading = reading
        self.money_hash = money_hash(reading)
        # The first key is the primary one. Keys are the source's merchant's, whoever the money is
        # routed to: an unproven account must not make a payment a new one.
        self.keys: list[Key] = [(owner, key_of(scope, identity.primary))]
        for other in identity.secondary:
            self.keys.append((owner, key_of(scope, other)))
        self.insertion = _CREATED
        self.notification = ""
        self.merchant = owner if not source.routes else routed(source, reading)
        self.held = reading.held
        if source.account is not None and self.held is None:
            self.held = _held_elsewhere(source.account, reading)
        self.case_kind = _DOUBTFUL if self.held is None else _kind_of_hold(reading)
        self.against: Known | None = None
        self._packed = pack_reading(reading)

    def meet(self, known: Mapping[Key, Known]) -> None:
        """Compare with what the books know already."""
        earlier = known.get(self.keys[0])
        if earlier is not None:
            self.against = earlier
            if earlier.money_hash == self.money_hash:
                self.insertion = Insertion.EXISTS
                self.notification = earlier.notification
                self.merchant = earlier.notification_merchant
                return
            self.insertion = Insertion.CONFLICT
            self.case_kind = CaseKind.CONFLICT
            self.held = "the same reference has come with other money"
            return
        for key in self.keys[1:]:
            if key in known:
                self.against = known[key]
                self.case_kind = CaseKind.LIKELY_DUPLICATE
                self.held = self.held or "another notification carries the same second reference"
                return

    def packed_as_held(self) -> str:
        """The reading as the store keeps it, with the reason why it waits, if it does."""
        if self.held == self.reading.held:
            return self._packed
        return pack_reading(structs.replace(self.reading, held=self.held))


def routed(source: Source, reading: Reading) -> str:
    """Whose the money is: by account, short code or till; the source's merchant where unknown."""
    if not source.routes:
        return source.merchant
    for name in (reading.account, reading.short_code, reading.extra.get(_TILL)):
        if name is not None and name in source.routes:
            return source.routes[name]
    return source.merchant


def _held_elsewhere(account: str, reading: Reading) -> str | None:
    if reading.account not in (None, account):
        return "it is about another account than the source's"
    return None


def _kind_of_hold(reading: Reading) -> CaseKind:
    return CaseKind.UNPROVEN if "kind" in reading.unproven else CaseKind.DOUBTFUL
