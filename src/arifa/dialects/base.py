"""The contract of a dialect: inverse pairs of verbs, from bytes to values and back.

    verify / sign      parse / render      acknowledge / read_acknowledgement      answer / read_answer

A dialect is one file, mostly tables. It implements `read`, `write`, `acknowledge`,
`read_acknowledgement` and `identity`; everything that must not be forgotten or done wrong is here,
once: every proof is run, every error becomes one of two, and a rendered message is read back
before it leaves. Keys, options and the time are arguments; nothing here reads a clock or a file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import compress
from operator import attrgetter, ne
from typing import ClassVar, Final, final

from msgspec import Struct, structs

from arifa.dialects.fields import Fields
from arifa.document import ESCAPE, JsonObject, decode_object, encode
from arifa.errors import ArifaError, CannotExpress, NotGenuine, Refused, Unreadable
from arifa.feed import Profile
from arifa.notification import (
    PAYMENT,
    READING_FIELDS,
    Direction,
    Kind,
    Notification,
    Payer,
    Query,
    QueryAnswer,
    Reading,
    Status,
)
from arifa.outcome import RECEIVED, STATUS, Outcome
from arifa.signing import EVERYTHING, NOTHING, AddressList, Basic, Credentials, Proof, Unproven
from arifa.wire import JSON, WireRequest, WireResponse

_UNKNOWN: Final = Kind.UNKNOWN
BACKWARDS: Final = frozenset({Kind.REVERSAL, Kind.REFUND, Kind.CHARGEBACK})
"""Money that goes back: on an unproven word it waits for a second proof."""

MUST_SURVIVE: Final = (
    "kind",
    "direction",
    "status",
    "amount",
    "bank_reference",
    "end_to_end_id",
    "account",
)
"""What a rendered message must read back as, if the dialect carries it at all: it means money."""

_SEAL: Final = object()
_REPLACED: Final = "\ufffd"
"""What `Fields` puts in the place of a character that no text can hold."""
_EMPTY: Final[Mapping[str, object]] = {"other_references": (), "payer": Payer()}
"""What a reading holds where a message says nothing; None in all other places."""


class Verified(Struct, frozen=True):
    """A request whose proofs have all been run. Only `Dialect.verify` can make one.

    Attributes:
        content: the bytes to read: the body, or what was signed inside an envelope.
        covers: the canonical fields that some proof covers.
    """

    request: WireRequest
    content: bytes
    covers: frozenset[str]
    seal: object

    def __repr__(self) -> str:
        return f"<Verified {self.request!r}>"

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise TypeError("a Verified is made by Dialect.verify, and by nothing else")

    def fields(self) -> Fields:
        """The content as one JSON object, for reading what it says.

        Raises:
            Unreadable: it is not one.
        """
        content, request = self.content, self.request
        document = request.document() if content is request.body else decode_object(content)
        return Fields(document, None, "", ESCAPE not in content)

    def document(self) -> JsonObject:
        """The content as one JSON object.

        Raises:
            Unreadable: it is not one.
        """
        if self.content is self.request.body:
            return self.request.document()
        return decode_object(self.content)


class Identity(Struct, frozen=True):
    """What tells one notification from another within a scope.

    `primary` is made of proven fields wherever there are any; another notification that shares a
    `secondary` one is likely the same payment on another way, and waits as a case.
    """

    primary: str
    secondary: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expresses:
    """What a dialect has words for. `currencies` None is any; empty is the profile's only."""

    kinds: frozenset[Kind] = frozenset({Kind.PAYMENT})
    directions: frozenset[Direction] = frozenset({Direction.CREDIT})
    statuses: frozenset[Status] = frozenset({Status.SUCCESS})
    currencies: frozenset[str] | None = None


ANYTHING: Final = Expresses(
    kinds=frozenset(Kind), directions=frozenset(Direction), statuses=frozenset(Status)
)


class Result(Struct, frozen=True, kw_only=True):
    """What an answer may tell the bank: our id for the payment, and a sentence."""

    transaction_id: str = ""
    message: str = ""


class Acknowledgement(Struct, frozen=True, kw_only=True):
    """What an answer says: `outcome` as far as the form tells outcomes apart."""

    outcome: Outcome
    transaction_id: str | None = None
    message: str | None = None

    @property
    def is_received(self) -> bool:
        """Whether the other side has it, so that it need not be sent again."""
        return self.outcome in RECEIVED


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A sample message: a bank's published one, or one made after its page."""

    title: str
    body: bytes
    options: Mapping[str, str] = field(default_factory=dict)


class Dialect(ABC):
    """The wire format of one bank or system, in both directions.

    Attributes:
        proofs: every one is run; a dialect without any declares `Unproven(reason)`.
        defaults: currency and time zone where neither message nor source says.
        options: option name → allowed values, the default first.
        carries: the reading's fields that a rendered message can hold; `payer.name` for its parts.
        cases: sample messages by name; the first is what `trigger` sends.
        headers: headers of a rendered request.
        passes_on: whether `write` needs the request that the notification came in.
        delays: seconds before each attempt to deliver, where the bank's page has a schedule.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    page: ClassVar[str]
    proofs: ClassVar[tuple[Proof, ...]]
    defaults: ClassVar[Profile]
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    expresses: ClassVar[Expresses] = Expresses()
    carries: ClassVar[frozenset[str]] = frozenset()
    cases: ClassVar[Mapping[str, Case]] = {}
    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = (JSON,)
    passes_on: ClassVar[bool] = False
    delays: ClassVar[tuple[int, ...] | None] = None

    _has_optional: ClassVar[bool] = False
    _has_basic: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        proofs = getattr(cls, "proofs", ())
        cls._has_optional = any(proof.is_optional for proof in proofs)
        cls._has_basic = any(type(proof) is Basic for proof in proofs)
        if not proofs:
            raise TypeError(
                f"the dialect {cls.__name__} declares no proof; say Unproven(reason) if it has none"
            )

    # ------------------------------------------------------------------ verify / sign

    @final
    def verify(
        self, request: WireRequest, credentials: Credentials, profile: Profile, now_us: int
    ) -> Verified:
        """Run every proof of the dialect and every compensating control of the source.

        Raises:
            NotGenuine: one of them refuses.
        """
        content, covers = request.body, NOTHING
        for proof in self.controls(credentials):
            try:
                inner = proof.verify(request, credentials, profile.options, now_us)
            except NotGenuine:
                raise
            except Exception as error:
                # Whatever a hostile header sets off in a library, it is a refusal and no more.
                raise NotGenuine(f"the proof could not be read ({type(error).__name__})") from error
            if inner is not None:
                content = inner
            # Mostly there is one proof: no new set then, whose hash would have to be found anew.
            covers = covers | proof.covers if covers else proof.covers
        return Verified(request, content, covers, _SEAL)

    @final
    def controls(self, credentials: Credentials) -> Iterable[Proof]:
        """The proofs to run: the dialect's, then the source's own Basic and address list."""
        if not (self._has_optional or credentials.addresses) and (
            credentials.username is None or self._has_basic
        ):
            return self.proofs
        declared = [proof for proof in self.proofs if proof.applies(credentials)]
        kinds = {type(proof) for proof in declared}
        extra = (proof for proof in _COMPENSATING if type(proof) not in kinds)
        return declared + [proof for proof in extra if proof.applies(credentials)]

    @final
    def check_credentials(self, credentials: Credentials, *, sending: bool = False) -> None:
        """Refuse a source (or, `sending`, an endpoint) that could not prove anything.

        Raises:
            Refused: a credential is missing; the sentence names the flag that gives it.
        """
        for proof in self.proofs:
            if proof.is_optional:
                continue
            for name in proof.signs_with if sending else proof.verifies_with:
                if not getattr(credentials, name):
                    raise Refused(f"a {self.name} feed needs {_FLAGS[name]}")
        if sending or any(not isinstance(proof, Unproven) for proof in self.controls(credentials)):
            return
        raise Refused(
            f"{self.name} proves nothing by itself, so its secret path is not enough: give the "
            f"source an address list (--allow-ip CIDR) or Basic credentials "
            f"(--username U --password-file F)"
        )

    @final
    def sign(self, request: WireRequest, credentials: Credentials, now_us: int) -> WireRequest:
        """The request with every proof on it: what `verify` accepts with the twin credentials.

        Raises:
            Refused: a credential is missing.
        """
        for proof in self.proofs:
            if not proof.is_optional or all(getattr(credentials, n) for n in proof.signs_with):
                request = proof.sign(request, credentials, now_us)
        if credentials.username and not any(isinstance(proof, Basic) for proof in self.proofs):
            request = Basic().sign(request, credentials, now_us)
        return request

    @property
    def signs_together(self) -> bool:
        """Whether one request carries the signatures of several secrets: old and new."""
        return any(proof.is_plural for proof in self.proofs)

    # ------------------------------------------------------------------ parse / render

    @final
    def parse(self, verified: Verified, profile: Profile) -> list[Reading] | Query:
        """Read a proven request, permissively: what is odd becomes a doubt.

        Raises:
            Unreadable: it is not a message of this bank.
        """
        try:
            readings = self.read(verified, profile)
        except Unreadable:
            raise
        except Exception as error:
            raise Unreadable(
                f"the message has a shape not known ({type(error).__name__})"
            ) from error
        if isinstance(readings, Query):
            if type(self).answer is Dialect.answer:
                raise Unreadable(f"{self.name} has no words to answer a question with")
            return readings
        if type(readings) is not list:
            # Nothing forbids another package to give its readings one by one.
            readings = list(readings)
        for reading in readings:
            _judge(reading, verified.covers)
        return readings

    @final
    def receive(
        self, request: WireRequest, credentials: Credentials, profile: Profile, now_us: int
    ) -> list[Reading] | Query:
        """Verify and parse in one call: for a handler in anyone's own web framework.

        Raises:
            NotGenuine, Unreadable: as `verify` and `parse`.
        """
        return self.parse(self.verify(request, credentials, profile, now_us), profile)

    @final
    def reread(
        self, request: WireRequest, credentials: Credentials, profile: Profile, now_us: int
    ) -> list[Reading] | Query:
        """Read without proving: a request that the store kept after it was proven, or one at hand.

        Its proof cannot be run again: secret headers are masked in the store, keys are rotated and
        signatures grow old. What every request of the dialect proves counts as proven; what only
        some sources ask for does not. An envelope is opened by its keys.

        Raises:
            Unreadable: it is not a message of this bank, or its envelope cannot be opened.
        """
        content, covers = request.body, NOTHING
        for proof in self.proofs:
            if not proof.is_envelope:
                covers |= NOTHING if proof.is_optional else proof.covers
            elif proof.applies(credentials):
                try:
                    content = proof.verify(request, credentials, profile.options, now_us) or content
                except NotGenuine as error:
                    if not proof.is_optional:
                        raise Unreadable(f"the envelope cannot be opened: {error}") from error
                else:
                    covers |= proof.covers
        return self.parse(Verified(request, content, covers, _SEAL), profile)

    @final
    def render(
        self, notification: Notification, profile: Profile, original: WireRequest | None = None
    ) -> WireRequest:
        """The notification as this bank's request, without a proof. It never lies.

        What was written is read back before it leaves, and must mean the same money. `original` is
        the request that the notification came in, for dialects that pass it on.

        Raises:
            CannotExpress: the dialect has no words for it.
        """
        self.check_expressible(notification.reading, profile)
        try:
            request = self.write(notification, profile, original)
        except CannotExpress:
            raise
        except (ArifaError, OverflowError) as error:
            # OverflowError: a time at the edge of the calendar has no local form.
            raise CannotExpress(f"{self.name} cannot say this: {error}") from error
        self._check_meaning(notification.reading, request, profile)
        return request

    @final
    def check_expressible(self, reading: Reading, profile: Profile) -> None:
        """Refuse what the dialect has no words for.

        Raises:
            CannotExpress: kind, direction, status or currency is not among its words.
        """
        words = self.expresses
        for name, allowed in (
            ("kind", words.kinds),
            ("direction", words.directions),
            ("status", words.statuses),
        ):
            value = getattr(reading, name)
            if value not in allowed:
                raise CannotExpress(f"{self.name} has no word for the {name} {value.value!r}")
        if reading.amount is None:
            if words is not ANYTHING:
                raise CannotExpress(f"{self.name} cannot say a notification without an amount")
        elif words.currencies is not None:
            allowed_currencies = words.currencies or {profile.currency}
            if reading.amount.currency not in allowed_currencies:
                raise CannotExpress(f"{self.name} cannot say {reading.amount.currency}")

    def _check_meaning(self, reading: Reading, request: WireRequest, profile: Profile) -> None:
        carried = self.carried(profile)
        if not carried:
            return
        try:
            said = self.meaning(request, profile)
        except CannotExpress:
            raise
        except ArifaError as error:
            raise CannotExpress(f"{self.name} cannot say this: {error}") from error
        for name in MUST_SURVIVE:
            if name in carried and getattr(said, name) != getattr(reading, name):
                raise CannotExpress(f"{self.name} would not read back the same {name}")

    def meaning(self, request: WireRequest, profile: Profile) -> object:
        """What a message just written says: something with the fields of `MUST_SURVIVE`.

        They are those of the reading that `read` would give, which the law `render_never_lies`
        looks at. A dialect may find them in a shorter way.

        Raises:
            CannotExpress, Unreadable: it would not be read as one notification.
        """
        back = self.read(Verified(request, request.body, EVERYTHING, _SEAL), profile)
        if not isinstance(back, list) or len(back) != 1:
            raise CannotExpress(f"{self.name} would not read this back as one notification")
        return back[0]

    @abstractmethod
    def read(self, verified: Verified, profile: Profile) -> list[Reading] | Query:
        """Canonical words from a proven request; any trouble is `Unreadable`."""

    @abstractmethod
    def write(
        self, notification: Notification, profile: Profile, original: WireRequest | None
    ) -> WireRequest:
        """The bank's request from canonical words."""

    def identity(self, reading: Reading) -> Identity:
        """What tells this notification from others: the bank's reference by default."""
        return Identity(reading.bank_reference or "")

    # ------------------------------------------------------------------ acknowledge / read

    def acknowledge(
        self,
        request: WireRequest,
        outcome: Outcome,
        result: Result,
        profile: Profile,
    ) -> WireResponse:
        """The answer to the bank for any outcome, in its own form; the HTTP status by default."""
        return WireResponse(STATUS[outcome], b"", (JSON,))

    def read_acknowledgement(self, response: WireResponse, profile: Profile) -> Acknowledgement:
        """What an answer says; any 2xx is received by default."""
        return Acknowledgement(outcome=outcome_of_status(response.status))

    # ------------------------------------------------------------------ answer / read_answer

    def answer(
        self,
        request: WireRequest,
        query: Query,
        answer: QueryAnswer,
        profile: Profile,
    ) -> WireResponse:
        """The answer to a question before a payment.

        Raises:
            CannotExpress: this bank does not ask.
        """
        raise CannotExpress(f"{self.name} does not ask before a payment")

    def read_answer(self, response: WireResponse, profile: Profile) -> QueryAnswer:
        """What an answer to a question says.

        Raises:
            CannotExpress: this bank does not ask.
        """
        raise CannotExpress(f"{self.name} does not ask before a payment")

    # ------------------------------------------------------------------ for authors

    def carried(self, profile: Profile) -> frozenset[str]:
        """The fields that a message rendered with this profile can hold."""
        return self.carries

    def told_apart(self, outcome: Outcome) -> Outcome:
        """The outcome as far as this bank's answers tell outcomes apart."""
        return Outcome.ACCEPTED if outcome in RECEIVED else outcome

    def option(self, profile: Profile, name: str) -> str:
        """The value of an option: the profile's, else the first that is allowed."""
        return profile.options.get(name) or self.options[name][0]

    @final
    def check_options(self, options: Mapping[str, str]) -> None:
        """Refuse options that the dialect does not have.

        Raises:
            Refused: no such option, or no such value.
        """
        for name, value in options.items():
            allowed = self.options.get(name)
            if allowed is None:
                known = ", ".join(sorted(self.options)) or "none"
                raise Refused(f"{self.name} has no option {name!r}; its options: {known}")
            if value not in allowed:
                raise Refused(
                    f"{name} of {self.name} is one of {', '.join(allowed)}, not {value!r}"
                )

    def request(self, document: JsonObject) -> WireRequest:
        """A request with this JSON body and the dialect's headers."""
        return WireRequest(body=encode(document), headers=self.headers)

    def test_message(self, identity: str, now_us: int, **told: str) -> WireRequest | None:
        """A message that says that it is a test and nothing else, without a proof.

        None where the form has no such words: then only a test merchant can be sent a sample.

        Args:
            identity: the message's own id; `told` are words about the endpoint for its reader.
        """
        return None

    def sample(self, case: Case) -> WireRequest:
        """The request of a case, without a proof: its body, byte for byte."""
        return WireRequest(body=case.body, headers=self.headers)


_COMPENSATING: Final[tuple[Proof, ...]] = (Basic(is_optional=True), AddressList(is_optional=True))
_FLAGS: Final = {
    "public_keys": "the other side's public key (--public-key FILE)",
    "private_key": "our private key (--private-key FILE or --generate-key)",
    "secrets": "a secret (--secret-file FILE)",
    "username": "a user and a password (--username U --password-file F)",
    "passwords": "a user and a password (--username U --password-file F)",
    "addresses": "an address list (--allow-ip CIDR)",
}


def outcome_of_status(status: int) -> Outcome:
    """What an HTTP status alone tells."""
    if 200 <= status < 300:
        return Outcome.ACCEPTED
    return {401: Outcome.NOT_GENUINE, 400: Outcome.UNREADABLE}.get(status, Outcome.UNAVAILABLE)


def json_response(status: int, document: JsonObject) -> WireResponse:
    """An answer with this JSON body."""
    return WireResponse(status, encode(document), (JSON,))


@cache
def _outside(
    covers: frozenset[str],
) -> tuple[tuple[str, ...], attrgetter[tuple[object, ...]], tuple[object, ...]]:
    """The fields that these proofs do not cover, how to take them all, and what absence looks like."""
    names = tuple(name for name in READING_FIELDS if name not in covers)
    return names, attrgetter(*names), tuple(_EMPTY.get(name) for name in names)


def _judge(reading: Reading, covers: frozenset[str]) -> None:
    """Name the reading's unproven fields, and hold it where it may not count yet.

    It has just been made and nobody has seen it: this is the last step of making it.
    """
    is_kind_proven = True
    if "*" not in covers:
        names, taken_from, absent = _outside(covers)
        unproven = tuple(compress(names, map(ne, taken_from(reading), absent)))
        # What the hub before could not prove stays so, although its signature covers everything.
        if unproven:
            structs.force_setattr(reading, "unproven", unproven)
            is_kind_proven = "kind" not in unproven
    if reading.held is None:
        held = _why_held(reading, is_kind_proven)
        if held is not None:
            structs.force_setattr(reading, "held", held)


def _why_held(reading: Reading, is_kind_proven: bool) -> str | None:
    kind = reading.kind
    if reading.amount is None:
        return "the amount or its currency cannot be read for certain"
    if _REPLACED in (reading.bank_reference or ""):
        return "its reference holds a character that cannot be kept, so it may not be its own"
    if kind is PAYMENT:
        return None
    if kind is _UNKNOWN:
        return "the bank's word for what happened is not known"
    if kind in BACKWARDS and not is_kind_proven:
        return f"no proof covers that this is a {kind.value}"
    return None
