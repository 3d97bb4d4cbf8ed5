"""Keys, passwords and addresses of one feed. Opaque to dialects; read by proofs only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from arifa.errors import Refused

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a feed proves itself with. Two keys or secrets at once are a rotation.

    Attributes:
        public_keys: the other side's, PEM (SPKI, PKCS#1 or an X.509 certificate), newest first.
        private_key: ours, PEM; `old_private_keys` still open what is encrypted to them, and sign
            nothing.
        secrets: HMAC keys as bytes, newest first; the newest signs, all verify.
        username, passwords: HTTP Basic (RFC 7617), newest password first.
        addresses: CIDR networks that the peer must be in; empty means no list.
    """

    public_keys: tuple[bytes, ...] = ()
    private_key: bytes | None = None
    old_private_keys: tuple[bytes, ...] = ()
    secrets: tuple[bytes, ...] = ()
    username: str | None = None
    passwords: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def newest(self) -> Credentials:
        """The same without all but the newest of each: what is left when a rotation is over."""
        return replace(
            self,
            public_keys=self.public_keys[:1],
            old_private_keys=(),
            secrets=self.secrets[:1],
            passwords=self.passwords[:1],
        )

    def __repr__(self) -> str:
        # Never the values: a repr reaches logs and tracebacks.
        held = [name for name in self.__slots__ if getattr(self, name)]
        return f"<Credentials: {', '.join(held) or 'none'}>"


@lru_cache(maxsize=1024)
def network(text: str) -> Network:
    """The network that `text` names: an address or CIDR.

    Raises:
        Refused: it names none.
    """
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise Refused(
            f"{text!r} is not an address or a network; write 41.2.2.10 or 41.2.2.0/24"
        ) from None


def normal_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address of `text`, an IPv4 one mapped into IPv6 as IPv4; None where it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=4096)
def is_within(address: str | None, networks: tuple[str, ...]) -> bool:
    """Whether `address` lies in one of the networks; what is not an address lies in none."""
    found = None if address is None else normal_address(address)
    return found is not None and any(found in network(item) for item in networks)
