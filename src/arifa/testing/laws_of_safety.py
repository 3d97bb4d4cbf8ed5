"""Laws against bad input, second postings and impure code."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import replace
from math import gcd
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from arifa.dialects.base import Dialect
from arifa.document import encode
from arifa.errors import ArifaError, NotGenuine, Unreadable
from arifa.feed import Profile
from arifa.notification import (
    MONEY_FIELDS,
    Query,
    Reading,
    reading_as_json,
    reading_from_json,
)
from arifa.signing import EVERYTHING, NOTHING
from arifa.testing.alterations import (
    altered_members,
    escaped,
    resplit_texts,
    with_each_value,
)
from arifa.testing.genuine import NOW_US, PEER, Genuine, Subject
from arifa.testing.strategies import (
    HEAVY,
    HOSTILE_BODIES,
    HOSTILE_VALUES,
    effort,
    hostile_bodies,
    hostile_headers,
    readings,
    wild_readings,
)
from arifa.testing.verdict import insist, nothing_but, verified
from arifa.wire import Headers, WireRequest

# An envelope costs some milliseconds to seal and to open.
_SPOILT_MAX, _SEALED_MAX = (100_000, 100_000) if HEAVY else (2500, 400)

# -------------------------------------------------------------------------------- bad input


def hostile_input_has_two_errors(subject: Subject) -> None:
    """Hostile headers and bodies raise only `NotGenuine` or `Unreadable`; what is read can be kept.

    The net in `base` would make `Unreadable` of a `KeyError` too; a dialect that falls into it
    loses a payment over one odd field, so that counts as broken here.
    """
    samples = [sample.request for sample in subject.samples]
    names = sorted({name for request in samples for name, _ in request.headers})

    @effort(150)
    @given(
        hostile_bodies([request.body for request in samples]),
        hostile_headers(names),
        st.sampled_from(subject.profiles),
        st.sampled_from(samples),
    )
    def law(body: bytes, headers: Headers, profile: Profile, template: WireRequest) -> None:
        _check_hostile(subject, WireRequest(body=body, headers=headers, peer=PEER), profile)
        _check_hostile_but_signed(subject, replace(template, body=body), profile)

    for body in HOSTILE_BODIES:
        request = replace(samples[0], body=body)
        _check_hostile(subject, request, subject.dialect.defaults)
        _check_hostile_but_signed(subject, request, subject.dialect.defaults)
    for sample, body in _each_place_spoilt(subject.samples):
        request = replace(sample.request, body=body)
        _check_hostile_but_signed(subject, request, sample.profile)
    law()


def _each_place_spoilt(samples: list[Genuine]) -> list[tuple[Genuine, bytes]]:
    """Every member of every sample with every hostile value, or some of them spread evenly."""
    spoilt = [
        (sample, escaped(document))
        for sample in samples
        if sample.bare is not None and sample.bare.body.lstrip().startswith(b"{")
        for document in with_each_value(sample.bare.document(), HOSTILE_VALUES)
    ]
    is_envelope = not samples[0].request.body.lstrip().startswith(b"{")
    step = max(1, len(spoilt) // (_SEALED_MAX if is_envelope else _SPOILT_MAX))
    while gcd(step, len(HOSTILE_VALUES)) > 1:
        step += 1  # else some values would meet no member
    return spoilt[::step]


def _check_hostile_but_signed(subject: Subject, request: WireRequest, profile: Profile) -> None:
    try:
        signed = subject.dialect.sign(request, subject.credentials, NOW_US)
    except ArifaError:
        return
    _check_hostile(subject, signed, profile)


def _check_hostile(subject: Subject, request: WireRequest, profile: Profile) -> None:
    dialect = subject.dialect
    with nothing_but(NotGenuine, Unreadable, doing="receive"):
        try:
            found = dialect.receive(request, subject.credentials, profile, NOW_US)
        except NotGenuine:
            return
        except Unreadable as error:
            cause = error.__cause__
            fell = cause is not None and not isinstance(cause, ArifaError)
            insist(not fell, f"read raises {type(cause).__name__}: {cause}")
            return
    if isinstance(found, Query):
        insist(_is_text(found.reference), "the reference of a query cannot be kept")
        return
    for reading in found:
        _check_can_be_kept(dialect, reading)


def _check_can_be_kept(dialect: Dialect, reading: Reading) -> None:
    """Texts without NUL and half characters, numbers of 63 bits: what any database can hold."""
    with nothing_but(doing="reading_as_json of what was read"):
        row = {**reading_as_json(reading), "held": reading.held}
    for text in (*_texts(row), dialect.identity(reading).primary):
        insist(_is_text(text), f"a reading holds {text!r}, which no database keeps")
    for name in MONEY_FIELDS:
        money = getattr(reading, name)
        insist(money is None or abs(money.minor) < 2**63, f"{name} is beyond 63 bits")
    amount = reading.amount
    insist(amount is None or amount.minor >= 0, "an amount is negative")
    insist(amount is not None or reading.held is not None, "there is no amount, and it counts")
    insist(reading_from_json(row) == reading, "a reading changes on a way through JSON")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _is_text(text: str) -> bool:
    return "\x00" not in text and not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)


# --------------------------------------------------------------------------------- identity

_DESCRIBING: Final = frozenset(
    {"fee", "order_amount", "balance_after", "payer", "channel", "provider", "unproven", "doubts"}
    | {"remittance_information", "occurred_at", "occurred_text"}
)
_NAMING: Final = frozenset(
    {"kind", "direction", "status", "bank_reference", "other_references", "end_to_end_id"}
    | {"related_reference", "account"}
)


def identity_is_of_the_payment(subject: Subject) -> None:
    """What a bank may well write anew when it sends again does not make another payment.

    Texts, names, balances, fees and times are no identity, unless a proof covers just those.
    """
    dialect = subject.dialect
    covers = verified(subject, subject.samples[0]).covers
    changing = sorted(_DESCRIBING - covers)

    @effort(30)
    @given(readings(currency=dialect.defaults.currency), wild_readings())
    def law(reading: Reading, other: Reading) -> None:
        identity = dialect.identity(reading)
        insist(identity.primary, "an identity is empty")
        for name in changing:
            altered = structs.replace(reading, **{name: getattr(other, name)})
            same = dialect.identity(altered).primary == identity.primary
            insist(same, f"another {name} makes another payment")

    law()


def unproven_fields_never_post_twice(subject: Subject) -> None:
    """Altering an unproven field of a genuine message never makes a second posting."""
    for sample in subject.samples:
        if subject.dialect.carried(sample.profile):
            never_posts_twice(subject, sample)


def never_posts_twice(subject: Subject, sample: Genuine) -> None:
    """Altering an unproven field of this genuine request never makes a second posting.

    What still verifies has the identity of the original, primary or secondary, or is held. Where
    nothing at all is proven, the fields that name a payment are its identity, and exempt.
    """
    dialect, proven = subject.dialect, verified(subject, sample)
    found = dialect.parse(proven, sample.profile)
    try:
        document = sample.request.document()
    except Unreadable:
        return  # an envelope: nothing in it can be reached
    if isinstance(found, Query):
        return
    for alterations in (altered_members(document), resplit_texts(document)):
        for what, altered in alterations:
            request = replace(sample.request, body=encode(altered))
            try:
                again = dialect.receive(request, sample.credentials, sample.profile, sample.now_us)
            except (NotGenuine, Unreadable):
                continue
            insist(not proven.covers >= EVERYTHING, f"it is accepted with {what}")
            for reading in again if isinstance(again, list) else ():
                known = any(
                    _is_known(dialect, original, reading, proven.covers) for original in found
                )
                insist(known or reading.held is not None, f"it posts a second time with {what}")


def _is_known(
    dialect: Dialect, original: Reading, reading: Reading, covers: frozenset[str]
) -> bool:
    identity, before = dialect.identity(reading), dialect.identity(original)
    if identity.primary == before.primary or {*identity.secondary} & {*before.secondary}:
        return True
    return covers == NOTHING and any(
        getattr(reading, name) != getattr(original, name) for name in _NAMING
    )


# ----------------------------------------------------------------------------------- purity

_IMPURE: Final = frozenset(
    {"aiohttp", "alembic", "asyncio", "concurrent", "ctypes", "ftplib", "glob", "http", "httpx"}
    | {"importlib", "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "psycopg"}
    | {"pysqlite3", "random", "requests", "sched", "secrets", "select", "selectors", "shutil"}
    | {"signal", "smtplib", "socket", "socketserver", "sqlalchemy", "sqlite3", "ssl", "structlog"}
    | {"subprocess", "sys", "tempfile", "threading", "time", "urllib", "urllib3", "uuid"}
    | {"uvicorn", "uvloop"}
)
_PURE_PARTS: Final = frozenset(
    {"dialects", "document", "errors", "feed", "money", "notification", "outcome", "signing"}
    | {"timestamp", "wire"}
)
_CALLS: Final = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})
_CLOCKS: Final = frozenset({"now", "today", "utcnow"})


def knows_no_input_and_no_clock(subject: Subject) -> None:
    """Bytes and values in, values out: the module imports no I/O, no clock and no chance."""
    module = inspect.getmodule(type(subject.dialect))
    assert module is not None
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        for name in _imported(node):
            root, _, rest = name.partition(".")
            part = rest.partition(".")[0]
            is_pure = root not in _IMPURE or name == "urllib.parse"
            is_below = root != "arifa" or not part or part in _PURE_PARTS
            insist(is_pure and is_below, f"it imports {name}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            insist(node.func.id not in _CALLS, f"it calls {node.func.id}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            insist(node.func.attr not in _CLOCKS, f"it calls {node.func.attr}")


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module == "arifa":
        return [f"arifa.{alias.name}" for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
