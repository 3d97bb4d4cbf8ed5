"""What is special to Xente: four shapes, a status in two words, and an envelope that we propose."""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from joserfc import jwe, jws
from joserfc.jwk import OctKey, RSAKey
from msgspec import structs

from arifa import dialects
from arifa.dialects.base import Result
from arifa.document import JsonObject, JsonValue, Number, decode_object, encode
from arifa.errors import CannotExpress, NotGenuine, Refused, Unreadable
from arifa.money import Money
from arifa.notification import (
    Kind,
    Notification,
    Reading,
    State,
    Status,
    money_hash,
)
from arifa.outcome import Outcome
from arifa.signing import Credentials
from arifa.signing.keys import new_rsa_key, public_fingerprint
from arifa.wire import WireRequest, WireResponse, read_request

XENTE = dialects.get("xente")
PEER = "41.2.2.10"
LISTED = Credentials(addresses=("41.2.2.10", "41.2.2.11"))
CAPTURES = Path(__file__).parents[1] / "captures" / "xente"
SHAPES = ("success", "camel", "pascal", "query")


def captured(case: str) -> WireRequest:
    return read_request((CAPTURES / f"{case}.http").read_bytes(), peer=PEER)


def message(**changes: JsonValue) -> JsonObject:
    """The page's sample with values, and these changes."""
    return {**captured("success").document(), **changes}


def read(request: WireRequest, credentials: Credentials = LISTED) -> Reading:
    """The one reading of this request.

    Raises:
        NotGenuine, Unreadable: as the dialect says.
    """
    found = XENTE.receive(request, credentials, XENTE.defaults, 0)
    assert isinstance(found, list)
    (reading,) = found
    return reading


def received(document: JsonObject) -> Reading:
    return read(WireRequest(body=encode(document), peer=PEER))


def rendered(reading: Reading, form: str = "snake") -> WireRequest:
    notification = Notification(
        id="ntf_0123456789abcdef0123456789ab",
        merchant="default",
        source="src_0123456789abcdef0123456789ab",
        dialect="xente",
        received_at=0,
        state=State.ACCEPTED,
        reading=reading,
    )
    return XENTE.render(notification, replace(XENTE.defaults, options={"form": form}))


# -------------------------------------------------------------------------------- four shapes


def test_the_four_shapes_are_one_notification() -> None:
    readings = [read(captured(case)) for case in SHAPES]
    assert len({XENTE.identity(reading).primary for reading in readings}) == 1
    for name in ("bank_reference", "end_to_end_id", "account", "status", "kind"):
        assert len({getattr(reading, name) for reading in readings}) == 1


@pytest.mark.parametrize("case", ["camel", "pascal"])
def test_a_success_without_an_amount_is_held_and_not_lost(case: str) -> None:
    reading = read(captured(case))
    assert (reading.status, reading.amount) == (Status.SUCCESS, None)
    assert reading.held is not None
    complete = read(captured("success"))
    assert XENTE.identity(reading) == XENTE.identity(complete)
    assert money_hash(reading) != money_hash(complete)  # so the amount that follows is a case


@pytest.mark.parametrize("name", ["amount", "currency", "transaction_id", "account_number"])
def test_two_spellings_with_different_values_are_held(name: str) -> None:
    for twin in (name.upper(), name.title(), f"_{name}"):
        assert received(message(**{twin: "7"})).held is not None
        assert received({twin: "7", **message()}).held is not None
        assert received(message(**{twin: message()[name]})).held is None
        assert received(message(**{twin: None})).held is None


def test_two_spellings_of_a_status_are_never_a_success() -> None:
    for twin in ({"StatusCode": Number("1")}, {"statusMessage": "FAILED"}, {"Status": "FAILED"}):
        for document in ({**message(), **twin}, {**twin, **message()}):
            reading = received(document)
            assert reading.status is not Status.SUCCESS
            assert reading.held is not None


def test_an_amount_with_zero_decimals_passes_and_others_are_held() -> None:
    assert received(message(amount=Number("1000.0"))).amount == Money(1000, "UGX")
    assert received(message(amount="1000.0")).amount == Money(1000, "UGX")
    amounts = ("1000.5", "-1000", "1E+9999999")
    odds: list[JsonValue] = [*map(Number, amounts), "string", [], True]
    for odd in odds:
        reading = received(message(amount=odd))
        assert reading.amount is None
        assert reading.held is not None
        assert reading.doubts


def test_a_message_without_a_transaction_is_unreadable() -> None:
    document = message()
    del document["transaction_id"]
    with pytest.raises(Unreadable):
        received(document)


# ------------------------------------------------------------------------------------ the query


def query(text: str, body: bytes = b"") -> Reading:
    return read(WireRequest(body=body, target=f"/ipn/xente?{text}", peer=PEER))


def test_the_query_is_read_only_where_there_is_no_body() -> None:
    assert query("transactionId=T-1&status=SUCCESS&Amount=5").bank_reference == "T-1"
    assert query("transactionId=T-1", captured("success").body).bank_reference != "T-1"
    with pytest.raises(Unreadable):
        query("transactionId=T-1", b"{}")


def test_a_query_in_any_writing_is_read_or_unreadable() -> None:
    reading = query("transactionId=T%201&accountId=%C3%A9&status=SUCCESS&Amount=1000.0")
    assert (reading.bank_reference, reading.account) == ("T 1", "é")
    odd = query("transactionId=T%FF1%00&status=SUCCESS&Amount=1000.0")
    assert odd.bank_reference is not None
    assert odd.bank_reference.encode("utf-8").decode("utf-8").isprintable()
    assert odd.doubts
    for text in (
        *("", "transactionId", "transactionId=", "a=1", "&" * 2000, "transactionId=1&transactionId=2"),
        *("transactionId=T&" + "&".join(f"x{n}=1" for n in range(600)),),
    ):  # fmt: skip
        with pytest.raises(Unreadable):
            query(text)
    with pytest.raises(Unreadable):
        read(WireRequest(body=b"", target="//[", peer=PEER))


# ----------------------------------------------------------------------------------- the status


@pytest.mark.parametrize(
    ("word", "code", "status"),
    [
        ("SUCCESS", Number("0"), Status.SUCCESS),
        ("Successful", "0", Status.SUCCESS),
        (" success ", "000", Status.SUCCESS),
        ("SUCCESS", None, Status.SUCCESS),
        (None, Number("0"), Status.SUCCESS),
        ("PROCESSING", Number("1"), Status.PENDING),
        ("PROCESSING", None, Status.PENDING),
        ("FAILED", Number("1"), Status.FAILED),
        ("Failed", "E-17", Status.FAILED),
    ],
)
def test_word_and_number_that_agree(word: Any, code: Any, status: Status) -> None:
    reading = received(message(status_message=word, status_code=code))
    assert (reading.kind, reading.status, reading.held) == (Kind.PAYMENT, status, None)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("SUCCESS", Number("1")),
        ("SUCCESS", Number("-0")),
        ("SUCCESS", Number("0.0")),
        ("SUCCESS", "zero"),
        ("SUCCESS", []),
        ("SUCCESS", False),
        ("FAILED", Number("0")),
        ("PROCESSING", Number("0")),
        ("string", Number("0")),
        ("SUCCESS!", Number("0")),
        ("UNSUCCESSFUL", Number("0")),
        ([], Number("0")),
        ({"SUCCESS": "SUCCESS"}, Number("0")),
        (True, Number("0")),
        (" ", Number("0")),
        ("", ""),
        (None, None),
        (None, Number("1")),
    ],
)
def test_a_status_that_is_not_clear_is_never_a_success(word: Any, code: Any) -> None:
    reading = received(message(status_message=word, status_code=code))
    assert (reading.kind, reading.status) == (Kind.UNKNOWN, Status.PENDING)
    assert reading.held == "what Xente says of the status is not clear"
    assert reading.doubts


def test_each_status_of_a_transaction_is_a_notification_of_its_own() -> None:
    cases = ("success", "failed", "processing", "disagreeing")
    assert len({XENTE.identity(read(captured(case))).primary for case in cases}) == len(cases)
    unclear = [received(message(status_message=word)) for word in ("REVERSED", "ON HOLD")]
    assert len({XENTE.identity(reading).primary for reading in unclear}) == 2


# --------------------------------------------------------------------------------- the envelope


class Party(NamedTuple):
    private: bytes
    public: bytes


@pytest.fixture(scope="module")
def xente() -> Party:
    return Party(*new_rsa_key())


@pytest.fixture(scope="module")
def hub() -> Party:
    return Party(*new_rsa_key())


@pytest.fixture(scope="module")
def stranger() -> Party:
    return Party(*new_rsa_key())


def sender_of(xente: Party, hub: Party) -> Credentials:
    return Credentials(private_key=xente.private, public_keys=(hub.public,))


def receiver_of(xente: Party, hub: Party) -> Credentials:
    return replace(LISTED, private_key=hub.private, public_keys=(xente.public,))


def sealed_by(
    signer: Party,
    receiver: Party,
    payload: bytes,
    *,
    signing: dict[str, Any] | None = None,
    sealing: dict[str, Any] | None = None,
) -> WireRequest:
    """An envelope made without our own code, with whatever headers it is to have."""
    signing = {"alg": "RS256", "aud": public_fingerprint(receiver.public), **(signing or {})}
    sealing = sealing or {"alg": "RSA-OAEP-256", "enc": "A256GCM"}
    registry = jws.JWSRegistry(algorithms=[signing["alg"]], strict_check_header=False)
    signed = jws.serialize_compact(
        signing, payload, RSAKey.import_key(signer.private), registry=registry
    )
    return sealed(receiver, signed.encode(), sealing)


def sealed(receiver: Party, content: bytes, sealing: dict[str, Any] | None = None) -> WireRequest:
    sealing = sealing or {"alg": "RSA-OAEP-256", "enc": "A256GCM"}
    names = [value for value in sealing.values() if isinstance(value, str)]
    body = jwe.encrypt_compact(
        sealing, content, RSAKey.import_key(receiver.public), algorithms=names
    )
    return WireRequest(body=body.encode(), peer=PEER)


def encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def decoded(text: bytes) -> bytes:
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def test_an_envelope_proves_every_field_and_there_and_back(xente: Party, hub: Party) -> None:
    plain = captured("success")
    signed = XENTE.sign(plain, sender_of(xente, hub), 0)
    assert signed.values(b"content-type") == [b"application/jose"]
    assert b"UGX" not in signed.body
    reading = read(signed, receiver_of(xente, hub))
    assert reading.unproven == ()
    assert reading == structs.replace(read(plain), unproven=())
    by_others = sealed_by(xente, hub, plain.body)
    assert read(by_others, receiver_of(xente, hub)) == reading


def test_the_envelope_is_what_the_two_rfcs_say(xente: Party, hub: Party) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from arifa.signing.keys import rsa_private_key, rsa_public_key

    plain = captured("success")
    signed = XENTE.sign(plain, sender_of(xente, hub), 0)
    head, key, iv, text, tag = signed.body.split(b".")
    assert decode_object(decoded(head)) == {"alg": "RSA-OAEP-256", "enc": "A256GCM"}
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    content_key = rsa_private_key(hub.private).decrypt(decoded(key), oaep)
    inner = AESGCM(content_key).decrypt(decoded(iv), decoded(text) + decoded(tag), head)
    head, payload, signature = inner.split(b".")
    assert decode_object(decoded(head)) == {"alg": "RS256", "aud": public_fingerprint(hub.public)}
    rsa_public_key(xente.public).verify(
        decoded(signature), head + b"." + payload, padding.PKCS1v15(), hashes.SHA256()
    )
    assert decoded(payload) == plain.body


def test_with_both_keys_nothing_but_an_envelope_is_taken(
    xente: Party, hub: Party, stranger: Party
) -> None:
    plain = captured("success")
    token = jws.serialize_compact({"alg": "RS256"}, plain.body, RSAKey.import_key(xente.private))
    for refused in (
        plain,
        captured("query"),
        replace(plain, body=token.encode()),
        sealed(hub, plain.body),
        sealed_by(stranger, hub, plain.body),
        sealed_by(hub, hub, plain.body),
        sealed_by(xente, stranger, plain.body),
        replace(sealed_by(xente, hub, plain.body), peer="198.51.100.1"),
    ):
        with pytest.raises(NotGenuine):
            read(refused, receiver_of(xente, hub))


def test_no_value_is_read_from_the_query_beside_an_envelope(xente: Party, hub: Party) -> None:
    empty = replace(sealed_by(xente, hub, b""), target=captured("query").target)
    with pytest.raises(Unreadable):
        read(empty, receiver_of(xente, hub))


def test_algorithms_are_ours_and_not_the_message_s(xente: Party, hub: Party) -> None:
    body = captured("success").body
    public = RSAKey.import_key(xente.public)
    unsigned = encoded(b'{"alg":"none"}') + b"." + encoded(body) + b"."
    # The classic: the public key taken as the key of an HMAC.
    confused = jws.serialize_compact(
        {"alg": "HS256"}, body, OctKey.import_key(encoded(xente.public)), algorithms=["HS256"]
    )
    with_own_key = {"alg": "RS256", "jwk": public.as_dict(private=False)}
    rs256 = jws.serialize_compact({"alg": "RS256"}, body, RSAKey.import_key(hub.private))
    swapped = encode(decode_object(body) | {"amount": Number("9000")})
    head, _, signature = rs256.encode().split(b".")
    for refused in (
        sealed(hub, unsigned),
        sealed(hub, confused.encode()),
        sealed(hub, head + b"." + encoded(swapped) + b"." + signature),
        sealed_by(hub, hub, body, signing=with_own_key),
        sealed_by(xente, hub, body, signing={"alg": "PS256"}),
        sealed_by(xente, hub, body, signing={"alg": "RS512"}),
        sealed_by(xente, hub, body, sealing={"alg": "RSA-OAEP", "enc": "A256GCM"}),
        sealed_by(xente, hub, body, sealing={"alg": "RSA-OAEP-256", "enc": "A128GCM"}),
        sealed_by(xente, hub, body, sealing={"alg": "RSA-OAEP-256", "enc": "A128CBC-HS256"}),
    ):
        with pytest.raises(NotGenuine):
            read(refused, receiver_of(xente, hub))


def test_an_envelope_is_not_unpacked_into_more(xente: Party, hub: Party) -> None:
    bomb = {"alg": "RSA-OAEP-256", "enc": "A256GCM", "zip": "DEF"}
    with pytest.raises(NotGenuine):
        read(sealed_by(xente, hub, b" " * 100_000, sealing=bomb), receiver_of(xente, hub))
    with pytest.raises(NotGenuine):
        read(sealed(hub, zlib.compress(captured("success").body)), receiver_of(xente, hub))


def test_a_spoilt_envelope_is_not_genuine(xente: Party, hub: Party) -> None:
    receiver = receiver_of(xente, hub)
    whole = sealed_by(xente, hub, captured("success").body).body
    parts = whole.split(b".")
    spoilt = [whole[:size] for size in range(0, len(whole), 61)]
    spoilt += [whole + b".x", b"." + whole, whole.replace(b".", b"", 1), whole.upper(), whole * 20]
    spoilt += [b".".join([*parts[:n], b"", *parts[n + 1 :]]) for n in range(5)]
    spoilt += [b".".join([*parts[:n], encoded(b"\xff" * 300), *parts[n + 1 :]]) for n in range(5)]
    for head in (b"null", b"[]", b"{}", b'{"alg":1}', b'{"alg":"dir","enc":"A256GCM"}', b"\xff"):
        spoilt.append(b".".join([encoded(head), *parts[1:]]))
    for body in (*spoilt, b"", b"....", b"\x00", b"\xff" * 9):
        with pytest.raises(NotGenuine):
            read(WireRequest(body=body, peer=PEER), receiver)
    for content in (b"", b"..", b"a.b.c", b"\xff", b"{}"):
        with pytest.raises(NotGenuine):
            read(sealed(hub, content), receiver)


def test_either_key_of_a_rotation_may_sign(xente: Party, hub: Party, stranger: Party) -> None:
    body = captured("success").body
    rotating = replace(receiver_of(xente, hub), public_keys=(stranger.public, xente.public))
    for signer in (xente, stranger):
        assert read(sealed_by(signer, hub, body), rotating).held is None


def test_a_source_needs_its_address_list() -> None:
    XENTE.check_credentials(LISTED)
    with pytest.raises(Refused):
        XENTE.check_credentials(Credentials())


# ----------------------------------------------------------------------- rendering and answers


@pytest.mark.parametrize("form", ["snake", "camel", "pascal"])
def test_each_form_is_read_back_with_its_amount(form: str) -> None:
    reading = read(captured("success"))
    back = read(replace(rendered(reading, form), peer=PEER))
    for name in ("amount", "bank_reference", "end_to_end_id", "account", "occurred_at", "held"):
        assert getattr(back, name) == getattr(reading, name)
    assert XENTE.identity(back) == XENTE.identity(reading)


def test_the_page_s_shape_is_rendered_as_on_the_page() -> None:
    for case in ("success", "failed", "processing"):
        request = captured(case)
        assert rendered(read(request)).body == encode(request.document())


def test_each_form_has_the_names_that_were_published() -> None:
    reading = read(captured("success"))
    for case in ("camel", "pascal"):
        published = set(captured(case).document()) - {"ReferenceId"}
        assert published <= set(rendered(reading, case).document())


def test_what_is_unclear_is_not_said() -> None:
    for case in ("disagreeing", "camel"):
        with pytest.raises(CannotExpress):
            rendered(read(captured(case)))


def test_the_cases_are_the_captures() -> None:
    for name, case in XENTE.cases.items():
        assert case.body == captured(name).body


def test_only_200_commits_the_payment() -> None:
    for outcome in Outcome:
        answer = XENTE.acknowledge(
            WireRequest(body=b""), outcome, Result(transaction_id="ntf_1"), XENTE.defaults
        )
        is_stored = outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.CONFLICT)
        assert (answer.status == 200) is is_stored
        assert decode_object(answer.body)["success"] is is_stored
        heard = XENTE.read_acknowledgement(answer, XENTE.defaults)
        assert heard.outcome is XENTE.told_apart(outcome)
    for status in (201, 202, 204, 302, 500):
        heard = XENTE.read_acknowledgement(WireResponse(status, b"OK"), XENTE.defaults)
        assert not heard.is_received
    assert XENTE.read_acknowledgement(WireResponse(200, b"OK"), XENTE.defaults).is_received
