"""`arifa verify`, `parse`, `sign` and `render`: raw HTTP in, JSON or raw HTTP out, no store."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from arifa.wire import read_request
from tests.cli.conftest import CommandLine
from tests.hub.bank import PRIVATE, PUBLIC, SECRET, altered, request


@pytest.fixture
def key(arifa: CommandLine) -> Path:
    """The bank's public key in a file."""
    return arifa.file("bank.pem", PUBLIC)


def test_a_genuine_message(arifa: CommandLine, key: Path) -> None:
    """It is proven and read, and exits 0; no store is made for it."""
    file = arifa.file("request.http", request("kcb").to_bytes())
    said = arifa.json("verify", "--dialect", "kcb", "--public-key", key, file)
    assert said.keys() == {"genuine", "readings", "error"}
    assert (said["genuine"], said["error"]) == (True, None)
    (reading,) = said["readings"]
    assert reading["amount"] == {"amount": "100.00", "currency": "KES"}
    assert reading["unproven"] == []
    assert not arifa.data.exists()


def test_a_forged_message(arifa: CommandLine, key: Path) -> None:
    """It exits 4, with nothing read."""
    forged = altered(request("kcb"), b"100.00", b"900.00")
    file = arifa.file("request.http", forged.to_bytes())
    result = arifa("verify", "--dialect", "kcb", "--public-key", key, file, "--json")
    assert result.code == 4
    said = result.one()
    assert (said["genuine"], said["readings"]) == (False, [])
    assert "signature" in said["error"]


def test_a_genuine_riddle(arifa: CommandLine, key: Path) -> None:
    """Genuine but unreadable exits 1."""
    file = arifa.file("request.http", request("kcb", transactionReference=None).to_bytes())
    result = arifa("verify", "--dialect", "kcb", "--public-key", key, file, "--json")
    assert (result.code, result.one()["genuine"]) == (1, True)


def test_a_question_before_a_payment(arifa: CommandLine) -> None:
    """It has no readings, and says what is asked."""
    body = '{"requestId": "r", "customerReference": "INV-1", "organizationReference": "7"}'
    file = arifa.file("request.http", f"POST / HTTP/1.1\n\n{body}")
    said = arifa.json("parse", "--dialect", "kcb", file)
    assert (said["readings"], said["query"]["reference"]) == ([], "INV-1")


def test_parse_needs_no_key(arifa: CommandLine, key: Path) -> None:
    """Without a key nothing is said about whether it is genuine; with one it is, and 4 if not."""
    forged = arifa.file("f.http", altered(request("kcb"), b"100.00", b"900.00").to_bytes())
    said = arifa.json("parse", "--dialect", "kcb", forged)
    assert (said["genuine"], len(said["readings"]), said["error"]) == (None, 1, None)
    result = arifa("parse", "--dialect", "kcb", "--public-key", key, forged, "--json")
    assert (result.code, result.one()["genuine"]) == (4, False)
    genuine = arifa.file("g.http", request("kcb").to_bytes())
    assert arifa.json("parse", "--dialect", "kcb", "--public-key", key, genuine)["genuine"] is True


def test_parse_of_what_cannot_be_read(arifa: CommandLine) -> None:
    """It exits 1, with the reason in its place."""
    file = arifa.file("request.http", "POST / HTTP/1.1\n\nnot json")
    result = arifa("parse", "--dialect", "kcb", file, "--json")
    assert result.code == 1
    assert "not JSON" in result.one()["error"]


def test_sign_then_verify(arifa: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `sign` writes, `verify` accepts, through a pipe too."""
    secret = arifa.file("secret", SECRET + b"\n")
    unsigned = request("cbs").to_bytes().replace(b'"Mac"', b'"OldMac"')
    file = arifa.file("request.http", unsigned)
    signed = arifa.ok("sign", "--dialect", "cbs", "--secret-file", secret, file).out
    assert b'"Mac"' in read_request(signed.encode()).body
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(signed.encode())))
    assert arifa.json("verify", "--dialect", "cbs", "--secret-file", secret, "-")["genuine"] is True


def test_render_is_the_inverse_of_parse(arifa: CommandLine) -> None:
    """A notification as `notification show` prints it, as another bank's message, read again."""
    source = arifa.json("source", "add", "t", "--dialect", "cbs", "--secret-file",
                        arifa.file("secret", SECRET))  # fmt: skip
    assert arifa.receive(source["path"], request("cbs")).status == 200
    (row,) = arifa.rows("notification", "list")
    file = arifa.file("n.json", json.dumps(arifa.json("notification", "show", row["id"])))
    rendered = arifa.file(
        "r.http",
        arifa.ok("render", "--dialect", "jenga", "--currency", "NGN", file).out,
    )
    (reading,) = arifa.json("parse", "--dialect", "jenga", rendered)["readings"]
    assert reading["amount"] == row["amount"] == {"amount": "2000.00", "currency": "NGN"}
    assert reading["bank_reference"] == row["bank_reference"]


def test_render_never_lies(arifa: CommandLine) -> None:
    """What a dialect has no words for is refused."""
    failed = {"kind": "payment", "direction": "credit", "status": "failed",
              "amount": {"amount": "1.00", "currency": "KES"}, "bank_reference": "x"}  # fmt: skip
    result = arifa("render", "--dialect", "kcb", arifa.file("n.json", json.dumps(failed)))
    assert (result.code, result.out) == (1, "")
    assert "failed" in result.err


@pytest.mark.parametrize(
    "wrong", [{"channel": {"a": 1}}, {"account": ["x"]}, {"extra": {"a": {}}}, {"id": "a\r\nx: y"}]
)
def test_render_takes_words_of_their_kind_only(arifa: CommandLine, wrong: dict[str, Any]) -> None:
    """A field of another kind, or an id that would write a header of its own, is refused."""
    row = {"kind": "payment", "direction": "credit", "status": "success", "id": "ntf_1",
           "amount": {"amount": "1.00", "currency": "KES"}, "bank_reference": "x"}  # fmt: skip
    for dialect in ("cbs", "standard_webhooks"):
        given = arifa.file("n.json", json.dumps(row | wrong))
        result = arifa("render", "--dialect", dialect, given)
        assert (result.code, result.out) == (1, ""), dialect
        assert "notification" in result.err


@pytest.mark.parametrize(
    ("verb", "content", "said"),
    [
        ("render", "[]", "not an object"),
        ("render", "{}", "not a notification"),
        ("render", '{"kind": "gift"}', "not a notification"),
        ("parse", "", "no blank line"),
        ("parse", "hello\n\n", "request line"),
    ],
)
def test_wrong_files(arifa: CommandLine, verb: str, content: str, said: str) -> None:
    """One sentence says what the file is not."""
    result = arifa(verb, "--dialect", "kcb", arifa.file("f", content))
    assert (result.code, result.out) == (1, "")
    assert said in result.err


def test_missing_files(arifa: CommandLine) -> None:
    """A file that is not there is named."""
    result = arifa("parse", "--dialect", "kcb", "nofile")
    assert result.code == 1
    assert "nofile cannot be read" in result.err


def test_a_proof_needs_its_key(arifa: CommandLine) -> None:
    """Verifying or signing without one is refused, with the flag that gives it."""
    file = arifa.file("request.http", request("kcb").to_bytes())
    assert "--public-key" in arifa("verify", "--dialect", "kcb", file).err
    assert "--private-key" in arifa("sign", "--dialect", "kcb", file).err
    private = arifa.file("ours.pem", PRIVATE)
    assert "private key" in arifa("verify", "--dialect", "kcb", "--public-key", private, file).err


def test_addresses_and_time_are_arguments(arifa: CommandLine) -> None:
    """`--peer` is where it came from; `--now` is when, for signatures that grow old."""
    file = arifa.file("x.http", request("xente").to_bytes())
    command = ("verify", "--dialect", "xente", "--allow-ip", "10.0.0.0/8", file, "--json")
    assert arifa(*command, "--peer", "10.1.2.3").code == 0
    assert arifa(*command, "--peer", "11.1.2.3").code == 4
    assert arifa(*command).code == 4
    secret = arifa.file("secret", "whsec_" + "A" * 32)
    raw = b'POST / HTTP/1.1\nwebhook-id: ntf_1\n\n{"data": {"id": "ntf_1"}}'
    old = ("--dialect", "standard_webhooks", "--secret-file", secret)
    signed = arifa.ok("sign", *old, arifa.file("w", raw), "--now", "2026-01-01T00:00:00Z").out
    file = arifa.file("s.http", signed)
    assert arifa("verify", *old, file, "--now", "2026-01-01T00:04:00Z").code != 4
    assert arifa("verify", *old, file, "--now", "2026-01-01T00:06:00Z").code == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "it has no member 'kind'"),
        ('{"kind": "gift", "direction": "credit", "status": "success"}', "'gift'"),
        (
            '{"kind": "fee", "direction": "credit", "status": "success", "amount": 1}',
            "another kind",
        ),
    ],
)
def test_render_says_what_is_wrong_in_words(arifa: CommandLine, text: str, said: str) -> None:
    """What is no notification is refused with a sentence, and not with a program's error."""
    result = arifa("render", "--dialect", "kcb", arifa.file("n.json", text))
    assert result.code == 1
    assert said in result.err
    assert "Error(" not in result.err
