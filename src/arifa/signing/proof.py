"""The contract of a proof."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final

from arifa.errors import NotGenuine
from arifa.signing.credentials import Credentials
from arifa.wire import WireRequest

EVERYTHING: Final = frozenset({"*"})
NOTHING: Final[frozenset[str]] = frozenset()


class Proof(ABC):
    """One way to show who sent a request.

    Attributes:
        covers: the canonical field names that it protects; `EVERYTHING` for the whole body,
            `NOTHING` where it proves the caller but not the content.
        verifies_with, signs_with: the names of the `Credentials` it cannot do without, for the two
            directions; a source or an endpoint that lacks one is refused when it is made.
        is_optional: it runs only where its credentials are configured.
        is_plural: one request carries the signatures of several secrets, and one that fits is
            enough.
        is_envelope: the message lies inside what it proves, so it must be opened to be read.
    """

    is_plural: ClassVar[bool] = False
    is_envelope: ClassVar[bool] = False
    covers: frozenset[str] = EVERYTHING
    verifies_with: ClassVar[tuple[str, ...]] = ()
    signs_with: ClassVar[tuple[str, ...]] = ()
    is_optional: bool = False

    def applies(self, credentials: Credentials) -> bool:
        """Whether it runs: always, or where it is optional and its credentials are there."""
        return not self.is_optional or all(
            getattr(credentials, name) for name in self.verifies_with
        )

    @abstractmethod
    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        """Prove `request`; give the content to read where it is not the body itself.

        Raises:
            NotGenuine: it is not proven, for whatever reason.
        """

    @abstractmethod
    def sign(self, request: WireRequest, credentials: Credentials, now_us: int) -> WireRequest:
        """The request with this proof on it: what `verify` accepts.

        Raises:
            Refused: a credential for it is missing or cannot be used.
        """


class Unproven(Proof):
    """No proof at all, said by name. A source of such a dialect needs a compensating control."""

    covers = NOTHING

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        """Nothing is proven."""
        return None

    def sign(self, request: WireRequest, credentials: Credentials, now_us: int) -> WireRequest:
        """Nothing is added."""
        return request


def the_only(request: WireRequest, header: bytes) -> bytes:
    """The value of a proof's header, which must be there exactly once.

    Two signatures would leave it open which one a proxy or a parser behind us looks at.
    """
    size, times, found = len(header), 0, b""
    for name, value in request.headers:
        if len(name) == size and name.lower() == header:
            times += 1
            found = value
    if times != 1:
        how = "is missing" if not times else f"comes {times} times"
        raise NotGenuine(f"the {header.decode('ascii')} header {how}")
    return found
