"""An endpoint as it is shown: everything about it but its secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from arifa import dialects
from arifa.cli.arguments import when
from arifa.cli.endpoint_flags import shown_seconds
from arifa.cli.source import described
from arifa.errors import ArifaError
from arifa.feed import Endpoint
from arifa.signing import Credentials

if TYPE_CHECKING:
    from arifa.store.database import Connection

HIDDEN: Final = "********"


def row(endpoint: Endpoint, proof: str | None = None) -> dict[str, Any]:
    """What a list has of it; `proof` is JSON."""
    from arifa.hub.golive import checked

    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url,
        "dialect": endpoint.dialect,
        "merchant": endpoint.merchant,
        "state": endpoint.state,
        "reason": endpoint.reason,
        "go_live": checked(endpoint.merchant, proof),
    }


def settings(endpoint: Endpoint, source_names: Mapping[str, str]) -> dict[str, Any]:
    """What can be set about it, by the names of the options."""
    from arifa.hub.edit import settings_of

    values = settings_of(endpoint)
    del values["url"]
    values["show_phone"] = _tells_phone(endpoint)
    return {shown_name(name): shown(name, value, source_names) for name, value in values.items()}


def _tells_phone(endpoint: Endpoint) -> bool:
    """Whether it is told the payer's whole number: most banks' forms have no masked one."""
    try:
        dialect = dialects.get(endpoint.dialect)
    except ArifaError:
        # A dialect that is no longer installed: the rest can still be shown.
        return endpoint.show_phone
    return dialect.passes_on or "payer.phone" in dialect.carried(endpoint.profile)


def shown_name(name: str) -> str:
    """A setting's name as its option has it."""
    return {"delays": "schedule", "halts": "halt_on_dead"}.get(name, name)


def shown(name: str, value: Any, source_names: Mapping[str, str]) -> Any:
    """A setting's value for people and for `--json`: no header's value."""
    if name == "headers":
        return dict.fromkeys(value, HIDDEN)
    if name == "sources":
        return sorted(source_names.get(one, one) for one in value)
    if name == "delays" and value is not None:
        return [shown_seconds(one) for one in value]
    return value


def last_result(connection: Connection, endpoint: Endpoint) -> dict[str, Any] | None:
    """What its newest delivery that was tried came to."""
    from arifa.store import endpoint_deliveries

    found = endpoint_deliveries.last_tried(connection, endpoint)
    if found is None:
        return None
    return {
        "delivery": found.id,
        "state": found.state,
        "status": found.last_status,
        "cause": found.last_cause,
    }


# ---------------------------------------------------------------------------------- keys


def keys(endpoint: Endpoint, now_us: int) -> dict[str, Any]:
    """What it proves itself with, by fingerprint and number, and how far a rotation is."""
    return {
        "credentials": described(endpoint.credentials),
        "our_public_keys": public_keys(endpoint.credentials),
        "rotation": _rotation(endpoint, now_us),
    }


def public_keys(credentials: Credentials) -> list[str]:
    """The public halves of our own keys, for the other side: PEM, or `whpk_` texts."""
    from arifa.signing.keys import public_half
    from arifa.signing.webhook import is_private_key
    from arifa.signing.webhook import public_half as webhook_half

    found = [webhook_half(secret) for secret in credentials.secrets if is_private_key(secret)]
    if credentials.private_key is not None:
        found.append(public_half(credentials.private_key))
    return [key.decode("ascii").strip() for key in found]


def _rotation(endpoint: Endpoint, now_us: int) -> dict[str, Any] | None:
    old = endpoint.retiring
    if old is None:
        return None
    state = "over"
    if endpoint.is_rotating(now_us):
        state = "both sign" if _signs_together(endpoint, old) else "the old one signs"
    return {
        "state": state,
        "until": when(endpoint.retires_at),
        "old": described(old),
        "old_public_keys": public_keys(old),
    }


def _signs_together(endpoint: Endpoint, old: Credentials) -> bool:
    try:
        together = dialects.get(endpoint.dialect).signs_together
    except ArifaError:
        # A dialect that is no longer installed: the rest can still be shown.
        return False
    return together and old.secrets != endpoint.credentials.secrets
