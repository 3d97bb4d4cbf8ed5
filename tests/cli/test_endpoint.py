"""`arifa endpoint`: set up, tried against a real server, changed, rotated, promoted, removed."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa

from arifa import dialects
from arifa.cli.endpoint_flags import delays, seconds, shown_seconds
from arifa.errors import Refused
from arifa.signing import Credentials
from arifa.simulator.merchant import Merchant
from arifa.store.opened import open_store
from arifa.store.schema import deliveries
from arifa.wire import WireRequest
from tests.cli.conftest import CommandLine
from tests.hub.bank import PRIVATE, PUBLIC, request

HTTPS = "https://shop.example/hook"


class Answers:
    """A server that keeps each request and answers with what it is told."""

    def __init__(self) -> None:
        self.requests: list[WireRequest] = []
        self.status, self.body = 200, b'{"statusCode": 0, "transactionID": "t"}'
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                headers = tuple(
                    (name.lower().encode(), value.encode()) for name, value in self.headers.items()
                )
                body = self.rfile.read(int(self.headers["content-length"]))
                answers.requests.append(WireRequest(body, headers))
                self.send_response(answers.status)
                self.send_header("content-length", str(len(answers.body)))
                self.end_headers()
                self.wfile.write(answers.body)

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/"


@pytest.fixture
def answers() -> Iterator[Answers]:
    """A server on this machine."""
    found = Answers()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def merchant() -> Iterator[Merchant]:
    """A merchant that proves what it gets."""
    with Merchant() as found:
        yield found


def header(row: dict[str, Any], name: str) -> str | None:
    return next((one["value"] for one in row["headers"] if one["name"].lower() == name), None)


# ---------------------------------------------------------------------------------- test, promote


def test_from_trial_to_live(arifa: CommandLine, merchant: Merchant) -> None:
    """Untried it is refused; a test that the receiver proved takes it live, with the proof."""
    added = arifa.json("endpoint", "add", "shop", "--url", merchant.url, "--mode", "test")
    merchant.secret = added["secret"]
    refused = arifa("endpoint", "promote", "shop")
    assert refused.code == 1
    assert "arifa endpoint test" in refused.err

    trial = arifa.json("endpoint", "test", "shop", "--allow-private")
    assert (trial["acknowledged"], trial["status"], trial["kept_as_proof"]) == (True, 200, True)
    (event,) = merchant.kept.events.values()
    assert event.id == trial["message"]
    assert event.document["type"] == "endpoint.test"
    assert "amount" not in event.data

    live = arifa.json("endpoint", "promote", "shop")
    assert (live["merchant"], live["go_live"]) == ("default", "checked")
    shown = arifa.json("endpoint", "show", live["id"])
    assert shown["proof"] == live["proof"]
    assert shown["proof"]["message"] == trial["message"]
    assert not shown["changed_since_proof"]
    states = {row["merchant"]: row["go_live"] for row in arifa.rows("endpoint", "list")}
    assert states == {"default": "checked", "default:test": None}


def test_a_test_that_is_not_taken(arifa: CommandLine, merchant: Merchant) -> None:
    """A receiver with another secret refuses it: exit 1, the cause in words, and no proof."""
    arifa.ok("endpoint", "add", "shop", "--url", merchant.url, "--mode", "test")
    tried = arifa("endpoint", "test", "shop", "--allow-private", "--json")
    row = tried.one()
    assert tried.code == 1
    assert (row["acknowledged"], row["status"], row["cause"]) == (False, 401, "client_error")
    assert "look at its log" in row["explanation"]
    assert not row["kept_as_proof"]
    assert arifa("endpoint", "promote", "shop").code == 1


def test_a_private_address_is_not_called_unasked(arifa: CommandLine, answers: Answers) -> None:
    """The worker's own guard stands before the test too."""
    arifa.ok("endpoint", "add", "shop", "--url", answers.url)
    tried = arifa("endpoint", "test", "shop", "--json")
    assert tried.code == 1
    assert tried.one()["status"] is None
    assert answers.requests == []


@pytest.mark.parametrize(
    ("dialect", "flags"),
    [
        ("kcb", ("--generate-key",)),
        ("jenga", ("--username", "u", "--password-file", "SECRET", "--statuses", "success,failed")),
        ("cbs", ("--secret-file", "SECRET")),
        ("credit_bank", ()),
        ("xente", ()),
    ],
)
def test_a_banks_sample_is_marked(
    arifa: CommandLine, answers: Answers, dialect: str, flags: tuple[str, ...]
) -> None:
    """Each bank's form is tried with its own sample, under a reference that begins with TEST."""
    secret = arifa.file("secret", "hunter2-hunter2-hunter2")
    arifa.ok(
        *("endpoint", "add", "erp", "--url", answers.url, "--dialect", dialect, "--mode", "test"),
        *("--kinds", "payment", *(secret if flag == "SECRET" else flag for flag in flags)),
        *(() if "--statuses" in flags else ("--success-only",)),
    )
    result = arifa.ok("endpoint", "test", "erp", "--allow-private", "--json")
    assert result.one()["acknowledged"]
    assert "hunter2" not in result.out + result.err
    (sent,) = answers.requests
    found = dialects.get(dialect)
    readings = found.reread(sent, Credentials(), found.defaults, 0)
    assert isinstance(readings, list)
    assert (readings[0].bank_reference or "").startswith("TEST")
    if dialect == "jenga":
        assert header(result.one(), "authorization") == "********"


def test_a_banks_answer_is_read_in_its_own_words(arifa: CommandLine, answers: Answers) -> None:
    """KCB says no with 200 and a status code: that is no yes."""
    answers.body = b'{"statusCode": 1, "statusMessage": "no such account"}'
    arifa.ok(
        *("endpoint", "add", "erp", "--url", answers.url, "--dialect", "kcb", "--mode", "test"),
        *("--generate-key", "--success-only", "--kinds", "payment"),
    )
    tried = arifa("endpoint", "test", "erp", "--allow-private", "--json")
    assert tried.code == 1
    assert tried.one()["cause"] == "refused"
    assert "no such account" in tried.one()["answer"]


def test_no_sample_goes_to_a_live_system(arifa: CommandLine, answers: Answers) -> None:
    """A bank's form has no word for a test, so a live endpoint of it is sent none."""
    ours = arifa.file("ours.pem", PRIVATE)
    arifa.ok(
        *("endpoint", "add", "erp", "--url", answers.url, "--dialect", "kcb"),
        *("--private-key", ours, "--success-only", "--kinds", "payment"),
    )
    arifa.ok("endpoint", "add", "old", "--url", answers.url, "--dialect", "as_received")
    refused = arifa("endpoint", "test", "erp", "--allow-private")
    assert refused.code == 1
    assert "--mode test" in refused.err
    assert "arifa trigger" in arifa("endpoint", "test", "old", "--allow-private").err
    assert answers.requests == []


def test_an_override_needs_its_reason(arifa: CommandLine) -> None:
    """Both or neither; what is kept says who and why."""
    arifa.ok("endpoint", "add", "shop", "--url", HTTPS, "--mode", "test")
    assert arifa("endpoint", "promote", "shop", "--override").code == 2
    assert arifa("endpoint", "promote", "shop", "--reason", "x").code == 2
    live = arifa.json("endpoint", "promote", "shop", "--override", "--reason", "agreed by mail")
    assert live["go_live"] == "overridden"
    assert live["proof"]["reason"] == "agreed by mail"
    assert live["proof"]["who"]


def test_a_live_endpoint_made_directly_is_not_checked(
    arifa: CommandLine, merchant: Merchant
) -> None:
    """It works at once, and everywhere it says that nobody has tried it, until it is tested."""
    added = arifa.json("endpoint", "add", "shop", "--url", merchant.url)
    assert added["go_live"] == "not checked"
    assert arifa.rows("endpoint", "list")[0]["go_live"] == "not checked"
    checks = {row["check"]: row for row in arifa.rows("doctor")}
    assert "shop" in checks["going live"]["detail"]
    merchant.secret = added["secret"]
    arifa.ok("endpoint", "test", "shop", "--allow-private")
    assert arifa.json("endpoint", "show", "shop")["go_live"] == "checked"
    checks = {row["check"]: row for row in arifa.rows("doctor")}
    assert "shop" not in checks["going live"]["detail"]


def test_a_source_is_promoted(arifa: CommandLine) -> None:
    """A proven request takes it live; the new path is printed, and the old one stays a test."""
    key = arifa.file("bank.pem", PUBLIC)
    added = arifa.json(
        *("source", "add", "k", "--dialect", "kcb", "--mode", "test", "--public-key", key)
    )
    assert arifa("source", "promote", "k").code == 1
    assert arifa.receive(added["path"], request("kcb")).status == 200
    live = arifa.json("source", "promote", "k")
    assert live["path"] != added["path"]
    assert (live["merchant"], live["go_live"]) == ("default", "checked")
    assert arifa.json("source", "show", live["id"])["proof"] == live["proof"]
    assert arifa.receive(live["path"], request("kcb")).status == 200


# ---------------------------------------------------------------------------------- edit, rotate


def test_edit_says_what_changed(arifa: CommandLine) -> None:
    """From and to of each setting; a header's value is never shown."""
    arifa.ok("endpoint", "add", "shop", "--url", HTTPS, "--header", "X-Key: hunter2")
    result = arifa.ok(
        *("endpoint", "edit", "shop", "--url", "https://shop.example/v2", "--timeout", "5s"),
        *("--schedule", "0s 5s 2h", "--header", "X-Key: hunter3", "--kinds", "payment", "--json"),
    )
    changed = result.one()["changed"]
    assert changed["url"] == {"from": HTTPS, "to": "https://shop.example/v2"}
    assert changed["timeout"] == {"from": None, "to": 5.0}
    assert changed["schedule"] == {"from": None, "to": ["0s", "5s", "2h"]}
    assert changed["headers"] == {"from": {"X-Key": "********"}, "to": {"X-Key": "********"}}
    assert "hunter" not in result.out + result.err + arifa.ok("endpoint", "show", "shop").out

    back = arifa.json("endpoint", "edit", "shop", "--reset", "schedule,timeout", "headers")
    assert set(back["changed"]) == {"schedule", "timeout", "headers"}
    again = arifa.ok("endpoint", "edit", "shop", "--kinds", "payment")
    assert "nothing has changed" in again.err
    assert arifa("endpoint", "edit", "shop").code == 2


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--timeout", "soon"), 2),
        (("--timeout", "31s"), 1),
        (("--concurrency", "0"), 1),
        (("--rate", "fast"), 2),
        (("--rate", "0"), 1),
        (("--schedule", "5s 30s"), 1),
        (("--schedule", "0s 0.5s"), 2),
        (("--schedule", ""), 1),
        (("--schedule", "0s 11d"), 1),
        (("--ordered", "amount"), 1),
        (("--halt-on-dead",), 1),
        (("--header", "hunter2"), 2),
        (("--header", "Host: hunter2"), 1),
        (("--header", "X: a", "--header", "x: b"), 2),
        (("--currencies", "KSH"), 1),
        (("--statuses", "failed", "--success-only"), 2),
        (("--kinds", "money"), 2),
        (("--alerts", "--kinds", "payment"), 1),
        (("--url", "https://shop.example/#x"), 1),
        (("--url", "gopher://shop.example/"), 1),
        (("--url", "nats://"), 1),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_entered(
    arifa: CommandLine, flags: tuple[str, ...], code: int
) -> None:
    """By `add` and by `edit` alike, in one sentence, which holds no header's value."""
    arifa.ok("endpoint", "add", "there", "--url", HTTPS)
    url = () if "--url" in flags else ("--url", HTTPS)
    for command in (("add", "new", *url), ("edit", "there")):
        result = arifa("endpoint", *command, *flags)
        assert result.code == code, result
        assert result.err.startswith("arifa: ")
        assert len(result.err.splitlines()) == 1
        assert "hunter2" not in result.err
    assert len(arifa.rows("endpoint", "list")) == 1


def test_rotate_prints_the_new_secret_once(arifa: CommandLine, merchant: Merchant) -> None:
    """Old and new both sign for a day: a receiver with either takes the test message."""
    old = arifa.json("endpoint", "add", "shop", "--url", merchant.url)["secret"]
    rotated = arifa.json("endpoint", "rotate", "shop")
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != old
    assert rotated["rotation"]["state"] == "both sign"
    for secret in (old, rotated["secret"]):
        merchant.secret = secret
        trial = arifa.json("endpoint", "test", "shop", "--allow-private")
        assert len((header(trial, "webhook-signature") or "").split()) == 2
        assert trial["kept_as_proof"] is False
    assert arifa("endpoint", "test", "shop", "--allow-private", "--new-key").code == 0
    merchant.secret = old
    assert arifa("endpoint", "test", "shop", "--allow-private", "--new-key").code == 1
    shown = arifa.ok("endpoint", "show", "shop", "--json")
    assert shown.one()["rotation"]["until"] == rotated["rotation"]["until"]
    assert old not in shown.out
    assert rotated["secret"] not in shown.out


def test_a_short_overlap_is_refused(arifa: CommandLine) -> None:
    """Less than a day only at once, with a reason."""
    arifa.ok("endpoint", "add", "shop", "--url", HTTPS)
    assert "24 hours" in arifa("endpoint", "rotate", "shop", "--overlap", "23h").err
    assert arifa("endpoint", "rotate", "shop", "--now").code == 2
    assert arifa("endpoint", "rotate", "shop", "--now", "--overlap", "2d").code == 2
    done = arifa.json("endpoint", "rotate", "shop", "--now", "--reason", "it was lost")
    assert done["rotation"] is None


def test_a_generated_key_is_shown_by_its_public_half(arifa: CommandLine) -> None:
    """RSA for KCB, Ed25519 for Standard Webhooks: printed, in a file, and shown ever after."""
    rsa = arifa.json(
        *("endpoint", "add", "erp", "--url", HTTPS, "--dialect", "kcb", "--generate-key"),
        *("--success-only", "--kinds", "payment"),
    )
    ed25519 = arifa.json("endpoint", "add", "shop", "--url", HTTPS, "--generate-key")
    assert rsa["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
    assert ed25519["public_key"].startswith("whpk_")
    assert ed25519["secret"] is None
    for added in (rsa, ed25519):
        shown = arifa.ok("endpoint", "show", added["name"], "--json")
        assert shown.one()["our_public_keys"] == [added["public_key"]]
        assert shown.one()["public_key_path"] == added["public_key_path"]
        assert "PRIVATE" not in shown.out
        assert "whsk_" not in shown.out


# ---------------------------------------------------------------------------------- the rest


def test_pause_and_resume(arifa: CommandLine) -> None:
    """The state and its reason are shown; doing it again is said."""
    arifa.ok("endpoint", "add", "shop", "--url", HTTPS)
    paused = arifa.json("endpoint", "pause", "shop", "--reason", "moving house")
    assert (paused["state"], paused["reason"]) == ("paused", "moving house")
    assert "already" in arifa.ok("endpoint", "pause", "shop").err
    resumed = arifa.json("endpoint", "resume", "shop")
    assert (resumed["state"], resumed["reason"]) == ("active", None)


def stand(arifa: CommandLine, state: str) -> None:
    """Let every delivery be in this state."""
    store = open_store(arifa.data)
    with store.database.write() as connection:
        connection.execute(sa.update(deliveries).values(state=state))
    store.close()


def test_remove_with_what_waits(arifa: CommandLine) -> None:
    """Refused while something waits or is out; with --yes that is cancelled, and stays to be seen."""
    key = arifa.file("bank.pem", PUBLIC)
    path = arifa.json("source", "add", "k", "--dialect", "kcb", "--public-key", key)["path"]
    arifa.ok("endpoint", "add", "shop", "--url", HTTPS)
    arifa.receive(path, request("kcb"))
    (row,) = arifa.rows("endpoint", "list")
    assert (row["pending"], row["last_cause"]) == (1, None)
    for state in ("sending", "pending"):
        stand(arifa, state)
        refused = arifa("endpoint", "remove", "shop")
        assert refused.code == 1
        assert "--yes" in refused.err
    assert arifa.json("endpoint", "remove", "shop", "--yes")["cancelled"] == 1
    assert arifa("endpoint", "show", "shop").code == 3
    (delivery,) = arifa.rows("delivery", "list", "--state", "cancelled")
    assert delivery["last_cause"] == "endpoint_removed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0s", 0), ("90", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86_400)],
)
def test_times_are_read(text: str, expected: float) -> None:
    """Seconds without a unit; minutes, hours and days by their letter."""
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "s", "-1s", "1w", "1h30m", "1e3", "١s", "nan"])
def test_what_is_no_time(text: str) -> None:
    """Is refused, and not read as something else."""
    with pytest.raises(Refused):
        seconds(text)


def test_a_schedule_is_shown_as_it_is_written() -> None:
    """What is shown reads back as the same schedule."""
    given = (0, 5, 30, 300, 1800, 7200, 86_400, 90_000)
    assert delays(" ".join(shown_seconds(one) for one in given)) == given


def test_reset_names_the_flags(arifa: CommandLine) -> None:
    """What it takes, and what it says that it takes, are the names of the options."""
    arifa.ok("endpoint", "add", "shop", "--url", HTTPS)
    arifa.ok("endpoint", "edit", "shop", "--ordered", "account", "--halt-on-dead")
    result = arifa("endpoint", "edit", "shop", "--reset", "haltondead")
    assert result.code == 2
    assert "schedule, ordered" in result.err
    assert "halt-on-dead" in result.err
    assert "delays" not in result.err
    arifa.ok("endpoint", "edit", "shop", "--reset", "halt-on-dead,show-phone,--ordered")
    settings = arifa.json("endpoint", "show", "shop")
    assert (settings["ordered"], settings["halt_on_dead"]) == (None, False)


def test_show_says_whether_the_phone_is_told(arifa: CommandLine) -> None:
    """A bank's form has the whole number without a flag; the hub's own masks it unless asked."""
    arifa.ok("endpoint", "add", "shop", "--url", HTTPS)
    arifa.ok("endpoint", "add", "open", "--url", HTTPS, "--show-phone")
    arifa.ok("endpoint", "add", "erp", "--url", HTTPS, "--dialect", "kcb", "--generate-key",
             "--success-only", "--kinds", "payment")  # fmt: skip
    told = {
        name: arifa.json("endpoint", "show", name)["show_phone"] for name in ("shop", "open", "erp")
    }
    assert told == {"shop": False, "open": True, "erp": True}
