"""What is special to Credit Bank: event names, no currency, no status, and no proof."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from arifa import dialects
from arifa.dialects.base import Result
from arifa.errors import CannotExpress, NotGenuine, Refused, Unreadable
from arifa.feed import Profile
from arifa.money import Money
from arifa.notification import Direction, Kind, Notification, Reading, State, Status, money_hash
from arifa.outcome import Outcome
from arifa.signing import Credentials
from arifa.wire import WireRequest, WireResponse

BANK = dialects.get("credit_bank")
LISTED = Credentials(addresses=("203.0.113.0/24",))
PEER = "203.0.113.7"
FT = BANK.cases["ft"].body


def read(body: bytes, profile: Profile = BANK.defaults) -> Reading:
    found = BANK.receive(WireRequest(body, peer=PEER), LISTED, profile, 0)
    assert isinstance(found, list)
    (reading,) = found
    return reading


def event(word: str) -> Reading:
    return read(FT.replace(b'"credit"', f'"{word}"'.encode()))


def notified(reading: Reading) -> Notification:
    return Notification(
        id="ntf_0123456789abcdef0123456789ab",
        merchant="default",
        source="src_0123456789abcdef0123456789ab",
        dialect="credit_bank",
        received_at=0,
        state=State.ACCEPTED,
        reading=reading,
    )


def rendered(**changes: object) -> dict[str, object]:
    reading = structs.replace(read(FT), **changes)
    document = BANK.render(notified(reading), BANK.defaults).document()
    data = document["data"]
    assert isinstance(data, dict)
    return {**document, **data}


# ------------------------------------------------------------------------------------- proof


def test_a_source_needs_a_control_of_its_own():
    with pytest.raises(Refused, match="--allow-ip"):
        BANK.check_credentials(Credentials())
    BANK.check_credentials(LISTED)
    BANK.check_credentials(Credentials(username="u", passwords=("p",)))


def test_another_address_is_refused():
    with pytest.raises(NotGenuine):
        BANK.verify(WireRequest(FT, peer="198.51.100.1"), LISTED, BANK.defaults, 0)


# ------------------------------------------------------------------------------------ events


@pytest.mark.parametrize(
    ("word", "kind", "direction"),
    [
        ("credit", Kind.PAYMENT, Direction.CREDIT),
        (" CREDIT ", Kind.PAYMENT, Direction.CREDIT),
        ("debit", Kind.PAYMENT, Direction.DEBIT),
        ("Refund", Kind.REFUND, Direction.DEBIT),
        ("CHARGE_BACK", Kind.CHARGEBACK, Direction.DEBIT),
        ("charge backs", Kind.CHARGEBACK, Direction.DEBIT),
        ("disputes", Kind.DISPUTE, Direction.DEBIT),
        ("authorisation", Kind.AUTHORIZATION, Direction.CREDIT),
        ("Authorizations", Kind.AUTHORIZATION, Direction.CREDIT),
        ("Fraud Management Filter actions", Kind.FRAUD_ACTION, Direction.DEBIT),
        ("fraud_action", Kind.FRAUD_ACTION, Direction.DEBIT),
        ("reversal", Kind.REVERSAL, Direction.DEBIT),
    ],
)
def test_the_events_name_is_in_transaction_type(word, kind, direction):
    reading = event(word)
    assert (reading.kind, reading.direction) == (kind, direction)


@pytest.mark.parametrize("word", ["credit", "debit"])
def test_credits_and_debits_count_at_once(word):
    reading = event(word)
    assert reading.held is None
    assert reading.doubts == ()


@pytest.mark.parametrize(
    "word", ["refund", "chargeback", "dispute", "authorization", "fraud action", "reversal"]
)
def test_an_event_that_the_page_only_names_is_held(word):
    reading = event(word)
    assert reading.held is not None
    assert any("which way the money went" in doubt for doubt in reading.doubts)


def test_an_unknown_word_is_kept_and_held():
    reading = event("Standing Order")
    assert reading.kind is Kind.UNKNOWN
    assert reading.held is not None
    assert reading.extra["data.transactionType"] == "Standing Order"
    assert BANK.identity(reading) != BANK.identity(event("Sweep"))


@pytest.mark.parametrize("kind", sorted(BANK.expresses.kinds))
def test_every_event_is_written_in_a_word_that_is_read_back(kind):
    directions = []
    for direction in Direction:
        try:
            word = rendered(kind=kind, direction=direction)["transactionType"]
        except CannotExpress:
            continue
        directions.append(direction)
        assert (event(str(word)).kind, event(str(word)).direction) == (kind, direction)
    assert len(directions) == (2 if kind is Kind.PAYMENT else 1)


# ----------------------------------------------------------------------------------- identity


def test_a_credit_and_what_takes_it_back_are_never_one():
    identities = [BANK.identity(event(word)) for word in ("credit", "debit", "refund", "reversal")]
    keys = [{identity.primary, *identity.secondary} for identity in identities]
    assert len(set().union(*keys)) == sum(map(len, keys))


def test_one_receipt_under_two_bank_references_is_likely_one_payment():
    other = read(FT.replace(b"FT22321YXDV8", b"FT22321YXDV9"))
    assert BANK.identity(other).primary != BANK.identity(read(FT)).primary
    assert BANK.identity(other).secondary == BANK.identity(read(FT)).secondary


def test_a_quoted_text_that_comes_twice_is_two_payments():
    other = read(FT.replace(b"FT22321YXDV8", b"FT22321YXDV9").replace(b"RTGH87685", b""))
    mine, its = BANK.identity(read(FT)), BANK.identity(other)
    assert other.end_to_end_id == read(FT).end_to_end_id
    assert not {mine.primary, *mine.secondary} & {its.primary, *its.secondary}


@pytest.mark.parametrize("nothing", [b'""', b"null", b'"  "', b"[]"])
def test_without_the_banks_reference_it_is_held_and_told_apart_by_the_other(nothing):
    body = FT.replace(b'"FT22321YXDV8"', nothing)
    reading = read(body)
    assert reading.bank_reference is None
    assert reading.held is not None
    again = read(body.replace(b"FT", b"PesaLink", 1))
    assert BANK.identity(again).primary == BANK.identity(reading).primary
    assert BANK.identity(reading).primary != BANK.identity(read(FT)).primary


def test_without_any_reference_it_is_told_apart_by_its_bytes():
    body = FT.replace(b'"FT22321YXDV8"', b"null").replace(b'"DAFSHSTFSFSJ"', b"null")
    assert read(body).held is not None
    assert BANK.identity(read(body)) == BANK.identity(read(body))
    other = body.replace(b"12:40:55", b"12:40:56")
    assert BANK.identity(read(body)).primary != BANK.identity(read(other)).primary


# -------------------------------------------------------------------------------------- money


def test_the_currency_is_the_sources():
    dollars = replace(BANK.defaults, currency="USD")
    assert read(FT).amount == Money(30000, "KES")
    assert read(FT, dollars).amount == Money(30000, "USD")
    with pytest.raises(CannotExpress, match="USD"):
        rendered(amount=Money(30000, "USD"))


def test_a_currency_that_is_there_all_the_same_is_believed():
    body = FT.replace(b'"amount": "300"', b'"amount": "300", "currency": "usd"')
    assert read(body).amount == Money(30000, "USD")
    assert money_hash(read(body)) != money_hash(read(FT))


@pytest.mark.parametrize(
    ("amount", "text"), [(30000, "300"), (30050, "300.50"), (5, "0.05"), (0, "0")]
)
def test_whole_amounts_are_written_without_decimals(amount, text):
    assert rendered(amount=Money(amount, "KES"))["amount"] == text


def test_leading_zeros_of_an_account_stay():
    assert read(FT).account == "0021024000039"
    assert rendered()["custAccount"] == "0021024000039"


@pytest.mark.parametrize("body", [b"{}", b'{"data": []}', b'{"data": {"amount": "many"}}', b"[1]"])
def test_what_is_not_about_money_is_unreadable(body):
    with pytest.raises(Unreadable):
        read(body)


@pytest.mark.parametrize("status", [Status.FAILED, Status.PENDING])
def test_a_payment_that_did_not_happen_cannot_be_said(status):
    with pytest.raises(CannotExpress):
        rendered(status=status)


# ------------------------------------------------------------------------------------- render


def test_the_published_sample_is_written_as_it_was_read():
    document = BANK.render(notified(read(FT)), BANK.defaults).document()
    assert document == WireRequest(FT).document()


@pytest.mark.parametrize(
    ("channel", "written"),
    [("PesaLink", "PesaLink"), ("PESALINK", "PesaLink"), ("FT", "FT"), ("202", "FT"), (None, "FT")],
)
def test_the_notification_type_is_one_of_the_banks_two(channel, written):
    assert rendered(channel=channel)["notificationType"] == written


@pytest.mark.parametrize(
    "changes",
    [
        {"bank_reference": None},
        {"bank_reference": " FT1"},
        {"other_references": ("RTGH87685", "RTGH87686")},
        {"end_to_end_id": ""},
        {"account": "12\x00"},
        {"account": "\ud800"},
        {"occurred_at": 10**18},
        {"amount": None},
        {"amount": Money(-1, "KES")},
        {"amount": Money(10**18, "KES")},
    ],
)
def test_what_would_not_be_read_back_the_same_is_not_sent(changes):
    with pytest.raises(CannotExpress):
        rendered(**changes)


def test_the_hour_that_comes_twice_is_written_in_utc():
    london = Profile(currency="KES", timezone="Europe/London")
    for at in (1_698_539_400_000_000, 1_698_543_000_000_000):  # 2023-10-29, 00:30 and 01:30 UTC
        reading = structs.replace(read(FT), occurred_at=at)
        back = read(BANK.render(notified(reading), london).body, london)
        assert back.occurred_at == at
        assert back.doubts == ()


# ------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("outcome", "status", "word"),
    [
        (Outcome.ACCEPTED, 200, "received"),
        (Outcome.DUPLICATE, 200, "received"),
        (Outcome.CONFLICT, 200, "received"),
        (Outcome.NOT_GENUINE, 401, "failed"),
        (Outcome.UNREADABLE, 400, "failed"),
        (Outcome.UNAVAILABLE, 503, "failed"),
    ],
)
def test_each_outcome_has_a_small_answer(outcome, status, word):
    result = Result(transaction_id="ntf_1")
    response = BANK.acknowledge(WireRequest(FT), outcome, result, BANK.defaults)
    assert response.status == status
    assert b'"status":"%s"' % word.encode() in response.body
    read_back = BANK.read_acknowledgement(response, BANK.defaults)
    assert read_back.outcome is BANK.told_apart(outcome)
    assert read_back.transaction_id == "ntf_1"


@pytest.mark.parametrize(
    ("status", "body", "received"),
    [
        (200, b"", True),
        (204, b"", True),
        (200, b"OK", True),
        (201, b'{"status": "stored"}', True),
        (200, b'{"status": "failed"}', False),
        (200, b'{"status": "Error"}', False),
        (404, b'{"status": "received"}', False),
        (302, b"", False),
    ],
)
def test_any_2xx_is_received_unless_it_says_that_it_failed(status, body, received):
    answer = BANK.read_acknowledgement(WireResponse(status, body), BANK.defaults)
    assert answer.is_received is received


def test_a_number_for_an_amount_is_read_from_its_text():
    assert read(FT.replace(b'"300"', b"300.10")).amount == Money(30010, "KES")
