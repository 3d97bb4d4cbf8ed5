"""`arifa invoice`: what is made, paid and taken back from the shell, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arifa import billing
from arifa.billing import Order, Receipt, Recipient
from arifa.hub.generate import Generator
from arifa.money import Money
from arifa.store.opened import open_store
from tests.cli.conftest import CommandLine

OWN = "https://shop.example/paid/17"


@pytest.fixture
def client(arifa: CommandLine) -> dict[str, Any]:
    """An endpoint in the billing system's form."""
    secret = arifa.file("secret", "test-client-secret")
    return arifa.json(
        *("endpoint", "add", "school", "--url", "https://school.example/", "--dialect", "cbs"),
        *("--secret-file", secret, "--success-only", "--kinds", "payment", "reversal"),
    )


def made(arifa: CommandLine, *more: str | Path) -> dict[str, Any]:
    return arifa.json("invoice", "add", "--client", "school", "--amount", "2000.00", *more)


def test_an_invoice_goes_its_way(arifa: CommandLine, client: dict[str, Any]) -> None:
    """Made, paid, shown with where it was announced, taken back, and cancelled."""
    invoice = made(arifa, "--reference", "T1", "--callback-url", OWN, "--payer-name", "Jane Doe")
    number = invoice["number"]
    assert invoice["state"] == "open"
    assert invoice["due"] == {"amount": "2000.00", "currency": "NGN"}
    assert (invoice["client"], invoice["client_id"]) == ("school", client["id"])

    bank = ("--bank-code", "058", "--at", "2026-11-20T08:00:00Z")
    paid = arifa.json("invoice", "pay", number, "--reference", "P1", "--channel", "Web", *bank)
    assert (paid["state"], paid["insertion"], len(paid["deliveries"])) == ("paid", "CREATED", 1)
    assert paid["payment"]["bank"] == {"BankCode": "058"}
    assert paid["payment"]["occurred_at"] == "2026-11-20T08:00:00Z"
    delivery = arifa.json("delivery", "show", paid["deliveries"][0])
    assert (delivery["url"], delivery["endpoint"]) == (OWN, "school")

    back = arifa.json("invoice", "reverse", invoice["id"], "--reason", "stolen")
    assert (back["state"], back["payment"]["reference"]) == ("reversed", "REV-P1")
    shown = arifa.json("invoice", "show", number)
    assert [item["kind"] for item in shown["payments"]] == ["payment", "reversal"]
    assert [item["deliveries"][0]["url"] for item in shown["payments"]] == [OWN, OWN]
    assert shown["payments"][1]["reverses"] == shown["payments"][0]["id"]
    assert shown["payer"] == {"name": "Jane Doe"}
    assert arifa.json("invoice", "cancel", number, "--reason", "twice")["state"] == "cancelled"
    assert arifa.json("invoice", "show", number)["due"]["amount"] == "0.00"


def test_what_is_not_announced_is_said(arifa: CommandLine, client: dict[str, Any]) -> None:
    """A part, more than all, nobody who listens, and what was never announced: each has its note."""
    number = made(arifa)["number"]

    part = arifa.ok("invoice", "pay", number, "--reference", "P1", "--amount", "500.00")
    assert "1500.00 NGN" in part.err
    over = arifa.ok("invoice", "pay", number, "--reference", "P2", "--amount", "1600.00")
    assert "100.00 NGN more" in over.err
    other = made(arifa)["number"]
    arifa.ok("invoice", "pay", other, "--reference", "P1", "--amount", "1.00")
    assert "since the payment was not" in arifa.ok("invoice", "reverse", other).err
    alone = arifa.json(
        *("invoice", "add", "--amount", "5", "--currency", "KES", "--merchant", "default:test")
    )
    assert "nobody is told" in arifa.ok("invoice", "pay", alone["id"], "--reference", "P").err


def test_the_same_again_is_the_same(arifa: CommandLine, client: dict[str, Any]) -> None:
    """A command that is said twice does nothing the second time, and says so."""
    first, again = (made(arifa, "--reference", "T1") for _ in range(2))
    assert (first["id"], first["insertion"]) == (again["id"], "CREATED")
    assert again["insertion"] == "EXISTS"
    pay = ("invoice", "pay", first["number"], "--reference", "P1")
    assert arifa.json(*pay)["insertion"] == "CREATED"
    repeat = arifa.json(*pay)
    assert (repeat["insertion"], repeat["deliveries"]) == ("EXISTS", [])

    conflict = arifa(*pay, "--amount", "1.00")
    assert conflict.code == 1
    assert "another amount" in conflict.err


def test_invoices_are_listed_by_state_and_client(
    arifa: CommandLine, client: dict[str, Any]
) -> None:
    """The newest first."""
    first, second = made(arifa), made(arifa)
    arifa.json("invoice", "add", "--amount", "5", "--currency", "NGN")
    arifa.ok("invoice", "pay", first["id"], "--reference", "P1")

    assert [row["id"] for row in arifa.rows("invoice", "list", "--client", "school")] == [
        second["id"],
        first["id"],
    ]
    assert [row["id"] for row in arifa.rows("invoice", "list", "--state", "paid")] == [first["id"]]
    assert len(arifa.rows("invoice", "list", "--limit", "2")) == 2
    assert arifa.rows("invoice", "list", "--merchant", "nobody") == []


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["show", "11111111111"], 3, "arifa invoice list"),
        (["pay", "11111111111", "--reference", "P"], 3, "no invoice"),
        (["add", "--amount", "5"], 2, "--currency"),
        (["add", "--amount", "5.005", "--currency", "NGN"], 2, "decimals"),
        (["add", "--amount", "-5", "--currency", "NGN"], 1, "more than nothing"),
        (["add", "--amount", "5", "--client", "nobody"], 3, "no endpoint"),
        (["add", "--amount", "5", "--client", "school", "--currency", "KES"], 2, "NGN only"),
        (["add", "--amount", "5", "--currency", "NGN", "--merchant", "x"], 3, "merchant add"),
        (["add", "--amount", "5", "--client", "school", "--callback-url", "ftp://x"], 1, "https"),
    ],
)
def test_what_is_wrong_is_said(
    arifa: CommandLine, client: dict[str, Any], arguments: list[str], code: int, sentence: str
) -> None:
    """Each wrong call has its exit code and a sentence."""
    result = arifa("invoice", *arguments)

    assert (result.code, sentence in result.err) == (code, True), result


def test_what_nobody_signed_is_named(arifa: CommandLine, client: dict[str, Any]) -> None:
    """Of an invoice that came by the form, the fields that its signature leaves out are shown."""
    order = Order(
        revenue_head="16",
        amount=Money(5, "NGN"),
        reference="T1",
        category="1",
        payer=Recipient(name="Jane Doe", address="1 Marina"),
    )
    signed = billing.sign(billing.write(order), client["id"], b"test-client-secret")
    store = open_store(arifa.data)
    try:
        answer = Generator(store).generate(signed)
    finally:
        store.close()
    assert answer is not None
    receipt = billing.read_answer(answer)
    assert isinstance(receipt, Receipt)

    shown = arifa.json("invoice", "show", receipt.number)

    assert shown["origin"] == "form"
    assert shown["unproven"] == ["category", "payer", "reference"]
    assert made(arifa, "--reference", "T2")["unproven"] == []


def test_an_inner_callback_is_noted(arifa: CommandLine, client: dict[str, Any]) -> None:
    """As an endpoint's own URL is."""
    result = arifa.ok(
        *("invoice", "add", "--client", "school", "--amount", "5"),
        *("--callback-url", "http://127.0.0.1:8000/"),
    )

    assert "--allow-private" in result.err
