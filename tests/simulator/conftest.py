"""One hub for all tests here: each makes sources of its own in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulator.hub import Hub, running


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("hub")) as found:
        yield found
