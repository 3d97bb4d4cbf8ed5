"""A corpus of what may arrive where a bank's message is expected: bodies, and headers.

Every body is made from a genuine sample of a dialect, so that each field of each shape meets each
oddity. `genuine` proves a body as its bank would, so that it comes past the proof and into the
books; `NAMES`, `PHONE` and the rest are planted, to be looked for where they must not appear.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from arifa import dialects
from arifa.clock import now_us
from arifa.dialects.cbs import _signed_texts
from arifa.document import decode_object
from arifa.errors import Unreadable
from arifa.feed import Profile
from arifa.signing import Credentials
from arifa.wire import WireRequest
from tests.hub.bank import BANK as BANK_CREDENTIALS
from tests.hub.bank import HUB as HUB_CREDENTIALS
from tests.hub.bank import SECRET

WEBHOOK = Credentials(secrets=(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",))
HUB = {**HUB_CREDENTIALS, "standard_webhooks": WEBHOOK}
BANK = {**BANK_CREDENTIALS, "standard_webhooks": WEBHOOK}

NAMES = ("Wanjiku Planted", "Otieno")
PHONE = "254799887766"

HOLE = "@@hole@@"

# What makes the payments of the samples these payments, and no others.
REFERENCES = (
    *(b"FT00026252", b"FT25139M3RM6", b"TEJ6CQQPBQ", b"PR-0001", b"PR-0002", b"328411183176"),
    *(b"S2596405", b"MKR35QEKV7", b"SH90HU7FO2", b"FT22321YXDV8", b"RTGH87685", b"FT23013K7QX2"),
    *(b"5f0c1f5e-7d0a-4f0a-9c7b-0d2b6a1e4c11", b"ntf_0123456789abcdef0123456789ab"),
)

AMOUNTS = (
    *("1E+9999999", "1e400", "1e2", "-0", "00012", "0x10", "1_000", "NaN", "Infinity"),
    *("100.001", "100.5", "100.0000", "100.00000001", "100.000000001"),
    *("9" * 15, "9" * 16, "9" * 19, "9" * 64, "9" * 65, "9" * 8000, "0." + "0" * 60 + "1"),
    *("-5", "+5", "", " ", "∞", "1..0", "5.", ".5", "1 000", "1,000.00", "1.000,00", "10,00,000"),
    *("１００", "۱۲۳", "١٢٣", "1\u00a0000", "100\x00", "\ud800100", "KES 100", "½", "²"),
)
CURRENCIES = (
    *("XXX", "kes", "KESS", "", "ke", "BTC", "UGX", "BHD", "JPY", "K€S", "ßß", "ıny"),
    *("KES\x00", "KES\ud800", "ＫＥＳ", "\u202eSEK"),
)
TEXTS = (
    *("\x00", "a\x00b", "\ud800", "\udc00\ud800", "a\udfffb", "\u202etxt", "\ufeff", "\u2028"),
    *("�", "😀" * 2000, "x" * 8192, "x" * 8193, "'; DROP TABLE inbox;--", "<script>", "../../etc"),
    *("0000-00-00", "9999-12-31 23:59:59.999999999", "20250229103005", "0001-01-01 00:00:00+14:00"),
    *("9999-12-31T23:59:59-14:00", "2025-02-30T25:61:61Z", "2025-03-30 02:30:00", "Mon May 19"),
    *("${jndi:ldap://x}", "\r\nx: y", "NONE", "null", "true", "%00", "{{7*7}}", "\t"),
)
VALUES = (
    *("null", "true", "false", "5", "1.50", '""', "[]", "{}", '[["a"]]', '{"a":1}', "NaN"),
    *("Infinity", "-Infinity", "1E+9999999", "-0", "1e2", "9" * 64, "9" * 65, "0.1", "01", "+1"),
)
NAMES_OF_MEMBERS = ("", "\x00", "\ud800", "a\ud800", "__proto__", "x" * 8192, "x" * 8193, "é", "😀")


@dataclass(frozen=True)
class Item:
    """One body, and what is odd about it."""

    name: str
    body: bytes

    def __repr__(self) -> str:
        return self.name


def leaves(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to every member of a document that is no object itself, and to every object."""
    for name, value in document.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))


def replaced(document: dict[str, Any], path: tuple[str, ...], raw: str | bytes) -> bytes:
    """The document with this JSON text where the member was, whatever that text is."""
    copy = json.loads(json.dumps(document))
    place = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = HOLE
    raw = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    return json.dumps(copy).encode().replace(f'"{HOLE}"'.encode(), raw)


def without(document: dict[str, Any], path: tuple[str, ...]) -> bytes:
    """The document without this member."""
    copy = json.loads(json.dumps(document))
    place = copy
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return json.dumps(copy).encode()


def whole_bodies(sample: bytes) -> Iterator[Item]:
    """Bodies that are odd as a whole."""
    text = sample.decode()
    document = json.loads(sample)
    compact = json.dumps(document)
    inner = compact[1:-1]
    yield Item("the sample itself", sample)
    for name, body in {
        "empty": b"",
        "a space": b" ",
        "a zero byte": b"\x00",
        "zero bytes": b"\x00" * 4096,
        "not JSON": b"hello",
        "a form": b"amount=100&currency=KES",
        "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
        "all bytes": bytes(range(256)) * 16,
        "UTF-16": text.encode("utf-16"),
        "UTF-16 without a mark": text.encode("utf-16-le"),
        "UTF-32": text.encode("utf-32"),
        "a byte order mark": b"\xef\xbb\xbf" + sample,
        "a raw surrogate": compact.replace('"', '"\ud800', 1).encode("utf-8", "surrogatepass"),
        "a raw zero byte": b"{\x00" + sample.lstrip()[1:],
        "overlong UTF-8": compact.encode().replace(b'"', b'"\xc0\x80', 1),
        "two documents": sample + sample,
        "a tail": sample + b"x",
        "a comma at the end": b"{" + inner.encode() + b",}",
        "a comment": b"/* */" + sample,
        "single quotes": compact.replace('"', "'").encode(),
        "every member twice": ("{" + inner + "," + inner + "}").encode(),
        "a list of it": b"[" + sample + b"]",
        "a text of it": json.dumps(compact).encode(),
        "100,000 brackets": b"[" * 100_000,
        "100,000 objects": b'{"a":' * 100_000,
        "256 KiB of brackets": b"[" * (256 * 1024),
        "256 KiB of pairs of brackets": (b"[" + b"[]," * 90_000)[: 256 * 1024 - 3] + b"[]]",
        "256 KiB of zeros": b'{"a":[' + b"0," * 131_000 + b"0]}",
        "256 KiB of objects": b'{"a":[' + b"{}," * 87_000 + b"{}]}",
        "256 KiB of brackets in a text": b'{"a":"' + b"[" * 262_000 + b'"}',
        "256 KiB of quotes that are escaped": b"[]" * 33 + b'\\"' * 131_000,
        "256 KiB of backslashes": b"[]" * 33 + b'"' + b"\\" * 262_000,
        "256 KiB of texts": b"[]" * 33 + b'""' * 131_000,
        "256 KiB of spaces": b" " * 262_000 + b"{}",
        "256 KiB of digits": b'{"a":' + b"1" * 262_000 + b"}",
        "256 KiB of minus signs": b"-" * 262_000,
        "256 KiB of colons": b"{" + b":" * 262_000 + b"}",
        "256 KiB of escapes": b'{"a":"' + b"\\u0000" * 43_000 + b'"}',
        "256 KiB of keys": b"{" + b",".join(b'"%x":0' % n for n in range(24_000)) + b"}",
        "256 KiB of short lists": b'{"a":' + b"[[" * 15 + b"0" + b"]]" * 15 + b"}" + b" " * 200_000,
        "600 members": ("{" + inner + ",").encode()
        + b",".join(b'"m%d":%d' % (n, n) for n in range(600))
        + b"}",
        "400 members with odd names": ("{" + inner + ",").encode()
        + b",".join(b'"\\ud800%d":"\\u0000"' % n for n in range(400))
        + b"}",
        "a deep member": b"{" + inner.encode() + b',"deep":' + b"[" * 31 + b"]" * 31 + b"}",
        "a member too deep": b"{" + inner.encode() + b',"deep":' + b"[" * 32 + b"]" * 32 + b"}",
        "an empty object": b"{}",
    }.items():
        yield Item(name, body)
    for number in ("null", "true", "5", '"text"', "[]", "NaN", "1E+9999999", "-Infinity"):
        yield Item(f"only {number}", number.encode())
    for part in range(1, 8):
        yield Item(f"cut at {part}/8", sample[: len(sample) * part // 8])
    for name in NAMES_OF_MEMBERS:
        quoted = json.dumps(name)
        for value in ('"\\u0000"', '["\\ud800"]', '"\\ud800"', "1"):
            added = f"{{{inner},{quoted}:{value}}}".encode()
            yield Item(f"a member {name[:9]!r}: {value}", added)


def bodies_of_fields(document: dict[str, Any]) -> Iterator[Item]:
    """Bodies in which one member is odd."""
    for path in leaves(document):
        where = ".".join(path)
        yield Item(f"no {where}", without(document, path))
        texts = list(TEXTS)
        if "mount" in path[-1] or "Amt" in path[-1] or "alance" in path[-1]:
            texts += AMOUNTS
        if "urrency" in path[-1]:
            texts += CURRENCIES
        for text in texts:
            raw = json.dumps(text)
            yield Item(f"{where} = {raw[:30]}", replaced(document, path, raw))
        for raw in VALUES:
            yield Item(f"{where} = {raw[:30]} raw", replaced(document, path, raw))
        for number in AMOUNTS:
            if number.isascii() and number.strip() and "mount" in path[-1]:
                yield Item(f"{where} = {number[:30]} as a number", replaced(document, path, number))
        yield Item(f"{where} twice", _twice(document, path))


def _twice(document: dict[str, Any], path: tuple[str, ...]) -> bytes:
    name = json.dumps(path[-1])
    return replaced(document, path, f'"first",{name}:"second"')


def bodies(dialect: str, case: str | None = None) -> Iterator[Item]:
    """The whole corpus on one case of a dialect, its first by default; each a payment of its own."""
    cases = dialects.get(dialect).cases
    sample = cases[case or next(iter(cases))].body
    items = [*whole_bodies(sample), *bodies_of_fields(json.loads(sample))]
    for number, item in enumerate(items):
        yield Item(item.name, fresh(item.body, number))


def fresh(body: bytes, number: int) -> bytes:
    """The body with a reference of its own: another payment."""
    for reference in REFERENCES:
        kept = reference[: max(2, len(reference) - 6)]
        body = body.replace(reference, b"%b%06d" % (kept, number))
    return body


def profile(dialect: str) -> Profile:
    """The defaults of the dialect."""
    return dialects.get(dialect).defaults


def genuine(dialect: str, body: bytes) -> WireRequest:
    """A request with this body, proven by its bank where that is possible at all."""
    bank = dialects.get(dialect)
    headers = bank.headers
    if dialect == "standard_webhooks":
        headers = (*headers, (b"webhook-id", b"msg_1"))
    bare = WireRequest(
        body=body, headers=headers, peer="127.0.0.1", received_at=now_us(), target="/ipn/"
    )
    if dialect == "cbs":
        return replace(bare, body=_with_mac(body))
    return bank.sign(bare, BANK[dialect], now_us())


def _with_mac(body: bytes) -> bytes:
    """The body with its hash put in as text: whatever else is odd about it stays so."""
    try:
        (message, *_) = _signed_texts(decode_object(body))
    except Unreadable:
        return body
    digest = b64encode(hmac.digest(SECRET, message, "sha256"))
    return re.sub(rb'("Mac":\s*)"[^"]*"', rb'\1"' + digest + b'"', body, count=1)


# What may stand in a header where a proof is expected, by dialect: name of the header.
PROOF_HEADERS = {
    "kcb": b"Signature",
    "jenga": b"Authorization",
    "credit_bank": b"Authorization",
    "standard_webhooks": b"webhook-signature",
}
HEADER_VALUES = (
    *(b"", b" ", b"=", b"====", b"x", b"\xff\xfe\xfd", "é".encode(), "é".encode("latin-1")),
    *(b"Basic", b"Basic ", b"Basic =", b"Basic \xff", b"Basic Og==", b"Basic " + b"A" * 12_000),
    *(b"Bearer x", b"v1,", b"v1,x", b"v1 ,", b"v1,\xff", b"v1," * 4000, b"v1a,AAAA"),
    *(b"A" * 12_000, b"AAAA" * 86, b"AAAA AAAA", b"a,b;c", b'"quoted"', b"null", b"\t\tx"),
)
