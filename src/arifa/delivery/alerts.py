"""Alerts: what an operator has to hear of, and the event that an operator's endpoint receives.

    {"type": "delivery.dead", "timestamp": …, "data": {…}}        schemas/alert.v1.json

`webhook-id` is the alert's id. It carries ids, names of endpoints, causes and counts: nothing of a
payer. What concerns an operator's own endpoint is written, logged and mailed, but goes to no
operator's endpoint: so an alert that cannot be delivered makes no further alerts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from arifa.delivery.cause import SENTENCE, Cause
from arifa.document import JsonObject, encode
from arifa.errors import CannotExpress
from arifa.feed import Endpoint
from arifa.identifiers import Identifiers
from arifa.signing.webhook import ID
from arifa.store import alerts, deliveries
from arifa.timestamp import to_rfc3339
from arifa.wire import JSON, WireRequest

DIALECT: Final = "standard_webhooks"
DELIVERIES_MAX: Final = 50
"""The ids that one alert names; `count` is of all."""
_DEFAULT: Final = "default"
_TEST: Final = ":test"


class AlertKind(StrEnum):
    """The `type` of the event."""

    DEAD = "delivery.dead"
    DISABLED = "endpoint.disabled"
    FAILING = "endpoint.failing"
    RECOVERED = "endpoint.recovered"
    HALTED = "order.halted"


_SENTENCE: Final = {
    AlertKind.DEAD: "no further attempt is made; put the cause right, then: arifa delivery recover",
    AlertKind.DISABLED: "nothing is sent to it, and what comes for it waits; give it its new URL, "
    "or resume it: arifa endpoint resume",
    AlertKind.FAILING: "it has failed for so long that it is only probed now and then; its "
    "deliveries wait",
    AlertKind.RECOVERED: "it answers again, and its deliveries go out",
    AlertKind.HALTED: "what comes after this delivery in its order waits until it is retried or "
    "skipped",
}


class News(NamedTuple):
    """Something that an operator has to hear of, before it has an id.

    Attributes:
        endpoint: its id.
        cause: the word of the last attempt, or empty.
        deliveries, notifications: their ids.
        since: microseconds: when it began, where it has lasted.
    """

    kind: AlertKind
    merchant: str
    endpoint: str
    cause: str = ""
    deliveries: Sequence[str] = ()
    notifications: Sequence[str] = ()
    since: int | None = None


class Written(NamedTuple):
    """The rows of alerts, and the deliveries that carry them."""

    alerts: list[alerts.Entry]
    deliveries: list[deliveries.Entry]


def written(
    news: Iterable[News], endpoints: Mapping[str, Endpoint], now_us: int, *, is_mailed: bool
) -> Written:
    """The rows of these news; who hears of them is found among `endpoints`, by id."""
    ids, found = Identifiers(now_us), Written([], [])
    for item in news:
        identity = ids.new(alerts.PREFIX)
        concerned = endpoints.get(item.endpoint)
        hearers = [] if concerned is None or concerned.alerts else _hearers(item, endpoints)
        data = msgspec.json.encode(_data(item, concerned)).decode()
        for merchant in {item.merchant, *(hearer.merchant for hearer in hearers)}:
            is_first = merchant == item.merchant
            found.alerts.append(
                alerts.Entry(
                    merchant=merchant,
                    id=identity,
                    about=item.merchant,
                    kind=item.kind.value,
                    at=now_us,
                    endpoint=item.endpoint,
                    data=data,
                    mail_at=now_us if is_mailed and is_first else None,
                )
            )
        found.deliveries.extend(
            deliveries.Entry(hearer.merchant, ids.new("dlv"), identity, hearer.id, now_us, now_us)
            for hearer in hearers
        )
    return found


def _hearers(item: News, endpoints: Mapping[str, Endpoint]) -> list[Endpoint]:
    """The operators' endpoints of the merchant itself, and of the installation.

    What happens to a sandbox is for the installation's sandbox.
    """
    installation = _DEFAULT + _TEST if item.merchant.endswith(_TEST) else _DEFAULT
    return [
        endpoint
        for endpoint in endpoints.values()
        if endpoint.alerts and endpoint.merchant in (item.merchant, installation)
    ]


def _data(item: News, endpoint: Endpoint | None) -> JsonObject:
    sentence = SENTENCE.get(Cause(item.cause), "") if item.cause in set(Cause) else item.cause
    what = _SENTENCE[item.kind]
    return {
        "merchant": item.merchant,
        "endpoint": {
            "id": item.endpoint,
            "name": None if endpoint is None else endpoint.name,
        },
        "cause": item.cause or None,
        "sentence": f"{sentence}; {what}" if sentence else what,
        "count": len(item.deliveries),
        "deliveries": list(item.deliveries[:DELIVERIES_MAX]),
        "notifications": list(item.notifications[:DELIVERIES_MAX]),
        "since": None if item.since is None else to_rfc3339(item.since),
    }


def event(row: Any) -> JsonObject:
    """The event of an alert's row."""
    data: JsonObject = {"id": row.id, **msgspec.json.decode(row.data)}
    return {"type": row.kind, "timestamp": to_rfc3339(row.at), "data": data}


def rendered(row: Any, endpoint: Endpoint) -> WireRequest:
    """The request of an alert's row, still to be signed.

    Raises:
        CannotExpress: the endpoint's dialect is a bank's.
    """
    if endpoint.dialect != DIALECT:
        raise CannotExpress(f"{endpoint.dialect} has no words for alerts; {DIALECT} has")
    return WireRequest(body=encode(event(row)), headers=(JSON, (ID, row.id.encode())))
