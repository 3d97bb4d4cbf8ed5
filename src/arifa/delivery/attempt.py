"""One attempt: render, sign, send, read the answer, and name what it came to.

    prepare ──► request ──► send ──► judge ──► verdict ──► AttemptResult

`prepare` and `judge` are pure. What can never succeed (nothing to say, no words for it) is dead at
once; everything else comes again as the schedule has it, our own errors too. A 410 disables the
endpoint, and its deliveries wait for it; only one with a URL of its own dies by it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

from arifa import dialects
from arifa.delivery import alerts
from arifa.delivery.cause import SENTENCE, Cause, NoAnswer
from arifa.delivery.schedule import Schedule, read_retry_after
from arifa.delivery.transport import DEADLINE_MAX, DEADLINE_SECONDS, Receipt, Transport
from arifa.dialects import Dialect
from arifa.dialects.base import Acknowledgement
from arifa.errors import ArifaError, CannotExpress
from arifa.feed import Endpoint
from arifa.notification import Notification
from arifa.store.deliveries import AttemptResult, Claimed, DeliveryState
from arifa.store.refusals import masked_sample
from arifa.wire import WireRequest, WireResponse, values

DETAIL_MAX: Final = 600
REFERENCE_MAX: Final = 200
PERMANENT: Final = frozenset({Cause.INEXPRESSIBLE, Cause.MISSING})
REPLAY: Final = b"arifa-replay"
"""The header of what is sent once more: the id of the delivery that it repeats."""


class Errand(NamedTuple):
    """All that one attempt needs.

    Attributes:
        endpoint: None where it was removed.
        notification: None where the store no longer has it.
        original: the request that the notification came in, where the dialect may pass it on.
        alert: the row of the alert that this is about, instead of a notification.
    """

    claimed: Claimed
    endpoint: Endpoint | None
    notification: Notification | None
    original: WireRequest | None = None
    alert: Any = None


class Verdict(NamedTuple):
    """What one attempt came to."""

    cause: Cause
    detail: str
    status: int | None = None
    retry_after: float | None = None
    reference: str | None = None


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
    if notification is None and errand.alert is None:
        return Prepared(errand, None, _verdict(Cause.MISSING))
    try:
        dialect = dialects.get(endpoint.dialect)
        if notification is None:
            request = alerts.rendered(errand.alert, endpoint)
        else:
            request = dialect.render(notification, endpoint.profile, errand.original)
        if errand.claimed.replay_of is not None:
            request = request.with_headers((REPLAY, errand.claimed.replay_of.encode()))
        return Prepared(errand, signed(endpoint, dialect, request, now_us), None)
    except CannotExpress as error:
        return Prepared(errand, None, _verdict(Cause.INEXPRESSIBLE, str(error)))
    except ArifaError as error:
        return Prepared(errand, None, _verdict(Cause.MISCONFIGURED, str(error)))
    except Exception as error:  # noqa: BLE001  a dialect's bug must not stop all deliveries
        return Prepared(errand, None, _verdict(Cause.INTERNAL, type(error).__name__))


def signed(endpoint: Endpoint, dialect: Dialect, request: WireRequest, now_us: int) -> WireRequest:
    """The request as it goes to the endpoint: with its own headers, and with every proof on it.

    Raises:
        Refused: a credential is missing.
    """
    if endpoint.manner.headers:
        extra = ((name.encode(), value.encode()) for name, value in endpoint.manner.headers)
        request = request.with_headers(*extra)
    credentials = endpoint.signing_credentials(now_us, together=dialect.signs_together)
    return dialect.sign(request, credentials, now_us)


async def attempt(
    prepared: Prepared,
    transport: Transport,
    schedule: Schedule,
    clock: Callable[[], int],
    random: Callable[[], float],
    *,
    deadline: float = DEADLINE_SECONDS,
) -> AttemptResult:
    """Send a prepared errand, and say what becomes of its delivery. Raises nothing of its own.

    Args:
        schedule: for an endpoint whose dialect brings none, and that has none of its own.
        deadline: seconds for the whole of it, where the endpoint does not say.
    """
    started_at = clock()
    verdict = prepared.verdict
    if verdict is None:
        verdict = await _sent(prepared, transport, clock, deadline)
    return result(
        prepared.errand.claimed,
        verdict,
        schedule=schedule_of(prepared.errand.endpoint, schedule),
        started_at=started_at,
        finished_at=clock(),
        random=random,
        url=None if prepared.errand.endpoint is None else prepared.errand.endpoint.url,
    )


def schedule_of(endpoint: Endpoint | None, default: Schedule) -> Schedule:
    """The endpoint's own schedule, else its dialect's, else the default."""
    if endpoint is None:
        return default
    delays = endpoint.manner.delays
    if delays is None:
        try:
            delays = dialects.get(endpoint.dialect).delays
        except ArifaError:
            # Said with the verdict.
            return default
    return default if delays is None else _scheduled(delays)


@cache
def _scheduled(delays: tuple[int, ...]) -> Schedule:
    return Schedule(delays=delays)


async def _sent(
    prepared: Prepared, transport: Transport, clock: Callable[[], int], deadline: float
) -> Verdict:
    endpoint, request = prepared.errand.endpoint, prepared.request
    assert endpoint is not None
    assert request is not None
    if endpoint.manner.timeout is not None:
        deadline = min(endpoint.manner.timeout, DEADLINE_MAX)
    try:
        answer = await transport.send(
            prepared.errand.claimed.url or endpoint.url,
            request,
            identity=prepared.errand.claimed.notification,
            deadline=deadline,
            credentials=endpoint.signing_credentials(clock(), together=False),
        )
        if isinstance(answer, Receipt):
            reference = _text(answer.text)[:REFERENCE_MAX]
            return _verdict(Cause.DELIVERED, answer.text)._replace(reference=reference)
        return judge(endpoint, answer, clock())
    except NoAnswer as error:
        return Verdict(error.cause, _text(str(error)))
    except Exception as error:  # noqa: BLE001  one delivery's bug must not stop the others
        return _verdict(Cause.INTERNAL, type(error).__name__)


def judge(endpoint: Endpoint, response: WireResponse, now_us: int) -> Verdict:
    """What an answer means. Success is the dialect's; a redirection is never one."""
    status = response.status
    cause = _cause_of_status(status)
    said = None if cause is Cause.REDIRECTED else _acknowledgement(endpoint, response)
    if said is not None and said.is_received:
        reference = _text(said.transaction_id or "")[:REFERENCE_MAX] or None
        sentence = SENTENCE[Cause.DELIVERED]
        return Verdict(Cause.DELIVERED, sentence, status, reference=reference)
    shown = f"HTTP {status}" + (f": {masked_sample(response.body)}" if response.body else "")
    asked = values(response.headers, b"retry-after")
    wait = read_retry_after(asked[0].decode("latin-1"), now_us) if asked else None
    return _verdict(cause, shown)._replace(status=status, retry_after=wait)


def _acknowledgement(endpoint: Endpoint, response: WireResponse) -> Acknowledgement | None:
    dialect = dialects.get(endpoint.dialect)
    try:
        return dialect.read_acknowledgement(response, endpoint.profile)
    except Exception:  # noqa: BLE001  whatever a hostile answer sets off, it is not a yes
        return None


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
    url: str | None = None,
) -> AttemptResult:
    """What becomes of the delivery: delivered, cancelled, dead, or pending until the next try.

    `url` is the endpoint's own.
    """
    next_attempt_at = None
    if verdict.cause is Cause.DELIVERED:
        state = DeliveryState.DELIVERED
    elif verdict.cause is Cause.ENDPOINT_REMOVED:
        state = DeliveryState.CANCELLED
    elif verdict.cause in PERMANENT or (verdict.cause is Cause.GONE and claimed.url is not None):
        state = DeliveryState.DEAD
    elif verdict.cause is Cause.GONE:
        # The endpoint is disabled with it: this waits with the others until a person has looked.
        state, next_attempt_at = DeliveryState.PENDING, finished_at
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
        reference=verdict.reference,
        retry_after=verdict.retry_after,
        gone=url if verdict.cause is Cause.GONE and claimed.url is None else None,
    )


def _verdict(cause: Cause, more: str = "") -> Verdict:
    text = f"{SENTENCE[cause]} ({more})" if more else SENTENCE[cause]
    return Verdict(cause, _text(text))


def _text(text: str) -> str:
    """As every database takes it: bounded, without NUL or half a character."""
    return text[:DETAIL_MAX].encode("utf-8", "replace").decode().replace("\x00", "�")
