"""Queueing deliveries: which endpoints are to be told of a notification."""

from __future__ import annotations

from hashlib import sha256
from operator import attrgetter
from typing import Final

from arifa.feed import Endpoint
from arifa.identifiers import Identifiers
from arifa.notification import Reading
from arifa.store import deliveries
from arifa.store.configuration import Configuration


def queued(
    configuration: Configuration,
    ids: Identifiers,
    *,
    merchant: str,
    notification: str,
    source: str,
    reading: Reading,
    now_us: int,
) -> list[deliveries.Entry]:
    """One delivery for each of the merchant's endpoints that wants to hear of this reading."""
    return [
        delivery(merchant, notification, endpoint, ids, now_us, source=source, reading=reading)
        for endpoint in interested(configuration, merchant, source, reading)
    ]


def interested(
    configuration: Configuration, merchant: str, source: str, reading: Reading
) -> list[Endpoint]:
    """The merchant's endpoints that want such a reading from this source."""
    currency = None if reading.amount is None else reading.amount.currency
    return [
        endpoint
        for endpoint in configuration.endpoints.get(merchant, ())
        if endpoint.wants(
            source=source,
            kind=reading.kind,
            direction=reading.direction,
            status=reading.status,
            currency=currency,
            account=reading.account,
        )
    ]


def delivery(
    merchant: str,
    notification: str,
    endpoint: Endpoint,
    ids: Identifiers,
    now_us: int,
    *,
    source: str = "",
    reading: Reading | None = None,
) -> deliveries.Entry:
    """A delivery that is due at once, or in its turn where the endpoint is ordered.

    Without a `reading` it keeps no order: it is sent once more, and what came after it is long gone.
    """
    key = None
    if endpoint.manner.ordered is not None and reading is not None:
        key = order_key(endpoint.manner.ordered, source, reading)
    return deliveries.Entry(
        merchant=merchant,
        id=ids.new("dlv"),
        notification=notification,
        endpoint=endpoint.id,
        next_attempt_at=now_us,
        created_at=now_us,
        order_key=key,
    )


ORDERED_BY: Final = frozenset(
    {"account", "bank_reference", "end_to_end_id", "related_reference", "short_code"}
    | {"payer.phone", "payer.reference", "payer", "source", "all"}
)
"""What an endpoint can be ordered by; `payer` is `payer.reference`, and `all` one order for all."""
_KEY_CHARACTERS_MAX: Final = 100


def order_key(field: str, source: str, reading: Reading) -> str | None:
    """What a notification shares with those that it comes before or after; None: with nobody."""
    if field not in ORDERED_BY:
        # Refused where an endpoint is made; here a bank waits for its answer.
        return None
    if field == "all":
        return field
    if field == "source":
        return f"source={source}"
    name = "payer.reference" if field == "payer" else field
    value: str | None = attrgetter(name)(reading)
    if value is None:
        return None
    # An index takes no text of any length, and a payer's own datum need not stand in a key.
    if name.startswith("payer.") or len(value) > _KEY_CHARACTERS_MAX or not value.isprintable():
        value = sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name}={value}"
