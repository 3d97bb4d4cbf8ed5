"""What is special to CBS: a Mac over four joined fields, and all that it leaves unproven."""

from __future__ import annotations

import hmac
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from arifa import dialects
from arifa.dialects.base import Result
from arifa.dialects.cbs import _two_decimals
from arifa.document import JsonObject, JsonValue, Number, decode_object, encode
from arifa.errors import CannotExpress, NotGenuine, Unreadable
from arifa.money import Money
from arifa.notification import (
    Direction,
    Kind,
    Notification,
    Reading,
    State,
    Status,
    money_hash,
)
from arifa.outcome import Outcome
from arifa.signing import Credentials
from arifa.wire import WireRequest, WireResponse, read_request

CBS = dialects.get("cbs")
KEY = b"test-client-secret"
CREDENTIALS = Credentials(secrets=(KEY,))
CAPTURES = Path(__file__).parents[1] / "captures" / "cbs"
SIGNED = ("InvoiceNumber", "PaymentRef", "AmountPaid", "RequestReference")

VECTORS = [
    (
        ("1000000001", "PR-0001 ", "2000.00", "6075b3ebc5015"),
        "i38osKGEeOl2KlsXn61JLhFrWTQUHcojJmr8pJwK4gc=",
    ),
    (
        ("1000000001", "PR-0001", "2000.00", None),
        "1EeJB67t8zqyw7z19eARnPdO5SFwjppaEvFGCyoSKnk=",
    ),
    (
        ("1000000001", "PR-0002", "-2000.00", "6075b3ebc5015"),
        "Xn8oPPbXDeosl9Sq1LhTINMPm7stFVgnylgzfBVZoQg=",
    ),
]


def captured(case: str) -> JsonObject:
    return dict(read_request((CAPTURES / f"{case}.http").read_bytes()).document())


def message(**changes: JsonValue) -> JsonObject:
    """The page's sample with values and these changes; its Mac is that of the first vector."""
    return {**captured("web"), **changes}


def mac(text: str) -> str:
    return b64encode(hmac.digest(KEY, text.encode(), "sha256")).decode()


def received(document: JsonObject, **options: str) -> Reading:
    """The one reading of this message.

    Raises:
        NotGenuine, Unreadable: as the dialect says.
    """
    profile = replace(CBS.defaults, options=options)
    found = CBS.receive(WireRequest(body=encode(document)), CREDENTIALS, profile, 0)
    assert isinstance(found, list)
    (reading,) = found
    return reading


def notification(reading: Reading) -> Notification:
    return Notification(
        id="ntf_0123456789abcdef0123456789ab",
        merchant="default",
        source="src_0123456789abcdef0123456789ab",
        dialect="cbs",
        received_at=0,
        state=State.ACCEPTED,
        reading=reading,
    )


def rendered(reading: Reading, **options: str) -> WireRequest:
    return CBS.render(notification(reading), replace(CBS.defaults, options=options))


# ---------------------------------------------------------------------------------- the Mac


@pytest.mark.parametrize(("parts", "expected"), VECTORS)
def test_known_macs_are_accepted_and_made(
    parts: tuple[str, str, str, str | None], expected: str
) -> None:
    invoice, reference, amount, request = parts
    document = message(
        InvoiceNumber=invoice,
        PaymentRef=reference,
        AmountPaid=Number(amount),
        RequestReference=request,
        Mac=expected,
    )
    assert received(document).end_to_end_id == invoice
    signed = CBS.sign(WireRequest(body=encode({**document, "Mac": ""})), CREDENTIALS, 0)
    assert signed.document() == document


def test_a_request_reference_that_is_missing_or_null_counts_as_empty() -> None:
    parts, expected = VECTORS[1]
    document = message(PaymentRef=parts[1], RequestReference=None, Mac=expected)
    assert received(document).related_reference is None
    del document["RequestReference"]
    assert received(document).related_reference is None


def test_what_is_signed_is_not_trimmed() -> None:
    assert received(message()).bank_reference == "PR-0001"
    with pytest.raises(NotGenuine):
        received(message(PaymentRef="PR-0001"))


def test_the_published_sample_has_another_key() -> None:
    with pytest.raises(NotGenuine):
        received(captured("published.documented"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2000", ["2000.00"]),
        ("2000.0", ["2000.00"]),
        ("2000.00", ["2000.00"]),
        ("2000.000000", ["2000.00"]),
        ("-2000.5", ["-2000.50"]),
        ("0", ["0.00"]),
        ("-0.00", ["0.00"]),
        ("2000.004", ["2000.00"]),
        ("2000.0049", ["2000.00"]),
        ("2000.0051", ["2000.01"]),
        ("2000.006", ["2000.01"]),
        ("1999.999", ["2000.00"]),
        # Midway: .NET rounds away from zero, Math.Round to the even neighbour.
        ("2000.005", ["2000.01", "2000.00"]),
        ("2000.0150", ["2000.02", "2000.01"]),
        ("-2000.005", ["-2000.01", "-2000.00"]),
    ],
)
def test_two_decimals_as_the_sender_writes_them(text: str, expected: list[str]) -> None:
    assert list(_two_decimals(text)) == expected


@pytest.mark.parametrize(
    "amount",
    [
        *(None, True, [], {}, [Number("2000.00")], "", " 2000.00", "2,000.00", "+2000.00", "2000.", "٢٠٠٠"),
        *map(Number, ("1E+9999999", "1e400", "2e3", "1" + "0" * 15, "0." + "1" * 9, "1" * 64)),
    ],
)  # fmt: skip
def test_an_amount_that_is_no_plain_number_proves_nothing(amount: JsonValue) -> None:
    with pytest.raises(NotGenuine):
        received(message(AmountPaid=amount))


@pytest.mark.parametrize("amount", ["2000.01", "2000.00"])
def test_on_a_tie_either_neighbour_is_genuine_and_held(amount: str) -> None:
    document = message(
        AmountPaid=Number("2000.005"), Mac=mac(f"1000000001PR-0001 {amount}6075b3ebc5015")
    )
    reading = received(document)
    assert reading.amount is None
    assert reading.held is not None


def test_two_decimals_leave_no_other_neighbour() -> None:
    for amount in ("1999.99", "2000.01"):
        with pytest.raises(NotGenuine):
            received(message(AmountPaid=Number(amount)))


@pytest.mark.parametrize("currency", ["NGN", "UGX", "BHD"])
def test_decimals_that_the_mac_does_not_cover_are_not_money(currency: str) -> None:
    profile = replace(CBS.defaults, currency=currency)
    request = WireRequest(body=encode(message(AmountPaid=Number("2000.004"))))
    (reading,) = CBS.receive(request, CREDENTIALS, profile, 0)  # type: ignore[misc]
    assert reading.amount is None
    assert reading.held is not None
    assert CBS.identity(reading) == CBS.identity(received(message()))


# --------------------------------------------------------------------- what the Mac leaves open

GENUINE = ("web", "reversal", "negative-reversal", "no-request-reference", "newer-fields")
OTHERS: tuple[Any, ...] = (
    *(None, True, False, [], {}, "", " ", "true", "false", "0000", "0005", "X", "\x00", "13/04/2020 00:00:00"),
    *(Number("0"), Number("-1"), Number("1E+9999999"), ["0000"], {"IsReversal": True}),
)  # fmt: skip


@pytest.mark.parametrize("case", GENUINE)
def test_no_unsigned_member_makes_another_payment(case: str) -> None:
    genuine = captured(case)
    known = CBS.identity(received(genuine)).primary
    names = [name for name in genuine if name not in (*SIGNED, "Mac")]
    for name in [*names, "Currency", "isReversal", "amountPaid", "Amount"]:
        for value in OTHERS:
            assert CBS.identity(received({**genuine, name: value})).primary == known
        without = {key: value for key, value in genuine.items() if key != name}
        assert CBS.identity(received(without)).primary == known


@pytest.mark.parametrize("case", ["web", "negative-reversal", "no-request-reference"])
def test_another_split_of_the_signed_text_is_the_same_notification(case: str) -> None:
    genuine = captured(case)
    known = received(genuine)
    text = CBS.identity(known).primary.removeprefix("signed:")
    seen = 0
    for split in _splits(text):
        document = {**genuine, **dict(zip(SIGNED, split, strict=True))}
        try:
            reading = received(document)
        except Unreadable:
            continue  # no PaymentRef is left over: nothing is posted
        seen += 1
        assert CBS.identity(reading).primary == CBS.identity(known).primary
        if money_hash(reading) == money_hash(known):
            # Then it is a plain repeat; what differs does not mean money.
            assert (reading.amount, reading.end_to_end_id) == (known.amount, known.end_to_end_id)
    assert seen > 20


def _splits(text: str) -> list[tuple[JsonValue, ...]]:
    """Every way to read the text as invoice, reference, amount of two decimals, and request."""
    found: list[tuple[JsonValue, ...]] = []
    for point in (place for place, letter in enumerate(text) if letter == "."):
        for start in range(point):
            amount, rest = text[start : point + 3], text[point + 3 :]
            if not _is_json_amount(amount):
                continue
            found += [
                (text[:cut], text[cut:start], Number(amount), rest) for cut in range(start + 1)
            ]
    return found


def _is_json_amount(text: str) -> bool:
    whole, _, decimals = text.removeprefix("-").partition(".")
    plain = whole.isdigit() and (whole == "0" or not whole.startswith("0"))
    return plain and len(decimals) == 2 and decimals.isdigit()


def test_a_larger_amount_split_off_the_reference_is_a_conflict() -> None:
    genuine = message(PaymentRef="PR-1", Mac=mac("1000000001PR-12000.006075b3ebc5015"))
    forged = {**genuine, "PaymentRef": "PR-", "AmountPaid": Number("12000.00")}
    assert received(forged).amount == Money(1200000, "NGN")
    assert CBS.identity(received(forged)).primary == CBS.identity(received(genuine)).primary
    assert money_hash(received(forged)) != money_hash(received(genuine))


def test_the_sign_can_be_split_off_the_reference_too() -> None:
    genuine = message(PaymentRef="PR-", Mac=mac("1000000001PR-2000.006075b3ebc5015"))
    forged = {**genuine, "PaymentRef": "PR", "AmountPaid": Number("-2000.00")}
    assert received(forged).held is not None
    assert CBS.identity(received(forged)).primary == CBS.identity(received(genuine)).primary


def test_another_notification_of_one_payment_reference_shares_the_second_identity() -> None:
    one = CBS.identity(received(captured("web")))
    other = CBS.identity(received(captured("no-request-reference")))
    assert one.primary != other.primary
    assert one.secondary == other.secondary == ("ref:PR-0001",)


# ---------------------------------------------------------------------------------- reversals


@pytest.mark.parametrize(
    ("flag", "amount", "kind", "direction", "is_doubted"),
    [
        (False, "2000.00", Kind.PAYMENT, Direction.CREDIT, False),
        (None, "2000.00", Kind.PAYMENT, Direction.CREDIT, False),
        ("", "2000.00", Kind.PAYMENT, Direction.CREDIT, False),
        ("False", "2000.00", Kind.PAYMENT, Direction.CREDIT, False),
        (Number("0"), "2000.00", Kind.PAYMENT, Direction.CREDIT, False),
        (True, "2000.00", Kind.REVERSAL, Direction.DEBIT, False),
        ("True", "2000.00", Kind.REVERSAL, Direction.DEBIT, False),
        (Number("1"), "2000.00", Kind.REVERSAL, Direction.DEBIT, False),
        (True, "-2000.00", Kind.REVERSAL, Direction.DEBIT, False),
        (False, "-2000.00", Kind.REVERSAL, Direction.DEBIT, True),
        (None, "-2000.00", Kind.REVERSAL, Direction.DEBIT, True),
        ("perhaps", "-2000.00", Kind.REVERSAL, Direction.DEBIT, True),
        ("perhaps", "2000.00", Kind.UNKNOWN, Direction.CREDIT, True),
        ([], "2000.00", Kind.UNKNOWN, Direction.CREDIT, True),
    ],
)
def test_flag_and_sign_each_make_a_reversal(
    flag: Any, amount: str, kind: Kind, direction: Direction, is_doubted: bool
) -> None:
    signed = mac(f"1000000001PR-0001 {amount}6075b3ebc5015")
    reading = received(message(AmountPaid=Number(amount), IsReversal=flag, Mac=signed))
    assert (reading.kind, reading.direction) == (kind, direction)
    assert reading.amount == Money(200000, "NGN")
    assert (reading.held is None) is (kind is Kind.PAYMENT)
    assert bool(reading.doubts) is is_doubted
    assert {"kind", "direction", "status"} <= set(reading.unproven)
    assert "amount" not in reading.unproven


def test_a_resent_reversal_is_its_payment_with_other_money() -> None:
    payment, reversal = received(captured("web")), received(captured("reversal"))
    assert CBS.identity(payment) == CBS.identity(reversal)
    assert money_hash(payment) != money_hash(reversal)


@pytest.mark.parametrize("code", ["0005", "00", "0", "9999", "ok", True, [], Number("0")])
def test_another_response_code_is_never_a_success(code: JsonValue) -> None:
    reading = received(message(ResponseCode=code))
    assert reading.status is Status.FAILED
    assert reading.held is not None


# ---------------------------------------------------------------------------------- rendering


def test_a_reading_is_sent_on_as_it_came() -> None:
    for case in ("web", "no-request-reference", "negative-reversal"):
        signed = CBS.sign(rendered(received(captured(case))), CREDENTIALS, 0)
        assert signed.body == encode(captured(case))


def test_the_amount_of_a_reversal_is_as_the_receiver_wants_it() -> None:
    for case in ("reversal", "negative-reversal"):
        reading = received(captured(case))
        assert b'"AmountPaid":-2000.00,' in rendered(reading).body
        positive = rendered(reading, reversal_amount="positive")
        assert b'"AmountPaid":2000.00,' in positive.body
        assert b'"IsReversal":true' in positive.body


@pytest.mark.parametrize(
    "changes",
    [
        {"direction": Direction.DEBIT},
        {"kind": Kind.REVERSAL},
        {"kind": Kind.REFUND, "direction": Direction.DEBIT},
        {"status": Status.FAILED},
        {"status": Status.PENDING},
        {"amount": Money(200000, "KES")},
        {"amount": None},
        {"bank_reference": None},
        {"bank_reference": "PR-0002 "},
        {"related_reference": " 6075"},
    ],
)
def test_what_cbs_has_no_words_for_is_not_said(changes: dict[str, Any]) -> None:
    reading = received(message())
    with pytest.raises(CannotExpress):
        rendered(structs.replace(reading, **changes))


def test_the_cases_are_the_captures() -> None:
    for name, case in CBS.cases.items():
        assert decode_object(case.body) == captured(name)
        signed = CBS.sign(CBS.sample(case), CREDENTIALS, 0)
        assert signed.document() == captured(name)


# -------------------------------------------------------------------------------- the answers


@pytest.mark.parametrize(
    ("outcome", "refusal", "status", "code"),
    [
        (Outcome.ACCEPTED, "http", 200, ""),
        (Outcome.DUPLICATE, "http", 200, ""),
        (Outcome.CONFLICT, "400", 200, ""),
        (Outcome.NOT_GENUINE, "http", 401, "PPS1"),
        (Outcome.NOT_GENUINE, "400", 400, "PPS1"),
        (Outcome.UNREADABLE, "http", 400, "PPVE"),
        (Outcome.UNAVAILABLE, "http", 503, "PPIE"),
        (Outcome.UNAVAILABLE, "400", 503, "PPIE"),
    ],
)
def test_a_refusal_carries_the_code_of_cbs(
    outcome: Outcome, refusal: str, status: int, code: str
) -> None:
    profile = replace(CBS.defaults, options={"refusal": refusal})
    answer = CBS.acknowledge(WireRequest(body=b""), outcome, Result(), profile)
    body = decode_object(answer.body)
    assert answer.status == status
    assert (body["Error"], body["ErrorCode"], body["StatusCode"]) == (bool(code), code, str(status))
    assert CBS.read_acknowledgement(answer, profile).outcome is CBS.told_apart(outcome)


@pytest.mark.parametrize("body", [b"", b"Ok", b'{"Error": true, "ErrorCode": "PPS1"}', b"[]"])
def test_any_2xx_is_received_whatever_its_body(body: bytes) -> None:
    for status in (200, 201, 202, 204):
        heard = CBS.read_acknowledgement(WireResponse(status, body), CBS.defaults)
        assert heard.is_received
    assert not CBS.read_acknowledgement(WireResponse(302, body), CBS.defaults).is_received


def test_ten_retries_at_most() -> None:
    """The page: until a 200, at most ten times again; each wait is longer than the one before."""
    assert CBS.delays is not None
    assert len(CBS.delays) == 11
    assert CBS.delays[0] == 0
    assert list(CBS.delays) == sorted(CBS.delays)
    assert CBS.delays[-1] == 10_015
