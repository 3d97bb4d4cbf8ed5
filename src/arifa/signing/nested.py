"""A JWS by the sender's key inside a JWE to the receiver's: exchanged keys.

Xente's page asks for exchanged public keys and publishes no envelope. This one is a proposal:
compact JWS (RS256, RFC 7515) nested in compact JWE (RSA-OAEP-256 with A256GCM, RFC 7516), the
body being the text of the JWE. Algorithms are fixed here, never taken from the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from arifa.errors import NotGenuine, Refused
from arifa.signing.credentials import Credentials
from arifa.signing.jws import CONTENT_TYPE, private_jwk, public_jwk, signed, signed_content
from arifa.signing.proof import Proof
from arifa.wire import WireRequest

_KEY_WRAP: Final = "RSA-OAEP-256"
_CONTENT: Final = "A256GCM"


class SignedThenEncrypted(Proof):
    """Signed by the other side's key, encrypted to ours; it runs where both keys are configured."""

    is_envelope = True
    verifies_with = ("public_keys", "private_key")
    signs_with = ("public_keys", "private_key")

    def __init__(self, *, is_optional: bool = False) -> None:
        self.is_optional = is_optional

    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        """Decrypt the body with our key and prove the signature within; gives the signed content.

        Raises:
            NotGenuine: not such an envelope, not to us, or not signed by a known key.
        """
        from joserfc import jwe

        if credentials.private_key is None:
            raise NotGenuine("there is no key of ours to open an envelope with")
        ours = private_jwk(credentials.private_key)
        try:
            envelope = jwe.decrypt_compact(request.body, ours, algorithms=[_KEY_WRAP, _CONTENT])
        except Exception:  # noqa: BLE001 - a hostile envelope sets off errors of three libraries
            raise NotGenuine("the body is not an envelope encrypted to our key") from None
        return signed_content(envelope.plaintext or b"", credentials)

    def sign(self, request: WireRequest, credentials: Credentials, now_us: int) -> WireRequest:
        """The request with its body signed by our key and encrypted to the other side's.

        Raises:
            Refused: one of the two keys is missing.
        """
        from joserfc import jwe

        if not credentials.public_keys:
            raise Refused("the receiver's public key is needed; give it with --public-key FILE")
        sealed = jwe.encrypt_compact(
            {"alg": _KEY_WRAP, "enc": _CONTENT},
            signed(request.body, credentials),
            public_jwk(credentials.public_keys[0]),
            algorithms=[_KEY_WRAP, _CONTENT],
        )
        return replace(request, body=sealed.encode("ascii")).with_headers(
            (b"content-type", CONTENT_TYPE)
        )
