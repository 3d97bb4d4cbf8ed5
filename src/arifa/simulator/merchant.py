"""A simulated merchant: an endpoint over real HTTP that checks, keeps, and fails now and then.

It does what a receiver should: proves the signature, keeps each event once by its `webhook-id`, and
answers 200 only for what it has kept. And it does what receivers do: breaks, dawdles, hangs up.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from types import TracebackType
from typing import Final, Self

from arifa.clock import now_us
from arifa.document import JsonObject, decode_object
from arifa.errors import ArifaError, NotGenuine
from arifa.signing import Credentials, WebhookSignature
from arifa.signing.webhook import ID
from arifa.wire import WireRequest

BODY_BYTES_MAX: Final = 1 << 20
DAWDLE_SECONDS: Final = 0.3
_PATIENCE_SECONDS: Final = 10.0


class Failure(StrEnum):
    """How an attempt goes wrong.

    BROKEN answers 500 and keeps nothing. DROPPED keeps the event and hangs up without an answer, so
    that it must come again. SLOW keeps it and answers late, but in time.
    """

    BROKEN = "broken"
    DROPPED = "dropped"
    SLOW = "slow"


@dataclass(slots=True)
class Event:
    """One event that the merchant has kept, and how often it came."""

    id: str
    document: JsonObject
    times: int = 1

    @property
    def data(self) -> JsonObject:
        """The notification in it."""
        data = self.document.get("data")
        return data if isinstance(data, dict) else {}


@dataclass(slots=True)
class Kept:
    """The merchant's own records."""

    events: dict[str, Event] = field(default_factory=dict)
    failures: Counter[Failure] = field(default_factory=Counter)
    refused: int = 0
    attempts: int = 0

    @property
    def repeats(self) -> int:
        """How often an event came that was there already."""
        return sum(event.times - 1 for event in self.events.values())


class Merchant:
    """A merchant's server in a thread of its own; a context manager.

    Args:
        rates: how often an attempt fails in each way, from 0 to 1 together. An event fails once at
            most: a merchant that stays broken is another story.
        random: decides which; seeded where a run must be the same twice.
        port: any that is free where it is 0.

    Attributes:
        secret: the `whsec_…` of the endpoint; until it is set every request is refused.
        kept: the records; read them when `wait_for` has returned, or after `close`.
    """

    def __init__(
        self,
        *,
        rates: Mapping[Failure, float] | None = None,
        random: Random | None = None,
        port: int = 0,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self.secret: str | None = None
        self.kept = Kept()
        self._rates = dict(rates or {})
        self._random = Random() if random is None else random  # noqa: S311 - it only breaks things
        self._clock = clock
        self._failed: set[str] = set()
        self._changed = threading.Condition()
        self._dawdling = threading.Event()
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to send events."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/events"

    def close(self) -> None:
        """Stop answering."""
        self._dawdling.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def wait_for(self, is_enough: Callable[[Kept], bool], timeout: float) -> bool:
        """Wait until the records are enough; false where that takes longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: is_enough(self.kept), timeout)

    # ------------------------------------------------------------------ one attempt

    def take(self, request: WireRequest) -> int | None:
        """Take one attempt; gives the status to answer, or None to hang up."""
        try:
            identity, document = self._proven(request)
        except ArifaError:
            with self._changed:
                self.kept.attempts += 1
                self.kept.refused += 1
                self._changed.notify_all()
            return 401
        with self._changed:
            self.kept.attempts += 1
            failure = self._next_failure(identity)
            if failure is not None:
                self.kept.failures[failure] += 1
            if failure is not Failure.BROKEN:
                self._keep(identity, document)
            self._changed.notify_all()
        if failure is Failure.SLOW:
            self._dawdling.wait(DAWDLE_SECONDS)
        if failure is Failure.DROPPED:
            return None
        return 500 if failure is Failure.BROKEN else 200

    def _proven(self, request: WireRequest) -> tuple[str, JsonObject]:
        if self.secret is None:
            raise NotGenuine("no secret has been agreed on yet")
        credentials = Credentials(secrets=(self.secret.encode(),))
        WebhookSignature().verify(request, credentials, {}, self._clock())
        return request.values(ID)[0].decode("utf-8", "replace"), decode_object(request.body)

    def _next_failure(self, identity: str) -> Failure | None:
        point = self._random.random()
        if identity in self._failed:
            return None
        for failure, rate in self._rates.items():
            point -= rate
            if point < 0:
                self._failed.add(identity)
                return failure
        return None

    def _keep(self, identity: str, document: JsonObject) -> None:
        event = self.kept.events.get(identity)
        if event is None:
            self.kept.events[identity] = Event(identity, document)
        else:
            event.times += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def _handler(merchant: Merchant) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _PATIENCE_SECONDS
        # An answer is one small segment: without this it waits for the other side's delayed ACK.
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isascii() or not length.isdigit() or int(length) > BODY_BYTES_MAX:
                self.close_connection = True
                self.send_error(411)
                return
            headers = tuple(
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in self.headers.items()
            )
            request = WireRequest(
                self.rfile.read(int(length)), headers, target=self.path, peer=self.client_address[0]
            )
            # One connection an attempt: who hangs up on a kept one may have been idle for too long,
            # and is then asked again at once.
            self.close_connection = True
            status = merchant.take(request)
            if status is None:
                return
            self.send_response(status)
            self.send_header("content-length", "0")
            self.send_header("connection", "close")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nothing: the records are in `kept`."""

    return Handler
