"""Secrets at rest: AES-256-GCM, each value bound to the row it belongs to.

The key-encryption key is a file beside the data, or the environment; never in the database. Its
fingerprint is, so that another key is noticed before anything is written with it.
"""

from __future__ import annotations

import binascii
import hashlib
import os
from base64 import b64decode, b64encode
from pathlib import Path
from shlex import quote
from typing import Final

from arifa.errors import Refused, StoreUnfit

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_VERSION: Final = b"\x01"


class Vault:
    """Seals and opens values with one key."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)
        self.fingerprint = hashlib.sha256(b"arifa key-encryption key" + key).hexdigest()[:32]

    def seal(self, value: bytes, place: str) -> bytes:
        """The value encrypted for `place` (merchant|table|column|id), and for no other."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, value, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """The value.

        Raises:
            StoreUnfit: damaged, moved here from another row, or sealed with another key.
        """
        from cryptography.exceptions import InvalidTag

        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, place.encode())
        except (InvalidTag, ValueError):
            raise StoreUnfit(
                f"a secret of {place} cannot be opened: it was damaged, or moved from another row"
            ) from None


def new_key() -> bytes:
    """32 random bytes."""
    return os.urandom(KEY_BYTES)


def key_text(key: bytes) -> bytes:
    """The key as its file holds it: base64, and a line end."""
    return b64encode(key) + b"\n"


def read_key(text: str, where: str) -> bytes:
    """The key that base64 `text` holds; `where` names its place for the error.

    Raises:
        Refused: not 32 bytes in base64.
    """
    try:
        key = b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise Refused(f"the key-encryption key in {where} is not {KEY_BYTES} bytes in base64")
    return key


def read_key_file(path: Path) -> bytes | None:
    """The key in `path`, or None where there is no such file.

    Raises:
        Refused: it cannot be read, or others may read it.
    """
    try:
        text = path.read_text("ascii")
        mode = path.stat().st_mode & 0o077
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"the key file {path} cannot be read: {error}") from error
    if mode and os.name == "posix":
        raise Refused(
            f"the key file {path} can be read by others; run: chmod 600 {quote(str(path))}"
        )
    return read_key(text, str(path))


def write_once(path: Path, content: bytes) -> bool:
    """Make a file, mode 0600, whole and on disk before it has its name; false where it is there.

    Raises:
        Refused: it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(fresh, path)
        except FileExistsError:
            return False
        finally:
            fresh.unlink()
    except OSError as error:
        raise Refused(f"the file {path} cannot be made: {error.strerror}") from error
    return True
