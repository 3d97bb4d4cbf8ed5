"""The billing system's form: both halves agree, what is signed cannot be changed, nothing else can break it."""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arifa import billing
from arifa.billing import Code, Made, Order, Receipt, Recipient, Refusal
from arifa.errors import Unreadable
from arifa.money import Money
from arifa.wire import WireRequest, WireResponse, read_request, read_response

CLIENT = "end_01a1f89f33a06629299d4e7172ff"
SECRET = b"test-client-secret"
# The page's sample, with a reference and a URL in the place of what it says about them.
SAMPLE = b"""{
 "RevenueHeadId": 16,
 "TaxEntityInvoice": {
 "TaxEntity": {
 "Recipient": "Tax Payer",
 "Email": "taxpayer@example.com",
 "Address": "API local",
 "PhoneNumber": "0804832361",
 "TaxPayerIdentificationNumber": "7777711",
 "RCNumber": null,
 "PayerId": null
 },
 "Amount": 8903,
 "InvoiceDescription": "Invoice Description here",
 "CategoryId": 1
 },
 "ExternalRefNumber": null,
 "RequestReference": "6075b3ebc5015",
 "CallBackURL": "https://shop.example/paid"
}"""

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40).filter(
    str.strip
)
references = texts.map(str.strip).filter(lambda text: text and text.isprintable())
numbers = st.integers(1, 10**18 - 1).map(str)
urls = st.builds("https://shop.example/{}".format, st.text("abc/%?=&0123456789", max_size=30))
recipients = st.builds(
    Recipient,
    name=texts,
    address=texts,
    **dict.fromkeys(
        ("email", "phone", "tax_number", "company_number", "payer_id"), st.none() | texts
    ),
)
orders = st.builds(
    Order,
    revenue_head=numbers,
    amount=st.integers(1, 10**16).map(lambda minor: Money(minor, "NGN")),
    reference=references,
    callback_url=st.none() | urls,
    external_reference=st.none() | texts,
    description=st.none() | texts,
    category=numbers,
    payer=recipients,
)


def sent(document: Any = None, **changes: Any) -> WireRequest:
    """A signed request: the sample, with members of it replaced (`Amount`, `TaxEntity`, …)."""
    document = json.loads(SAMPLE) if document is None else document
    for name, value in changes.items():
        invoice = document["TaxEntityInvoice"]
        place = next(
            (part for part in (document, invoice, invoice["TaxEntity"]) if name in part), document
        )
        place[name] = value
    request = WireRequest(json.dumps(document).encode())
    try:
        return billing.sign(request, CLIENT, SECRET)
    except Unreadable:
        return request


def read(request: WireRequest) -> Order:
    found = billing.read(request, "NGN")
    assert isinstance(found, Order), found
    return found


def fields_at_fault(request: WireRequest) -> list[str]:
    found = billing.read(request, "NGN")
    assert isinstance(found, Refusal), found
    assert found.code is Code.FORM
    return [fault.field for fault in found.faults]


# ---------------------------------------------------------------------------------- the two halves


@given(order=orders, secret=st.binary(min_size=1))
def test_what_is_signed_is_proven(order: Order, secret: bytes) -> None:
    """proven∘sign: whatever a client orders, its own secret proves it, also after the wire."""
    signed = billing.sign(billing.write(order), CLIENT, secret)
    arrived = read_request(signed.to_bytes())

    assert billing.client_of(arrived) == CLIENT
    assert billing.proven(arrived, CLIENT, [secret]) is None
    assert billing.proven(arrived, CLIENT, [b"an old one", secret]) is None
    assert billing.proven(arrived, CLIENT, []) == billing.NOT_SIGNED


@given(order=orders)
def test_what_is_written_is_read(order: Order) -> None:
    """read∘write gives the order back."""
    assert billing.read(billing.write(order), "NGN") == order


@given(order=orders, other=orders, client=st.sampled_from([CLIENT, "end_other"]))
def test_no_other_order_has_its_signature(order: Order, other: Order, client: str) -> None:
    """A signature fits no order of another head, amount, URL or client, but for the known split."""

    def signed_text(item: Order, by: str) -> str:
        return f"{item.revenue_head}{item.amount.text()}{item.callback_url or ''}{by}"

    assume(signed_text(order, CLIENT) != signed_text(other, client))
    signed = billing.sign(billing.write(order), CLIENT, SECRET)

    forged = replace(signed, body=billing.write(other).body)

    assert billing.proven(forged, client, [SECRET]) == billing.NOT_SIGNED


@given(
    order=orders,
    number=st.text("0123456789", min_size=11, max_size=11),
    due=st.integers(0, 10**16),
    is_repeat=st.booleans(),
)
def test_an_answer_is_heard_as_it_was_said(
    order: Order, number: str, due: int, is_repeat: bool
) -> None:
    """read_answer∘answer gives the number, the client's reference, and whether it is a repeat."""
    made = Made(
        number=number,
        amount_due=Money(due, "NGN"),
        order=order,
        merchant="default",
        is_repeat=is_repeat,
    )

    heard = billing.read_answer(read_response(billing.answer(made).to_bytes()))

    assert heard == Receipt(number, order.reference, is_repeat)


@pytest.mark.parametrize(
    "refused",
    [
        billing.NO_CLIENT,
        billing.UNKNOWN_CLIENT,
        billing.NOT_SIGNED,
        billing.FAILED,
        billing.TRY_AGAIN,
        billing.refusal(Code.FORM, billing.Fault("Amount", "no"), billing.Fault("Address", "é")),
    ],
)
def test_a_refusal_is_heard_as_it_was_said(refused: Refusal) -> None:
    """read_answer∘refuse gives code, status and every fault back."""
    assert billing.read_answer(read_response(billing.refuse(refused).to_bytes())) == refused


@pytest.mark.parametrize("body", [b"", b"[]", b'{"Error": 5}', b'{"Error": true}', b"<html>"])
def test_another_answer_is_not_heard(body: bytes) -> None:
    """What is neither an invoice nor a refusal is no success."""
    with pytest.raises(Unreadable):
        billing.read_answer(WireResponse(200, body))


# ---------------------------------------------------------------------------------- the page


def test_the_signature_is_that_of_the_page() -> None:
    """HMAC-SHA256 over head, amount with two decimals, URL and client, in base64."""
    text = f"168903.00https://shop.example/paid{CLIENT}".encode()
    expected = b64encode(hmac.new(SECRET, text, sha256).digest())

    assert sent().values(billing.SIGNATURE) == [expected]


def test_the_sample_of_the_page_is_read() -> None:
    """Every member of the published sample has its place."""
    assert read(WireRequest(SAMPLE)) == Order(
        revenue_head="16",
        amount=Money(890_300, "NGN"),
        reference="6075b3ebc5015",
        callback_url="https://shop.example/paid",
        description="Invoice Description here",
        category="1",
        payer=Recipient(
            name="Tax Payer",
            email="taxpayer@example.com",
            address="API local",
            phone="0804832361",
            tax_number="7777711",
        ),
    )


def test_what_public_clients_send_is_read() -> None:
    """An amount as a text, a reference as a number, details that nobody knows: as found in use."""
    request = sent(
        Amount="100000.00",
        ExternalRefNumber=373737373,
        AdditionalDetails=[[]],
        CallBackURL=None,
        Whatever={"a": [1, 2]},
    )

    order = read(request)

    assert billing.proven(request, CLIENT, [SECRET]) is None
    assert order.amount == Money(10_000_000, "NGN")
    assert order.external_reference == "373737373"
    assert order.callback_url is None


def test_a_known_payer_needs_no_address() -> None:
    """Recipient, Address and CategoryId are needed only where there is no PayerId."""
    bare = {"Recipient": None, "Address": "", "CategoryId": 0}

    assert fields_at_fault(sent(**bare)) == ["CategoryId", "Address", "Recipient"]
    assert read(sent(**bare, PayerId="HA-000034")).payer == Recipient(
        email="taxpayer@example.com",
        phone="0804832361",
        tax_number="7777711",
        payer_id="HA-000034",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RevenueHeadId", None),
        ("RevenueHeadId", 0),
        ("RevenueHeadId", -1),
        ("RevenueHeadId", 1.5),
        ("RevenueHeadId", True),
        ("Amount", None),
        ("Amount", 0),
        ("Amount", "0.00"),
        ("Amount", -5),
        ("Amount", 1.005),
        ("Amount", "1e3"),
        ("Amount", "1,000.00"),
        ("Amount", "٣"),
        ("Amount", [5]),
        ("CallBackURL", 5),
        ("CallBackURL", "https://é.example"),
        ("RequestReference", None),
        ("RequestReference", ""),
        ("RequestReference", "\u2028 "),
        ("RequestReference", " x"),
        ("RequestReference", "x\n"),
        ("RequestReference", "x" * 129),
        ("CategoryId", "one"),
        ("Recipient", "x\x00y"),
        ("Recipient", "\ud800"),
        ("Address", ["a"]),
        ("Email", "x" * 501),
        ("InvoiceDescription", "\x1b[2J"),
    ],
)
def test_a_value_that_cannot_be_is_named(name: str, value: Any) -> None:
    """The fault names the field, and only that one; it does not repeat the value."""
    request = sent(**{name: value})

    assert fields_at_fault(request) == [name]
    refused = billing.read(request, "NGN")
    assert isinstance(refused, Refusal)
    assert all(
        str(value) not in fault.message for fault in refused.faults if value not in (None, "")
    )


@pytest.mark.parametrize(
    ("head", "amount"), [("16", "100.00"), ("016", "100"), ("16", "100.0000"), (16, 100)]
)
def test_spellings_of_one_sum_have_one_signature(head: Any, amount: Any) -> None:
    """Head and amount are signed as the billing system writes them, however they were sent."""
    plain = sent(RevenueHeadId=16, Amount=100)

    assert sent(RevenueHeadId=head, Amount=amount).headers == plain.headers


def test_the_split_of_head_and_amount_is_not_proven() -> None:
    """What the page's signature cannot tell apart is known: head 1 with 6100.00, 16 with 100.00."""
    signed = sent(RevenueHeadId=16, Amount=100)
    other = sent(RevenueHeadId=1, Amount=6100)

    assert billing.proven(replace(signed, body=other.body), CLIENT, [SECRET]) is None


@pytest.mark.parametrize(
    "signature", [[], [b""], [b"x"], [b"AAAA", b"AAAA"], [b"\xff"], [b"=" * 44], [b"A" * 43 + b"="]]
)
def test_a_signature_that_is_none_is_refused(signature: list[bytes]) -> None:
    """Whatever stands in the header, it is PPS1 and nothing else."""
    headers = ((billing.CLIENT, b"x"), *((billing.SIGNATURE, value) for value in signature))

    refused = billing.proven(WireRequest(SAMPLE, headers), CLIENT, [SECRET])

    assert refused == billing.NOT_SIGNED
    assert refused.code == "PPS1"


@pytest.mark.parametrize("values", [[], [b""], [b" "], [b"a", b"b"], [b"a", b"a"]])
def test_one_client_is_named_or_none(values: list[bytes]) -> None:
    """No ClientID, an empty one and two of them are all no client."""
    headers = tuple((b"ClientID", value) for value in values)

    assert billing.client_of(WireRequest(b"", headers)) is None


def test_currencies_have_their_own_decimals() -> None:
    """An amount with decimals that the currency lacks is a fault; zeros are not."""
    fine = billing.read(sent(Amount="100.00"), "UGX")
    odd = billing.read(sent(Amount="100.50"), "UGX")

    assert isinstance(fine, Order)
    assert fine.amount == Money(100, "UGX")
    assert isinstance(odd, Refusal)
    assert [fault.field for fault in odd.faults] == ["Amount"]
