"""`arifa callback`: what a merchant registers, changes and removes, as in its bank's portal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine
from tests.hub.issuing import event, raw

URL = "https://duka.example/paid"


@pytest.fixture
def bank(arifa: CommandLine) -> CommandLine:
    """A command line with a merchant, and the password that its listener expects."""
    arifa.ok("merchant", "add", "duka")
    arifa.file("duka.password", "sesame")
    return arifa


def new(bank: CommandLine, name: str, *words: str | Path, dialect: str = "jenga") -> dict:
    return bank.json(
        *("callback", "new", name, "--url", URL, "--merchant", "duka", "--dialect", dialect),
        *("--username", "shop", "--password-file", bank.folder / "duka.password", *words),
    )


def imported(bank: CommandLine, *documents: dict) -> None:
    file = bank.file("events.jsonl", b"\n".join(map(raw, documents)))
    bank.ok("transaction", "import", file, "--merchant", "duka")


def told(bank: CommandLine) -> list[str]:
    """The bank's references of what was queued, the oldest first."""
    named = {row["id"]: row["bank_reference"] for row in bank.rows("notification", "list")}
    return [named[row["notification"]] for row in bank.rows("delivery", "list")][::-1]


def test_a_callback_is_for_its_accounts(bank: CommandLine) -> None:
    """Failed and successful payments of its accounts, and nothing of any other."""
    made = new(bank, "till", "--accounts", "1", "2")
    assert (made["accounts"], made["success_only"], made["state"]) == (["1", "2"], False, "active")
    assert made["username"] == "shop"
    imported(
        bank,
        event("A", account="1"),
        event("B", account="2", status="failed"),
        event("C", account="3"),
        event("D", account=None),
    )
    assert told(bank) == ["A", "B"]
    (row,) = bank.rows("callback", "list", "--merchant", "duka")
    assert row["id"] == made["id"]


def test_only_successful_ones_by_choice(bank: CommandLine) -> None:
    """With --success-only no failure is told; it can be changed, both ways."""
    new(bank, "till", "--accounts", "1", "--success-only")
    imported(bank, event("A", account="1", status="failed"), event("B", account="1"))
    assert bank.json("callback", "edit", "till", "--every-status")["success_only"] is False
    imported(bank, event("C", account="1", status="failed"))
    assert bank.json("callback", "edit", "till", "--success-only")["success_only"] is True
    imported(bank, event("D", account="1", status="failed"))
    assert told(bank) == ["B", "C"]


def test_a_dialect_without_the_word_says_so(bank: CommandLine) -> None:
    """Where the form cannot say failed, the note says that it is told of successes only."""
    result = bank.ok(
        *("callback", "new", "till", "--url", URL, "--merchant", "duka", "--accounts", "1"),
        *("--dialect", "credit_bank"),
    )
    assert "no word for a failed payment" in result.err
    imported(bank, event("A", account="1", status="failed"), event("B", account="1"))
    assert told(bank) == ["B"]


def test_editing(bank: CommandLine) -> None:
    """URL, accounts, user and password are changed; what is not said stays."""
    new(bank, "till", "--accounts", "1")
    edited = bank.json("callback", "edit", "till", "--url", "https://duka.example/v2")
    assert (edited["url"], edited["accounts"]) == ("https://duka.example/v2", ["1"])
    edited = bank.json("callback", "edit", "till", "--accounts", "7,8")
    assert (edited["url"], edited["accounts"]) == ("https://duka.example/v2", ["7", "8"])
    other = bank.file("other.password", "open")
    edited = bank.json(
        *("callback", "edit", "till", "--username", "till", "--password-file", other)
    )
    assert (edited["username"], edited["accounts"]) == ("till", ["7", "8"])
    assert "open" not in str(edited)
    assert bank("callback", "edit", "till").code == 2
    assert bank("callback", "edit", "till", "--success-only", "--every-status").code == 2
    assert bank("callback", "edit", "till", "--url", "ftp://duka.example").code == 1


def test_it_hears_of_what_is_issued_here(bank: CommandLine) -> None:
    """Another bank's notification of an account of that number is not told in this bank's name."""
    made = new(bank, "till", "--accounts", "1")
    assert bank.json("endpoint", "show", made["id"])["sources"] == ["issue"]


def test_removing(bank: CommandLine) -> None:
    """It is refused while something waits, unless that may be cancelled; then it is gone."""
    new(bank, "till", "--accounts", "1")
    imported(bank, event("A", account="1"))
    assert bank("callback", "remove", "till").code == 1
    assert bank.json("callback", "remove", "till", "--yes")["cancelled"] == 1
    assert bank.rows("callback", "list") == []
    assert bank("callback", "remove", "till").code == 3
    (row,) = bank.rows("transaction", "list")
    assert row["state"] == "unacknowledged"


@pytest.mark.parametrize("password", ["", "sesame"])
def test_an_edit_is_whole_or_not_at_all(bank: CommandLine, password: str) -> None:
    """Where the new password cannot be used, the URL stays too; the one it has is no change."""
    old = bank.file("old", "sesame")
    words = ("--accounts", "1", "--dialect", "jenga", "--username", "u", "--password-file", old)
    bank.ok("callback", "new", "till", "--url", URL, *words)
    given = ("--username", "u", "--password-file", bank.file("new", password))
    result = bank("callback", "edit", "till", "--url", f"{URL}/v2", *given)
    (row,) = bank.rows("callback", "list")
    assert (result.code == 0, row["url"]) in {(True, f"{URL}/v2"), (False, URL)}
    assert (result.code == 0) == bool(password)


def test_an_endpoint_is_no_callback(bank: CommandLine) -> None:
    """One for all accounts is left alone by what merchants may do."""
    bank.ok("endpoint", "add", "erp", "--url", "https://erp.example/")
    assert bank.rows("callback", "list") == []
    for words in (("remove",), ("edit", "--success-only")):
        verb, *more = words
        assert bank("callback", verb, "erp", *more).code == 3


@pytest.mark.parametrize(
    "words",
    [
        ("--accounts", "1", "--dialect", "as_received"),
        ("--accounts", "1", "--dialect", "jenga"),
        ("--accounts", "1", "--dialect", "none"),
        ("--accounts", ","),
        ("--accounts", "1", "--merchant", "nobody"),
        (),
    ],
)
def test_callbacks_that_cannot_be(bank: CommandLine, words: tuple[str, ...]) -> None:
    """Each is refused with one sentence, and nothing is registered."""
    result = bank("callback", "new", "till", "--url", URL, *words)
    assert result.code in (1, 2, 3)
    assert result.err.startswith("arifa: ")
    assert bank.rows("callback", "list") == []


def test_the_banks_own_form(bank: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a dialect it is the one that the bank is set to issue in."""
    assert bank.json("callback", "new", "a", "--url", URL, "--accounts", "1")["secret"]
    monkeypatch.setenv("ARIFA_CALLBACK_DIALECT", "credit_bank")
    made = bank.json("callback", "new", "b", "--url", URL, "--accounts", "1")
    assert (made["dialect"], made["secret"]) == ("credit_bank", None)
