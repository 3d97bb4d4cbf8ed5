"""Key pairs that `--generate-key` makes, in the data folder under `keys/`, mode 0600.

Of a feed that the other side signs with its own key, both halves are made, so that it can be tried
before the bank has sent its key: the private half, which the store never sees, lies in
`keys/ID.pem`, where the simulated bank finds it. Of our own pair the private half is sealed in the
store, and `keys/ID.public.pem` (RSA) or `keys/ID.whpk` (Ed25519) is for the other side.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from arifa.dialects.base import Dialect
from arifa.errors import Refused
from arifa.hub.checks import signs_webhooks
from arifa.signing import Credentials
from arifa.signing.keys import new_rsa_key
from arifa.signing.webhook import new_key_pair
from arifa.store.database import Connection
from arifa.store.opened import Store

FOLDER: Final = "keys"

T = TypeVar("T")


def their_private_key(data: Path, identity: str) -> Path:
    """Where the private key of the other side of this feed (by id) lies, if we made it."""
    return data / FOLDER / f"{identity}.pem"


def our_public_key(data: Path, identity: str) -> Path:
    """Where the public half of our own generated key for this feed (by id) lies."""
    return data / FOLDER / f"{identity}.public.pem"


def our_public_webhook_key(data: Path, identity: str) -> Path:
    """Where the `whpk_` half of our own generated Ed25519 key for this feed (by id) lies."""
    return data / FOLDER / f"{identity}.whpk"


def public_of_endpoint(data: Path, identity: str) -> Path | None:
    """Where the public half of an endpoint's own generated key lies, if it was made here."""
    places = (our_public_key(data, identity), our_public_webhook_key(data, identity))
    return next((path for path in places if path.is_file()), None)


def remove_of_endpoint(data: Path, identity: str) -> None:
    """Remove what was made for an endpoint that is gone."""
    remove(our_public_key(data, identity))
    remove(our_public_webhook_key(data, identity))


def write(path: Path, pem: bytes) -> None:
    """Put a key into its file, which nobody else may read; an older one is replaced.

    Raises:
        Refused: it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        remove(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Refused(f"the key file {path} cannot be written: {error.strerror}") from error


def remove(path: Path) -> None:
    """Remove a key's file, if it is there."""
    with suppress(FileNotFoundError):
        path.unlink()


class KeyPairs:
    """The key pairs made for one feed.

    Attributes:
        identity: the feed's id.
        theirs, ours: the files of the halves that are not in the store; None where none was made.
        public: the text in `ours`.
    """

    def __init__(self, data: Path, identity: str) -> None:
        self._data = data
        self.identity = identity
        self._files: dict[Path, bytes] = {}
        self.theirs: Path | None = None
        self.ours: Path | None = None
        self.public: str | None = None
        self.notes: list[str] = []

    def copy_of(self, other: str) -> None:
        """Keep the public halves that were made for another feed (by id): the keys are the same."""
        for place in (our_public_key, our_public_webhook_key):
            path = place(self._data, other)
            if path.is_file():
                self.ours = place(self._data, self.identity)
                self._keep_public(path.read_bytes())

    def for_source(self, dialect: Dialect, credentials: Credentials) -> Credentials:
        """The credentials with what a source of this dialect verifies by, and has not been given."""
        needed = {name for proof in dialect.proofs for name in proof.verifies_with}
        made = credentials
        if "public_keys" in needed and not credentials.public_keys:
            made = replace(made, public_keys=(self._for_the_other_side(),))
        if "private_key" in needed and credentials.private_key is None:
            made = replace(made, private_key=self._of_our_own())
        return self._checked(dialect, credentials, made)

    def for_endpoint(self, dialect: Dialect, credentials: Credentials) -> Credentials:
        """The credentials with what an endpoint of this dialect signs by, and was not given."""
        needed = {name for proof in dialect.proofs for name in proof.signs_with}
        made = credentials
        if "private_key" in needed and credentials.private_key is None:
            made = replace(made, private_key=self._of_our_own())
        if signs_webhooks(dialect):
            made = replace(made, secrets=(self._for_webhooks(), *made.secrets))
        return self._checked(dialect, credentials, made)

    def _checked(self, dialect: Dialect, given: Credentials, made: Credentials) -> Credentials:
        if made == given:
            raise Refused(
                f"there is no key to generate: {dialect.name} needs none here, or all are given"
            )
        return made

    def _for_the_other_side(self) -> bytes:
        private, public = new_rsa_key()
        self.theirs = their_private_key(self._data, self.identity)
        self._files[self.theirs] = private
        self.notes.append(
            f"the bank's key pair was made here, for trying it out: whoever reads {self.theirs} can "
            f"sign as the bank. For real payments give the bank's own key with --public-key"
        )
        return public

    def _of_our_own(self) -> bytes:
        private, public = new_rsa_key()
        self.ours = our_public_key(self._data, self.identity)
        self._keep_public(public)
        return private

    def _for_webhooks(self) -> bytes:
        private, public = new_key_pair()
        self.ours = our_public_webhook_key(self._data, self.identity)
        self._keep_public(public + b"\n")
        return private

    def _keep_public(self, public: bytes) -> None:
        assert self.ours is not None
        self.public = public.decode("ascii").rstrip("\n")
        self._files[self.ours] = public
        self.notes.append(f"our public key, for the other side, is in {self.ours}")

    def store_with(self, store: Store, change: Callable[[Connection], T]) -> T:
        """Make the change and the files, or neither."""
        try:
            with store.database.write() as connection:
                result = change(connection)
                for path, pem in self._files.items():
                    write(path, pem)
        except BaseException:
            for path in self._files:
                remove(path)
            raise
        return result
