"""What a request costs before and after the books: proving, reading, answering; writing, signing.

    python bench/reading.py [--json] [--repeats 40] [--only cbs]

Microseconds of CPU for each stage of each dialect's first sample, as published but for its
reference, which is another in every request. The figure is the least of many repeats over a batch:
whatever else the machine does can only add to it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import replace
from os import urandom
from typing import Any, Final

from uvicorn.server import ServerState

from arifa import dialects
from arifa.dialects.base import Dialect, Result
from arifa.feed import Profile
from arifa.money import Money
from arifa.notification import Notification, Reading, State, money_hash
from arifa.outcome import Outcome
from arifa.signing import Credentials
from arifa.testing.genuine import NOW_US, PEER, full_credentials, limited, plain_notification
from arifa.web.direct import Exchange, direct_protocol
from arifa.web.protocol import LimitedProtocol, Limits
from arifa.wire import Headers, WireRequest, WireResponse

BATCH: Final = 200
RECEIVED: Final = ("cbs", "jenga", "kcb", "kcb/till", "credit_bank", "xente", "standard_webhooks")
RENDERED: Final = ("standard_webhooks", "cbs", "jenga", "kcb", "credit_bank", "xente")
_HEADERS: Final = ((b"host", b"localhost"), (b"user-agent", b"bench"), (b"accept", b"*/*"))
_RESULT: Final = Result(transaction_id="ntf_0123456789abcdef0123456789ab")


def least_us(stage: Callable[[Any], object], batches: Iterable[list[Any]]) -> float:
    """The least CPU that `stage` took for one item of a batch, in microseconds."""
    best = float("inf")
    for batch in batches:
        begun = time.thread_time_ns()
        for item in batch:
            stage(item)
        best = min(best, (time.thread_time_ns() - begun) / len(batch))
    return best / 1000


def credentials_of(dialect: Dialect) -> Credentials:
    """What a plain feed of this dialect has: the credentials of its own proofs."""
    needed = {
        name
        for proof in dialect.proofs
        if not proof.is_optional
        for name in (*proof.verifies_with, *proof.signs_with)
    }
    return limited(full_credentials(), frozenset(needed))


def sent(dialect: Dialect, case: str, profile: Profile, credentials: Credentials) -> list[bytes]:
    """Bodies and headers of a batch of payments, signed; as `WireRequest`s they are made anew."""
    sample = dialect.sample(dialect.cases[case])
    reading = _reading(dialect, sample, credentials, profile)
    reference = (reading.bank_reference or "").encode()
    made = []
    for number in range(BATCH):
        body = sample.body.replace(reference, b"%s%06d" % (reference, number))
        request = replace(sample, body=body, headers=(*sample.headers, *_HEADERS))
        made.append(dialect.sign(replace(request, peer=PEER), credentials, NOW_US))
    return made


def _reading(
    dialect: Dialect, request: WireRequest, credentials: Credentials, profile: Profile
) -> Reading:
    read = dialect.reread(request, credentials, profile, NOW_US)
    assert isinstance(read, list)
    return read[0]


def receiving(name: str, repeats: int) -> dict[str, float]:
    """The stages of a request that came in."""
    dialect_name, _, wanted = name.partition("/")
    dialect = dialects.get(dialect_name)
    case = wanted or next(iter(dialect.cases))
    profile = replace(dialect.defaults, options=dialect.cases[case].options)
    credentials = credentials_of(dialect)
    requests = sent(dialect, case, profile, credentials)

    def fresh() -> Iterable[list[WireRequest]]:
        # A request keeps what it decoded: each repeat needs its own.
        for _ in range(repeats):
            yield [replace(request) for request in requests]

    def verify(request: WireRequest) -> Any:
        return dialect.verify(request, credentials, profile, NOW_US)

    def parse(verified: Any) -> Any:
        return dialect.parse(verified, profile)

    def judge(reading: Reading) -> None:
        dialect.identity(reading)
        money_hash(reading)

    def acknowledge(request: WireRequest) -> WireResponse:
        return dialect.acknowledge(request, Outcome.ACCEPTED, _RESULT, profile)

    verified = ([verify(request) for request in batch] for batch in fresh())
    decoded = [replace(request) for request in requests]
    readings = [parse(verify(request))[0] for request in decoded]
    return {
        "verify": least_us(verify, fresh()),
        "parse": least_us(parse, verified),
        "receive": least_us(lambda request: parse(verify(request)), fresh()),
        "judge": least_us(judge, [readings] * repeats),
        "acknowledge": least_us(acknowledge, [decoded] * repeats),
    }


def sending(name: str, repeats: int) -> dict[str, float]:
    """The stages of a notification that goes out."""
    dialect = dialects.get(name)
    profile, credentials = dialect.defaults, credentials_of(dialect)
    plain = plain_notification(amount=Money(123450, profile.currency))
    batch = [_numbered(plain, number) for number in range(BATCH)]

    def render(notification: Notification) -> WireRequest:
        return dialect.render(notification, profile)

    def sign(request: WireRequest) -> WireRequest:
        return dialect.sign(request, credentials, NOW_US)

    rendered = [render(notification) for notification in batch]
    return {
        "render": least_us(render, [batch] * repeats),
        "sign": least_us(sign, [rendered] * max(2, repeats // 10)),
    }


def _numbered(plain: Notification, number: int) -> Notification:
    from msgspec import structs

    reading = structs.replace(plain.reading, bank_reference=f"FT{number:010d}")
    return structs.replace(plain, id=f"ntf_{number:028x}", state=State.ACCEPTED, reading=reading)


class _Transport(asyncio.Transport):
    """A socket that takes everything."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 80)}.get(name, default)

    def write(self, data: Any) -> None:
        """Take it."""

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


def http(repeats: int) -> dict[str, float]:
    """A request through the server's protocol and its answer back, with nothing between them.

    `exchange` is one whose head comes again and again, `signed` one with another long header each
    time, as behind a signature; `parsed` and `parsed_signed` are the same through the parser.
    """
    answer = WireResponse(200, b'{"statusCode":0}', ((b"content-type", b"application/json"),))

    class Handler:
        def receive(self, exchange: Exchange) -> None:
            assert exchange.path
            assert exchange.headers
            assert exchange.body
            exchange.respond(answer)

    same = [_posted(_HEADERS)] * BATCH
    signed = [_posted((*_HEADERS, (b"signature", b64encode(urandom(256))))) for _ in range(BATCH)]
    parsing = LimitedProtocol.data_received
    return {
        "exchange": asyncio.run(_http(Handler(), same, repeats)),
        "signed": asyncio.run(_http(Handler(), signed, repeats)),
        "parsed": asyncio.run(_http(Handler(), same, repeats, data_received=parsing)),
        "parsed_signed": asyncio.run(_http(Handler(), signed, repeats, data_received=parsing)),
    }


def _posted(headers: Headers) -> bytes:
    request = WireRequest(b'{"a": "b"}' * 40, headers, target="/ipn/abcdefghijklmnop")
    return request.to_bytes()


async def _http(handler: Any, requests: list[bytes], repeats: int, **methods: Any) -> float:
    from bare import config
    from bare import handler as bare_handler

    made = type("Made", (direct_protocol(Limits(), "/ipn/", handler),), methods)
    server = config(bare_handler, made)
    server.load()
    state = ServerState()
    state.default_headers = [(b"date", b"Mon, 01 Jan 2024 00:00:00 GMT")]
    protocol = server.http_protocol_class(server, state, {})
    protocol.connection_made(_Transport())
    return least_us(protocol.data_received, [requests] * repeats)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--only", choices=sorted({"http", *RECEIVED, *RENDERED}))
    given = parser.parse_args()
    figures: dict[str, float] = {}
    stages = [("http", lambda: http(given.repeats))]
    stages += [(name, lambda name=name: receiving(name, given.repeats)) for name in RECEIVED]
    stages += [(name, lambda name=name: sending(name, given.repeats)) for name in RENDERED]
    for name, run in stages:
        if given.only in (None, name):
            found = run()
            figures.update({f"{name}_{stage}_us": value for stage, value in found.items()})
            if not given.json:
                shown = "   ".join(f"{stage} {value:6.2f}" for stage, value in found.items())
                print(f"{name:18} {shown}", flush=True)
    if given.json:
        print(json.dumps({key: round(value, 2) for key, value in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
