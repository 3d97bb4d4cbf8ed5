"""RSASSA-PKCS1-v1_5 with SHA-256 over the raw body, base64 in a header (KCB's `Signature`)."""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from arifa.errors import NotGenuine, Refused, Unreadable
from arifa.signing.credentials import Credentials
from arifa.signing.keys import rsa_private_key, rsa_public_key
from arifa.signing.proof import Proof, the_only
from arifa.wire import WireRequest

if TYPE_CHECKING:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

OtherBytes = Callable[[WireRequest, Mapping[str, str]], bytes | None]


@cache
def _scheme() -> tuple[PKCS1v15, SHA256, type[InvalidSignature]]:
    """Padding, hash, and the error of what does not fit; loaded when first used, and kept."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    return PKCS1v15(), SHA256(), InvalidSignature


class RsaSha256(Proof):
    """An RSA signature over the raw body; any of the public keys may have made it.

    `also_over` gives other bytes that the signature may be over where the options of the source
    say so explicitly, and None otherwise; the raw body always comes first.
    """

    verifies_with = ("public_keys",)
    signs_with = ("private_key",)

    def __init__(self, header: str, also_over: OtherBytes | None = None) -> None:
        self.header = header.lower().encode("ascii")
        self.also_over = also_over

    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        """Prove the raw body.

        Raises:
            NotGenuine: no signature, several, or one that none of the keys made over these bytes.
        """
        signature = self._signature(request)
        if self._is_signed(request.body, signature, credentials):
            return None
        if self.also_over is not None:
            try:
                other = self.also_over(request, options)
            except Unreadable:
                other = None
            if other is not None and self._is_signed(other, signature, credentials):
                return None
        raise NotGenuine("the signature was not made over this body by any of the known keys")

    def _signature(self, request: WireRequest) -> bytes:
        # White space is dropped: gateways fold long headers (seen in a KCB integration). Spare
        # bits of the last character are let be: the bank's own sample has them set.
        text = b"".join(the_only(request, self.header).split())
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except (binascii.Error, ValueError):
            raise NotGenuine("the signature is not base64") from None

    @staticmethod
    def _is_signed(body: bytes, signature: bytes, credentials: Credentials) -> bool:
        padding, algorithm, invalid = _scheme()
        for pem in credentials.public_keys:
            try:
                rsa_public_key(pem).verify(signature, body, padding, algorithm)
            except invalid:
                continue
            return True
        return False

    def sign(self, request: WireRequest, credentials: Credentials, now_us: int) -> WireRequest:
        """The request with its signature header.

        Raises:
            Refused: there is no private key.
        """
        if credentials.private_key is None:
            raise Refused("an RSA private key is needed to sign; give it with --private-key FILE")
        padding, algorithm, _ = _scheme()
        signature = rsa_private_key(credentials.private_key).sign(request.body, padding, algorithm)
        return request.with_headers((self.header, b64encode(signature)))
