"""What the tests of proofs share: a clock that stands, and a request."""

from __future__ import annotations

import pytest

from arifa.errors import NotGenuine
from arifa.signing import Credentials, Proof
from arifa.timestamp import from_rfc3339
from arifa.wire import WireRequest

NOW_US = from_rfc3339("2026-11-20T07:42:38Z")
BODY = '{"name": "Wanjikũ", "amount": "100.00"}'.encode()


def request(body: bytes = BODY, *headers: tuple[bytes, bytes]) -> WireRequest:
    return WireRequest(body=body, headers=headers)


def passes(proof: Proof, one: WireRequest, credentials: Credentials, now_us: int = NOW_US) -> bool:
    """Whether it verifies; any error but `NotGenuine` is an error of the test."""
    try:
        proof.verify(one, credentials, {}, now_us)
    except NotGenuine:
        return False
    return True


def refuses(
    proof: Proof,
    one: WireRequest,
    credentials: Credentials,
    words: str = ".",
    *,
    now_us: int = NOW_US,
) -> None:
    """See that it is refused, for the reason that `words` are from."""
    with pytest.raises(NotGenuine, match=words):
        proof.verify(one, credentials, {}, now_us)
