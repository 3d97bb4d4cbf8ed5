"""Who moves the money: the seam to a bank's own system.

A processor is asked to settle a transaction, with an id that is the same however often it is asked.
Arifa cannot know whether money moved when it crashed between the asking and the answer, so it asks
again with the same id, and the processor must give the same answer without moving money twice. One
that does not know yet raises `NotKnownYet`, and is asked again later.

The built-in one moves no money: what is approved is settled at once. A third party registers its own
by an entry point of the group `arifa.processors`, whose value is called without arguments; `serve`
takes it by the setting `processor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from arifa.errors import ArifaError, NotFound, Refused
from arifa.money import Money
from arifa.notification import Reading, Status

BUILT_IN: Final = "instant"
_GROUP: Final = "arifa.processors"
_NOBODY: Final[Mapping[str, str]] = {}


class NotKnownYet(ArifaError):
    """The processor cannot say yet what became of it; the text says why."""


class Payment(NamedTuple):
    """What a processor is asked to settle. `id` is what it knows a repeat by."""

    id: str
    merchant: str
    reference: str
    source_account: str | None
    reading: Reading


class Settlement(NamedTuple):
    """What became of a payment.

    Attributes:
        status: success or failed.
        bank_reference: what the bank calls it; the order's, else the transaction's id, without.
        reason: why it failed, for the operator; the merchant is not told.
        occurred_at: when money moved, microseconds UTC; now, without.
    """

    status: Status
    bank_reference: str | None = None
    reason: str | None = None
    fee: Money | None = None
    occurred_at: int | None = None


class Processor(Protocol):
    """Settles payments, each at most once by its id."""

    @property
    def name(self) -> str:
        """What the audit log calls it."""

    def settle(self, payment: Payment) -> Settlement:
        """Move the money, or say why not; for an id that came before, give the same answer again.

        Raises:
            NotKnownYet: ask again later. So is every other error taken, which is logged as well.
        """


class Instant:
    """Settles at once, or fails as told: `failing` is by the transaction's reference, and "*" is
    for all. It remembers nothing, and need not: its answer depends on the payment alone."""

    name = BUILT_IN

    def __init__(self, failing: Mapping[str, str] = _NOBODY) -> None:
        self._failing = failing

    def settle(self, payment: Payment) -> Settlement:
        """Success, or the failure that it was told of."""
        reason = self._failing.get(payment.reference, self._failing.get("*"))
        if reason is not None:
            return Settlement(Status.FAILED, reason=reason)
        return Settlement(Status.SUCCESS)


def get(name: str) -> Processor:
    """The processor of this name.

    Raises:
        NotFound: there is none.
        Refused: it cannot be loaded.
    """
    if name == BUILT_IN:
        return Instant()
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group=_GROUP)}
    if name not in found:
        known = ", ".join([BUILT_IN, *sorted(found)])
        raise NotFound(f"there is no processor {name!r}; there are {known}")
    try:
        made: Processor = found[name].load()()
    except Exception as error:
        raise Refused(f"the processor {name!r} cannot be loaded: {error}") from error
    return made
