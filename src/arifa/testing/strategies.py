"""What the laws are tried with: notifications, answers, outcomes, and hostile HTTP.

Two worlds of text are kept apart. *Plain* values are what a bank might really say: words in any
script, references without spaces, whole seconds; a dialect must carry them exactly. *Wild* values
are whatever the types allow: half characters, NUL, the year 1, sixteen digits; a dialect may refuse
those, but it may neither break nor change their meaning.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from arifa.dialects.base import Result
from arifa.document import JsonValue, Number
from arifa.money import EXPONENT, Money
from arifa.notification import (
    Direction,
    Kind,
    Notification,
    Payer,
    QueryAnswer,
    Reading,
    State,
    Status,
)
from arifa.outcome import Outcome
from arifa.timestamp import from_rfc3339, micros
from arifa.wire import WireRequest, WireResponse

HEAVY: Final = os.environ.get("ARIFA_HYPOTHESIS") == "heavy"
"""Many times the examples, and new ones in every run; else few, and the same in every run."""

PHASES = tuple(Phase)
"""What is done about an example; a test that wants no smallest one may leave `shrink` out."""

_SECOND: Final = 1_000_000


def effort(examples: int) -> settings:
    """The settings of one law: `examples` in an ordinary run, thirty times as many in a heavy one.

    An ordinary run makes the same examples every time: a build must not fail by luck. A heavy one
    (`ARIFA_HYPOTHESIS=heavy`) looks for news.
    """
    return settings(
        max_examples=examples * (30 if HEAVY else 1),
        derandomize=not HEAVY,
        database=None,
        deadline=None,
        phases=PHASES,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


# ------------------------------------------------------------------------------ plain values

_LETTERS: Final = st.characters(codec="utf-8", categories=["L", "Nd", "Pd", "Po"])
_CAPITALS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_DIGITS: Final = "0123456789"

words: Final = st.text(_LETTERS, min_size=2, max_size=20).map(
    lambda text: " ".join(text[start : start + 7] for start in range(0, len(text), 7))
)
"""Words of any script with single spaces between: a name, a narration."""

references: Final = st.text(f"{_CAPITALS}/_.-", min_size=2, max_size=12).map("F{}7".format)
"""A reference as banks make them: `FT25139M3RM7`."""

receipts: Final = st.text(_CAPITALS, min_size=9, max_size=9).map("T{}".format)
"""A mobile-money receipt: `TEJ6CQQPBQ`."""

phones: Final = st.builds(
    "{}{:08}".format, st.sampled_from(["2547", "2567", "2347", "07"]), st.integers(0, 10**8 - 1)
)
_ACCOUNTS: Final = st.text(_DIGITS, min_size=6, max_size=14)
_SHORT_CODES: Final = st.text(_DIGITS, min_size=5, max_size=7)
_TOKENS: Final = st.sampled_from(["202", "MPESA", "CARD", "Web", "POS", "Bank3D", "EQ", "USSD"])
_TIMES: Final = st.integers(
    from_rfc3339("2001-01-01") // _SECOND, from_rfc3339("2099-01-01") // _SECOND
).map(lambda seconds: seconds * _SECOND)


def _perhaps(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def money(currency: str, *, minor_max: int = 10**11) -> st.SearchStrategy[Money]:
    """Money of `currency` that is not negative, round amounts and odd cents alike."""
    units = st.integers(0, minor_max)
    rounded = units.map(lambda minor: minor // 10**4 * 10**4)
    return (units | rounded).map(lambda minor: Money(minor, currency))


def readings(*, currency: str = "KES") -> st.SearchStrategy[Reading]:
    """Plain readings of money received: every optional field there or not, but for a reference."""
    own = money(currency)
    return st.builds(
        Reading,
        kind=st.just(Kind.PAYMENT),
        direction=st.just(Direction.CREDIT),
        status=st.just(Status.SUCCESS),
        amount=own.map(lambda amount: amount._replace(minor=max(1, amount.minor))),
        fee=_perhaps(own),
        order_amount=_perhaps(own),
        balance_after=_perhaps(own),
        bank_reference=references,
        other_references=st.just(()) | receipts.map(lambda receipt: (receipt,)),
        end_to_end_id=_perhaps(references | words),
        related_reference=_perhaps(references),
        account=_perhaps(_ACCOUNTS),
        short_code=_perhaps(_SHORT_CODES),
        payer=st.builds(Payer, _perhaps(words), _perhaps(phones), _perhaps(references)),
        channel=_perhaps(_TOKENS),
        provider=_perhaps(_TOKENS),
        remittance_information=_perhaps(words),
        occurred_at=_perhaps(_TIMES),
        occurred_text=_perhaps(references),
        unproven=st.just(()),
        doubts=st.just(()),
        held=st.none(),
        extra=st.dictionaries(references, words, max_size=3),
    )


# ------------------------------------------------------------------------------- wild values

_ANY_TEXT: Final = st.text(st.characters(), max_size=30) | st.text('\x00\ud800\udfff \t\n"\\é')
_ANY_MONEY: Final = st.builds(
    Money, st.integers(-(10**18), 10**18), st.sampled_from(["KES", "UGX", "BHD", "CLF", "USD"])
)
_FIRST = micros(datetime.min.replace(tzinfo=UTC))
_LAST = micros(datetime.max.replace(tzinfo=UTC))
_ANY_TIME: Final = st.sampled_from([_FIRST, _LAST]) | st.integers(_FIRST, _LAST)


def wild_readings(*, currency: str = "KES") -> st.SearchStrategy[Reading]:
    """Whatever the types of a reading allow; `currency` is only the commonest."""
    text, money_ = _perhaps(_ANY_TEXT), _perhaps(money(currency) | _ANY_MONEY)
    return st.builds(
        Reading,
        kind=st.sampled_from(Kind),
        direction=st.sampled_from(Direction),
        status=st.sampled_from(Status),
        amount=money_,
        fee=money_,
        order_amount=money_,
        balance_after=money_,
        bank_reference=text,
        other_references=st.lists(_ANY_TEXT, max_size=3).map(tuple),
        end_to_end_id=text,
        related_reference=text,
        account=text,
        short_code=text,
        payer=st.builds(Payer, text, text, text),
        channel=text,
        provider=text,
        remittance_information=text,
        occurred_at=_perhaps(_ANY_TIME),
        occurred_text=text,
        unproven=st.sampled_from([(), ("status",)]),
        doubts=st.lists(_ANY_TEXT, max_size=2).map(tuple),
        held=st.none(),
        extra=st.dictionaries(_ANY_TEXT, _ANY_TEXT, max_size=3),
    )


# ---------------------------------------------------------------- notifications and answers

_IDENTIFIERS: Final = st.integers(0, 2**112 - 1).map("ntf_{:028x}".format)


def notification_of(reading: Reading, identifier: str, received_at: int) -> Notification:
    """`reading` as a merchant's, held if it says so."""
    return Notification(
        id=identifier,
        merchant="default",
        source="src_0123456789abcdef0123456789ab",
        dialect="kcb",
        received_at=received_at,
        state=State.ACCEPTED if reading.held is None else State.HELD,
        reading=reading,
    )


def notifications(
    reading: st.SearchStrategy[Reading] | None = None,
) -> st.SearchStrategy[Notification]:
    """Notifications of these readings; of plain ones by default."""
    return st.builds(
        notification_of,
        readings() if reading is None else reading,
        _IDENTIFIERS,
        _TIMES,
    )


outcomes: Final = st.sampled_from(Outcome)
results: Final = st.builds(Result, transaction_id=_IDENTIFIERS, message=st.just("") | words)
originals: Final = st.builds(
    WireRequest,
    body=st.binary(max_size=60),
    headers=st.just(((b"content-type", b"text/plain"), (b"signature", b"c2lnbmF0dXJl"))),
)
"""What a notification may have come in, for dialects that pass the original on."""


@st.composite
def query_answers(draw: st.DrawFn, currency: str) -> QueryAnswer:
    """Answers to a question before a payment; an unknown reference has nothing more to say."""
    if not draw(st.booleans()):
        return QueryAnswer(found=False, transaction_id=draw(references))
    return QueryAnswer(
        found=True,
        transaction_id=draw(references),
        name=draw(_perhaps(words)),
        amount=draw(_perhaps(money(currency))),
        partial=draw(st.booleans()),
        account=draw(_perhaps(_ACCOUNTS)),
    )


# ------------------------------------------------------------------------------ hostile HTTP

HOSTILE_BODIES: Final = (
    b"",
    b" ",
    b"null",
    b"[]",
    b"0",
    b'"text"',
    b"{",
    b"{}}",
    b'{"a":1}{"a":2}',
    b"\xef\xbb\xbf{}",
    '{"a": "é"}'.encode("utf-16"),
    '{"a": "é"}'.encode("latin-1"),
    b"\x00",
    b'{"\x00": 1}',
    b"a=1&b=2",
    b"<a>1</a>",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"[" * 33 + b"]" * 33,
    b'{"a":"' + b"x" * 9000 + b'"}',
    b'{"a":1' + b"0" * 5000 + b"}",
    b"{" + b",".join(b'"%d":1' % number for number in range(600)) + b"}",
    b"-----BEGIN PUBLIC KEY-----",
    b"a.b.c.d.e",
    b"." * 3000,
)
"""Bodies that broke a parser somewhere."""

HOSTILE_TEXTS: Final = (
    "1E+9999999",
    "1e400",
    "-1",
    "1.005",
    "NaN",
    "Infinity",
    "99999999999999999999",
    "1000000000000000",
    "0x10",
    "٣٤",
    "1,00",
    "\ud800",
    "\x00",
    "’; DROP TABLE",
    "\u202e",
    "NONE",
    " ",
    "20211131000000",
    "99991231235959",
    "00010101000000",
    "0001-01-01 00:00:00",
    "9999-12-31 23:59:59",
    "9999-12-31T23:59:59",
    "01/01/0001 00:00:00",
    "31/12/9999 23:59:59",
    "Mon Feb 30 13:30:54 EAT 2025",
    "9999-12-31T23:59:59-23:59",
    "x" * 8000,
)
HOSTILE_VALUES: Final[list[JsonValue]] = [
    *HOSTILE_TEXTS,
    Number("1E+9999999"),
    Number("-0.00"),
    Number("1000000000000000"),
    True,
    None,
    [],
    {},
    [None],
    {"\ud800": None},
]
"""Values that broke a parser somewhere, in the place of any other."""

_json_values: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(HOSTILE_TEXTS)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) within a JSON value."""
    here: list[tuple[Any, Any]]
    if isinstance(value, dict):
        here = [(value, key) for key in value]
    elif isinstance(value, list):
        here = [(value, index) for index in range(len(value))]
    else:
        return []
    return here + [place for container, key in here for place in _places(container[key])]


@st.composite
def _spoilt(draw: st.DrawFn, samples: tuple[bytes, ...]) -> bytes:
    """A sample with a few of its members exchanged, lost or moved, or with its bytes cut."""
    sample = draw(st.sampled_from(samples))
    try:
        value = json.JSONDecoder().decode(sample.decode("utf-8"))
    except ValueError:
        value = None
    if value is None or draw(st.integers(0, 5)) == 0:
        start, end = draw(st.integers(0, len(sample))), draw(st.integers(0, len(sample)))
        return sample[:start] + draw(st.binary(max_size=4)) + sample[end:]
    for _ in range(draw(st.integers(1, 3))):
        places = _places(value)
        if not places:
            break
        container, key = draw(st.sampled_from(range(len(places))).map(places.__getitem__))
        if isinstance(container, dict) and draw(st.integers(0, 3)) == 0:
            del container[key]
        else:
            container[key] = draw(_json_values)
    return json.dumps(value).encode("utf-8")


def hostile_bodies(samples: Iterable[bytes] = ()) -> st.SearchStrategy[bytes]:
    """Bytes that mean no good: known offenders, anything at all, and samples spoilt in places."""
    genuine = tuple(samples)
    anything = (
        st.sampled_from(HOSTILE_BODIES)
        | st.binary(max_size=200)
        | _json_values.map(lambda value: json.dumps(value).encode("utf-8"))
    )
    return anything | _spoilt(genuine) if genuine else anything


def hostile_headers(names: Iterable[bytes]) -> st.SearchStrategy[tuple[tuple[bytes, bytes], ...]]:
    """Headers of these names and others, missing, doubled, non-ASCII, endless or not base64."""
    name = st.sampled_from([*names, b"x-other", b"content-type"])
    value = st.binary(max_size=40) | st.sampled_from(
        [
            b"",
            b"=",
            b"Basic",
            b"Basic \xff",
            b"Basic Og==",
            b"v1,",
            b"v1,\xc3\xa9",
            b"v1a,AAAA",
            b"9" * 30,
            b"-1",
            b"1e9",
            "é".encode(),
            "٣٤".encode(),
            b"A" * 20_000,
            b"A" * 344,
        ]
    )
    return st.lists(st.tuples(name, value), max_size=5).map(tuple)


responses: Final = st.builds(
    WireResponse,
    status=st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 410, 429, 500, 503]),
    body=hostile_bodies([b'{"statusCode": 0, "header": {"statusCode": "0"}}']),
    headers=st.just(()),
)
"""Answers of a server that may be anyone's."""

CURRENCIES: Final = tuple(sorted(EXPONENT))
