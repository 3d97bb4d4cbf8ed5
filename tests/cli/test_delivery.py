"""`arifa delivery retry`, `recover` and `replay`: delivering again from the command line."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from arifa.clock import now_us
from arifa.store.opened import open_store
from arifa.store.schema import deliveries
from tests.cli.conftest import CommandLine
from tests.hub.bank import request

EPOCH = "1970-01-01T00:00:00Z"


@pytest.fixture
def paid(arifa: CommandLine) -> dict[str, Any]:
    """A payment with a delivery to the endpoint `shop`."""
    password = arifa.file("password", "open:sesame")
    source = arifa.json(
        "source", "add", "jenga", "--dialect", "jenga", "--username", "jenga",
        "--password-file", password,
    )  # fmt: skip
    arifa.ok("endpoint", "add", "shop", "--url", "https://shop.example/hook")
    arifa.receive(source["path"], request("jenga"))
    return source


def ended(arifa: CommandLine, state: str) -> str:
    """Let the delivery end so; gives its id."""
    store = open_store(arifa.data)
    with store.database.write() as connection:
        connection.execute(
            sa.update(deliveries).values(
                state=state, next_attempt_at=None, finished_at=now_us(), last_cause="timeout"
            )
        )
    store.close()
    found: str = arifa.rows("delivery", "list")[0]["id"]
    return found


def test_retry(arifa: CommandLine, paid: dict[str, Any]) -> None:
    """A dead delivery waits again; one that arrived is refused with what to do instead."""
    dead = ended(arifa, "dead")
    row = arifa.json("delivery", "retry", dead)
    assert (row["state"], row["endpoint"], row["replay_of"]) == ("pending", "shop", dead)
    ended(arifa, "delivered")
    refused = arifa("delivery", "retry", dead)
    assert refused.code == 1
    assert f"arifa delivery replay --delivery {dead}" in refused.err
    assert arifa("delivery", "retry", "dlv_none").code == 3


def test_recover_counts_first(arifa: CommandLine, paid: dict[str, Any]) -> None:
    """A dry run changes nothing; the real one does what the dry run has counted."""
    ended(arifa, "dead")
    counted = arifa.json("delivery", "recover", "--since", EPOCH, "--dry-run")
    assert (counted["dry_run"], counted["found"], counted["queued"]) == (True, 1, 0)
    assert counted["endpoints"][0]["endpoint"] == "shop"
    assert arifa.rows("delivery", "list", "--state", "dead")
    done = arifa.json("delivery", "recover", "--since", EPOCH, "--cause", "timeout")
    assert (done["dry_run"], done["found"], done["queued"]) == (False, 1, 1)
    assert arifa.rows("delivery", "list", "--state", "dead") == []


def test_replay_a_span_and_one(arifa: CommandLine, paid: dict[str, Any]) -> None:
    """Each queues a new delivery that names the first."""
    first = ended(arifa, "delivered")
    span = ("--since", EPOCH, "--until", "2999-01-01T00:00:00Z")
    assert arifa.json("delivery", "replay", *span, "--dry-run")["found"] == 1
    assert arifa.json("delivery", "replay", *span, "--to", "original")["queued"] == 1
    (again,) = arifa.rows("delivery", "list", "--state", "pending")
    assert (again["replay_of"], again["url"]) == (first, "https://shop.example/hook")
    ended(arifa, "delivered")
    made = arifa.json("delivery", "replay", "--delivery", first)
    assert made["replay_of"] == first
    assert len(arifa.rows("delivery", "list")) == 3


def test_replay_what_is_missing(arifa: CommandLine, paid: dict[str, Any]) -> None:
    """An endpoint made later is told of what came before it."""
    arifa.ok("endpoint", "add", "late", "--url", "https://late.example/")
    span = ("--missing", "--since", EPOCH, "--endpoint", "late")
    assert arifa.json("delivery", "replay", *span, "--dry-run")["found"] == 1
    assert arifa.rows("delivery", "list", "--endpoint", "late") == []
    assert arifa.json("delivery", "replay", *span)["queued"] == 1
    assert len(arifa.rows("delivery", "list", "--endpoint", "late")) == 1
    assert arifa.json("delivery", "replay", *span)["queued"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("replay",), 2, "--since"),
        (("replay", "--since", "yesterday"), 2, "since"),
        (("replay", "--since", "2026-01-02T00:00:00Z", "--until", EPOCH), 2, "before"),
        (("replay", "--delivery", "dlv_1", "--missing"), 2, "--delivery"),
        (("replay", "--since", EPOCH, "--endpoint", "nobody"), 3, "nobody"),
        (("recover",), 2, "since"),
        (("recover", "--since", EPOCH, "--source", "nobody"), 3, "nobody"),
        (("recover", "--since", EPOCH, "--merchant", "nobody"), 3, "nobody"),
        (("retry",), 2, "identity"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arifa: CommandLine, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    """With a sentence and the exit code of its kind."""
    result = arifa("delivery", *arguments)
    assert result.code == code, result
    assert sentence in result.err.lower()


def test_a_cause_that_there_is_not_is_refused(arifa: CommandLine) -> None:
    """With those that there are: else a mistyped one would look as if nothing were dead."""
    span = ("delivery", "recover", "--since", "2026-01-01T00:00:00Z", "--cause")
    result = arifa(*span, "server-error")
    assert result.code == 2
    assert "server_error" in result.err
    assert arifa.json(*span, "server_error")["found"] == 0
    assert arifa.json(*span, "abandoned")["found"] == 0
