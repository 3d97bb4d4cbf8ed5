"""Leases in their short form: a worker is killed with requests out, and another takes over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from arifa.testing.postgres import postgres_or_skip

LEASES = Path(__file__).parents[2] / "bench" / "leases.py"


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_what_a_killed_worker_held_is_rerun(engine: str) -> None:
    """After kill -9 all is delivered; twice only what was out, and under the same webhook-id."""
    if engine == "postgres":
        postgres_or_skip()
    command = [sys.executable, str(LEASES), "--runs", "3", "--held", "20"]
    command += ["--engine", engine, "--json"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)

    found = json.loads(done.stdout)
    assert found["kills"] == 3
    assert found["held"] >= 10
    assert found["faults"] == []
