"""One attempt: render, sign, send, read the answer, and name what it came to.

    prepare ──► request ──► send ──► judge ──► verdict ──► AttemptResult

`prepare` and `judge` are pure. What can never succeed (nothing to say, no words for it, 410) is
dead at once; everything else comes again as the schedule has it, our own errors too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from arifa import dialects
from arifa.delivery.cause import SENTENCE, Cause
from arifa.delivery.outbound import NoAnswer, Outbound
from arifa.delivery.schedule import Schedule, read_retry_after
from arifa.errors import ArifaError, CannotExpress
from arifa.feed import Endpoint
from arifa.notification import Notification
from arifa.store.deliveries import AttemptResult, Claimed, DeliveryState
from arifa.store.refusals import masked_sample
from arifa.wire import WireRequest, WireResponse, values

DETAIL_MAX: Final = 600
PERMANENT: Final = frozenset({Cause.GONE, Cause.INEXPRESSIBLE, Cause.MISSING})


class Errand(NamedTuple):
    """All that one attempt needs.

    Attributes:
        endpoint: None where it was removed.
        notification: None where the store no longer has it.
        original: the request that the notification came in, where the dialect may pass it on.
    """

    claimed: Claimed
    endpoint: Endpoint | None
    notification: Notification | None
    original: WireRequest | None = None


class Verdict(NamedTuple):
    """What one attempt came to."""

    cause: Cause
    detail: str
    status: int | None = None
    retry_after: float | None = None


class Prepared(NamedTuple):
    """An errand with its signed request, or with the reason why there is none."""

    errand: Errand
    request: WireRequest | None
    verdict: Verdict | None


def prepare(errand: Errand, now_us: int) -> Prepared:
    """Render and sign; `now_us` goes under the signature. Never raises."""
    endpoint, notification = errand.endpoint, errand.notification
    if endpoint is None:
        return Prepared(errand, None, _verdict(Cause.ENDPOINT_REMOVED))
    if notification is None:
        return Prepared(errand, None, _verdict(Cause.MISSING))
    try:
        dialect = dialects.get(endpoint.dialect)
        request = dialect.render(notification, endpoint.profile, errand.original)
        return Prepared(errand, dialect.sign(request, endpoint.credentials, now_us), None)
    except CannotExpress as error:
        return Prepared(errand, None, _verdict(Cause.INEXPRESSIBLE, str(error)))
    except ArifaError as error:
        return Prepared(errand, None, _verdict(Cause.MISCONFIGURED, str(error)))
    except Exception as error:  # noqa: BLE001  a dialect's bug must not stop all deliveries
        return Prepared(errand, None, _verdict(Cause.INTERNAL, type(error).__name__))


async def attempt(
    prepared: Prepared,
    outbound: Outbound,
    schedule: Schedule,
    clock: Callable[[], int],
    random: Callable[[], float],
) -> AttemptResult:
    """Send a prepared errand, and say what becomes of its delivery. Raises nothing of its own."""
    started_at = clock()
    verdict = prepared.verdict
    if verdict is None:
        verdict = await _sent(prepared, outbound, clock)
    return result(
        prepared.errand.claimed,
        verdict,
        schedule=schedule,
        started_at=started_at,
        finished_at=clock(),
        random=random,
    )


async def _sent(prepared: Prepared, outbound: Outbound, clock: Callable[[], int]) -> Verdict:
    endpoint, request = prepared.errand.endpoint, prepared.request
    assert endpoint is not None
    assert request is not None
    try:
        response = await outbound.send(endpoint.url, request)
        return judge(endpoint, response, clock())
    except NoAnswer as error:
        return Verdict(error.cause, _text(str(error)))
    except Exception as error:  # noqa: BLE001  one delivery's bug must not stop the others
        return _verdict(Cause.INTERNAL, type(error).__name__)


def judge(endpoint: Endpoint, response: WireResponse, now_us: int) -> Verdict:
    """What an answer means. Success is the dialect's; a redirection is never one."""
    status = response.status
    cause = _cause_of_status(status)
    if cause is not Cause.REDIRECTED and _is_received(endpoint, response):
        return Verdict(Cause.DELIVERED, SENTENCE[Cause.DELIVERED], status)
    shown = f"HTTP {status}" + (f": {masked_sample(response.body)}" if response.body else "")
    asked = values(response.headers, b"retry-after")
    wait = read_retry_after(asked[0].decode("latin-1"), now_us) if asked else None
    return _verdict(cause, shown)._replace(status=status, retry_after=wait)


def _is_received(endpoint: Endpoint, response: WireResponse) -> bool:
    dialect = dialects.get(endpoint.dialect)
    try:
        return dialect.read_acknowledgement(response, endpoint.profile).is_received
    except Exception:  # noqa: BLE001  whatever a hostile answer sets off, it is not a yes
        return False


def _cause_of_status(status: int) -> Cause:
    if status == 410:
        return Cause.GONE
    if status == 429:
        return Cause.THROTTLED
    if 200 <= status < 300:
        return Cause.REFUSED
    if 300 <= status < 400:
        return Cause.REDIRECTED
    if 400 <= status < 500:
        return Cause.CLIENT_ERROR
    return Cause.SERVER_ERROR if status >= 500 else Cause.NOT_HTTP


def result(
    claimed: Claimed,
    verdict: Verdict,
    *,
    schedule: Schedule,
    started_at: int,
    finished_at: int,
    random: Callable[[], float],
) -> AttemptResult:
    """What becomes of the delivery: delivered, cancelled, dead, or pending until the next try."""
    next_attempt_at = None
    if verdict.cause is Cause.DELIVERED:
        state = DeliveryState.DELIVERED
    elif verdict.cause is Cause.ENDPOINT_REMOVED:
        state = DeliveryState.CANCELLED
    elif verdict.cause in PERMANENT:
        state = DeliveryState.DEAD
    else:
        next_attempt_at = schedule.next_attempt_at(
            claimed.attempt_count + 1, finished_at, random, verdict.retry_after
        )
        state = DeliveryState.DEAD if next_attempt_at is None else DeliveryState.PENDING
    return AttemptResult(
        claimed=claimed,
        started_at=started_at,
        finished_at=finished_at,
        status=verdict.status,
        cause=verdict.cause.value,
        detail=verdict.detail,
        state=state,
        next_attempt_at=next_attempt_at,
    )


def _verdict(cause: Cause, more: str = "") -> Verdict:
    text = f"{SENTENCE[cause]} ({more})" if more else SENTENCE[cause]
    return Verdict(cause, _text(text))


def _text(text: str) -> str:
    """As every database takes it: bounded, without NUL or half a character."""
    return text[:DETAIL_MAX].encode("utf-8", "replace").decode().replace("\x00", "�")
