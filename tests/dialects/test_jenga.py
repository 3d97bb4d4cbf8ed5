"""What is special to Jenga: three shapes, failed payments, fillers, and a sample that is no JSON."""

from __future__ import annotations

from base64 import b64encode

import pytest
from msgspec import structs

from arifa import dialects
from arifa.dialects.base import Result
from arifa.errors import CannotExpress, NotGenuine, Unreadable
from arifa.feed import Profile
from arifa.money import Money
from arifa.notification import (
    Direction,
    Kind,
    Notification,
    Payer,
    Reading,
    State,
    Status,
    money_hash,
)
from arifa.outcome import Outcome
from arifa.signing import Credentials
from arifa.wire import WireRequest, WireResponse

JENGA = dialects.get("jenga")
AGREED = Credentials(username="jenga-ipn", passwords=("wachuuzi:2023",))
NEW, OLD, STK = (JENGA.cases[name].body for name in ("new", "old", "stk"))


def form(name: str) -> Profile:
    return Profile(currency="KES", timezone="Africa/Nairobi", options={"form": name})


def read(body: bytes, profile: Profile = JENGA.defaults) -> Reading:
    request = JENGA.sign(WireRequest(body), AGREED, 0)
    found = JENGA.receive(request, AGREED, profile, 0)
    assert isinstance(found, list)
    (reading,) = found
    return reading


def changed(old: bytes, new: bytes, sample: bytes = NEW) -> Reading:
    assert old in sample
    return read(sample.replace(old, new))


def notified(reading: Reading) -> Notification:
    return Notification(
        id="ntf_0123456789abcdef0123456789ab",
        merchant="default",
        source="src_0123456789abcdef0123456789ab",
        dialect="jenga",
        received_at=0,
        state=State.ACCEPTED,
        reading=reading,
    )


def back(reading: Reading, profile: Profile = JENGA.defaults) -> Reading:
    return read(JENGA.render(notified(reading), profile).body, profile)


def fields(reading: Reading, profile: Profile = JENGA.defaults) -> dict[str, object]:
    document = JENGA.render(notified(reading), profile).document()
    members: dict[str, object] = {}
    for part in ("customer", "transaction", "bank"):
        inner = document[part]
        assert isinstance(inner, dict)
        members |= {f"{part}.{name}": value for name, value in inner.items()}
    return members


# ------------------------------------------------------------------------------------- proof


@pytest.mark.parametrize(
    "header",
    [
        b"Basic 67ew8n31me",  # the page's placeholder, which is not even base64
        b"Basic " + b64encode(b"jenga-ipn:wachuuzi"),
        b"Basic " + b64encode(b"jenga-ipn:"),
        b"Bearer " + b64encode(b"jenga-ipn:wachuuzi:2023"),
        b"",
    ],
)
def test_another_user_or_password_is_refused(header):
    request = WireRequest(NEW, headers=((b"authorization", header),))
    with pytest.raises(NotGenuine):
        JENGA.verify(request, AGREED, JENGA.defaults, 0)


def test_a_refusal_says_how_to_prove_oneself():
    result = Result()
    response = JENGA.acknowledge(WireRequest(NEW), Outcome.NOT_GENUINE, result, JENGA.defaults)
    assert response.status == 401
    assert (b"www-authenticate", b'Basic realm="arifa"') in response.headers


# ------------------------------------------------------------------------------------- shapes


def test_the_pages_own_sample_is_not_json():
    body = NEW.replace(b'"CARD",', b'"CARD" || "MPESA",', 1)
    with pytest.raises(Unreadable):
        read(body)


def test_the_older_shape_has_the_receipt_in_its_additional_information():
    reading = read(OLD)
    assert reading.bank_reference == "S2596405"
    assert reading.other_references == ("MKR35QEKV7",)
    assert reading.payer.phone == "254723000000"
    assert any("the payer's name" in doubt for doubt in reading.doubts)


def test_a_phone_that_the_customer_gives_goes_before_the_one_of_mpesa():
    reading = changed(b'"mobileNumber": ""', b'"mobileNumber": "254700000001"', OLD)
    assert reading.payer.phone == "254700000001"


def test_an_stk_push_quotes_the_merchants_order():
    reading = read(STK)
    assert reading.end_to_end_id == "ORDER-1001"
    assert reading.payer.reference is None
    assert reading.account is None
    assert reading.extra["transaction.billNumber"] == "INVDBU"


def test_an_stk_push_without_an_order_quotes_its_bill_number():
    assert changed(b'"ORDER-1001"', b"null", STK).end_to_end_id == "INVDBU"


def test_bill_is_read_where_there_is_no_bank():
    body = NEW.replace(b'"bank"', b'"bill"').replace(b'"C"', b'"D"').replace(b"null", b'"0111"')
    assert read(body).direction is Direction.DEBIT
    assert read(body).account == "0111"


@pytest.mark.parametrize("nothing", [b'"NONE"', b'"none"', b'""', b'"  "', b"null"])
def test_fillers_mean_that_there_is_nothing(nothing):
    body = NEW.replace(b'"INVZCF"', nothing).replace(b'"071648816466242"', nothing)
    body = body.replace(b'"254712345678"', nothing).replace(b"null", nothing)
    reading = read(body)
    assert reading.end_to_end_id is None
    assert reading.account is None
    assert reading.payer == Payer(name="John Doe")


def test_a_payer_may_be_called_none():
    assert changed(b'"John Doe"', b'"None"').payer.name == "None"


# ---------------------------------------------------------------------------- words of money


def test_failed_then_successful_under_one_reference_are_two_notifications():
    failed = changed(b'"SUCCESS"', b'"FAILED"')
    assert (failed.status, failed.held) == (Status.FAILED, None)
    assert JENGA.identity(failed).primary != JENGA.identity(read(NEW)).primary
    old = changed(b'"SUCCESS"', b'"FAILED"', OLD)
    assert not {*JENGA.identity(old).secondary} & {*JENGA.identity(read(OLD)).secondary}


@pytest.mark.parametrize("word", [b'"REVERSED"', b'"SUCCESSFUL?"', b'""', b"null", b"true", b"[]"])
def test_an_unknown_status_is_never_a_success(word):
    reading = changed(b'"SUCCESS"', word)
    assert reading.status is Status.PENDING
    assert reading.held is not None


def test_two_unknown_statuses_are_two_notifications():
    one, other = changed(b'"SUCCESS"', b'"REVERSED"'), changed(b'"SUCCESS"', b'"SETTLING"')
    assert JENGA.identity(one).primary != JENGA.identity(other).primary


def test_another_callback_is_not_a_payment():
    reading = changed(b'"IPN"', b'"REVERSAL"')
    assert reading.kind is Kind.UNKNOWN
    assert reading.held is not None


@pytest.mark.parametrize(
    ("word", "direction", "is_held"),
    [
        (b'"C"', Direction.CREDIT, False),
        (b'"d"', Direction.DEBIT, False),
        (b'"CREDIT"', Direction.CREDIT, False),
        (b'"DEBIT"', Direction.DEBIT, False),
        (b"null", Direction.CREDIT, False),
        (b'"X"', Direction.CREDIT, True),
    ],
)
def test_the_direction_is_in_transaction_type(word, direction, is_held):
    reading = changed(b'"C"', word)
    assert reading.direction is direction
    assert (reading.held is not None) is is_held
    assert (reading.doubts != ()) is (word == b"null" or is_held)


def test_two_directions_are_held():
    body = NEW.rstrip()[:-1] + b',"bill": {"transactionType": "D"}}'
    assert read(body).held is not None


def test_a_debit_under_a_credits_reference_is_a_conflict():
    debit = changed(b'"C"', b'"D"')
    assert JENGA.identity(debit) == JENGA.identity(read(NEW))
    assert money_hash(debit) != money_hash(read(NEW))


def test_an_order_has_its_own_currency_and_the_charge_the_payments():
    reading = read(JENGA.cases["converted"].body)
    assert reading.order_amount == Money(116, "USD")
    assert (reading.amount, reading.fee) == (Money(15000, "KES"), Money(525, "KES"))
    assert back(reading).order_amount == Money(116, "USD")


@pytest.mark.parametrize("amount", [b"150", b"150.0", b'"150"', b'"150.00"'])
def test_an_amount_is_a_number_or_a_text(amount):
    assert changed(b'"amount": 150', b'"amount": ' + amount).amount == Money(15000, "KES")


# ----------------------------------------------------------------------------------- identity


@pytest.mark.parametrize("nothing", [b'"NONE"', b'""', b"null"])
def test_the_banks_reference_stands_in(nothing):
    body = NEW.replace(b'"reference": "328411183176"', b'"reference": ' + nothing, 1)
    assert JENGA.identity(read(body)) == JENGA.identity(read(NEW))


def test_without_any_reference_it_is_held_and_told_apart_by_its_bytes():
    reading = changed(b'"SH90HU7FO2"', b'" "', STK)
    assert reading.bank_reference is None
    assert reading.held is not None
    other = STK.replace(b'"SH90HU7FO2"', b'""').replace(b"14:15:20", b"14:15:21")
    assert JENGA.identity(reading).primary != JENGA.identity(read(other)).primary


def test_a_receipt_is_one_wherever_it_stands():
    stk = JENGA.identity(changed(b"SH90HU7FO2", b"MKR35QEKV7", STK))
    old = JENGA.identity(read(OLD))
    assert stk.primary != old.primary
    assert stk.secondary == old.secondary


def test_a_bank_reference_of_its_own_is_kept():
    body = NEW.replace(b'"bank": {\n"reference": "328411183176"', b'"bank": {\n"reference": "FT1"')
    assert read(body).bank_reference == "328411183176"
    assert read(body).extra["bank.reference"] == "FT1"


# ------------------------------------------------------------------------------------- render


@pytest.mark.parametrize(("name", "sample"), [("new", NEW), ("stk", STK)])
def test_a_sample_is_written_with_the_members_it_was_read_from(name, sample):
    written = JENGA.render(notified(read(sample)), form(name)).document()
    assert list(written) == list(WireRequest(sample).document())
    for part, members in WireRequest(sample).document().items():
        if isinstance(members, dict):
            inner = written[part]
            assert isinstance(inner, dict)
            assert list(inner) == list(members)
    assert read(JENGA.render(notified(read(sample)), form(name)).body) == read(sample)


def test_the_older_shape_has_texts_and_no_currency():
    written = fields(read(OLD), form("old"))
    assert written["transaction.amount"] == "10.00"
    assert "transaction.currency" not in written
    assert written["transaction.reference"] == "S2596405"
    dollars = structs.replace(read(OLD), amount=Money(1000, "USD"))
    with pytest.raises(CannotExpress):
        fields(dollars, form("old"))
    order = structs.replace(read(OLD), order_amount=Money(1000, "USD"))
    assert back(order, form("old")).order_amount is None


def test_an_stk_push_names_no_account():
    written = fields(structs.replace(read(NEW), account="0111"), form("stk"))
    assert (written["bank.reference"], written["bank.account"]) == ("NONE", "NONE")
    assert written["customer.reference"] == "INVZCF"


@pytest.mark.parametrize("name", ["new", "old", "stk"])
@pytest.mark.parametrize(
    "changes",
    [
        {"bank_reference": None},
        {"bank_reference": "NONE"},
        {"bank_reference": " S2596405"},
        {"end_to_end_id": "none"},
        {"end_to_end_id": ""},
        {"payer": Payer(name=" John")},
        {"payer": Payer(phone="NONE")},
        {"payer": Payer(reference="NULL")},
        {"amount": Money(-1, "KES")},
        {"fee": Money(100, "USD")},
        {"fee": Money(10**18, "KES")},
        {"status": Status.PENDING},
        {"kind": Kind.REFUND},
        {"occurred_at": -(10**18)},
    ],
)
def test_what_would_not_be_read_back_the_same_is_not_sent(name, changes):
    with pytest.raises(CannotExpress):
        fields(structs.replace(read(NEW), **changes), form(name))


def test_no_phone_is_read_out_of_a_narration():
    narration = "MPS 254723000000 MKR35QEKV7 A N Other/537620"
    reading = structs.replace(read(NEW), payer=Payer(), remittance_information=narration)
    with pytest.raises(CannotExpress):
        fields(reading)


# ------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("outcome", list(Outcome))
def test_each_outcome_has_an_answer_in_jengas_words(outcome):
    result = Result(transaction_id="ntf_1")
    response = JENGA.acknowledge(WireRequest(NEW), outcome, result, JENGA.defaults)
    answer = JENGA.read_acknowledgement(response, JENGA.defaults)
    assert answer.outcome is JENGA.told_apart(outcome)
    assert answer.transaction_id == "ntf_1"
    word = b"SUCCESS" if answer.is_received else b"FAILED"
    assert b'"status":"%s"' % word in response.body


@pytest.mark.parametrize(
    ("status", "body", "received"),
    [
        (200, b"", True),
        (200, b"<html>", True),
        (202, b'{"status": "SUCCESS"}', True),
        (200, b'{"status": "failed"}', False),
        (500, b'{"status": "SUCCESS"}', False),
    ],
)
def test_any_2xx_is_received_unless_it_says_that_it_failed(status, body, received):
    answer = JENGA.read_acknowledgement(WireResponse(status, body), JENGA.defaults)
    assert answer.is_received is received
