"""Our own event: what it says, what it hides, and that it fits its published schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import standardwebhooks
from hypothesis import given
from msgspec import structs

from arifa import dialects
from arifa.dialects.base import MUST_SURVIVE, Dialect
from arifa.dialects.standard_webhooks import masked
from arifa.document import JsonObject
from arifa.errors import ArifaError, CannotExpress, Unreadable
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
    notification_as_json,
)
from arifa.outcome import RECEIVED, Outcome
from arifa.signing import Credentials
from arifa.testing.captures import all_captures
from arifa.testing.genuine import NOW_US, plain_notification
from arifa.testing.strategies import effort, notifications, readings, wild_readings
from arifa.timestamp import to_rfc3339
from arifa.wire import WireRequest, WireResponse
from tests.dialects.json_schema import Schema

WEBHOOKS = dialects.get("standard_webhooks")
AS_RECEIVED = dialects.get("as_received")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CREDENTIALS = Credentials(secrets=(SECRET.encode(),))
MASKED = WEBHOOKS.defaults
FULL = replace(MASKED, options={"phone": "full"})
ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "schemas" / "notification.v1.json").read_text("utf-8"))
FITTING = Schema(SCHEMA)


def event_of(notification: Notification, profile: Profile = FULL) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(WEBHOOKS.render(notification, profile).body)
    return event


def receive(request: WireRequest, dialect: Dialect = WEBHOOKS) -> Reading:
    signed = dialect.sign(request, CREDENTIALS, NOW_US)
    found = dialect.receive(signed, CREDENTIALS, dialect.defaults, NOW_US)
    assert isinstance(found, list)
    [reading] = found
    return reading


def read_event(**changes: Any) -> Reading:
    """What is read of the event of a plain payment with these members of `data` changed."""
    event = event_of(plain_notification())
    event["data"].update(changes)
    return receive(WEBHOOKS.request(event))


class TestEvent:
    def test_it_is_the_notification_by_the_names_of_the_api(self) -> None:
        notification = plain_notification()

        assert event_of(notification) == {
            "type": "payment.success",
            "timestamp": "2026-11-20T07:42:38Z",
            "data": notification_as_json(notification),
        }

    @pytest.mark.parametrize(
        ("kind", "status", "expected"),
        [
            (Kind.PAYMENT, Status.FAILED, "payment.failed"),
            (Kind.FRAUD_ACTION, Status.SUCCESS, "fraud_action.success"),
            (Kind.UNKNOWN, Status.PENDING, "unknown.pending"),
        ],
    )
    def test_type_is_kind_and_status(self, kind: Kind, status: Status, expected: str) -> None:
        assert event_of(plain_notification(kind=kind, status=status))["type"] == expected

    def test_headers_are_the_id_and_json(self) -> None:
        request = WEBHOOKS.render(plain_notification(), FULL)

        assert request.method == "POST"
        assert request.headers == (
            (b"content-type", b"application/json"),
            (b"webhook-id", b"ntf_0123456789abcdef0123456789ab"),
        )

    def test_two_attempts_differ_in_their_time_and_signature_alone(self) -> None:
        notification = plain_notification()
        first, second = (
            WEBHOOKS.sign(WEBHOOKS.render(notification, MASKED), CREDENTIALS, at)
            for at in (NOW_US, NOW_US + 3_600_000_000)
        )

        assert first.body == second.body
        assert first.values(b"webhook-id") == second.values(b"webhook-id")
        assert first.values(b"webhook-timestamp") != second.values(b"webhook-timestamp")

    def test_the_reference_library_receives_it(self) -> None:
        """By the real clock, since the library's cannot be set."""
        from arifa import clock

        request = WEBHOOKS.sign(
            WEBHOOKS.render(plain_notification(), MASKED), CREDENTIALS, clock.now_us()
        )
        headers = {name.decode(): value.decode() for name, value in request.headers}
        event = standardwebhooks.Webhook(SECRET).verify(request.body, headers)

        assert event["data"]["amount"] == {"amount": "1234.50", "currency": "KES"}

    def test_half_a_character_cannot_be_said(self) -> None:
        with pytest.raises(CannotExpress):
            WEBHOOKS.render(plain_notification(remittance_information="\ud800"), FULL)


class TestMasking:
    @pytest.mark.parametrize(
        ("phone", "expected"),
        [
            ("254711111111", "2547****1111"),
            ("+254711111111", "+254****1111"),
            ("25471111111", "2547****1111"),
            ("0711222333", "****"),
            ("1234", "****"),
            ("", "****"),
            ("2547****1111", "2547****1111"),
        ],
    )
    def test_some_digits_stay(self, phone: str, expected: str) -> None:
        assert masked(phone) == expected

    def test_phone_is_masked_unless_the_endpoint_asks_for_it(self) -> None:
        notification = plain_notification(payer=Payer("Jane", "254711222333", "77"))

        assert event_of(notification, MASKED)["data"]["payer"] == {
            "name": "Jane",
            "phone": "2547****2333",
            "reference": "77",
        }
        assert event_of(notification, FULL)["data"]["payer"]["phone"] == "254711222333"

    def test_the_same_number_among_the_other_fields_is_masked_too(self) -> None:
        notification = plain_notification(
            payer=Payer("Jane", "254711222333", "254711222333"),
            extra={"MSISDN": "254711222333", "tillNumber": "150150"},
        )

        body = WEBHOOKS.render(notification, MASKED).body
        assert b"254711222333" not in body
        assert json.loads(body)["data"]["extra"] == {
            "MSISDN": "2547****2333",
            "tillNumber": "150150",
        }

    def test_what_is_masked_is_not_said_to_be_carried(self) -> None:
        assert "payer.phone" in WEBHOOKS.carried(FULL)
        assert "payer.phone" not in WEBHOOKS.carried(MASKED)


class TestReading:
    @effort(150)
    @given(notifications(readings()) | notifications(wild_readings()))
    def test_everything_comes_back(self, notification: Notification) -> None:
        """Doubts, unproven names and the bank's other fields too; `extra` tells whence."""
        try:
            request = WEBHOOKS.render(notification, FULL)
        except CannotExpress:
            return
        before, back = notification.reading, receive(request)

        kept = {name: back.extra[name] for name in back.extra if not name.startswith("data.")}
        assert structs.replace(back, extra=kept, held=before.held) == structs.replace(
            before, extra={k: v for k, v in before.extra.items() if v and not k.startswith("data.")}
        )
        assert back.extra["data.id"] == notification.id
        assert back.extra["data.received_at"] == to_rfc3339(notification.received_at)

    def test_a_hub_behind_a_hub_knows_it_by_the_id_before(self) -> None:
        first, second = read_event(status="failed"), read_event(id="ntf_" + "f" * 28)

        assert WEBHOOKS.identity(first).primary == "event:ntf_0123456789abcdef0123456789ab"
        assert WEBHOOKS.identity(first) != WEBHOOKS.identity(second)
        assert first.bank_reference == second.bank_reference

    def test_a_third_hub_knows_it_by_the_id_of_the_second(self) -> None:
        back = read_event()
        again = structs.replace(plain_notification(), id="ntf_" + "e" * 28, reading=back)

        assert receive(WEBHOOKS.render(again, FULL)).extra["data.id"] == "ntf_" + "e" * 28

    def test_what_was_held_before_is_held_and_what_was_accepted_is_not(self) -> None:
        reversal = {"kind": "reversal", "unproven": ["kind"], "held": "no proof covers that"}

        assert read_event(**reversal, state="held").held == "no proof covers that"
        accepted = read_event(**reversal, state="accepted")
        assert accepted.held is None
        assert accepted.unproven == ("kind",)
        assert accepted.extra["data.held"] == "no proof covers that"

    @pytest.mark.parametrize(
        ("changes", "doubt"),
        [
            ({"kind": "levy"}, "data.kind is the unknown word 'levy'"),
            ({"kind": None}, "data.kind is missing"),
            ({"status": "disputed"}, "data.status is the unknown word 'disputed'"),
            ({"direction": "sideways"}, "data.direction is the unknown word 'sideways'"),
            ({"status": 1}, "data.status is the unknown word '1'"),
            ({"amount": {"amount": "-1.00", "currency": "KES"}}, "data.amount is negative"),
            ({"amount": "100.00"}, "data.amount is not an object"),
        ],
    )
    def test_what_is_not_understood_is_held_with_a_doubt(self, changes, doubt: str) -> None:
        reading = read_event(**changes)

        assert doubt in reading.doubts
        assert reading.held is not None

    @pytest.mark.parametrize(
        "changes",
        [
            {"state": "frozen"},
            {"state": 1},
            {"amount": None},
            {"amount": {"amount": "1.005", "currency": "KES"}},
            {"amount": {"amount": "1", "currency": "XXX"}},
            {"amount": {"amount": "1E+9999999", "currency": "KES"}},
        ],
    )
    def test_what_is_not_certain_is_held(self, changes) -> None:
        assert read_event(**changes).held is not None

    @pytest.mark.parametrize(
        "changes",
        [
            {"fee": "x"},
            {"payer": []},
            {"payer": {"phone": {"a": 1}}},
            {"other_references": "TEJ6CQQPBQ"},
            {"other_references": [None, {}, "A\x00"]},
            {"doubts": {}},
            {"extra": []},
            {"extra": {"a": {"b": [1]}}},
            {"occurred_at": "yesterday"},
            {"account": 12},
        ],
    )
    def test_an_odd_optional_member_costs_no_payment(self, changes) -> None:
        reading = read_event(**changes)

        assert reading.held is None
        assert reading.amount == Money(123450, "KES")

    @pytest.mark.parametrize(
        "document",
        [{}, {"data": None}, {"data": []}, {"data": {}}, {"data": {"id": ""}}, {"test": 1}],
    )
    def test_an_event_of_somebody_else_is_unreadable(self, document: JsonObject) -> None:
        request = WEBHOOKS.request(document).with_headers((b"webhook-id", b"msg_1"))

        with pytest.raises(Unreadable):
            receive(request)


class TestTestMessage:
    def test_nothing_is_read_of_it(self) -> None:
        """A hub behind this one proves it, answers it, and books nothing."""
        request = WEBHOOKS.test_message("tst_1", NOW_US, merchant="m", endpoint="e")
        assert request is not None
        signed = WEBHOOKS.sign(request, CREDENTIALS, NOW_US)

        assert WEBHOOKS.receive(signed, CREDENTIALS, MASKED, NOW_US) == []
        assert signed.values(b"webhook-id") == [b"tst_1"]

    def test_no_bank_has_words_for_it(self) -> None:
        for name in set(dialects.names()) - {"standard_webhooks"}:
            assert dialects.get(name).test_message("tst_1", NOW_US) is None


class TestAcknowledgement:
    @pytest.mark.parametrize("outcome", Outcome)
    def test_only_the_status_is_said(self, outcome: Outcome) -> None:
        response = WEBHOOKS.acknowledge(
            WireRequest(body=b""), outcome, dialects.base.Result(), MASKED
        )

        assert response.body == b""
        assert (200 <= response.status < 300) == (outcome in RECEIVED)

    @pytest.mark.parametrize("dialect", [WEBHOOKS, AS_RECEIVED], ids=lambda one: one.name)
    @pytest.mark.parametrize(
        ("status", "is_received"),
        [
            *((status, True) for status in (200, 201, 202, 204)),
            *((status, False) for status in (301, 302, 400, 401, 404, 410, 429, 500, 503)),
        ],
    )
    def test_any_2xx_is_received_and_nothing_else(
        self, dialect: Dialect, status: int, is_received: bool
    ) -> None:
        for body in (b"", b"OK", b'{"error": "no"}', b"<html>"):
            answer = dialect.read_acknowledgement(WireResponse(status, body), MASKED)
            assert answer.is_received is is_received


class TestAsReceived:
    ORIGINAL = WireRequest(
        body=b'{ "transactionReference" : "FT1" }',
        headers=(
            (b"host", b"hub.example"),
            (b"content-type", b"application/json; charset=utf-8"),
            (b"content-length", b"35"),
            (b"signature", b"c2lnbmF0dXJl"),
            (b"authorization", b"Basic YmFuazpzZWNyZXQ="),
            (b"cookie", b"session=1"),
            (b"x-forwarded-for", b"10.0.0.1"),
            (b"X-Forwarded-Proto", b"https"),
            (b"connection", b"close, X-Hop"),
            (b"x-hop", b"1"),
            (b"transfer-encoding", b"chunked"),
            (b"x-request-id", b"42"),
            (b"webhook-id", b"msg_of_somebody_before"),
        ),
        peer="192.0.2.7",
    )

    def test_body_and_end_to_end_headers_are_passed_on_with_our_signature(self) -> None:
        rendered = AS_RECEIVED.render(plain_notification(), MASKED, self.ORIGINAL)
        signed = AS_RECEIVED.sign(rendered, CREDENTIALS, NOW_US)

        assert signed.body == self.ORIGINAL.body
        assert dict(signed.headers).keys() == {
            b"content-type",
            b"signature",
            b"x-request-id",
            b"webhook-id",
            b"webhook-timestamp",
            b"webhook-signature",
        }
        assert signed.values(b"webhook-id") == [b"ntf_0123456789abcdef0123456789ab"]
        assert signed.values(b"signature") == [b"c2lnbmF0dXJl"]
        AS_RECEIVED.verify(signed, CREDENTIALS, MASKED, NOW_US)

    def test_the_endpoints_own_user_takes_the_place_of_the_banks(self) -> None:
        basic = replace(CREDENTIALS, username="listener", passwords=("its own",))
        rendered = AS_RECEIVED.render(plain_notification(), MASKED, self.ORIGINAL)

        [value] = AS_RECEIVED.sign(rendered, basic, NOW_US).values(b"authorization")
        assert value == b"Basic bGlzdGVuZXI6aXRzIG93bg=="

    def test_without_the_original_there_is_nothing_to_say(self) -> None:
        with pytest.raises(CannotExpress, match="came in none"):
            AS_RECEIVED.render(plain_notification(), MASKED)

    def test_a_source_needs_the_banks_own_dialect(self) -> None:
        rendered = AS_RECEIVED.render(plain_notification(), MASKED, self.ORIGINAL)

        with pytest.raises(Unreadable, match="the dialect of the bank"):
            receive(rendered, AS_RECEIVED)

    @pytest.mark.parametrize("status", Status)
    @pytest.mark.parametrize("kind", Kind)
    def test_whatever_it_says_is_passed_on(self, kind: Kind, status: Status) -> None:
        for direction in Direction:
            words = plain_notification(kind=kind, status=status, direction=direction, amount=None)
            rendered = AS_RECEIVED.render(words, MASKED, self.ORIGINAL)
            assert rendered.body == self.ORIGINAL.body


# ------------------------------------------------------------------------------- the schema

EXAMPLES = (
    ("kcb", "account"),
    ("kcb", "till"),
    ("credit_bank", "ft"),
    ("credit_bank", "debit"),
    ("jenga", "new"),
    ("jenga", "failed"),
    ("xente", "success"),
    ("cbs", "web"),
    ("cbs", "reversal"),
)


def events() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(dialect, case, event) of every captured request that can be read."""
    for name, captures in all_captures(ROOT / "tests" / "captures").items():
        for capture in captures:
            found = capture.read()
            for reading in found if isinstance(found, list) else ():
                notification = structs.replace(
                    plain_notification(),
                    dialect=name,
                    state=State.ACCEPTED if reading.held is None else State.HELD,
                    reading=reading,
                )
                yield name, capture.case, event_of(notification, MASKED)


def examples() -> list[dict[str, Any]]:
    """The examples of the schema: one event or two of each bank."""
    found = {(name, case): event for name, case, event in events()}
    return [found[key] for key in EXAMPLES]


class TestSchema:
    def test_every_example_fits_and_is_what_is_rendered_now(self) -> None:
        """Write them anew with `python -m tests.dialects.test_standard_webhooks`."""
        for example in SCHEMA["examples"]:
            assert FITTING.fits(example)
        assert examples() == SCHEMA["examples"]

    def test_there_is_an_example_of_every_bank(self) -> None:
        told = {example["data"]["dialect"] for example in SCHEMA["examples"]}

        assert told == set(dialects.names()) - {"standard_webhooks", "as_received"}

    def test_the_event_of_every_capture_fits(self) -> None:
        for name, case, event in events():
            assert FITTING.fits(event), f"{name} {case}"

    @effort(60)
    @given(notifications(readings()))
    def test_any_event_fits(self, notification: Notification) -> None:
        assert FITTING.fits(event_of(notification))

    def test_it_names_every_member_and_no_other(self) -> None:
        members = event_of(plain_notification())["data"].keys()
        rows = SCHEMA["$defs"]["notification"]

        assert list(rows["properties"]) == rows["required"]
        assert set(rows["required"]) == set(members)
        assert all("description" in row for row in rows["properties"].values())

    @pytest.mark.parametrize(
        ("name", "words"),
        [("direction", Direction), ("status", Status), ("state", State)],
    )
    def test_its_words_are_ours(self, name: str, words: Any) -> None:
        row = SCHEMA["$defs"]["notification"]["properties"][name]

        assert row["enum"] == [word.value for word in words]

    def test_its_kinds_are_ours_and_more_may_come(self) -> None:
        known, any_text = SCHEMA["$defs"]["notification"]["properties"]["kind"]["anyOf"]

        assert known["enum"] == [kind.value for kind in Kind]
        assert any_text == {"type": "string"}

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("type",), "Payment"),
            (("timestamp",), None),
            (("data", "id"), "42"),
            (("data", "amount"), 100),
            (("data", "amount"), {"amount": "1,000.00", "currency": "KES"}),
            (("data", "amount"), {"amount": "1.00"}),
            (("data", "status"), "ok"),
            (("data", "extra"), {"a": 1}),
            (("data", "unproven"), [1]),
            (("data", "account"), 12),
        ],
    )
    def test_it_can_be_broken(self, path: tuple[str, ...], value: Any) -> None:
        event = event_of(plain_notification())
        assert FITTING.fits(event)
        container = event
        for name in path[:-1]:
            container = container[name]
        container[path[-1]] = value

        assert not FITTING.fits(event)


if __name__ == "__main__":
    SCHEMA["examples"] = examples()
    text = json.dumps(SCHEMA, ensure_ascii=False, indent=2)
    (ROOT / "schemas" / "notification.v1.json").write_text(f"{text}\n", "utf-8")


@hypothesis.example(plain_notification(amount=Money(123450, "KES")))
@hypothesis.example(plain_notification(amount=Money(-123450, "KES")))
@effort(200)
@given(notifications(readings(currency="KES")) | notifications(wild_readings(currency="KES")))
def test_what_an_event_says_is_what_is_read_from_it(notification: Notification) -> None:
    """Its own words are looked at before it leaves; a receiver has what `read` makes of them."""
    dialect = dialects.get("standard_webhooks")
    full = Profile(currency="KES", timezone="UTC", options={"phone": "full"})
    try:
        request = dialect.write(notification, full, None)
    except Unreadable:
        return  # half a character, which no bytes can say

    def said(meaning: Callable[[Dialect, WireRequest, Profile], object]) -> object:
        try:
            found = meaning(dialect, request, full)
        except ArifaError as error:
            return type(error)
        return [getattr(found, name) for name in MUST_SURVIVE]

    assert said(type(dialect).meaning) == said(Dialect.meaning)
