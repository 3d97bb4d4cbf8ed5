"""Which addresses may be called: those of hosts on the public internet, and no other.

The registries are IANA's for special purposes, of IPv4 and of IPv6 (RFC 6890 and its successors).
An IPv4 address can hide in an IPv6 one; what leads there is judged as the address that it leads to.
"""

from __future__ import annotations

import errno
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final


class AddressRefused(OSError):
    """This address is not called. An `OSError`, so that the client's libraries let it through."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "not a public address")


# The registries, and what clouds keep for themselves. Also refused: what the registries call global,
# but where no merchant can be.
_REFUSED_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' own
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform, seen from inside only
        "169.254.0.0/16",  # link-local, where clouds keep their secrets
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# All that is allocated. What lies outside of it is refused with it: unspecified, loopback, IPv4-
# compatible (::/96) and -translated (::ffff:0:0:0/96), the NAT64 of local use (64:ff9b:1::/48),
# discard-only, SRv6, unique local, link-local, site-local, multicast.
_UNICAST_6: Final = IPv6Network("2000::/3")
_REFUSED_6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID, DRIP
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_CARRIES_4: Final = tuple(
    IPv6Network(text)
    for text in (
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b::/96",  # NAT64
    )
)
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)


@lru_cache(maxsize=4096)
def is_public(text: str) -> bool:
    """Whether `text` is the address of a host on the public internet, as far as an address tells.

    An IPv4 address inside an IPv6 one counts as itself where the network would lead there.
    """
    try:
        address = ip_address(text)
    except ValueError:
        # Also with a zone (`fe80::1%eth0`): only what is not public has one.
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_4)
    return _is_public_6(address)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    inner = IPv4Address(int(address) & 0xFFFF_FFFF)
    if any(address in network for network in _CARRIES_4):
        return is_public(str(inner))
    if address not in _UNICAST_6 or any(address in network for network in _REFUSED_6):
        return False
    is_isatap = (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP
    return not is_isatap or is_public(str(inner))


def is_address(host: str) -> bool:
    """Whether `host` is an address in its ordinary spelling, and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
