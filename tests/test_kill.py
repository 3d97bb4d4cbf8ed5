"""Promise 1 in its short form: kill -9 under load, and every yes is in the books once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from arifa.testing.postgres import postgres_or_skip

KILL = Path(__file__).parent.parent / "bench" / "kill.py"


@pytest.mark.parametrize(("engine", "flags"), [("sqlite", []), ("postgres", ["--server"])])
def test_what_was_acknowledged_survives_a_kill(engine: str, flags: list[str]) -> None:
    """After kill -9 with at least 32 requests open nothing acknowledged is lost or doubled."""
    if engine == "postgres":
        postgres_or_skip()
    command = [sys.executable, str(KILL), "--runs", "2", "--engine", engine, "--json", *flags]

    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(done.stdout)
    assert found["runs"] == 2
    assert found["acknowledged"] > 100
    assert min(found["open_at_kill"]) >= 32
    assert (found["lost"], found["without_delivery"], found["twice"]) == (0, 0, 0)
