"""A store on each engine: fixtures for whatever must behave the same on both."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arifa.store.opened import Store, open_store
from arifa.testing.postgres import PostgresServer, postgres_or_skip

KEY = b64encode(bytes(range(32))).decode()
Opener = Callable[..., Store]


@pytest.fixture(scope="session")
def postgres_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[PostgresServer, str]:
    """A migrated database to copy: migrating one for every test would take longer than the test."""
    server = postgres_or_skip()
    url = server.create_database()
    open_store(tmp_path_factory.mktemp("template"), url, KEY).close()
    return server, url


@pytest.fixture(params=["sqlite", "postgres"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the test's own database, as often as it is called: as several nodes would."""
    url, server, opened = None, None, []
    if request.param == "postgres":
        server, template = request.getfixturevalue("postgres_template")
        url = server.create_database(template)

    def opened_again(worker: int = 0) -> Store:
        store = open_store(tmp_path / "data", url, KEY, worker)
        opened.append(store)
        return store

    yield opened_again
    for store in opened:
        store.close()
    if server is not None:
        server.drop_database(url)


@pytest.fixture
def store(opener: Opener) -> Store:
    """One store on one of the engines."""
    return opener()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """A store on SQLite, where the engine makes no difference."""
    opened = open_store(tmp_path / "data", None, KEY)
    yield opened
    opened.close()
