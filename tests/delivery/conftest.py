"""A store on each engine, with endpoints and deliveries to try the worker on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arifa.store.opened import Store, open_store
from arifa.testing.postgres import PostgresServer, postgres_or_skip
from tests.delivery.hub import KEY, Hub


@pytest.fixture(scope="session")
def postgres_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[PostgresServer, str]:
    """A migrated database to copy: migrating one for every test would take longer than the test."""
    server = postgres_or_skip()
    url = server.create_database()
    open_store(tmp_path_factory.mktemp("template"), url, KEY).close()
    return server, url


@pytest.fixture(params=["sqlite", "postgres"])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the test's own database, as often as it is called: as several nodes would."""
    server: PostgresServer | None = None
    url: str | None = None
    opened = []
    if request.param == "postgres":
        server, template = request.getfixturevalue("postgres_template")
        url = server.create_database(template)

    def again() -> Store:
        store = open_store(tmp_path / "data", url, KEY)
        opened.append(store)
        return store

    yield again
    for store in opened:
        store.close()
    if server is not None and url is not None:
        server.drop_database(url)


@pytest.fixture
def hub(open_again: Callable[[], Store]) -> Hub:
    """A store on one of the engines, and what a test does with it."""
    return Hub(open_again())


@pytest.fixture
def sqlite_hub(tmp_path: Path) -> Iterator[Hub]:
    """The same on SQLite only, where the engine makes no difference."""
    store = open_store(tmp_path / "data", None, KEY)
    yield Hub(store)
    store.close()
