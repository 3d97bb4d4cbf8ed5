"""A JWS by the sender's key inside a JWE to the receiver's: exchanged keys.

Xente's page asks for exchanged public keys and publishes no envelope. This one is a proposal:
compact JWS (RS256, RFC 7515) nested in compact JWE (RSA-OAEP-256 with A256GCM, RFC 7516), the
body being the text of the JWE. Algorithms are fixed here, never taken from the message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from arifa.errors import NotGenuine, Refused
from arifa.signing.credentials import Credentials
from arifa.signing.keys import normal_pem, rsa_private_key, rsa_public_key
from arifa.signing.proof import Proof
from arifa.wire import WireRequest

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey

_SIGNATURE: Final = "RS256"
_KEY_WRAP: Final = "RSA-OAEP-256"
_CONTENT: Final = "A256GCM"
CONTENT_TYPE: Final = b"application/jose"


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
        from joserfc import jwe, jws

        ours = self._ours(credentials)
        try:
            envelope = jwe.decrypt_compact(request.body, ours, algorithms=[_KEY_WRAP, _CONTENT])
        except Exception:  # noqa: BLE001 - a hostile envelope sets off errors of three libraries
            raise NotGenuine("the body is not an envelope encrypted to our key") from None
        for theirs in self._theirs(credentials):
            try:
                signed = jws.deserialize_compact(
                    envelope.plaintext or b"", theirs, algorithms=[_SIGNATURE]
                )
            except Exception:  # noqa: BLE001, S112 - the next key may fit; the refusal is below
                continue
            return bytes(signed.payload)
        raise NotGenuine("the envelope holds nothing signed by a known key")

    def sign(self, request: WireRequest, credentials: Credentials, now_us: int) -> WireRequest:
        """The request with its body signed by our key and encrypted to the other side's.

        Raises:
            Refused: one of the two keys is missing.
        """
        from joserfc import jwe, jws

        theirs = next(iter(self._theirs(credentials)), None)
        if theirs is None:
            raise Refused("the receiver's public key is needed; give it with --public-key FILE")
        signed = jws.serialize_compact(
            {"alg": _SIGNATURE}, request.body, self._ours(credentials), algorithms=[_SIGNATURE]
        )
        sealed = jwe.encrypt_compact(
            {"alg": _KEY_WRAP, "enc": _CONTENT},
            signed.encode("ascii"),
            theirs,
            algorithms=[_KEY_WRAP, _CONTENT],
        )
        return replace(request, body=sealed.encode("ascii")).with_headers(
            (b"content-type", CONTENT_TYPE)
        )

    @staticmethod
    def _ours(credentials: Credentials) -> RSAKey:
        if credentials.private_key is None:
            raise Refused("our private key is needed; give it with --private-key FILE")
        return _private_key(credentials.private_key)

    @staticmethod
    def _theirs(credentials: Credentials) -> Iterator[RSAKey]:
        return (_public_key(pem) for pem in credentials.public_keys)


# Loading a private key proves its numbers, which takes longer than using it (30 ms, measured).
@lru_cache(maxsize=1024)
def _private_key(pem: bytes) -> RSAKey:
    from joserfc.jwk import RSAKey

    rsa_private_key(pem)
    return RSAKey.import_key(normal_pem(pem))


@lru_cache(maxsize=1024)
def _public_key(pem: bytes) -> RSAKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from joserfc.jwk import RSAKey

    key = rsa_public_key(pem)
    return RSAKey.import_key(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
