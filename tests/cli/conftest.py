"""A command line in this process: quick, and with the real store behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from arifa.cli.main import main
from arifa.clock import now_us
from arifa.hub.receive import Receiver
from arifa.store.opened import open_store
from arifa.wire import WireRequest, WireResponse
from tests.engines import KEY


@dataclass(frozen=True)
class Result:
    """What a command came to."""

    code: int
    out: str
    err: str

    def one(self) -> dict[str, Any]:
        """Its one JSON object."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Its JSON objects, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class CommandLine:
    """Runs `arifa` on one data folder."""

    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture[str], url: str | None = None
    ) -> None:
        self.folder = folder
        self.url = url
        self.data = folder / "data"
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Result:
        """Run a command, whatever it comes to."""
        self._capsys.readouterr()
        database = () if self.url is None else ("--database", self.url)
        code = main(["--data", str(self.data), *database, *map(str, arguments)])
        out, err = self._capsys.readouterr()
        assert "Traceback" not in err
        return Result(code, out, err)

    def ok(self, *arguments: str | Path) -> Result:
        """Run a command that must succeed."""
        result = self(*arguments)
        assert result.code == 0, result
        return result

    def json(self, *arguments: str | Path) -> dict[str, Any]:
        """Run a command that must succeed, and read its one object."""
        return self.ok(*arguments, "--json").one()

    def rows(self, *arguments: str | Path) -> list[dict[str, Any]]:
        """Run a list that must succeed, and read its rows."""
        return self.ok(*arguments, "--json").rows()

    def file(self, name: str, content: str | bytes) -> Path:
        """A file to name on the command line."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def receive(self, path: str, request: WireRequest) -> WireResponse:
        """What the hub answers to this request at this intake path."""
        store = open_store(self.data, self.url, os.environ.get("ARIFA_KEY"))
        receiver = Receiver(store, now_us)
        try:
            token = path.removeprefix("/ipn/")
            (answer,) = receiver.receive([receiver.prepare(token, request)])
        finally:
            receiver.close()
            store.close()
        assert answer is not None
        return answer


@pytest.fixture
def database_url() -> str | None:
    """The SQLite file in the data folder, unless a test file says otherwise."""
    return None


@pytest.fixture
def arifa(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    database_url: str | None,
) -> CommandLine:
    """The command line on a data folder of its own, with nothing in the environment."""
    for name in list(os.environ):
        if name.startswith("ARIFA_") and not name.startswith("ARIFA_TEST"):
            monkeypatch.delenv(name)
    if database_url is not None:
        monkeypatch.setenv("ARIFA_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys, database_url)


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    """The installed program."""
    return Installed(tmp_path)


class Installed:
    """Runs the installed `arifa` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = Path(sys.executable).with_name("arifa")
        kept = ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH")
        self.environment = {name: os.environ[name] for name in kept if name in os.environ}

    def __call__(
        self, *arguments: str | Path, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end."""
        return subprocess.run(
            [self.program, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            check=False,
            timeout=60,
            **options,
        )

    def json(self, *arguments: str | Path) -> dict[str, Any]:
        """Run a command that must succeed, and read its one object."""
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found
