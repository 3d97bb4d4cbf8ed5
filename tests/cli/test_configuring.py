"""`arifa merchant`, `source` and `endpoint`: what they print, and what they never print."""

from __future__ import annotations

from pathlib import Path

import pytest

from arifa import dialects
from arifa.clock import now_us
from arifa.signing import Credentials
from arifa.signing.keys import new_rsa_key
from tests.cli.conftest import CommandLine
from tests.hub.bank import PRIVATE, PUBLIC, request


@pytest.fixture
def key(arifa: CommandLine) -> Path:
    """The bank's public key in a file."""
    return arifa.file("bank.pem", PUBLIC)


def test_merchants(arifa: CommandLine) -> None:
    """A merchant has a test twin, and is refused twice."""
    added = arifa.json("merchant", "add", "acme")
    assert (added["merchant"], added["test"]) == ("acme", "acme:test")
    assert arifa.rows("merchant", "list") == [added]
    arifa.ok("merchant", "add", "zuri")
    assert arifa.rows("merchant", "list", "--limit", "1") == [added]
    assert arifa.json("merchant", "show", "acme:test")["merchant"] == "acme"
    assert arifa("merchant", "add", "acme").code == 1
    assert arifa("merchant", "add", "Acme & Co").code == 1


def test_source_add_prints_what_is_agreed(arifa: CommandLine, key: Path) -> None:
    """Id, name, dialect, merchant and the intake path; a path to a key only where one was made."""
    added = arifa.json("source", "add", "kcb-main", "--dialect", "kcb", "--public-key", key)
    assert {"id", "name", "dialect", "merchant", "path"} <= added.keys()
    assert "private_key_path" not in added
    assert added["id"].startswith("src_")
    assert (added["name"], added["dialect"], added["merchant"]) == ("kcb-main", "kcb", "default")
    assert added["path"].startswith("/ipn/")
    shown = arifa.json("source", "show", "kcb-main")
    assert (shown["received"], shown["refused"], shown["last_received_at"]) == (0, 0, None)
    assert shown["credentials"]["public_keys"][0].startswith("SHA256:")
    assert arifa.json("source", "show", added["id"]) == shown


def test_source_options(arifa: CommandLine, key: Path) -> None:
    """What is said is kept: account, routes, options, currency, zone, addresses, mode."""
    arifa.ok("merchant", "add", "acme")
    arifa.ok(
        *("source", "add", "k", "--dialect", "kcb", "--public-key", key, "--merchant", "acme"),
        *("--mode", "test", "--account", "12", "--route", "150150=acme", "--route", "7=default"),
        *("--option", "status_code=text", "--option", "form=till", "--currency", "USD"),
        *("--timezone", "Africa/Kampala", "--allow-ip", "10.0.0.0/8", "--allow-ip", "::1"),
    )
    shown = arifa.json("source", "show", "k")
    assert (shown["merchant"], shown["account"], shown["currency"]) == ("acme:test", "12", "USD")
    assert shown["routes"] == {"150150": "acme:test", "7": "default:test"}
    assert shown["options"] == {"status_code": "text", "form": "till"}
    assert shown["credentials"]["addresses"] == ["10.0.0.0/8", "::1"]
    assert shown["scope"] == "kcb:"


def test_a_generated_key_signs(arifa: CommandLine) -> None:
    """`private_key_path` is the bank's: what it signs is accepted, and counted."""
    added = arifa.json("source", "add", "trial", "--dialect", "kcb", "--generate-key")
    private = Path(added["private_key_path"]).read_bytes()
    unsigned = request("kcb")
    signed = dialects.get("kcb").sign(unsigned, Credentials(private_key=private), now_us())
    assert arifa.receive(added["path"], signed).status == 200
    assert arifa.receive(added["path"], unsigned).status == 401
    shown = arifa.json("source", "show", "trial")
    assert (shown["received"], shown["refused"]) == (1, 1)
    assert shown["last_received_at"].endswith("Z")


def test_no_secret_is_printed(arifa: CommandLine) -> None:
    """Neither a shared secret nor a password nor a key shows in any list or detail."""
    secret = arifa.file("secret", "hunter2-shared\n")
    password = arifa.file("password", "hunter2-password\n")
    ours = arifa.file("ours.pem", PRIVATE)
    arifa.ok("source", "add", "c", "--dialect", "cbs", "--secret-file", secret)
    said = arifa.ok(
        *("source", "add", "j", "--dialect", "jenga", "--username", "u"),
        *("--password-file", password),
    )
    arifa.ok(
        *("endpoint", "add", "e", "--dialect", "kcb", "--url", "https://x.example/"),
        *("--private-key", ours, "--success-only", "--kinds", "payment"),
    )
    printed = said.out + said.err
    for command in (
        ("source", "list"),
        ("source", "show", "c"),
        ("source", "show", "j"),
        ("endpoint", "show", "e"),
        ("config", "show"),
        ("doctor",),
    ):
        for form in ((), ("--json",)):
            result = arifa.ok(*command, *form)
            printed += result.out + result.err
    assert "hunter2" not in printed
    assert "PRIVATE" not in printed


def test_pause_resume_remove(arifa: CommandLine) -> None:
    """A paused source answers that it is not there now; a removed one's name is free."""
    added = arifa.json("source", "add", "t", "--dialect", "kcb", "--generate-key")
    assert arifa.json("source", "pause", "t")["state"] == "paused"
    assert arifa.receive(added["path"], request("kcb")).status == 503
    assert arifa.json("source", "resume", "t")["state"] == "active"
    assert arifa.json("source", "remove", "t")["state"] == "removed"
    assert not Path(added["private_key_path"]).exists()
    assert arifa("source", "show", "t").code == 3
    assert arifa.rows("source", "list") == []


def test_rotate(arifa: CommandLine, key: Path) -> None:
    """Old and new are taken until the old is retired."""
    arifa.ok("source", "add", "k", "--dialect", "kcb", "--public-key", key)
    new = arifa.file("new.pem", new_rsa_key()[1])
    rotated = arifa.json("source", "rotate", "k", "--public-key", new)
    assert len(rotated["credentials"]["public_keys"]) == 2
    assert "24 hours" in arifa("source", "rotate", "k", "--retire").err
    assert arifa("source", "rotate", "k", "--retire", "--now").code == 2
    retired = arifa.json("source", "rotate", "k", "--retire", "--now", "--reason", "tried")
    assert retired["credentials"]["public_keys"] == rotated["credentials"]["public_keys"][:1]
    assert arifa("source", "rotate", "k").code == 1


def test_endpoint_add_prints_its_secret_once(arifa: CommandLine) -> None:
    """Id, name, URL, dialect and the secret; later nothing has it any more."""
    added = arifa.json("endpoint", "add", "shop", "--url", "https://shop.example/hook")
    assert {"id", "name", "url", "dialect", "secret"} <= added.keys()
    assert added["dialect"] == "standard_webhooks"
    assert added["secret"].startswith("whsec_")
    for command in (("endpoint", "list"), ("endpoint", "show", "shop")):
        assert added["secret"] not in arifa.ok(*command, "--json").out


@pytest.mark.parametrize(
    "kinds",
    [
        ("--kinds", "payment", "reversal"),
        ("--kinds", "payment,reversal"),
        ("--kinds", "payment", "--kinds", "reversal"),
    ],
)
def test_several_words_in_any_way(arifa: CommandLine, kinds: tuple[str, ...]) -> None:
    """Words of a filter may stand apart, be joined by commas, or come one flag each."""
    arifa.ok("endpoint", "add", "shop", *kinds, "--url", "https://shop.example/")
    assert arifa.json("endpoint", "show", "shop")["kinds"] == ["payment", "reversal"]


def test_endpoint_filters(arifa: CommandLine) -> None:
    """Sources are named by name; success only is a status."""
    arifa.ok("source", "add", "t", "--dialect", "kcb", "--generate-key")
    arifa.ok(
        *("endpoint", "add", "shop", "--url", "http://127.0.0.1:9/", "--sources", "t"),
        *("--success-only", "--directions", "credit", "--show-phone"),
    )
    shown = arifa.json("endpoint", "show", "shop")
    assert (shown["sources"], shown["statuses"]) == (["t"], ["success"])
    assert (shown["directions"], shown["show_phone"]) == (["credit"], True)


def test_what_a_dialect_cannot_say(arifa: CommandLine) -> None:
    """The refusal names the flags, and with them it works."""
    ours = arifa.file("ours.pem", PRIVATE)
    command = (
        *("endpoint", "add", "e", "--dialect", "kcb", "--url", "https://x.example/"),
        *("--private-key", ours),
    )
    refused = arifa(*command)
    assert refused.code == 1
    assert "--success-only --kinds payment" in refused.err
    assert arifa.json(*command, "--success-only", "--kinds", "payment")["secret"] is None


def test_an_inner_address_is_noted(arifa: CommandLine) -> None:
    """It works only with --allow-private, and that is said when it is made."""
    said = arifa.ok("endpoint", "add", "shop", "--url", "http://127.0.0.1:9/")
    assert "--allow-private" in said.err
    assert arifa("endpoint", "add", "other", "--url", "http://shop.example/").code == 1


def test_dialects_are_described(arifa: CommandLine) -> None:
    """What a dialect proves and can say, and its cases for `trigger`."""
    rows = arifa.rows("dialect", "list")
    assert arifa.rows("dialect", "list", "--limit", "2") == rows[:2]
    assert [row["name"] for row in rows] == dialects.names()
    kcb = arifa.json("dialect", "show", "kcb")
    assert kcb["proofs"][0]["covers"] == ["*"]
    assert [case["name"] for case in kcb["cases"]] == ["account", "till"]
    assert (kcb["kinds"], kcb["statuses"]) == (["payment"], ["success"])


@pytest.mark.parametrize(
    ("name", "as_json", "said"), [("kcb", None, "any"), ("cbs", [], "the feed's own only")]
)
def test_currencies_of_a_dialect(
    arifa: CommandLine, name: str, as_json: list[str] | None, said: str
) -> None:
    """Any, and none but the feed's own, are two things to a person too."""
    assert arifa.json("dialect", "show", name)["currencies"] == as_json
    lines = arifa.ok("dialect", "show", name).out.splitlines()
    (line,) = [line for line in lines if line.startswith("currencies:")]
    assert line.partition(":")[2].strip() == said
