"""`arifa notification import`: what the merchant's own systems had handled before."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import CommandLine
from tests.hub.bank import request


@pytest.fixture
def source(arifa: CommandLine) -> str:
    """A source; gives its path."""
    password = arifa.file("password", "open:sesame")
    added = arifa.json(
        "source", "add", "jenga", "--dialect", "jenga", "--username", "jenga",
        "--password-file", password,
    )  # fmt: skip
    path: str = added["path"]
    return path


def test_import_bodies_and_notifications(arifa: CommandLine, source: str) -> None:
    """Both forms, from a file; what is known is passed over; the bank's repeat is a duplicate."""
    arifa.ok("endpoint", "add", "shop", "--url", "https://shop.example/")
    line = json.dumps(json.loads(request("jenga").body)) + "\n"
    bodies = arifa.file("old.jsonl", line)
    flags = ("--source", "jenga", "--already-handled")
    done = arifa.json("notification", "import", bodies, *flags, "--form", "body")
    assert done == {"imported": 1, "known": 0, "held": 0, "refused": 0}
    printed = arifa.file("new.jsonl", arifa.ok("notification", "list", "--json").out)
    again = arifa.json("notification", "import", printed, *flags)
    assert again == {"imported": 0, "known": 1, "held": 0, "refused": 0}
    arifa.receive(source, request("jenga"))
    assert [row["outcome"] for row in arifa.rows("inbox", "list")] == ["DUPLICATE"]
    assert arifa.rows("delivery", "list") == []


def test_what_cannot_be_imported(arifa: CommandLine, source: str) -> None:
    """A bad line is told by number with exit code 1; a missing file, source or word is refused."""
    bad = arifa.file("bad.jsonl", "{}\nnot json\n")
    result = arifa("notification", "import", bad, "--source", "jenga", "--already-handled")
    assert result.code == 1
    assert "line 1: " in result.err
    assert "line 2: " in result.err
    refused = arifa("notification", "import", bad, "--source", "jenga")
    assert (refused.code, "--already-handled" in refused.err) == (2, True)
    flags = ("--already-handled", "--source")
    assert arifa("notification", "import", "nowhere.jsonl", *flags, "jenga").code == 1
    assert arifa("notification", "import", bad, *flags, "nobody").code == 3
    long = arifa.file("long.jsonl", b"[" * 300_000)
    too_long = arifa("notification", "import", long, *flags, "jenga")
    assert (too_long.code, "line 1 is longer" in too_long.err) == (1, True)
