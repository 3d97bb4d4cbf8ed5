"""The library in anyone's handler: verifying pulls in no server, no store and no loop.

What it costs in time is measured in `bench/`; here is what would make it cost that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CAPTURE = Path(__file__).parents[1] / "captures" / "kcb" / "account.http"
KEYS = CAPTURE.with_name("credentials.json")

VERIFY = f"""
import json, sys
started = set(sys.modules)
from arifa import dialects
from arifa.signing import Credentials
from arifa.wire import read_request
imported = set(sys.modules) - started
kcb = dialects.get("kcb")
with open({str(CAPTURE)!r}, "rb") as file:
    request = read_request(file.read())
with open({str(KEYS)!r}, encoding="utf-8") as file:
    keys = tuple(key.encode() for key in json.load(file)["public_keys"])
[reading] = kcb.receive(request, Credentials(public_keys=keys), kcb.defaults, 0)
assert reading.amount.minor == 10000
print(json.dumps([sorted(imported), sorted(set(sys.modules) - started)]))
"""

NEVER = {
    "aiohttp",
    "alembic",
    "argon2",
    "asyncio",
    "concurrent.futures",
    "cyclopts",
    "email",
    "http.client",
    "http.server",
    "httptools",
    "hypothesis",
    "jinja2",
    "joserfc",
    "litestar",
    "logging",
    "lxml",
    "multiprocessing",
    "prometheus_client",
    "psycopg",
    "pysqlite3",
    "pytest",
    "requests",
    "rich",
    "socketserver",
    "sqlalchemy",
    "sqlite3",
    "structlog",
    "urllib.request",
    "uvicorn",
    "uvloop",
    "arifa.cli",
    "arifa.clock",
    "arifa.delivery",
    "arifa.hub",
    "arifa.store",
    "arifa.testing",
    "arifa.web",
}


@pytest.fixture(scope="module")
def loaded() -> tuple[set[str], set[str]]:
    """(modules after the import, modules after a first verification), beyond a bare start."""
    done = subprocess.run(
        [sys.executable, "-c", VERIFY],
        capture_output=True,
        text=True,
        check=True,
    )
    imported, verified = json.loads(done.stdout)
    return set(imported), set(verified)


def test_a_first_verification_pulls_in_no_server_and_no_database(loaded) -> None:
    _, verified = loaded

    assert sorted(verified & NEVER) == []


def test_the_import_alone_leaves_cryptography_for_later(loaded) -> None:
    imported, verified = loaded

    assert not {name for name in imported if name.startswith("cryptography")}
    assert "cryptography" in verified


def test_no_other_dialect_is_imported(loaded) -> None:
    _, verified = loaded
    found = {name for name in verified if name.startswith("arifa.dialects.")}

    assert found == {"arifa.dialects.base", "arifa.dialects.fields", "arifa.dialects.kcb"}
