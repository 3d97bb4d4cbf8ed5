"""`arifa endpoint test`: one message, now, by the worker's own transport, signature and judgement.

Where the dialect has words for a test, that is what is said. A bank's form has none: a sample of it
would be booked, so only a test twin's endpoint is sent one, under a reference that begins with TEST.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from arifa import dialects
from arifa.cli.arguments import when
from arifa.cli.endpoint_shown import HIDDEN
from arifa.cli.output import printable
from arifa.clock import monotonic, now_us
from arifa.delivery.attempt import Verdict, judge, signed
from arifa.delivery.cause import SENTENCE, Cause, NoAnswer
from arifa.delivery.transport import DEADLINE_SECONDS, Reach, Receipt, Transports
from arifa.errors import Refused
from arifa.feed import Endpoint
from arifa.hub.golive import Proof
from arifa.identifiers import identifier
from arifa.simulator.message import published
from arifa.store.merchants import TWIN
from arifa.timestamp import to_rfc3339
from arifa.wire import WireRequest, WireResponse

ANSWER_CHARACTERS_MAX: Final = 2000
REFERENCE: Final = "TEST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was sent, and what came of it; times in microseconds UTC."""

    endpoint: Endpoint
    message: str
    sent_at: int
    milliseconds: int
    request: WireRequest
    verdict: Verdict
    answer: WireResponse | None = None

    @property
    def is_acknowledged(self) -> bool:
        """Whether the other side has it."""
        return self.verdict.cause is Cause.DELIVERED

    def proof(self) -> Proof:
        """What is kept of it, to go live by."""
        answer = self.answer
        return Proof(
            kind="test",
            at=to_rfc3339(self.sent_at),
            of=self.endpoint.id,
            message=self.message,
            status=self.verdict.status,
            request_sha256=sha256(self.request.body).hexdigest(),
            answer_sha256=None if answer is None else sha256(answer.body).hexdigest(),
        )

    def row(self) -> dict[str, Any]:
        """As it is shown: no password, and no value of a header that may be one."""
        hidden = {name.lower() for name, _ in self.endpoint.manner.headers} | {"authorization"}
        headers = [(name.decode(), value) for name, value in self.request.headers]
        return {
            "endpoint": self.endpoint.name,
            "url": self.endpoint.url,
            "message": self.message,
            "sent_at": when(self.sent_at),
            "headers": [
                {
                    "name": name,
                    "value": HIDDEN if name.lower() in hidden else value.decode("latin-1"),
                }
                for name, value in headers
            ],
            "acknowledged": self.is_acknowledged,
            "status": self.verdict.status,
            "milliseconds": self.milliseconds,
            "cause": self.verdict.cause.value,
            "explanation": self.verdict.detail,
            "answer": None if self.answer is None else _text(self.answer.body),
        }


def tried(endpoint: Endpoint, reach: Reach) -> Trial:
    """Send a test message to the endpoint, and wait for what it says.

    Raises:
        Refused: there is no message that it could be sent without harm.
    """
    return asyncio.run(_tried(endpoint, reach))


async def _tried(endpoint: Endpoint, reach: Reach) -> Trial:
    dialect, sent_at = dialects.get(endpoint.dialect), now_us()
    message, bare = _message(endpoint, sent_at)
    request = signed(endpoint, dialect, bare, sent_at)
    answer: WireResponse | None = None
    started = monotonic()
    try:
        async with Transports(reach) as transports:
            found = await transports.send(
                endpoint.url,
                request,
                identity=message,
                deadline=endpoint.manner.timeout or DEADLINE_SECONDS,
                credentials=endpoint.signing_credentials(sent_at, together=False),
            )
        if isinstance(found, Receipt):
            verdict = Verdict(Cause.DELIVERED, f"{SENTENCE[Cause.DELIVERED]} ({found.text})")
        else:
            answer, verdict = found, judge(endpoint, found, now_us())
    except NoAnswer as error:
        verdict = Verdict(error.cause, str(error))
    return Trial(
        endpoint=endpoint,
        message=message,
        sent_at=sent_at,
        milliseconds=round((monotonic() - started) * 1000),
        request=request,
        verdict=verdict,
        answer=answer,
    )


def _message(endpoint: Endpoint, sent_at: int) -> tuple[str, WireRequest]:
    """The id of a test message, and the message without a proof."""
    dialect = dialects.get(endpoint.dialect)
    identity = identifier("tst", sent_at)
    request = dialect.test_message(
        identity, sent_at, merchant=endpoint.merchant, endpoint=endpoint.name
    )
    if request is not None:
        return identity, request
    if dialect.passes_on:
        raise Refused(
            f"{dialect.name} passes on what a bank has sent, and has no message of its own: send "
            f"one to a source of the test twin with arifa trigger, and look at its delivery"
        )
    if not endpoint.merchant.endswith(TWIN):
        raise Refused(
            f"{dialect.name} has no words for a test: a live system would book the sample as "
            f"money. Set the endpoint up with --mode test, try it there, and promote it"
        )
    sample = published(
        dialect,
        None,
        profile=endpoint.profile,
        credentials=endpoint.credentials,
        now_us=sent_at,
    )
    marked = sample.with_reading(bank_reference=f"{REFERENCE}{secrets.token_hex(6).upper()}")
    return identity, replace(marked, identity=identity).request()


def _text(body: bytes) -> str:
    text = printable(body.decode("utf-8", "replace"))
    return text if len(text) <= ANSWER_CHARACTERS_MAX else text[:ANSWER_CHARACTERS_MAX] + "…"
