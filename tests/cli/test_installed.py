"""The installed program, as a process of its own, against a hub that serves: the main paths."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from arifa import dialects
from arifa.clock import now_us
from arifa.signing import Credentials
from arifa.wire import WireRequest
from tests.cli.conftest import Installed
from tests.hub.bank import request


@pytest.fixture
def serving(installed: Installed) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`arifa serve` on a free port, with the address it printed."""
    process = subprocess.Popen(
        [installed.program, "serve", "--port", "0", "--admin-port", "0"],
        cwd=installed.folder,
        env=installed.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on http://127.0.0.1:")
    yield process, line.split()[-1]
    process.kill()
    process.wait()
    process.stdout.close()


def post(url: str, path: str, message: WireRequest) -> tuple[int, bytes]:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    headers = {name.decode(): value.decode() for name, value in message.headers}
    connection.request("POST", path, message.body, headers)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def test_a_payment_from_set_up_to_list(
    installed: Installed, serving: tuple[subprocess.Popen[str], str]
) -> None:
    """A source made while the hub serves takes a payment at once, and every list shows it."""
    process, url = serving
    source = installed.json("source", "add", "bank", "--dialect", "kcb", "--generate-key")
    installed.json("endpoint", "add", "shop", "--url", "https://shop.invalid/hook")
    private = Path(source["private_key_path"]).read_bytes()
    message = dialects.get("kcb").sign(request("kcb"), Credentials(private_key=private), now_us())
    status, body = post(url, source["path"], message)
    assert status == 200
    payment = installed.json("notification", "list")
    assert json.loads(body)["transactionID"] == payment["id"]
    assert (payment["source"], payment["state"]) == ("bank", "accepted")
    assert installed.json("inbox", "list")["outcome"] == "ACCEPTED"
    assert installed.json("delivery", "list")["notification"] == payment["id"]
    assert installed.json("source", "show", "bank")["received"] == 1
    assert installed.json("--data", "./arifa-data", "source", "list")["id"] == source["id"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_a_second_hub_is_refused(
    installed: Installed, serving: tuple[subprocess.Popen[str], str]
) -> None:
    """Two serving processes on one SQLite file would harm each other."""
    done = installed("serve", "--port", "0", "--admin-port", "0")
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert b"another arifa serve" in done.stderr


def test_a_cut_pipe_is_quiet(installed: Installed) -> None:
    """Whoever reads the first lines only is not told of a broken pipe."""
    command = f"{shlex.quote(str(installed.program))} dialect show kcb --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=installed.folder,
        env=installed.environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == b""
    assert done.returncode in (0, 141)


def test_raw_bytes_survive(installed: Installed) -> None:
    """Bytes that are no text in any encoding come through a pipe as they are."""
    raw = b"POST / HTTP/1.1\r\nhost: x\r\n\r\n\xff\x00\r\n\xfe"
    secret = installed.folder / "password"
    secret.write_text("p")
    done = installed(
        *("sign", "--dialect", "jenga", "--username", "u", "--password-file", secret, "-"),
        input=raw,
    )
    assert done.returncode == 0
    assert done.stdout.endswith(b"\r\n\r\n\xff\x00\r\n\xfe")
    assert b"authorization: Basic" in done.stdout


def test_settings_from_the_environment(installed: Installed) -> None:
    """Variables are heard, and their files; flags go before them."""
    url = installed.folder / "url"
    url.write_text(f"sqlite:///{installed.folder}/other.db\n")
    installed.environment |= {"ARIFA_DATA": "elsewhere", "ARIFA_DATABASE_URL_FILE": str(url)}
    shown = installed.json("config", "show")
    assert shown["data"]["origin"] == shown["database"]["origin"] == "environment"
    assert installed.json("config", "show", "--data", "here")["data"]["origin"] == "flag"
    installed.json("migrate")
    assert (installed.folder / "other.db").exists()
    assert (installed.folder / "elsewhere" / "master.key").exists()


def test_help_imports_no_database(installed: Installed) -> None:
    """`--help` and `verify` know nothing of SQL, servers or HTTP clients."""
    program = (
        "import sys; from arifa.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'sqlalchemy', 'alembic', 'uvicorn', 'aiohttp', 'psycopg'} & set(sys.modules);"
        "print(heavy, file=sys.stderr); sys.exit(bool(heavy))"
    )
    file = installed.folder / "request.http"
    file.write_bytes(request("jenga").to_bytes())
    secret = installed.folder / "password"
    secret.write_text("open:sesame")
    verify = ("verify", "--dialect", "jenga", "--username", "jenga", "--password-file", str(secret))
    for arguments in (("--help",), (*verify, str(file))):
        done = subprocess.run(
            [installed.program.with_name("python"), "-c", program, *arguments],
            env=installed.environment,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
