"""HTTP Basic (RFC 7617). It proves the caller and nothing about the content."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Final

from arifa.errors import NotGenuine, Refused
from arifa.signing.credentials import Credentials
from arifa.signing.proof import NOTHING, Proof, the_only
from arifa.wire import WireRequest

CHALLENGE: Final = (b"www-authenticate", b'Basic realm="arifa"')
"""What a refusal by this proof carries (RFC 7617, 2)."""


@lru_cache(maxsize=1024)
def _digests(username: str | None, passwords: tuple[str, ...]) -> tuple[bytes, ...]:
    """The hashes of what is expected, which are the same for every request of a source."""
    return tuple(sha256(f"{username}:{password}".encode()).digest() for password in passwords)


class Basic(Proof):
    """User and password in the `authorization` header, UTF-8; a password may hold colons."""

    covers = NOTHING
    verifies_with = ("username", "passwords")
    signs_with = ("username", "passwords")

    def __init__(self, *, is_optional: bool = False) -> None:
        self.is_optional = is_optional

    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        """Prove the caller.

        Raises:
            NotGenuine: no such header, several, another scheme, or another user or password.
        """
        scheme, _, token = the_only(request, b"authorization").partition(b" ")
        if scheme.lower() != b"basic":
            raise NotGenuine("the authorization is not Basic")
        try:
            given = binascii.a2b_base64(token.strip(), strict_mode=True)
        except (binascii.Error, ValueError):
            raise NotGenuine("the Basic credentials are not base64") from None
        # Hashes of one length: neither a length nor a common beginning shows in the time taken.
        digest, fits = sha256(given).digest(), False
        for expected in _digests(credentials.username, credentials.passwords):
            fits |= hmac.compare_digest(expected, digest)
        if not fits or not credentials.username:
            raise NotGenuine("the user or the password is not the one agreed")
        return None

    def sign(self, request: WireRequest, credentials: Credentials, now_us: int) -> WireRequest:
        """The request with its authorization header.

        Raises:
            Refused: there is no user or password, or the user holds a colon (RFC 7617, 2).
        """
        if not credentials.username or not credentials.passwords:
            raise Refused("a user and a password are needed; see --username and --password-file")
        if ":" in credentials.username:
            raise Refused("the user name holds a colon, which HTTP Basic cannot carry")
        pair = f"{credentials.username}:{credentials.passwords[0]}".encode()
        return request.with_headers((b"authorization", b"Basic " + b64encode(pair)))
