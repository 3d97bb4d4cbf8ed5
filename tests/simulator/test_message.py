"""Making messages: every sample of every bank can be read, changed and made a new payment."""

from __future__ import annotations

from random import Random

import pytest

from arifa import dialects
from arifa.clock import now_us
from arifa.errors import CannotExpress, NotFound, Refused
from arifa.notification import Kind, Query, Reading, Status, money_hash
from arifa.simulator.bank import Bank
from arifa.simulator.fields import FIELDS, with_fields
from arifa.simulator.message import Message, reversal_of, with_more_money
from arifa.wire import WireRequest
from tests.simulator.hub import WAYS, sides

CASES = [
    (way, case)
    for way, (dialect, *_) in WAYS.items()
    for case in dialects.get(dialect).cases
    if way not in ("credit_bank by address", "xente by keys")
]
# The shapes of Xente's that publish no amount are read only.
RENDERED = [pair for pair in CASES if pair[1] not in ("camel", "pascal")]


def bank_of(way: str) -> Bank:
    """A bank that is not to send anything."""
    dialect, theirs, _ = sides(way)
    return Bank(
        dialects.get(dialect), credentials=theirs, url="http://127.0.0.1:9/", random=Random(3)
    )


def read(bank: Bank, message: Message, way: str) -> Reading:
    """What a hub reads of it."""
    request = bank.signed(message.request())
    peered = WireRequest(request.body, request.headers, peer="127.0.0.1")
    _, _, ours = sides(way)
    found = bank.dialect.receive(peered, ours, message.profile, now_us())
    assert not isinstance(found, Query)
    (reading,) = found
    return reading


@pytest.mark.parametrize(("way", "case"), CASES)
def test_a_published_message_goes_out_as_it_is(way: str, case: str):
    """Until something is changed the body is the case's own."""
    bank = bank_of(way)
    message = bank.published(case)
    assert message.request().body == bank.dialect.cases[case].body


@pytest.mark.parametrize(("way", "case"), RENDERED)
def test_a_renewed_message_is_a_new_payment(way: str, case: str):
    """It is told from the first by every reference, and is about the same money."""
    bank = bank_of(way)
    message = bank.published(case)
    renewed = bank.renewed(message)
    first, second = read(bank, message, way), read(bank, renewed, way)
    one, other = (bank.dialect.identity(reading) for reading in (first, second))
    assert {one.primary, *one.secondary}.isdisjoint({other.primary, *other.secondary})
    assert (first.amount, first.status) == (second.amount, second.status)


@pytest.mark.parametrize(("way", "case"), RENDERED)
def test_a_new_envelope_is_the_same_payment(way: str, case: str):
    """What is announced anew has the same identity and the same money."""
    bank = bank_of(way)
    payment = bank.renewed(bank.published(case))
    first, again = read(bank, payment, way), read(bank, payment.in_a_new_envelope(), way)
    if way == "standard_webhooks":
        assert bank.dialect.identity(first) != bank.dialect.identity(again)
    else:
        assert bank.dialect.identity(first) == bank.dialect.identity(again)
    assert money_hash(first) == money_hash(again)


@pytest.mark.parametrize("way", WAYS)
def test_more_money_is_other_money(way: str):
    """One unit more under the same reference."""
    bank = bank_of(way)
    message = bank.published()
    first, more = read(bank, message, way), read(bank, with_more_money(message), way)
    assert first.bank_reference == more.bank_reference
    assert money_hash(first) != money_hash(more)


def test_the_reversal_of_an_invoices_payment_has_its_own_reference():
    """CBS names the payment by the invoice and the request; the reversal's reference is new."""
    bank = bank_of("cbs")
    message = bank.renewed(bank.published())
    reversal = read(bank, reversal_of(message, bank.random), "cbs")
    assert reversal.kind is Kind.REVERSAL
    assert reversal.bank_reference != message.reading.bank_reference
    assert reversal.end_to_end_id == message.reading.end_to_end_id


def test_the_reversal_of_a_transfer_comes_under_its_reference():
    """Credit Bank has one reference for a transfer, whatever becomes of it."""
    bank = bank_of("credit_bank by password")
    message = bank.renewed(bank.published())
    reversal = read(bank, reversal_of(message, bank.random), "credit_bank by password")
    assert reversal.bank_reference == message.reading.bank_reference


def test_a_seed_makes_the_same_references():
    """Two runs with one seed send the same."""
    first, second = (bank_of("kcb") for _ in range(2))
    one, other = (bank.renewed(bank.published()).reading for bank in (first, second))
    assert one.bank_reference == other.bank_reference


def test_an_unknown_case():
    """The sentence names those that there are."""
    with pytest.raises(NotFound, match="account, till"):
        bank_of("kcb").published("acount")


def test_a_dialect_without_samples():
    """Nobody is a bank that speaks as_received."""
    bank = Bank(dialects.get("as_received"), credentials=sides("kcb")[1], url="http://127.0.0.1:9/")
    with pytest.raises(NotFound, match="no sample messages"):
        bank.published()


# ---------------------------------------------------------------------------------- --set


@pytest.mark.parametrize(
    ("way", "setting", "field", "expected"),
    [
        ("kcb", "amount=250.00", "amount", "250.00 KES"),
        ("kcb", "currency=USD", "amount", "100.00 USD"),
        ("kcb", "bank_reference=FT1", "bank_reference", "FT1"),
        ("kcb", "end_to_end_id=", "end_to_end_id", "None"),
        ("kcb", "balance_after=-5", "balance_after", "-5.00 KES"),
        ("kcb", "occurred_at=2026-11-20T07:42:38Z", "occurred_at", "1795160558000000"),
        ("jenga", "status=failed", "status", "failed"),
        ("jenga", "fee=1.50", "fee", "1.50 KES"),
        ("credit_bank by password", "other_references=ABC", "other_references", "('ABC',)"),
        ("cbs", "kind=reversal", "kind", "reversal"),
        ("xente by address", "account=256", "account", "256"),
        ("standard_webhooks", "payer.name=Jane", "payer", "Jane"),
    ],
)
def test_a_set_field_is_what_arrives(way: str, setting: str, field: str, expected: str):
    """A field is set by its canonical name, and read back by the hub."""
    bank = bank_of(way)
    settings = [setting, "direction=debit"] if setting == "kind=reversal" else [setting]
    reading = read(bank, with_fields(bank.published(), settings), way)
    assert expected in str(getattr(reading, field))


def test_the_payers_name():
    """A part of the payer leaves the other parts as they are."""
    bank = bank_of("kcb")
    reading = read(bank, with_fields(bank.published(), ["payer.name=Jane Doe"]), "kcb")
    assert (reading.payer.name, reading.payer.phone) == ("Jane Doe", "25471111111")


def test_a_currency_is_set_before_an_amount():
    """In whatever order they are given."""
    bank = bank_of("xente by address")
    changed = with_fields(bank.published(), ["amount=7.50", "currency=KES"])
    assert str(read(bank, changed, "xente by address").amount) == "7.50 KES"


@pytest.mark.parametrize(
    ("setting", "error", "words"),
    [
        ("amont=1", Refused, "end_to_end_id"),
        ("amount", Refused, "FIELD=VALUE"),
        ("amount=much", Refused, "not a decimal number"),
        ("amount=-1", Refused, "never negative"),
        ("currency=kes", Refused, "ISO 4217"),
        ("status=lost", Refused, "success, failed, pending"),
        ("occurred_at=yesterday", Refused, "not a time"),
        ("fee=5", CannotExpress, "no place for fee"),
    ],
)
def test_what_cannot_be_set(setting: str, error: type[Exception], words: str):
    """The sentence says what could be."""
    with pytest.raises(error, match=words):
        with_fields(bank_of("kcb").published(), [setting])


def test_every_field_of_a_reading_can_be_set():
    """But for the time as the bank wrote it, and what only a reader adds."""
    named = {name.partition(".")[0] for name in FIELDS} - {"currency"}
    only_read = {"occurred_text", "unproven", "doubts", "held", "extra"}
    assert named == set(Reading.__struct_fields__) - only_read


def test_a_message_never_lies():
    """KCB has no word for a payment that failed."""
    bank = bank_of("kcb")
    with pytest.raises(CannotExpress, match="failed"):
        bank.published().with_reading(status=Status.FAILED).request()
