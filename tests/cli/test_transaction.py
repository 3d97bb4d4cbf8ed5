"""`arifa transaction`: orders, decisions, processing, events and rules, from the shell."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from arifa.clock import now_us
from arifa.store.opened import open_store
from arifa.store.schema import deliveries
from tests.cli.conftest import CommandLine
from tests.hub.issuing import event, order, raw

ORDER = ("--amount", "150.00", "--currency", "KES", "--account", "0021")


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


@pytest.fixture
def shop(arifa: CommandLine) -> CommandLine:
    """A command line with an endpoint of the default merchant."""
    arifa.ok("endpoint", "add", "shop", "--url", "https://shop.example/")
    return arifa


def answer(arifa: CommandLine, state: str) -> None:
    """Let every delivery have ended so, as the worker records it."""
    import os

    store = open_store(arifa.data, arifa.url, os.environ.get("ARIFA_KEY"))
    with store.database.write() as connection:
        connection.execute(sa.update(deliveries).values(state=state, finished_at=now_us()))
    store.close()


def test_from_an_order_to_the_ok(shop: CommandLine) -> None:
    """Submitted, approved, processed, announced, and complete when the shop said OK."""
    made = shop.json("transaction", "submit", "ORD-1", *ORDER, "--by", "Otieno")
    assert (made["state"], made["status"], made["told"]) == ("submitted", "pending", 0)
    assert made["amount"] == {"amount": "150.00", "currency": "KES"}
    decided = shop.json(
        "transaction", "approve", made["id"], "--by", "Amina", "--reason", "checked"
    )
    assert (decided["state"], decided["reason"]) == ("approved", "checked")
    assert shop.json("transaction", "process") == {"processed": 1}
    (row,) = shop.rows("transaction", "list", "--state", "unacknowledged")
    assert (row["told"], row["acknowledged"], row["status"]) == (1, 0, "success")
    assert "no OK yet" in row["note"]
    answer(shop, "delivered")
    assert shop.rows("transaction", "list", "--state", "unacknowledged") == []
    (row,) = shop.rows("transaction", "list", "--state", "complete")
    shown = shop.json("transaction", "show", row["id"])
    assert (shown["state"], shown["acknowledged"], shown["note"]) == ("complete", 1, None)
    assert [item["endpoint"] for item in shown["deliveries"]] == ["shop"]
    assert [(move["state"], move["actor"]) for move in shown["history"]] == [
        ("submitted", "Otieno"),
        ("approved", "Amina"),
        ("processing", "processor instant"),
        ("settled", "processor instant"),
        ("unacknowledged", "announce"),
    ]
    (told,) = shop.rows("notification", "list", "--source", "issue")
    assert (told["id"], told["bank_reference"]) == (row["notification"], row["id"])


def test_declined_and_failed(shop: CommandLine) -> None:
    """What is declined is never processed; what fails as told is announced as failed."""
    first = shop.json("transaction", "submit", "A", *ORDER)["id"]
    second = shop.json("transaction", "submit", "B", *ORDER)["id"]
    declined = shop.json("transaction", "decline", first, "--by", "Amina", "--reason", "no")
    assert declined["state"] == "declined"
    result = shop("transaction", "process", first)
    assert result.code == 1
    assert "is declined, so it cannot become processing" in result.err
    assert shop("transaction", "process", second).code == 1
    shop.ok("transaction", "approve", second, "--by", "Amina", "--reason", "yes")
    failed = shop.json("transaction", "process", second, "--fail", "no funds")
    assert (failed["status"], failed["reason"]) == ("failed", "no funds")
    (told,) = shop.rows("notification", "list")
    assert told["status"] == "failed"
    assert shop("transaction", "process", "--fail", "all").code == 2


def test_nobody_to_tell_then_somebody(arifa: CommandLine) -> None:
    """It says that nobody is told and what to do; afterwards it is announced, once."""
    arifa.ok(
        "transaction", "rule", "add", "small", "approve", "--up-to", "1000", "--currency", "KES"
    )
    identity = arifa.json("transaction", "submit", "A", *ORDER)["id"]
    row = arifa.json("transaction", "process", identity)
    assert row["state"] == "settled"
    assert f"arifa transaction announce {identity}" in row["note"]
    assert arifa("transaction", "announce", identity).code == 1
    arifa.ok("endpoint", "add", "shop", "--url", "https://shop.example/")
    assert arifa.json("transaction", "announce", identity)["state"] == "unacknowledged"
    assert arifa("transaction", "announce", identity).code == 1
    assert len(arifa.rows("delivery", "list")) == 1


def test_named_by_its_reference(shop: CommandLine) -> None:
    """An order or an event is found by its reference, where that is one transaction's only."""
    made = shop.json("transaction", "submit", "ORD-1", *ORDER)
    decided = shop.json("transaction", "approve", "ORD-1", "--by", "Amina", "--reason", "known")
    assert decided["id"] == made["id"]
    assert shop.json("transaction", "process", "ORD-1")["state"] == "unacknowledged"
    file = shop.file("events.jsonl", raw(event("FT1")) + b"\n" + raw(event("ORD-1")))
    shop.ok("transaction", "import", file)
    assert shop.json("transaction", "show", "FT1")["bank_reference"] == "FT1"
    result = shop("transaction", "show", "ORD-1")
    assert result.code == 1
    assert made["id"] in result.err


def test_a_batch_from_a_file(arifa: CommandLine) -> None:
    """One order a line, all or nothing; under its key it is answered alike."""
    lines = b"\n".join(raw(order(name)) for name in ("A", "B", "C"))
    file = arifa.file("orders.jsonl", lines)
    made = arifa.rows("transaction", "submit", "--file", file, "--key", "k")
    assert [row["reference"] for row in made] == ["A", "B", "C"]
    assert len({row["batch"] for row in made}) == 1
    again = arifa.ok("transaction", "submit", "--file", file, "--key", "k", "--json")
    assert [row["id"] for row in again.rows()] == [row["id"] for row in made]
    assert "submitted before" in again.err
    bad = arifa.file("bad.jsonl", raw(order("D")) + b"\n{}\n")
    result = arifa("transaction", "submit", "--file", bad)
    assert result.code == 1
    assert "line 2: reference is missing" in result.err
    assert len(arifa.rows("transaction", "list")) == 3
    assert len(arifa.rows("transaction", "list", "--batch", made[0]["batch"], "--limit", "2")) == 2


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("A",),
        ("A", "--amount", "1"),
        ("A", "--amount", "x", "--currency", "KES"),
        ("A", "--file", "orders.jsonl"),
        ("--file", "none.jsonl"),
        ("A", *ORDER, "--merchant", "nobody"),
        ("A", *ORDER, "--key", " "),
    ],
)
def test_orders_that_cannot_be(arifa: CommandLine, words: tuple[str, ...]) -> None:
    """Each is refused with one sentence, and nothing is queued."""
    result = arifa("transaction", "submit", *words)
    assert result.code in (1, 2, 3)
    assert result.err.startswith("arifa: ")
    assert arifa.rows("transaction", "list") == []


def test_import(shop: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """New, known and bad lines are counted; a bad one is told by its number, and makes the exit 1."""
    good = [raw(event(f"FT{number}")) for number in range(3)]
    file = shop.file("events.jsonl", b"\n".join([good[0], b"", b"nonsense", good[1]]) + b"\n")
    result = shop("transaction", "import", file, "--json")
    assert result.code == 1
    assert result.one() == {"lines": 3, "entered": 2, "known": 0, "refused": 1}
    assert "line 3: it is not JSON" in result.err
    piped = io.TextIOWrapper(io.BytesIO(b"\n".join(good)))
    monkeypatch.setattr(sys, "stdin", piped)
    assert shop.json("transaction", "import", "-") == {
        "lines": 3,
        "entered": 1,
        "known": 2,
        "refused": 0,
    }
    assert len(shop.rows("notification", "list")) == 3
    rows = shop.rows("transaction", "list", "--origin", "core", "--reference", "FT1")
    assert [row["bank_reference"] for row in rows] == ["FT1"]


def test_import_keeps_test_and_live_apart(shop: CommandLine) -> None:
    """In test mode nothing of it reaches a live endpoint, whatever merchant a line names."""
    shop.ok("merchant", "add", "duka")
    file = shop.file("events.jsonl", raw(event("FT1", merchant="duka")) + b"\n" + raw(event("FT2")))
    shop.ok("transaction", "import", file, "--mode", "test")
    owners = {row["merchant"] for row in shop.rows("transaction", "list")}
    assert owners == {"duka:test", "default:test"}
    assert shop.rows("delivery", "list") == []
    assert shop("transaction", "import", file, "--merchant", "nobody").code == 3
    assert shop("transaction", "import", file, "--origin", "submit").code == 1


def test_a_bar_on_a_terminal(shop: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal there is a bar on standard error; the summary stays on standard output."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    file = shop.file("events.jsonl", b"\n".join(raw(event(f"F{n}")) for n in range(120)))
    result = shop.ok("transaction", "import", file)
    assert "120 lines, 120 entered" in result.err
    assert result.out.splitlines()[0].split() == ["lines:", "120"]


def test_rules(arifa: CommandLine) -> None:
    """Added, listed and removed; one that cannot be is refused."""
    wanted = ("transaction", "rule", "add", "small", "approve", "--up-to", "5000", "--currency")
    made = arifa.json(*wanted, "KES")
    assert made["up_to"] == {"amount": "5000.00", "currency": "KES"}
    arifa.ok("transaction", "rule", "add", "no", "decline", "--source-account", "13")
    assert arifa.rows("transaction", "rule", "list")[1] == made
    assert arifa(*wanted, "KES").code == 1
    assert arifa("transaction", "rule", "add", "all", "approve").code == 1
    assert arifa("transaction", "rule", "add", "x", "approve", "--up-to", "1").code == 2
    assert arifa("transaction", "rule", "add", "x", "perhaps", "--source-account", "1").code == 2
    declined = arifa.json("transaction", "submit", "A", *ORDER, "--source-account", "13")
    assert declined["state"] == "declined"
    arifa.ok("transaction", "rule", "remove", "small")
    assert arifa("transaction", "rule", "remove", "small").code == 3
    assert [row["name"] for row in arifa.rows("transaction", "rule", "list")] == ["no"]


def test_what_is_not_there(arifa: CommandLine) -> None:
    """An unknown id is not found, whatever is asked of it."""
    for words in (
        ("show",),
        ("process",),
        ("announce",),
        ("approve", "--by", "A", "--reason", "b"),
    ):
        verb, *more = words
        assert arifa("transaction", verb, "trx_0", *more).code == 3


def test_the_schema_is_named(arifa: CommandLine) -> None:
    """The page that a refusal names is there."""
    path = Path(__file__).parents[2] / "schemas" / "transaction.v1.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert found["$id"] == "urn:arifa:transaction:1"


def test_who_decides_has_a_name(arifa: CommandLine) -> None:
    """An empty one cannot be left out, and the sentence does not say so."""
    for words in (("--by", " ", "--reason", "ok"), ("--by", "Amina", "--reason", "")):
        result = arifa("transaction", "approve", "ord_1", *words)
        assert result.code == 1
        assert "is empty" in result.err
        assert "leave it out" not in result.err
