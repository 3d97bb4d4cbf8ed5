"""`arifa inbox`, `notification`, `case`, `delivery` and `doctor` over a store with payments in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from arifa import dialects
from arifa.clock import now_us
from arifa.signing import Credentials
from arifa.store.opened import open_store
from arifa.store.schema import deliveries
from tests.cli.conftest import CommandLine
from tests.hub.bank import altered, request


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Everything here is the same on both engines."""
    if request.param == "sqlite":
        yield None
        return
    server, template = request.getfixturevalue("postgres_template")
    url = server.create_database(template)
    yield url
    server.drop_database(url)


ROW = {"id", "source", "received_at", "outcome", "answer_status", "notifications"}


@pytest.fixture
def feed(arifa: CommandLine) -> dict[str, Any]:
    """A KCB source, an endpoint, one payment, its repeat, a conflict, a forgery, a riddle."""
    added = arifa.json("source", "add", "bank", "--dialect", "kcb", "--generate-key")
    arifa.ok("endpoint", "add", "shop", "--url", "https://shop.example/")
    private = Path(added["private_key_path"]).read_bytes()
    kcb, bank = dialects.get("kcb"), Credentials(private_key=private)
    messages = [
        kcb.sign(unsigned, bank, now_us())
        for unsigned in (
            request("kcb"),
            request("kcb"),
            request("kcb", transactionAmount="150.00"),
            request("kcb", transactionReference=None),
        )
    ]
    for message in (*messages, altered(messages[0], b"100.00", b"900.00")):
        arifa.receive(added["path"], message)
    return {**added, "body": messages[0].body}


def test_inbox_rows(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """The newest first, each with its outcome, by the source's name."""
    rows = arifa.rows("inbox", "list")
    assert all(row.keys() >= ROW for row in rows)
    assert [row["outcome"] for row in rows] == ["UNREADABLE", "CONFLICT", "DUPLICATE", "ACCEPTED"]
    assert [row["answer_status"] for row in rows] == [400, 200, 200, 200]
    assert [row["notifications"] for row in rows] == [0, 1, 1, 1]
    assert {(row["source"], row["source_id"]) for row in rows} == {("bank", feed["id"])}


def test_inbox_filters(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """By outcome, by source, by time and by number."""
    assert len(arifa.rows("inbox", "list", "--outcome", "CONFLICT")) == 1
    assert arifa.rows("inbox", "list", "--outcome", "UNAVAILABLE") == []
    assert len(arifa.rows("inbox", "list", "--source", "bank")) == 4
    assert len(arifa.rows("inbox", "list", "--source", feed["id"], "--limit", "2")) == 2
    newest = arifa.rows("inbox", "list", "--limit", "1")[0]
    since = newest["received_at"]
    assert arifa.rows("inbox", "list", "--since", since) == [newest]
    assert arifa.rows("inbox", "list", "--since", "2999-01-01") == []


def test_refused_requests_have_the_same_form(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """What was not genuine is asked for by name, is masked, and made no payment."""
    (row,) = arifa.rows("inbox", "list", "--outcome", "NOT_GENUINE")
    assert row.keys() >= ROW
    assert (row["outcome"], row["answer_status"], row["notifications"]) == ("NOT_GENUINE", 401, 0)
    shown = arifa.json("inbox", "show", row["id"])
    assert "signature" in shown["reason"]
    assert "John" not in shown["sample"]
    assert "NOT_GENUINE" in arifa.ok("inbox", "list").err


def test_inbox_show(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """Headers, answer, and the notifications that it made."""
    accepted = arifa.rows("inbox", "list", "--outcome", "ACCEPTED")[0]
    shown = arifa.json("inbox", "show", accepted["id"])
    (notification,) = shown["notification_ids"]
    assert arifa.json("notification", "show", notification)["inbox"] == accepted["id"]
    assert notification in shown["answer"]["body"]
    assert "signature" in [header["name"] for header in shown["headers"]]
    unreadable = arifa.rows("inbox", "list", "--outcome", "UNREADABLE")[0]
    assert "transactionReference" in arifa.json("inbox", "show", unreadable["id"])["reason"]


def test_passwords_are_masked(arifa: CommandLine) -> None:
    """The inbox shows that there was an authorization, and not which."""
    password = arifa.file("password", "open:sesame\n")
    added = arifa.json(
        *("source", "add", "j", "--dialect", "jenga", "--username", "jenga"),
        *("--password-file", password),
    )
    assert arifa.receive(added["path"], request("jenga")).status == 200
    (row,) = arifa.rows("inbox", "list")
    headers = arifa.json("inbox", "show", row["id"])["headers"]
    assert {"name": "authorization", "value": "***"} in headers


def test_raw_bytes(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """The body comes out as it came in; a byte-equal repeat has none of its own."""
    accepted = arifa.rows("inbox", "list", "--outcome", "ACCEPTED")[0]
    assert arifa.ok("inbox", "raw", accepted["id"]).out.encode() == feed["body"]
    repeat = arifa.rows("inbox", "list", "--outcome", "DUPLICATE")[0]
    result = arifa("inbox", "raw", repeat["id"])
    assert (result.code, result.out) == (3, "")
    assert "repeats an earlier request" in result.err


def test_reprocess_counts(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """What still cannot be read is counted so, and nothing is stored."""
    assert arifa.json("inbox", "reprocess") == {
        "looked_at": 1,
        "stored": 0,
        "held": 0,
        "known": 0,
        "unreadable": 1,
    }
    assert arifa.json("inbox", "reprocess", "--since", "2999-01-01")["looked_at"] == 0


def test_notifications(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """Found by source, by any reference and by time; money and times as the design has them."""
    held, accepted = arifa.rows("notification", "list")
    assert (held["state"], accepted["state"]) == ("held", "accepted")
    assert accepted["amount"] == {"amount": "100.00", "currency": "KES"}
    assert (accepted["source"], accepted["source_id"]) == ("bank", feed["id"])
    assert accepted["received_at"].endswith("Z")
    for reference in ("FT00026252", "INV-0001"):
        assert len(arifa.rows("notification", "list", "--reference", reference)) == 2
    assert arifa.rows("notification", "list", "--reference", "INV-9") == []
    assert arifa.rows("notification", "list", "--source", "bank", "--limit", "1") == [held]
    assert arifa.rows("notification", "list", "--since", "2999-01-01") == []
    assert arifa.json("notification", "show", accepted["id"])["bank_reference"] == "FT00026252"


def test_a_case_is_decided(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """It is listed, shown with both sides, decided once, and then no longer open."""
    (case,) = arifa.rows("case", "list")
    shown = arifa.json("case", "show", case["id"])
    assert shown["held"]["amount"]["amount"] == "150.00"
    assert shown["earlier"]["amount"]["amount"] == "100.00"
    assert arifa("case", "decide", case["id"], "replace").code == 2
    assert arifa("case", "decide", case["id"], "replace", "--reason", " ").code == 1
    decided = arifa.json("case", "decide", case["id"], "replace", "--reason", "corrected")
    assert (decided["state"], decided["decision"]) == ("decided", "replace")
    assert decided["decision_reason"] == "corrected"
    assert arifa.json("notification", "show", decided["reversal"])["kind"] == "reversal"
    again = arifa("case", "decide", case["id"], "accept", "--reason", "no")
    assert again.code == 1
    assert "decided already" in again.err
    assert arifa.rows("case", "list") == []
    assert len(arifa.rows("case", "list", "--state", "decided")) == 1


def test_deliveries(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """One for the payment, none for the one that is held; by the endpoint's name."""
    (row,) = arifa.rows("delivery", "list")
    wanted = {"id", "notification", "endpoint", "state", "attempt_count", "next_attempt_at"}
    assert row.keys() >= wanted | {"last_status", "last_cause"}
    assert (row["endpoint"], row["state"], row["attempt_count"]) == ("shop", "pending", 0)
    assert arifa.rows("delivery", "list", "--state", "pending", "--endpoint", "shop") == [row]
    assert arifa.rows("delivery", "list", "--state", "delivered") == []
    shown = arifa.json("delivery", "show", row["id"])
    assert (shown["attempts"], shown["endpoint_id"]) == ([], row["endpoint_id"])


def test_doctor_is_content(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """A sound installation exits 0; an open case is a warning."""
    states = {row["check"]: row["state"] for row in arifa.rows("doctor")}
    assert states.pop("cases") == "warn"
    states.pop("disk")
    assert set(states.values()) == {"ok"}
    assert {"store", "key", "modes", "engine", "clock", "seals", "deliveries"} <= states.keys()


def test_doctor_says_apart_what_is_held(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """What is overdue is a warning, unless its endpoint is paused: then a person wants it so."""
    store = open_store(arifa.data, arifa.url, os.environ.get("ARIFA_KEY"))
    with store.database.write() as connection:
        pending = sa.update(deliveries).where(deliveries.c.state == "pending")
        connection.execute(pending.values(next_attempt_at=1))
    store.close()
    rows = {row["check"]: row for row in arifa.rows("doctor")}
    assert rows["deliveries"]["state"] == "warn"
    assert "paused" not in rows
    arifa.ok("endpoint", "pause", "shop")
    rows = {row["check"]: row for row in arifa.rows("doctor")}
    assert (rows["deliveries"]["state"], rows["paused"]["state"]) == ("ok", "ok")
    assert "held since 1970" in rows["paused"]["detail"]


def test_doctor_sees_what_was_lost(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """A database that is behind its noted seal has lost what was acknowledged: exit 1."""
    (head,) = arifa.data.glob("seal-head.*")
    writer, number, _ = head.read_text().split()
    head.write_text(f"{writer} {int(number) + 5} {'0' * 64}\n")
    result = arifa("doctor", "--json")
    assert result.code == 1
    seals = next(row for row in result.rows() if row["check"] == "seals")
    assert seals["state"] == "fail"
    assert "lost" in seals["detail"]
    assert seals["remedy"]


def test_doctor_sees_open_modes(arifa: CommandLine, feed: dict[str, Any]) -> None:
    """A folder or a database that others may read is a warning, with the command that helps."""
    arifa.data.chmod(0o755)
    modes = next(row for row in arifa.rows("doctor") if row["check"] == "modes")
    assert modes["state"] == "warn"
    assert modes["remedy"] == f"chmod 700 {arifa.data}"


def test_doctor_without_a_store(arifa: CommandLine) -> None:
    """Where the store cannot be opened, that is the finding."""
    arifa.url = f"sqlite:///{arifa.file('other.db', 'no database at all, but long enough to try')}"
    result = arifa("doctor", "--json")
    assert result.code == 1
    assert [row["state"] for row in result.rows() if row["check"] == "store"] == ["fail"]
