"""Credentials as one sealed value."""

from __future__ import annotations

import msgspec

from arifa.signing import Credentials
from arifa.store.vault import Vault


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    public_keys: tuple[bytes, ...] = ()
    private_key: bytes | None = None
    old_private_keys: tuple[bytes, ...] = ()
    secrets: tuple[bytes, ...] = ()
    username: str | None = None
    passwords: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def sealed(vault: Vault, credentials: Credentials, place: str) -> bytes:
    """The credentials encrypted for the row `place`."""
    stored = _Stored(
        public_keys=credentials.public_keys,
        private_key=credentials.private_key,
        old_private_keys=credentials.old_private_keys,
        secrets=credentials.secrets,
        username=credentials.username,
        passwords=credentials.passwords,
        addresses=credentials.addresses,
    )
    return vault.seal(msgspec.msgpack.encode(stored), place)


def opened(vault: Vault, value: bytes, place: str) -> Credentials:
    """The credentials of the row `place`.

    Raises:
        StoreUnfit: they cannot be opened.
    """
    stored = msgspec.msgpack.decode(vault.open(value, place), type=_Stored)
    return Credentials(
        public_keys=stored.public_keys,
        private_key=stored.private_key,
        old_private_keys=stored.old_private_keys,
        secrets=stored.secrets,
        username=stored.username,
        passwords=stored.passwords,
        addresses=stored.addresses,
    )
