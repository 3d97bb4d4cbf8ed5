"""An opened store: the database, the vault, this writer's name and where its files lie."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from arifa.errors import Refused, StoreUnfit
from arifa.identifiers import unguessable
from arifa.store import seals
from arifa.store.database import Database, database_url, sqlite_path
from arifa.store.migrate import migrate
from arifa.store.schema import meta
from arifa.store.vault import (
    KEY_BYTES,
    Vault,
    key_text,
    new_key,
    read_key,
    read_key_file,
    write_once,
)

KEY_FILE: Final = "master.key"
NODE_FILE: Final = "node"
_NODE_NAME: Final = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_FINGERPRINT: Final = "key_fingerprint"


@dataclass(frozen=True, slots=True)
class Store:
    """What everything above works with.

    Attributes:
        folder: the data folder: key file, node name, seal head, and the SQLite file by default.
        writer: this node's name in the seals and counters.
        migrated_from: the schema's version that was found; None for an empty database.
    """

    database: Database
    vault: Vault
    folder: Path
    writer: str
    migrated_from: str | None = None

    def close(self) -> None:
        """Close every connection."""
        self.database.close()


def open_store(
    folder: Path, url: str | None = None, key: str | None = None, worker: int = 0
) -> Store:
    """Open, and make or migrate, the store.

    Args:
        folder: the data folder; made with mode 0700 where it is not there.
        url: the database; `sqlite:///FOLDER/arifa.db` by default.
        key: the key-encryption key in base64; the file in the folder by default.
        worker: which of several serving processes on this folder it is.

    Raises:
        Refused: folder, URL or key cannot be used.
        StoreError: the database cannot be opened, is another program's or newer than this one.
    """
    folder = folder.expanduser().absolute()
    address = URL.create("sqlite", database=str(folder / "arifa.db"))
    if url is not None:
        address = database_url(url)
    _make_folder(folder)
    if address.get_backend_name() == "sqlite":
        _check_sqlite_place(sqlite_path(address))
    database = Database(address)
    try:
        found = migrate(database)
        vault = _open_vault(database, folder, key, is_new=found is None)
        name = _node_name(folder)
        return Store(database, vault, folder, f"{name}-{worker}" if worker else name, found)
    except BaseException:
        database.close()
        raise


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            f"the data folder {folder} cannot be made ({error.strerror}); give another with --data"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Refused(f"the data folder {folder} cannot be written; give another with --data")


def _check_sqlite_place(path: Path) -> None:
    if str(path) in (".", ":memory:"):
        raise Refused("Arifa keeps money: it needs a file, not an SQLite database in memory")
    if not path.parent.is_dir():
        raise Refused(f"there is no folder {path.parent} for the database file")
    if path.is_dir():
        raise Refused(f"{path} is a folder, not a database file")
    if not path.exists():
        # Made by us first, so that nobody else may read it, not even for a moment.
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError as error:
            raise Refused(f"the database file {path} cannot be made: {error.strerror}") from error
    elif not os.access(path, os.R_OK | os.W_OK):
        raise Refused(f"the database file {path} cannot be read and written by this user")


def _open_vault(database: Database, folder: Path, key: str | None, *, is_new: bool) -> Vault:
    with database.read() as connection:
        expected = _meta(connection, _FINGERPRINT)
    found = None if key is None else read_key(key, "the environment")
    if found is None:
        found = read_key_file(folder / KEY_FILE)
    if found is None:
        if expected is not None and not is_new:
            raise StoreUnfit(
                f"the database holds secrets, but its key is missing: put {KEY_FILE} back into "
                f"{folder}, or give it in ARIFA_KEY (base64 of {KEY_BYTES} bytes)"
            )
        # Where another command of the same moment has made one, that one is the key.
        write_once(folder / KEY_FILE, key_text(new_key()))
        found = read_key_file(folder / KEY_FILE)
        assert found is not None
    vault = Vault(found)
    if expected is None:
        expected = _claim_fingerprint(database, vault.fingerprint)
    if expected != vault.fingerprint:
        raise StoreUnfit(
            "the key-encryption key is not the one this database was written with; its secrets "
            "cannot be opened: put the right key back"
        )
    return vault


def _claim_fingerprint(database: Database, fingerprint: str) -> str:
    with database.write() as connection:
        found = _meta(connection, _FINGERPRINT)
        if found is None:
            connection.execute(sa.insert(meta).values(name=_FINGERPRINT, value=fingerprint))
            found = fingerprint
        return found


def _meta(connection: Connection, name: str) -> str | None:
    value: str | None = connection.execute(
        sa.select(meta.c.value).where(meta.c.name == name)
    ).scalar()
    return value


def _node_name(folder: Path) -> str:
    """This node's name: random, made once, kept beside the data."""
    path = folder / NODE_FILE
    if not path.exists():
        write_once(path, f"node-{unguessable()[:16]}\n".encode())
    try:
        name = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        name = ""
    if not _NODE_NAME.fullmatch(name):
        raise Refused(f"{path} does not hold this node's name; put it back from a backup")
    return name


def check_sealed(store: Store) -> None:
    """Refuse to go on where the database no longer holds what this node acknowledged.

    Raises:
        StoreBroken: something acknowledged is missing.
    """
    with store.database.read() as connection:
        seals.check_heads(connection, store.folder)
