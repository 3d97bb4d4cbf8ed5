"""Who is calling: the socket's peer, or what a configured proxy says of it.

Only `x-forwarded-for` of a configured proxy is believed, and it is walked from the right: the last
address that is not a proxy of ours is the caller's. What stands left of it anyone may have written.
Without configured proxies the header is nothing.
"""

from __future__ import annotations

from functools import lru_cache

from arifa.signing.credentials import is_within, network, normal_address
from arifa.wire import Headers, values

HOPS_MAX = 32


class Proxies:
    """The networks whose `x-forwarded-for` is believed."""

    def __init__(self, networks: tuple[str, ...] = ()) -> None:
        for text in networks:
            network(text)
        self._networks = networks

    def caller(self, peer: str | None, headers: Headers) -> str | None:
        """The caller's address, IPv4 in IPv6 as IPv4; None where it cannot be told."""
        if not self._networks or not is_within(peer, self._networks):
            return _normal(peer)
        hops = [
            hop.strip()
            for value in values(headers, b"x-forwarded-for")
            for hop in value.decode("latin-1").split(",")
        ]
        for hop in reversed(hops[-HOPS_MAX:]):
            address = _normal(_without_port(hop))
            if address is None:
                # Something that is no address stands where a proxy of ours wrote: nobody is known.
                return None
            if not is_within(address, self._networks):
                return address
        return _normal(peer)


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    head, colon, tail = hop.partition(":")
    return head if colon and ":" not in tail else hop


@lru_cache(maxsize=4096)
def _normal(text: str | None) -> str | None:
    address = None if text is None else normal_address(text)
    return None if address is None else str(address)
