"""A law that cannot fail is no law: each is broken here by a dialect with one planted bug.

The right `ToyBank`, from which some of them are made, passes every law.
"""

from __future__ import annotations

import hmac
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase
from msgspec import structs

from arifa.dialects.base import (
    Acknowledgement,
    Dialect,
    Expresses,
    Identity,
    Result,
    Verified,
)
from arifa.dialects.kcb import Kcb
from arifa.document import encode
from arifa.feed import Profile
from arifa.money import Money
from arifa.notification import (
    Kind,
    Notification,
    Query,
    QueryAnswer,
    Reading,
    Status,
)
from arifa.outcome import Outcome
from arifa.signing import Credentials, HmacBody, HmacFields, RsaSha256
from arifa.testing import laws_of_proof as proof
from arifa.testing import laws_of_safety as safety
from arifa.testing import laws_of_words as words
from arifa.testing.laws import LAWS, Law, LawBroken, check_dialect, check_law, name_of
from arifa.wire import WireRequest, WireResponse
from tests.dialects.toy_bank import COVERED, ToyBank, joined_texts


def test_a_third_partys_dialect_passes() -> None:
    check_dialect(ToyBank())


# ------------------------------------------------------------------------- bugs of proof


class VerifiesWrittenAnew(Kcb):
    """Verifies the JSON as it would write it, without anybody having said so."""

    proofs = (RsaSha256("signature", also_over=lambda request, _: encode(request.document())),)


class _PassesUnsigned(RsaSha256):
    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        if not request.values(self.header):
            return None
        return super().verify(request, credentials, options, now_us)


class IgnoresMissingSignature(Kcb):
    """Looks at a signature only where there is one."""

    proofs = (_PassesUnsigned("signature"),)


class _TakesTheFirst(RsaSha256):
    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        first = request.values(self.header)[:1]
        alone = request.with_headers(*((self.header, value) for value in first))
        return super().verify(alone, credentials, options, now_us)


class TakesTheFirstSignature(Kcb):
    """Is content with the first of two signatures."""

    proofs = (_TakesTheFirst("signature"),)


class _ComparesTheBeginning(HmacBody):
    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        [value] = request.values(self.header)
        expected = hmac.digest(credentials.secrets[0], request.body, "sha256").hex().encode()
        if value[:32] == expected[:32]:
            return None
        return super().verify(request, credentials, options, now_us)


class ComparesTheBeginning(ToyBank):
    """Compares half of the hash."""

    proofs = (_ComparesTheBeginning("x-hash"),)


class _KnowsOneKey(RsaSha256):
    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        newest = replace(credentials, public_keys=credentials.public_keys[:1])
        return super().verify(request, newest, options, now_us)


class KnowsOneKey(Kcb):
    """Refuses what the old key signed while keys are exchanged."""

    proofs = (_KnowsOneKey("signature"),)


class FallsOverAMissingField(Kcb):
    """Takes it that an optional field is there."""

    def read(self, verified: Verified, profile: Profile) -> list[Reading] | Query:
        if "requestPayload" not in verified.document():
            _ = verified.document()["tillNumber"]
        return super().read(verified, profile)


class KeepsNul(ToyBank):
    """Hands on a text that PostgreSQL does not keep."""

    def read(self, verified: Verified, profile: Profile) -> list[Reading] | Query:
        [reading] = _readings(super().read(verified, profile))
        note = verified.document().get("note")
        return [structs.replace(reading, remittance_information=str(note))]


class TellsPaymentsApartByTheNote(ToyBank):
    """Makes an unproven field part of the identity."""

    def identity(self, reading: Reading) -> Identity:
        return Identity(f"{reading.bank_reference}:{reading.extra.get('unheard_of')}")


class JoinsWithoutAMark(ToyBank):
    """Hashes fields one behind the other, and tells payments apart by the first alone."""

    proofs = (HmacFields("mac", joined_texts, covers=COVERED),)


# ------------------------------------------------------------------------- bugs of words


class SaysFailedAsPaid(Kcb):
    """Has no word for a failure and renders it all the same."""

    expresses = Expresses(statuses=frozenset(Status))
    carries = Kcb.carries - {"status"}


class SaysAnyCurrency(ToyBank):
    """Writes an amount of any currency into a form that has no currency."""

    expresses = Expresses()
    carries = ToyBank.carries - {"amount"}


class DropsCents(Kcb):
    """Loses what stands behind the point when it reads."""

    def read(self, verified: Verified, profile: Profile) -> list[Reading] | Query:
        return [
            structs.replace(one, amount=Money(one.amount.minor // 100 * 100, one.amount.currency))
            if one.amount
            else one
            for one in _readings(super().read(verified, profile))
        ]


class DropsCentsBothWays(DropsCents):
    """Loses them when it writes too, so that what is written is read back."""

    carries = DropsCents.carries - {"amount"}


class ForgetsThePhone(Kcb):
    """Says that it carries the payer's phone, and does not write it."""

    def write(
        self, notification: Notification, profile: Profile, original: WireRequest | None
    ) -> WireRequest:
        reading = notification.reading
        silent = structs.replace(reading, payer=structs.replace(reading.payer, phone=None))
        return super().write(structs.replace(notification, reading=silent), profile, original)


class PromisesRefunds(ToyBank):
    """Declares a kind that it cannot render."""

    expresses = Expresses(kinds=frozenset({Kind.PAYMENT, Kind.REFUND}), currencies=frozenset())


class SaysYesToEverything(Kcb):
    """Acknowledges what is not in the books."""

    def acknowledge(
        self, request: WireRequest, outcome: Outcome, result: Result, profile: Profile
    ) -> WireResponse:
        return super().acknowledge(request, Outcome.ACCEPTED, result, profile)


class SaysYesAndOwnsUp(SaysYesToEverything):
    """Acknowledges everything, and declares that it tells nothing apart."""

    def told_apart(self, outcome: Outcome) -> Outcome:
        return Outcome.ACCEPTED


class AnswersOnlyWhatItCanRead(Kcb):
    """Needs a readable request to answer it."""

    def acknowledge(
        self, request: WireRequest, outcome: Outcome, result: Result, profile: Profile
    ) -> WireResponse:
        request.document()
        return super().acknowledge(request, outcome, result, profile)


class HearsYesInAnyAnswer(Kcb):
    """Takes an error page for a receipt."""

    def read_acknowledgement(self, response: WireResponse, profile: Profile) -> Acknowledgement:
        heard = super().read_acknowledgement(response, profile)
        is_known = response.body.startswith(b"{")
        return heard if is_known else Acknowledgement(outcome=Outcome.ACCEPTED)


class ForgetsWhatIsOwed(Kcb):
    """Leaves the amount out of its answer to a question."""

    def answer(
        self, request: WireRequest, query: Query, answer: QueryAnswer, profile: Profile
    ) -> WireResponse:
        return super().answer(request, query, structs.replace(answer, amount=None), profile)


class TellsPaymentsApartByTheirTime(Kcb):
    """Makes a second payment of a repeat whose time is written anew."""

    def identity(self, reading: Reading) -> Identity:
        return Identity(f"{reading.bank_reference}:{reading.occurred_text}")


def _readings(found: list[Reading] | Query) -> list[Reading]:
    assert isinstance(found, list)
    return found


PLANTED: list[tuple[type[Dialect], Law]] = [
    (VerifiesWrittenAnew, proof.verify_refuses_flipped_bits),
    (ComparesTheBeginning, proof.verify_refuses_flipped_bits),
    (IgnoresMissingSignature, proof.verify_refuses_what_is_not_proven),
    (TakesTheFirstSignature, proof.verify_refuses_what_is_not_proven),
    (KnowsOneKey, proof.verify_accepts_what_sign_made),
    (FallsOverAMissingField, safety.hostile_input_has_two_errors),
    (KeepsNul, safety.hostile_input_has_two_errors),
    (TellsPaymentsApartByTheNote, safety.unproven_fields_never_post_twice),
    (JoinsWithoutAMark, safety.unproven_fields_never_post_twice),
    (TellsPaymentsApartByTheirTime, safety.identity_is_of_the_payment),
    (SaysFailedAsPaid, words.render_never_lies),
    (SaysAnyCurrency, words.render_never_lies),
    (DropsCents, words.render_says_what_is_declared),
    (DropsCentsBothWays, words.render_never_lies),
    (PromisesRefunds, words.render_says_what_is_declared),
    (ForgetsThePhone, words.parse_gives_back_what_render_wrote),
    (SaysYesToEverything, words.read_acknowledgement_gives_back_what_acknowledge_said),
    (SaysYesAndOwnsUp, words.read_acknowledgement_gives_back_what_acknowledge_said),
    (AnswersOnlyWhatItCanRead, words.every_request_gets_an_answer),
    (HearsYesInAnyAnswer, words.every_request_gets_an_answer),
    (ForgetsWhatIsOwed, words.read_answer_gives_back_what_answer_said),
]


@pytest.fixture(autouse=True)
def at_the_first_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it breaks is enough; the smallest example, which takes long to find, is not looked for."""
    monkeypatch.setattr("arifa.testing.strategies.PHASES", (Phase.explicit, Phase.generate))


@pytest.mark.parametrize(
    ("dialect", "law"), PLANTED, ids=[f"{dialect.__name__}" for dialect, _ in PLANTED]
)
def test_planted_bug_breaks_the_law(dialect: type[Dialect], law: Law) -> None:
    with pytest.raises(LawBroken):
        check_law(law, dialect())


# -------------------------------------------------------------------------- impure modules

IMPURE = {
    "imports a clock": "from arifa import clock",
    "imports the time": "import time",
    "imports the store": "from arifa.store import database",
    "imports a socket inside a function": "def ask():\n    import socket\n    return socket",
    "calls now": "import datetime\nSTARTED = datetime.datetime.now(datetime.UTC)",
    "opens a file": "def keys():\n    return open('/etc/keys')",
}


def load(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Dialect:
    """The dialect of a module with this source."""
    path = folder / "impure_bank.py"
    path.write_text(f"{source}\nfrom tests.dialects.toy_bank import ToyBank\n" + MODULE)
    spec = importlib.util.spec_from_file_location("impure_bank", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "impure_bank", module)
    spec.loader.exec_module(module)
    dialect: Dialect = module.Impure()
    return dialect


MODULE = "class Impure(ToyBank):\n    pass\n"


@pytest.mark.parametrize("source", IMPURE.values(), ids=IMPURE)
def test_impure_module_breaks_the_law(source: str, tmp_path: Path, monkeypatch) -> None:
    dialect = load(source, tmp_path, monkeypatch)

    with pytest.raises(LawBroken):
        check_law(safety.knows_no_input_and_no_clock, dialect)


def test_pure_module_keeps_the_law(tmp_path: Path, monkeypatch) -> None:
    check_law(safety.knows_no_input_and_no_clock, load("import re", tmp_path, monkeypatch))


def test_every_law_is_broken_by_something() -> None:
    broken = {law for _, law in PLANTED} | {safety.knows_no_input_and_no_clock}

    assert {name_of(law) for law in LAWS} == {name_of(law) for law in broken}
