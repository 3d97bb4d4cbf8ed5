"""What is special to KCB: two shapes, five forms of a date, and an answer for each."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from arifa import dialects
from arifa.dialects.base import Result
from arifa.document import decode_object
from arifa.errors import CannotExpress, NotGenuine, Unreadable
from arifa.feed import Profile
from arifa.money import Money
from arifa.notification import Direction, Kind, Payer, Query, QueryAnswer, Reading, Status
from arifa.outcome import Outcome
from arifa.testing.genuine import NOW_US, plain_notification, subjects
from arifa.timestamp import from_rfc3339, to_rfc3339
from arifa.wire import WireRequest, WireResponse

KCB = dialects.get("kcb")
CREDENTIALS = subjects(KCB)["alone"].credentials
ACCOUNT = decode_object(KCB.cases["account"].body)
TILL = decode_object(KCB.cases["till"].body)
DATA = ("requestPayload", "additionalData", "notificationData")
RESULT = Result(transaction_id="ntf_1")


def with_options(**options: str) -> Profile:
    return replace(KCB.defaults, options=options)


def signed(document: Any) -> WireRequest:
    request = WireRequest(body=json.dumps(document, ensure_ascii=False).encode())
    return KCB.sign(request, CREDENTIALS, NOW_US)


def receive(document: Any) -> list[Reading] | Query:
    return KCB.receive(signed(document), CREDENTIALS, KCB.defaults, NOW_US)


def account(**changes: Any) -> Reading:
    found = receive({**ACCOUNT, **changes})
    assert isinstance(found, list)
    return found[0]


def till(**changes: Any) -> Reading:
    """The till's sample with changes to the header (by names in it) or to its data."""
    document = json.loads(KCB.cases["till"].body)
    data = document
    for name in DATA:
        data = data[name]
    for name, value in changes.items():
        container = document["header"] if name in document["header"] else data
        container[name] = value
    found = receive(document)
    assert isinstance(found, list)
    return found[0]


class TestDates:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("202111110305", "2021-11-11T00:05:00Z"),
            ("20211111030005", "2021-11-11T00:00:05Z"),
            ("20260729", "2026-07-28T21:00:00Z"),
            ("Mon May 19 13:30:54 EAT 2025", "2025-05-19T10:30:54Z"),
            ("2025-05-19T13:30:54", "2025-05-19T10:30:54Z"),
            ("2025-05-19T13:30:54+03:00", "2025-05-19T10:30:54Z"),
            ("2025-05-19T10:30:54.5Z", "2025-05-19T10:30:54.500000Z"),
        ],
    )
    def test_each_form_is_read_without_a_doubt(self, text: str, expected: str) -> None:
        reading = account(timestamp=text)

        assert reading.occurred_at is not None
        assert to_rfc3339(reading.occurred_at) == expected
        assert reading.occurred_text == text
        assert reading.doubts == ()

    def test_thirteen_digits_are_read_with_a_doubt(self) -> None:
        reading = account(timestamp="2021111103005")

        assert reading.occurred_at == from_rfc3339("2021-11-11T00:00:05Z")
        assert reading.doubts == ("timestamp has 13 digits; its last is read as one-digit seconds",)

    @pytest.mark.parametrize("text", ["yesterday", "11/11/2021", "2021111103", "1636588805"])
    def test_a_payment_is_not_lost_to_its_date(self, text: str) -> None:
        reading = account(timestamp=text)

        assert (reading.occurred_at, reading.occurred_text) == (None, text)
        assert reading.doubts == ("timestamp is in no known form of a date",)
        assert reading.held is None

    def test_a_tills_message_time_stands_in_for_a_missing_one(self) -> None:
        assert till(transactionDate="").occurred_text == "20250519133100"
        assert till().occurred_text == "Mon May 19 13:30:54 EAT 2025"


class TestShapes:
    def test_two_shapes_are_told_apart_by_shape_alone(self) -> None:
        assert (account().account, account().short_code) == ("JD001", "777777")
        assert (till().account, till().short_code) == (None, "150150")

    @pytest.mark.parametrize(
        "name", sorted(ACCOUNT.keys() - {"transactionReference", "transactionAmount"})
    )
    def test_every_other_member_may_be_missing(self, name: str) -> None:
        document = {key: value for key, value in ACCOUNT.items() if key != name}

        found = receive(document)
        assert isinstance(found, list)
        assert found[0].amount == Money(10_000, "KES")
        assert found[0].bank_reference == "FT00026252"

    @pytest.mark.parametrize("name", ["transactionReference", "transactionAmount"])
    @pytest.mark.parametrize("value", ["", None, " "])
    def test_without_a_reference_or_an_amount_it_is_no_message(self, name: str, value: Any) -> None:
        with pytest.raises(Unreadable, match=name):
            account(**{name: value})

    @pytest.mark.parametrize(
        "document", [{}, {"header": {}}, {"requestPayload": {}}, {"requestPayload": {"a": 1}}]
    )
    def test_another_shape_is_unreadable(self, document: Any) -> None:
        with pytest.raises(Unreadable):
            receive(document)

    def test_other_fields_are_kept_by_the_banks_names(self) -> None:
        assert account(newField={"a": [1.50]}).extra == {
            "requestId": "c7d702cb-6b5f-4fa6-8b57-436d0f789017",
            "tillNumber": "150150",
            "newField": '{"a":[1.5]}',
        }

    def test_receipt_of_a_till_payment_is_a_second_identity(self) -> None:
        identity = KCB.identity(till())

        assert identity.primary == "ft:FT25139M3RM6"
        assert identity.secondary == ("receipt:TEJ6CQQPBQ",)

    @pytest.mark.parametrize("text", ["tej6cqqpbq", "1EJ6CQQPBQ", "TEJ6CQQPB", "TEJ6CQQPBQQ", ""])
    def test_what_is_no_receipt_is_no_identity(self, text: str) -> None:
        reading = till(originatorConversationID=text)

        assert reading.other_references == ()
        assert reading.extra.get("header.originatorConversationID", "") == text

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (("PETER BOR", "", ""), "PETER BOR"),
            (("PETER", "KIP", "BOR"), "PETER KIP BOR"),
            (("", "", "BOR"), "BOR"),
            (("", "", ""), None),
        ],
    )
    def test_three_names_are_one(self, names: tuple[str, str, str], expected: str | None) -> None:
        first, middle, last = names

        assert till(firstName=first, middleName=middle, lastName=last).payer.name == expected


class TestAmounts:
    @pytest.mark.parametrize(
        ("value", "minor"),
        [
            ("100.00", 10_000),
            ("1000", 100_000),
            ("20,000.00", 2_000_000),
            (1000, 100_000),
            (1000.5, 100_050),
            (" 5 ", 500),
        ],
    )
    def test_text_number_and_grouping_are_read(self, value: Any, minor: int) -> None:
        assert account(transactionAmount=value).amount == Money(minor, "KES")

    @pytest.mark.parametrize("value", ["100.005", "-100.00"])
    def test_an_amount_that_is_not_for_certain_is_held(self, value: str) -> None:
        reading = account(transactionAmount=value)

        assert reading.amount is None
        assert reading.held is not None
        assert any("transactionAmount" in doubt for doubt in reading.doubts)

    @pytest.mark.parametrize("value", ["KES 100", "1E+9999999", "NaN", "hundred", [], {}, True])
    def test_what_is_no_amount_is_unreadable(self, value: Any) -> None:
        with pytest.raises(Unreadable):
            account(transactionAmount=value)

    def test_balance_is_that_after_the_payment_and_may_be_empty(self) -> None:
        assert account().balance_after == Money(10_000_000, "KES")
        assert account(balance="").balance_after is None
        assert account(balance="-50.00").balance_after == Money(-5000, "KES")

    def test_currency_is_the_messages_then_the_profiles(self) -> None:
        dollars = replace(KCB.defaults, currency="USD")
        bare = signed({**ACCOUNT, "currency": ""})

        assert account(currency="ugx").amount == Money(100, "UGX")
        [reading] = KCB.receive(bare, CREDENTIALS, dollars, NOW_US)  # type: ignore[misc]
        assert reading.amount == Money(10_000, "USD")


class TestProof:
    def test_signature_over_other_json_is_taken_only_where_the_source_says_so(self) -> None:
        compact = signed(ACCOUNT).body
        spaced = json.dumps(ACCOUNT, indent=2).encode()
        made = json.dumps(ACCOUNT, separators=(",", ":")).encode()
        assert made != compact
        over = KCB.sign(WireRequest(body=made), CREDENTIALS, NOW_US)
        request = replace(over, body=spaced)

        KCB.verify(request, CREDENTIALS, with_options(signature_over="reserialised"), NOW_US)
        for profile in (KCB.defaults, with_options(signature_over="raw")):
            with pytest.raises(NotGenuine):
                KCB.verify(request, CREDENTIALS, profile, NOW_US)

    def test_a_validation_needs_a_signature_too(self) -> None:
        """The bank's own is unsigned: until a source can say so, who asks is not answered."""
        question = WireRequest(
            body=b'{"requestId":"1","customerReference":"INV-1","organizationReference":"7"}'
        )

        with pytest.raises(NotGenuine):
            KCB.receive(question, CREDENTIALS, KCB.defaults, NOW_US)


class TestAnswers:
    def answer(self, request: WireRequest, outcome: Outcome, **options: str) -> tuple[int, Any]:
        response = KCB.acknowledge(request, outcome, RESULT, with_options(**options))
        return response.status, json.loads(response.body)

    def test_account_answer_is_the_pages(self) -> None:
        assert self.answer(signed(ACCOUNT), Outcome.ACCEPTED) == (
            200,
            {
                "transactionID": "ntf_1",
                "statusCode": 0,
                "statusMessage": "Notification received",
            },
        )

    def test_till_answer_echoes_its_ids(self) -> None:
        assert self.answer(signed(TILL), Outcome.ACCEPTED) == (
            200,
            {
                "header": {
                    "messageID": "12345",
                    "originatorConversationID": "TEJ6CQQPBQ",
                    "statusCode": "0",
                    "statusMessage": "Notification received",
                },
                "responsePayload": {"transactionInfo": {"transactionId": "ntf_1"}},
            },
        )

    def test_status_code_may_be_a_text(self) -> None:
        _, body = self.answer(signed(ACCOUNT), Outcome.ACCEPTED, status_code="text")

        assert body["statusCode"] == "0"

    @pytest.mark.parametrize(
        ("outcome", "status", "code"),
        [
            (Outcome.ACCEPTED, 200, 0),
            (Outcome.DUPLICATE, 200, 0),
            (Outcome.CONFLICT, 200, 0),
            (Outcome.NOT_GENUINE, 401, 1),
            (Outcome.UNREADABLE, 400, 1),
            (Outcome.UNAVAILABLE, 503, 1),
        ],
    )
    def test_each_outcome_has_its_answer(self, outcome: Outcome, status: int, code: int) -> None:
        told, body = self.answer(signed(ACCOUNT), outcome)

        assert (told, body["statusCode"]) == (status, code)

    def test_refusal_may_be_200_and_no_other_failure(self) -> None:
        refused = self.answer(signed(ACCOUNT), Outcome.NOT_GENUINE, refusal="200")
        failed = self.answer(signed(ACCOUNT), Outcome.UNAVAILABLE, refusal="200")

        assert (refused[0], refused[1]["statusCode"]) == (200, 1)
        assert (failed[0], failed[1]["statusCode"]) == (503, 1)

    @pytest.mark.parametrize("body", [b"", b"<html>", b'{"header": 1, "requestPayload": 2}'])
    def test_what_cannot_be_read_gets_the_account_form(self, body: bytes) -> None:
        status, answer = self.answer(WireRequest(body=body), Outcome.UNREADABLE)

        assert status == 400
        assert set(answer) == {"transactionID", "statusCode", "statusMessage"}

    @pytest.mark.parametrize(
        ("status", "body", "is_received"),
        [
            (200, b'{"transactionID":"1","statusCode":0,"statusMessage":"ok"}', True),
            (200, b'{"statusCode":"0"}', True),
            (200, b'{"header":{"statusCode":"0"}}', True),
            (200, b'{"statusCode":1}', False),
            (200, b'{"statusCode":"1"}', False),
            (200, b'{"statusCode":-1}', False),
            (200, b'{"statusCode":null}', False),
            (200, b'{"header":{"statusCode":"1"}}', False),
            (200, b"{}", False),
            (200, b"", False),
            (200, b"OK", False),
            (500, b'{"statusCode":0}', False),
            (404, b'{"statusCode":0}', False),
        ],
    )
    def test_received_is_only_a_code_of_zero_under_a_success(
        self, status: int, body: bytes, is_received: bool
    ) -> None:
        heard = KCB.read_acknowledgement(WireResponse(status, body), KCB.defaults)

        assert heard.is_received is is_received


QUESTION = {
    "requestId": "12345",
    "customerReference": "INV-0001",
    "organizationReference": "777777",
}


class TestValidation:
    def answer(self, answer: QueryAnswer) -> Any:
        query = receive(QUESTION)
        assert isinstance(query, Query)
        response = KCB.answer(signed(QUESTION), query, answer, KCB.defaults)
        assert response.status == 200
        return json.loads(response.body)

    def test_a_question_is_no_notification(self) -> None:
        assert receive(QUESTION) == Query(
            request_id="12345", reference="INV-0001", account="777777"
        )

    def test_the_answer_is_all_texts(self) -> None:
        assert self.answer(
            QueryAnswer(found=True, name="John Doe", amount=Money(100_000, "KES"), account="12")
        ) == {
            "transactionID": "12345",
            "statusCode": "0",
            "statusMessage": "Success",
            "CustomerName": "John Doe",
            "billAmount": "1000.00",
            "currency": "KES",
            "billType": "PARTIAL",
            "creditAccountIdentifier": "12",
        }

    def test_an_unknown_reference_is_code_1_and_names_nobody(self) -> None:
        answer = self.answer(QueryAnswer(found=False))

        assert (answer["statusCode"], answer["CustomerName"]) == ("1", "")

    def test_an_amount_that_must_be_paid_whole_is_fixed(self) -> None:
        fixed = QueryAnswer(found=True, amount=Money(1, "KES"), partial=False)

        assert self.answer(fixed)["billType"] == "FIXED"


class TestRendering:
    @pytest.mark.parametrize(
        "changes",
        [
            {"status": Status.FAILED},
            {"status": Status.PENDING},
            {"kind": Kind.REVERSAL},
            {"direction": Direction.DEBIT},
            {"amount": None},
            {"bank_reference": None},
        ],
    )
    @pytest.mark.parametrize("form", ["account", "till"])
    def test_what_has_no_words_is_not_said(self, changes: dict[str, Any], form: str) -> None:
        """There is no status in the form: whatever it says is money received."""
        with pytest.raises(CannotExpress):
            KCB.render(plain_notification(**changes), with_options(form=form))

    @pytest.mark.parametrize("form", ["account", "till"])
    def test_a_balance_in_another_currency_is_not_said(self, form: str) -> None:
        """The form has one currency, and dollars must not be read as shillings."""
        plain = plain_notification(balance_after=Money(77, "USD"))
        with pytest.raises(CannotExpress, match="USD"):
            KCB.render(plain, with_options(form=form))

    def test_account_form_has_the_fourteen_fields_of_the_page_in_their_order(self) -> None:
        rendered = KCB.render(plain_notification(), KCB.defaults)

        assert list(rendered.document()) == list(ACCOUNT)
        assert rendered.document()["timestamp"] == "20250519133054"
        assert rendered.document()["requestId"] == "ntf_0123456789abcdef0123456789ab"

    def test_till_form_is_nested_and_says_no_time_that_it_does_not_know(self) -> None:
        plain = plain_notification(occurred_at=None, account=None, other_references=("TEJ6CQQPBQ",))
        document = json.loads(KCB.render(plain, with_options(form="till")).body)

        assert document.keys() == TILL.keys()
        assert document["header"]["originatorConversationID"] == "TEJ6CQQPBQ"
        assert document["header"]["timeStamp"] == ""

    def test_a_kcb_message_read_and_rendered_says_the_same(self) -> None:
        reading = account(customerName="Wanjikũ", balance="5.00")
        notification = plain_notification()
        again = KCB.render(structs.replace(notification, reading=reading), KCB.defaults).document()

        assert {key: again[key] for key in again.keys() - {"requestId", "timestamp"}} == {
            key: value
            for key, value in {**ACCOUNT, "customerName": "Wanjikũ", "balance": "5.00"}.items()
            if key not in ("requestId", "timestamp")
        }

    def test_payer_is_said_in_full(self) -> None:
        payer = Payer("Wanjikũ Njoroge", "254711222333", None)

        document = KCB.render(plain_notification(payer=payer), KCB.defaults).document()
        assert document["customerName"] == "Wanjikũ Njoroge"
        assert document["customerMobileNumber"] == "254711222333"
