"""A JWS by the sender's key inside a JWE to the receiver's: exchanged keys.

Xente's page asks for exchanged public keys and publishes no envelope. This one is a proposal:
compact JWS (RS256, RFC 7515) nested in compact JWE (RSA-OAEP-256 with A256GCM, RFC 7516), the
body being the text of the JWE. The signed header says for whom (`aud`, the fingerprint of the
receiver's key): else a receiver could seal it anew for another. Algorithms are fixed here, never taken from the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

from arifa.errors import NotGenuine, Refused
from arifa.signing.credentials import Credentials
from arifa.signing.jws import CONTENT_TYPE, private_jwk, public_jwk, signed, signed_content
from arifa.signing.keys import private_fingerprint, public_fingerprint
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
        if credentials.private_key is None:
            raise NotGenuine("there is no key of ours to open an envelope with")
        for key in (credentials.private_key, *credentials.old_private_keys):
            content = _opened(request.body, key)
            if content is not None:
                return signed_content(content, credentials, _our_address(key))
        raise NotGenuine("the body is not an envelope encrypted to our key")

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
            signed(request.body, credentials, _their_address(credentials.public_keys[0])),
            public_jwk(credentials.public_keys[0]),
            algorithms=[_KEY_WRAP, _CONTENT],
        )
        return replace(request, body=sealed.encode("ascii")).with_headers(
            (b"content-type", CONTENT_TYPE)
        )


def _opened(body: bytes, private_key: bytes) -> bytes | None:
    """What was encrypted to this key; None where nothing was."""
    from joserfc import jwe

    ours = private_jwk(private_key)
    try:
        envelope = jwe.decrypt_compact(body, ours, algorithms=[_KEY_WRAP, _CONTENT])
    except Exception:  # noqa: BLE001 - a hostile envelope sets off errors of three libraries
        return None
    return envelope.plaintext or b""


@lru_cache(maxsize=1024)
def _our_address(private_key: bytes) -> str:
    return private_fingerprint(private_key)


@lru_cache(maxsize=1024)
def _their_address(public_key: bytes) -> str:
    return public_fingerprint(public_key)
