"""Laws of verify and sign: what is genuine is accepted, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hypothesis import given

from arifa.dialects.base import Verified
from arifa.document import encode
from arifa.errors import NotGenuine, Unreadable
from arifa.notification import Notification, Query
from arifa.signing import EVERYTHING, AddressList, HmacFields, Unproven
from arifa.testing.alterations import flipped_bits, flipped_proofs, rewritten
from arifa.testing.genuine import (
    NOW_US,
    PEER,
    Genuine,
    Subject,
    full_credentials,
    limited,
    names_in,
)
from arifa.testing.strategies import HEAVY, effort, notifications, originals, readings
from arifa.testing.verdict import field, insist, insist_refused, rendered, verified
from arifa.wire import WireRequest, read_request

_FLIPS_MAX: Final = 100_000 if HEAVY else 300


def verify_accepts_what_sign_made(subject: Subject) -> None:
    """verify∘sign, also after a way over the wire, and with two keys at once for a rotation."""
    dialect = subject.dialect
    currency = dialect.defaults.currency

    @effort(30)
    @given(notifications(readings(currency=currency)), originals)
    def law(notification: Notification, original: WireRequest) -> None:
        request = rendered(subject, notification, dialect.defaults, original)
        if request is None:
            return
        signed = dialect.sign(request, subject.credentials, NOW_US)
        sent = read_request(signed.to_bytes(), peer=PEER)
        insist(sent.body == signed.body, "the body changes on its way over the wire")
        verified(subject, Genuine("rendered", sent, subject.credentials, dialect.defaults))

    for sample in subject.samples:
        verified(subject, sample)
    law()
    _rotate(subject)


def _rotate(subject: Subject) -> None:
    old = subject.credentials
    new = limited(full_credentials(1), names_in(old))
    receiver = replace(
        old,
        public_keys=new.public_keys + old.public_keys,
        secrets=new.secrets + old.secrets,
        passwords=new.passwords + old.passwords,
    )
    # What is encrypted to the receiver is encrypted to its own key, which has not changed.
    for sender in (old, replace(new, public_keys=old.public_keys, addresses=old.addresses)):
        for sample in Subject(subject.dialect, sender).samples:
            verified(subject, replace(sample, credentials=receiver))


def verify_refuses_what_is_not_proven(subject: Subject) -> None:
    """A proof that is missing, doubled, empty or a stranger's is refused; so is another address."""
    dialect, credentials = subject.dialect, subject.credentials
    # The stranger knows all that is public: the user's name, the receiver's key and network.
    stranger = replace(
        limited(full_credentials(2), names_in(credentials)),
        public_keys=credentials.public_keys,
        addresses=credentials.addresses,
    )
    has_secrets = not all(
        isinstance(proof, AddressList | Unproven) for proof in dialect.controls(credentials)
    )
    for sample in subject.samples:
        if has_secrets and sample.bare is not None:
            insist_refused(subject, sample, sample.bare, "no proof at all")
            foreign = dialect.sign(sample.bare, stranger, NOW_US)
            insist_refused(subject, sample, foreign, "the proof of a stranger")
        for header in sample.request.headers:
            if header[0] in subject.proof_headers:
                _refuses_without(subject, sample, header)
        if credentials.addresses:
            for peer in ("198.51.100.1", "", None):
                elsewhere = replace(sample.request, peer=peer)
                insist_refused(subject, sample, elsewhere, f"the peer {peer!r}")


def _refuses_without(subject: Subject, sample: Genuine, header: tuple[bytes, bytes]) -> None:
    request, name = sample.request, header[0].decode("latin-1")
    kept = tuple(other for other in request.headers if other != header)
    without, twice = replace(request, headers=kept), (*request.headers, header)
    insist_refused(subject, sample, without, f"no {name}")
    insist_refused(subject, sample, replace(request, headers=twice), f"two {name}")
    insist_refused(subject, sample, request.with_headers((header[0], b"")), f"an empty {name}")


# ---------------------------------------------------------------------------- flipped bits


def verify_refuses_flipped_bits(subject: Subject) -> None:
    """One flipped bit in covered bytes or in the decoded proof is refused, in every sample."""
    for sample in subject.samples:
        refuses_flipped_bits(subject, sample)


def refuses_flipped_bits(subject: Subject, sample: Genuine) -> None:
    """A bit flipped in covered bytes or in the decoded proof of this request is refused.

    So are other bytes that mean the same JSON. Where a proof covers only some fields, an
    alteration may pass that leaves those fields as they are; where an option of the source says
    that the proof is over the JSON's meaning, one that leaves the meaning.
    """
    original, request = verified(subject, sample), sample.request
    for flipped in flipped_bits(request.body, _FLIPS_MAX):
        _same_or_refused(subject, sample, original, flipped, "a bit flipped")
    for what, body in rewritten(request.body):
        if body != request.body:
            _same_or_refused(subject, sample, original, body, what)
    for name, value in request.headers:
        if name in subject.proof_headers:
            for flipped in flipped_proofs(value, _FLIPS_MAX):
                altered = request.with_headers((name, flipped))
                insist_refused(subject, sample, altered, f"a bit flipped in {name.decode()}")
    for proof in subject.dialect.proofs:
        if isinstance(proof, HmacFields):
            _refuses_flipped_field(subject, sample, proof.field)


def _refuses_flipped_field(subject: Subject, sample: Genuine, name: str) -> None:
    document = sample.request.document()
    for flipped in flipped_proofs(str(document[name]).encode("ascii"), _FLIPS_MAX):
        body = encode({**document, name: flipped.decode("ascii")})
        altered = replace(sample.request, body=body)
        insist_refused(subject, sample, altered, f"a bit flipped in {name}")


def _same_or_refused(
    subject: Subject, sample: Genuine, original: Verified, body: bytes, what: str
) -> None:
    dialect, request = subject.dialect, replace(sample.request, body=body)
    try:
        altered = dialect.verify(request, sample.credentials, sample.profile, sample.now_us)
    except NotGenuine:
        return
    # The text of an envelope may have spare bits at its end: then what is in it is the same.
    is_envelope = original.content != sample.request.body
    if is_envelope and altered.content == original.content:
        return
    try:
        before = dialect.parse(original, sample.profile)
        after = dialect.parse(altered, sample.profile)
    except Unreadable:
        before = after = []
    if original.covers >= EVERYTHING:
        same = before == after != [] and sample.profile.options
        insist(same, f"the genuine {sample.name} is accepted with {what}")
        return
    if isinstance(before, Query) or isinstance(after, Query):
        return
    for one, other in zip(before, after, strict=False):
        for name in original.covers:
            said, heard = field(one, name), field(other, name)
            insist(said == heard, f"with {what} the proven {name} is {heard!r}, not {said!r}")
