"""The billing system's own interface: how an integrator has an invoice made, in CBS's form.

Source: the page Invoice-Generation of the CBS wiki (2021, github.com/parkwayprojects/CBS), and what
its server and public clients (a C# and two PHP ones) were seen to do. Pure, and in both directions:
`sign`/`proven`, `write`/`read`, `answer`/`read_answer`; the integrator's side is the twin of ours.
What surprises:
- The signature is over `RevenueHeadId + Amount + CallBackURL + ClientID`, joined with nothing in
  between, the amount with two decimals and an absent URL as nothing. It proves the joined text: head
  1 with 6100.00 and head 16 with 100.00 share a signature. The URL begins with `http` and the client
  is known, so that no other border can move. All else is unproven, see `UNPROVEN`; nothing in it is
  a nonce or a time.
- The header names are `CLIENTID` and `SIGNATURE` in its server, `ClientID` and `Signature` on the
  page: HTTP tells no case.
- Amounts come as numbers and as texts, RequestReference and ExternalRefNumber as texts and numbers.
- Its server demands Recipient, Address and CategoryId only where there is no PayerId, whatever the
  page's table says; we follow the server.
- Statuses are the server's: 403 for no ClientID and for a wrong signature, 404 for an unknown
  client, 400 for a form that is not right, 500 for its own failure. `StatusCode` repeats them.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from arifa.document import JsonObject, JsonValue, Number, decode_object, encode
from arifa.errors import Unreadable
from arifa.money import Money, decimal_text, read_amount
from arifa.wire import JSON, WireRequest, WireResponse

PATH: Final = "/api/v1/invoice/create"
"""The page's own path: an integrator changes the host, and nothing else."""
DIALECT: Final = "cbs"
"""The form in which the payment of such an invoice is announced."""
CLIENT: Final = b"clientid"
SIGNATURE: Final = b"signature"
UNPROVEN: Final = (
    "description",
    "category",
    "payer",
    "external_reference",
    "reference",
)
"""What no signature covers. Of `revenue_head` and `amount` only the joined text is proven."""

BANK_FIELDS: Final = ("BankCode", "BankName", "BankBranch")
PAYMENT_REFERENCE: Final = "PaymentRef"
"""Members of an announcement beyond a notification's own words; the reference with its spaces."""

REFERENCE_CHARACTERS_MAX: Final = 128
TEXT_CHARACTERS_MAX: Final = 500
_AMOUNT: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,8}))?", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_LAYOUT: Final = "\n\r\t"


class Code(StrEnum):
    """What went wrong, in the words of the page."""

    SIGNATURE = "PPS1"
    INTERNAL = "PPIE"
    USER = "PPU1"
    FORM = "PPVE"
    CLIENT = "PPCK"


_STATUS: Final = {
    Code.SIGNATURE: 403,
    Code.INTERNAL: 500,
    Code.USER: 404,
    Code.FORM: 400,
    Code.CLIENT: 403,
}


class Fault(NamedTuple):
    """A field, and what is wrong with it: `FieldName` and `ErrorMessage`. It repeats no value."""

    field: str
    message: str


class Refusal(NamedTuple):
    """Why there is no invoice. `status` is that of the code unless it says more."""

    code: Code
    faults: tuple[Fault, ...]
    status: int


def refusal(code: Code, *faults: Fault, status: int | None = None) -> Refusal:
    """A refusal with the status that belongs to its code."""
    return Refusal(code, faults, _STATUS[code] if status is None else status)


NO_CLIENT: Final = refusal(Code.CLIENT, Fault("ClientId", "ClientID is not in the request header"))
UNKNOWN_CLIENT: Final = refusal(Code.USER, Fault("ClientId", "there is no such client"))
NOT_SIGNED: Final = refusal(Code.SIGNATURE, Fault("Signature", "the signature does not fit"))
FAILED: Final = refusal(Code.INTERNAL, Fault("Invoice", "something went wrong here; try again"))
TRY_AGAIN: Final = refusal(
    Code.INTERNAL, Fault("Invoice", "no invoice can be made now; try again later"), status=503
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Who is to pay, as the request says; no proof covers any of it."""

    name: str | None = None
    email: str | None = None
    address: str | None = None
    phone: str | None = None
    tax_number: str | None = None
    company_number: str | None = None
    payer_id: str | None = None


NOBODY: Final = Recipient()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An invoice as it is asked for.

    Attributes:
        revenue_head: what is paid for: a number of the billing system's, as text.
        amount: positive; at most two decimals, in the currency of the client.
        reference: RequestReference, the integrator's own, unique for each of its invoices.
        callback_url: where its payment is announced; None: where the client's always are.
    """

    revenue_head: str
    amount: Money
    reference: str
    callback_url: str | None = None
    external_reference: str | None = None
    description: str | None = None
    category: str | None = None
    payer: Recipient = NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An invoice as it is answered. `is_repeat`: the same reference had come before."""

    number: str
    amount_due: Money
    order: Order
    merchant: str
    is_repeat: bool = False


# ---------------------------------------------------------------------------------- proof


def client_of(request: WireRequest) -> str | None:
    """The ClientID of the header; None where there is none, or more than one."""
    found = request.values(CLIENT)
    if len(found) != 1 or not found[0].strip():
        return None
    return found[0].strip().decode("latin-1")


def proven(request: WireRequest, client: str, secrets: Iterable[bytes]) -> Refusal | None:
    """See that one of the client's secrets made the signature; None where it did.

    A request in which the signed fields are not to be found is refused as a form that is not right.
    """
    text = _signed(request, client)
    if isinstance(text, Refusal):
        return text
    found = request.values(SIGNATURE)
    if len(found) != 1:
        return NOT_SIGNED
    try:
        digest = binascii.a2b_base64(found[0], strict_mode=True)
    except (binascii.Error, ValueError):
        return NOT_SIGNED
    fits = False
    for secret in secrets:
        # No early exit: how long it takes must not tell which secret fitted.
        fits |= bool(secret) & hmac.compare_digest(hmac.digest(secret, text, "sha256"), digest)
    return None if fits else NOT_SIGNED


def sign(request: WireRequest, client: str, secret: bytes) -> WireRequest:
    """The request with its two headers: the integrator's half.

    Raises:
        Unreadable: it has none of the fields that are signed.
    """
    text = _signed(request, client)
    if isinstance(text, Refusal):
        raise Unreadable("; ".join(f"{fault.field}: {fault.message}" for fault in text.faults))
    digest = b64encode(hmac.digest(secret, text, "sha256"))
    return request.with_headers((CLIENT, client.encode("latin-1")), (SIGNATURE, digest))


def _signed(request: WireRequest, client: str) -> bytes | Refusal:
    """RevenueHeadId, Amount with two decimals, CallBackURL and ClientID, joined."""
    try:
        form = _Form(request.document())
    except Unreadable as error:
        return refusal(Code.FORM, Fault("Invoice", f"the model is empty: {error}"))
    head, amount, url = form.head(), form.amount(), form.url()
    if form.faults:
        return refusal(Code.FORM, *form.faults)
    return f"{head}{amount}{url or ''}{client}".encode("latin-1", "replace")


# ---------------------------------------------------------------------------------- form


def read(request: WireRequest, currency: str) -> Order | Refusal:
    """The order, or all that is wrong with its form. Fields that are not known pass."""
    try:
        form = _Form(request.document())
    except Unreadable as error:
        return refusal(Code.FORM, Fault("Invoice", f"the model is empty: {error}"))
    head, url, money = form.head(), form.url(), form.money(currency)
    reference = form.reference("RequestReference")
    external = form.text(form.document, "ExternalRefNumber", REFERENCE_CHARACTERS_MAX)
    description = form.text(form.invoice, "InvoiceDescription")
    category, payer = form.category(), form.recipient()
    if not payer.payer_id:
        form.need(category, "CategoryId")
        form.need(payer.address, "Address")
        form.need(payer.name, "Recipient")
    if form.faults or money is None or reference is None:
        return refusal(Code.FORM, *form.faults)
    return Order(
        revenue_head=head,
        amount=money,
        reference=reference,
        callback_url=url,
        external_reference=external,
        description=description,
        category=category,
        payer=payer,
    )


def write(order: Order) -> WireRequest:
    """The order as an integrator sends it, in the order of the page; `sign` adds the headers."""
    payer = order.payer
    document: JsonObject = {
        "RevenueHeadId": Number(order.revenue_head),
        "TaxEntityInvoice": {
            "TaxEntity": {
                "Recipient": payer.name,
                "Email": payer.email,
                "Address": payer.address,
                "PhoneNumber": payer.phone,
                "TaxPayerIdentificationNumber": payer.tax_number,
                "RCNumber": payer.company_number,
                "PayerId": payer.payer_id,
            },
            "Amount": Number(order.amount.text()),
            "InvoiceDescription": order.description,
            "CategoryId": None if order.category is None else Number(order.category),
        },
        "ExternalRefNumber": order.external_reference,
        "RequestReference": order.reference,
        "CallBackURL": order.callback_url,
    }
    return WireRequest(body=encode(document), headers=(JSON,), target=PATH)


class _Form:
    """The request's members, read one by one; what is wrong gathers in `faults`."""

    def __init__(self, document: JsonObject) -> None:
        self.document = document
        self.faults: list[Fault] = []
        self.invoice = self._nested(document, "TaxEntityInvoice")
        self.entity = self._nested(self.invoice, "TaxEntity")

    def _nested(self, members: JsonObject, name: str) -> JsonObject:
        value = members.get(name)
        if isinstance(value, dict):
            return value
        if not self.faults:
            self.faults.append(Fault(name, f"{name} field is required"))
        return {}

    def need(self, value: str | None, name: str) -> None:
        """See that there is a value, unless its field has a fault already."""
        if not value and all(fault.field != name for fault in self.faults):
            self.faults.append(Fault(name, f"{name} field is required"))

    def head(self) -> str:
        """RevenueHeadId without leading zeros, as the billing system's integer is written."""
        value = self.document.get("RevenueHeadId")
        if isinstance(value, str) and _DIGITS.fullmatch(value) and int(value):
            return str(int(value))
        self.faults.append(Fault("RevenueHeadId", "RevenueHeadId field is required: a number"))
        return ""

    def amount(self) -> str:
        """Amount with two decimals, as it is signed: never rounded, so that one text is one sum."""
        value = self.invoice.get("Amount")
        match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            self._fault("Amount", "Amount field is required: a decimal number")
            return ""
        whole, decimals = match.groups("")
        if decimals[2:].strip("0"):
            self._fault("Amount", "Amount has more than two decimals")
        minor = int(whole + decimals[:2].ljust(2, "0"))
        if minor == 0:
            self._fault("Amount", "Amount must be more than nothing")
        return decimal_text(minor, 2)

    def money(self, currency: str) -> Money | None:
        """Amount in the client's currency."""
        text = self.amount()
        try:
            return read_amount(text, currency) if text else None
        except Unreadable as error:
            self._fault("Amount", str(error))
            return None

    def url(self) -> str | None:
        """CallBackURL exactly as it came; whether it may be called is for others to say."""
        value = self.document.get("CallBackURL")
        if value in (None, ""):
            return None
        if isinstance(value, str) and not isinstance(value, Number) and value.isascii():
            return value
        self.faults.append(Fault("CallBackURL", "CallBackURL is not a URL"))
        return None

    def reference(self, name: str) -> str | None:
        """A reference as it came: it is hashed again when the payment is announced."""
        text = self.text(self.document, name, REFERENCE_CHARACTERS_MAX)
        self.need(text, name)
        if text is not None and (text != text.strip() or not text.isprintable()):
            self._fault(name, f"{name} has spaces at an end, or a sign that does not show")
        return text

    def category(self) -> str | None:
        """CategoryId; absent and zero are the same."""
        value = self.invoice.get("CategoryId")
        if value in (None, "", "0"):
            return None
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            return str(int(value))
        self._fault("CategoryId", "CategoryId is not a number")
        return None

    def recipient(self) -> Recipient:
        """TaxEntity."""
        entity = self.entity
        return Recipient(
            name=self.text(entity, "Recipient"),
            email=self.text(entity, "Email"),
            address=self.text(entity, "Address"),
            phone=self.text(entity, "PhoneNumber"),
            tax_number=self.text(entity, "TaxPayerIdentificationNumber"),
            company_number=self.text(entity, "RCNumber"),
            payer_id=self.text(entity, "PayerId"),
        )

    def text(
        self, members: JsonObject, name: str, characters_max: int = TEXT_CHARACTERS_MAX
    ) -> str | None:
        """A text, or a number as its text; what holds nothing but spaces is absent."""
        value = members.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if not isinstance(value, str):
            self._fault(name, f"{name} is not a text")
        elif len(value) > characters_max:
            self._fault(name, f"{name} is longer than {characters_max} characters")
        elif not is_plain(value):
            self._fault(name, f"{name} holds a sign that is no text")
        else:
            return str(value)
        return None

    def _fault(self, field: str, message: str) -> None:
        self.faults.append(Fault(field, message))


def is_plain(text: str) -> bool:
    """Whether no sign of it steers a terminal or has no UTF-8 form; line ends and tabs may be."""
    return all(
        mark in _LAYOUT
        or not (mark < " " or "\x7f" <= mark <= "\x9f" or "\ud800" <= mark <= "\udfff")
        for mark in text
    )


# ---------------------------------------------------------------------------------- answer


def answer(made: Made) -> WireResponse:
    """200 with the invoice. What only the billing system has (pages to pay at) is null."""
    order = made.order
    told: JsonObject = {
        "Recipient": order.payer.name,
        "PayerId": order.payer.payer_id,
        "Email": order.payer.email,
        "PhoneNumber": order.payer.phone,
        "TIN": order.payer.tax_number,
        "MDAName": made.merchant,
        "RevenueHeadName": order.revenue_head,
        "ExternalRefNumber": order.external_reference,
        "PaymentURL": None,
        "Description": order.description,
        "RequestReference": order.reference,
        "IsDuplicateRequestReference": made.is_repeat,
        "InvoiceNumber": made.number,
        "InvoicePreviewUrl": None,
        "AmountDue": Number(made.amount_due.text()),
    }
    return _answered(200, None, told)


def refuse(refused: Refusal) -> WireResponse:
    """The refusal, with a line for each fault."""
    faults: list[JsonValue] = [
        {"FieldName": fault.field, "ErrorMessage": fault.message} for fault in refused.faults
    ]
    return _answered(refused.status, refused.code, faults)


def _answered(status: int, code: Code | None, told: JsonValue) -> WireResponse:
    document: JsonObject = {
        "Error": code is not None,
        "ErrorCode": None if code is None else code.value,
        "StatusCode": status,
        "ResponseObject": told,
    }
    return WireResponse(status, encode(document), (JSON,))


class Receipt(NamedTuple):
    """What an integrator takes from an answer that is no refusal."""

    number: str
    reference: str | None
    is_repeat: bool


def read_answer(response: WireResponse) -> Receipt | Refusal:
    """What an answer says.

    Raises:
        Unreadable: it is none of these.
    """
    document = decode_object(response.body)
    told = document.get("ResponseObject")
    if document.get("Error") is False and isinstance(told, dict):
        number, reference = told.get("InvoiceNumber"), told.get("RequestReference")
        if isinstance(number, str):
            is_repeat = told.get("IsDuplicateRequestReference") is True
            return Receipt(number, reference if isinstance(reference, str) else None, is_repeat)
    if document.get("Error") is True and isinstance(told, list):
        code = document.get("ErrorCode")
        if code in set(Code):
            return Refusal(Code(str(code)), _faults(told), response.status)
    raise Unreadable("the answer is neither an invoice nor a refusal of the billing system's")


def _faults(told: Sequence[JsonValue]) -> tuple[Fault, ...]:
    return tuple(
        Fault(str(item.get("FieldName") or ""), str(item.get("ErrorMessage") or ""))
        for item in told
        if isinstance(item, dict)
    )
