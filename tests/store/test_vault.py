"""Secrets at rest: sealed to their row, opened with one key only."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from arifa.errors import Refused, StoreBroken, StoreUnfit
from arifa.store import seals, sources
from arifa.store.opened import KEY_FILE, Store, check_sealed, open_store
from arifa.store.schema import sources as sources_table
from arifa.store.vault import Vault, new_key, read_key
from tests.engines import KEY
from tests.hub.bank import Hub, request


def test_a_value_opens_in_its_own_place_only() -> None:
    """A sealed value that was moved to another row, or changed, does not open."""
    vault = Vault(new_key())
    sealed = vault.seal(b"secret", "m|sources|credentials|src_1")

    assert vault.open(sealed, "m|sources|credentials|src_1") == b"secret"
    for place, value in [
        ("m|sources|credentials|src_2", sealed),
        ("m|sources|credentials|src_1", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        ("m|sources|credentials|src_1", b""),
    ]:
        with pytest.raises(StoreUnfit):
            vault.open(value, place)


def test_no_secret_stands_in_the_file(tmp_path: Path) -> None:
    """Neither the database nor its log holds a secret of a source as it was given."""
    store = open_store(tmp_path / "data")
    Hub(store).source("cbs")
    store.close()

    for path in (tmp_path / "data").iterdir():
        assert b"test-client-secret" not in path.read_bytes(), path.name


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """The key file is made with mode 0600 when the database is new, and used from then on."""
    open_store(tmp_path / "data").close()
    first = (tmp_path / "data" / KEY_FILE).read_bytes()
    open_store(tmp_path / "data").close()

    assert (tmp_path / "data" / KEY_FILE).read_bytes() == first
    assert (tmp_path / "data" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_missing_key_is_not_made_anew(tmp_path: Path) -> None:
    """A database with secrets does not get another key, which could open none of them."""
    open_store(tmp_path / "data").close()
    (tmp_path / "data" / KEY_FILE).unlink()

    with pytest.raises(StoreUnfit, match="key is missing"):
        open_store(tmp_path / "data")
    assert not (tmp_path / "data" / KEY_FILE).exists()


def test_another_key_is_refused(tmp_path: Path) -> None:
    """A key that is not the database's is noticed before anything is written with it."""
    open_store(tmp_path / "data").close()
    (tmp_path / "data" / KEY_FILE).unlink()
    from base64 import b64encode

    with pytest.raises(StoreUnfit, match="not the one"):
        open_store(tmp_path / "data", None, b64encode(new_key()).decode())


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """A key file with an open mode is named, with the command that closes it."""
    open_store(tmp_path / "data").close()
    (tmp_path / "data" / KEY_FILE).chmod(0o644)

    with pytest.raises(Refused, match="chmod 600"):
        open_store(tmp_path / "data")


@pytest.mark.parametrize("text", ["", "short", "A" * 44, "!" * 44])
def test_a_key_has_32_bytes(text: str) -> None:
    """Anything but 32 bytes in base64 is refused, and not shown."""
    if text == "A" * 44:
        text = "A" * 40
    with pytest.raises(Refused) as caught:
        read_key(text, "the environment")
    assert not text or text not in str(caught.value)


def test_a_source_row_moved_to_another_does_not_open(sqlite_store: Store) -> None:
    """Credentials copied between rows of the database are refused."""
    hub = Hub(sqlite_store)
    hub.source("cbs")
    hub.source("jenga")
    with sqlite_store.database.write() as connection:
        stolen = connection.execute(
            sa.select(sources_table.c.credentials).where(sources_table.c.name == "cbs")
        ).scalar()
        connection.execute(
            sa.update(sources_table)
            .where(sources_table.c.name == "jenga")
            .values(credentials=stolen)
        )

    with pytest.raises(StoreUnfit), sqlite_store.database.read() as connection:
        sources.get(connection, sqlite_store.vault, "jenga")


def test_a_database_behind_its_noted_head_is_not_served(tmp_path: Path) -> None:
    """An older copy of the database, put back after an answer was given, is noticed at start."""
    store = open_store(tmp_path / "data")
    hub = Hub(store)
    hub.source("kcb")
    hub.one("kcb", request("kcb", transactionReference="FT1"))
    store.close()
    database = tmp_path / "data" / "arifa.db"
    older = database.read_bytes()
    store = open_store(tmp_path / "data")
    hub = Hub(store)
    hub.sources["kcb"] = _source(store)
    hub.one("kcb", request("kcb", transactionReference="FT2"))
    store.close()
    check_sealed(open_store(tmp_path / "data"))

    database.write_bytes(older)

    with pytest.raises(StoreBroken, match="has been lost"):
        check_sealed(open_store(tmp_path / "data"))


def _source(store: Store):
    with store.database.read() as connection:
        return sources.get(connection, store.vault, "kcb")


def test_another_chain_is_noticed(sqlite_store: Store) -> None:
    """A head that is not the one noted beside the database is refused, with what to look at."""
    hub = Hub(sqlite_store)
    hub.source("kcb")
    hub.one("kcb", request("kcb"))
    path = sqlite_store.folder / f"{seals.HEAD_PREFIX}{sqlite_store.writer}"
    path.write_text(f"{sqlite_store.writer} 1 {'00' * 32}\n")

    with pytest.raises(StoreBroken, match="seal 1"):
        check_sealed(sqlite_store)


def test_a_writer_keeps_its_name(sqlite_store: Store) -> None:
    """A store opened again goes on with the same writer, and so with the same chain of seals."""
    again = open_store(sqlite_store.folder, None, KEY)
    assert again.writer == sqlite_store.writer
    again.close()
