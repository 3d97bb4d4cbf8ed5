"""The peer's address against a list. It proves a network, and nothing about the content.

`WireRequest.peer` is the socket's peer, or what a configured proxy says of it: the edge has
already walked `x-forwarded-for` from the right, so nothing here reads a header.
"""

from __future__ import annotations

from collections.abc import Mapping

from arifa.errors import NotGenuine
from arifa.signing.credentials import Credentials, is_within
from arifa.signing.proof import NOTHING, Proof
from arifa.wire import WireRequest


class AddressList(Proof):
    """The peer is in one of the networks of the source."""

    covers = NOTHING
    verifies_with = ("addresses",)

    def __init__(self, *, is_optional: bool = False) -> None:
        self.is_optional = is_optional

    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        """Prove the network.

        Raises:
            NotGenuine: the peer is not known, or not in the list.
        """
        if not is_within(request.peer, credentials.addresses):
            raise NotGenuine("the caller's address is not in the list of the source")
        return None

    def sign(self, request: WireRequest, credentials: Credentials, now_us: int) -> WireRequest:
        """Nothing: an address is where one calls from."""
        return request
