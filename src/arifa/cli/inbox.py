"""`arifa inbox`: the requests that came, and what was answered.

A request that was not proven is not in the inbox. Of such ones a bounded number is sampled, masked;
`--outcome NOT_GENUINE` lists them in the same form, with no notifications, and `show` shows one.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Literal

from arifa.cli.arguments import Limit, Time, micros, when
from arifa.cli.context import Given, noun
from arifa.cli.output import raw as write_raw
from arifa.errors import NotFound
from arifa.outcome import Outcome

if TYPE_CHECKING:
    from arifa.store.database import Connection

app = noun("inbox", "The requests that came, and what was answered.")

# The last is never stored, since the bank sends again: its list is empty.
Word = Literal["ACCEPTED", "DUPLICATE", "CONFLICT", "UNREADABLE", "NOT_GENUINE", "UNAVAILABLE"]

_COLUMNS: Final = ("id", "source", "received_at", "outcome", "answer_status", "notifications")
_REFUSED: Final = "ref_"


@app.command(name="list")
def list_(
    *,
    outcome: Word | None = None,
    source: str | None = None,
    since: Time = None,
    limit: Limit = 50,
    context: Given,
) -> None:
    """List the newest requests; NOT_GENUINE ones are samples, asked for by name.

    Args:
        outcome: only those with this outcome.
        source: only those of this source, by name or id.
        since: only those received since then, such as 2026-11-20T07:00:00Z.
        limit: how many at most.
    """
    from arifa.store import inbox, refusals, sources

    is_refused = outcome == Outcome.NOT_GENUINE.value
    at = micros(since)
    with context.store() as store, store.database.read() as connection:
        wanted = None if source is None else sources.find_id(connection, source)
        named = sources.names(connection)
        if is_refused:
            samples = refusals.listed(connection, source=wanted, since=at, limit=limit)
            rows = [_refused_row(item, named) for item in samples]
        else:
            found = inbox.listed(connection, outcome=outcome, source=wanted, since=at, limit=limit)
            rows = [_row(item, named) for item in found]
        were_refused = bool(refusals.listed(connection, source=wanted, since=at, limit=1))
    context.output.rows(rows, _COLUMNS)
    if were_refused and outcome is None:
        context.output.note("some were refused; see: arifa inbox list --outcome NOT_GENUINE")


@app.command
def show(identity: str, /, *, context: Given) -> None:
    """Show a request: its headers, what became of it, and the answer.

    Args:
        identity: its id, as `inbox list` gives it.
    """
    from arifa.store import refusals, sources

    with context.store() as store, store.database.read() as connection:
        named = sources.names(connection)
        if identity.startswith(_REFUSED):
            sample = refusals.get(connection, identity)
            row = _refused_row(sample, named)
            row |= {"peer": sample.peer, "body_bytes": sample.body_bytes}
            row |= {"body_sha256": sample.body_hash.hex(), "sample": sample.sample}
        else:
            row = _described(connection, identity, named)
    context.output.one(row)


@app.command
def raw(identity: str, /, *, context: Given) -> None:
    """Write the body of a request, byte for byte, to standard output.

    Args:
        identity: its id, as `inbox list` gives it.
    """
    from arifa.store import inbox

    with context.store() as store, store.database.read() as connection:
        found = inbox.get(connection, identity)
        request = inbox.request_of(connection, found.merchant, found.id)
    if request is None:
        raise NotFound(
            f"the bytes of {identity} are not kept: it repeats an earlier request, or they were "
            f"purged"
        )
    write_raw(request.body)


@app.command
def reprocess(*, since: Time = None, context: Given) -> None:
    """Read again what was genuine and UNREADABLE when it came, and store what can be read now.

    Nothing is stored twice, however often this runs. Prints how many requests were looked at, and
    how many notifications were stored, held as a case, or known before.

    Args:
        since: only those received since then.
    """
    from arifa.clock import now_us
    from arifa.hub.reprocess import reprocess as reprocess_all

    with context.store() as store:
        done = reprocess_all(store, now_us(), micros(since))
    context.output.one(asdict(done))


def _row(found: Any, named: dict[str, str]) -> dict[str, Any]:
    return {
        "id": found.id,
        "source": named.get(found.source, found.source),
        "source_id": found.source,
        "merchant": found.merchant,
        "received_at": when(found.received_at),
        "outcome": found.outcome,
        "answer_status": found.answer_status,
        "notifications": found.notifications,
        "reason": found.reason,
    }


def _refused_row(found: Any, named: dict[str, str]) -> dict[str, Any]:
    return {
        "id": found.id,
        "source": named.get(found.source, found.source),
        "source_id": found.source,
        "merchant": found.merchant,
        "received_at": when(found.refused_at),
        "outcome": found.outcome,
        "answer_status": found.answer_status,
        "notifications": 0,
        "reason": found.reason,
    }


def _described(connection: Connection, identity: str, named: dict[str, str]) -> dict[str, Any]:
    from arifa.store import inbox, notifications

    found = inbox.get(connection, identity)
    request = inbox.request_of(connection, found.merchant, found.id)
    answer = inbox.unpack_answer(found.answer)
    was_unreadable = found.outcome == Outcome.UNREADABLE.value
    made = notifications.of_request(connection, found.id, is_reread=was_unreadable)
    row = {**_row(found, named), "notification_ids": made, "peer": found.peer}
    row["body_sha256"] = found.body_hash.hex()
    if request is not None:
        row |= {
            "method": request.method,
            "target": request.target,
            "headers": _headers(request.headers),
            "body_bytes": len(request.body),
        }
    row["answer"] = {
        "status": answer.status,
        "headers": _headers(answer.headers),
        "body": answer.body.decode("utf-8", "replace"),
    }
    return row


def _headers(headers: tuple[tuple[bytes, bytes], ...]) -> list[dict[str, str]]:
    return [
        {"name": name.decode("latin-1"), "value": value.decode("latin-1")}
        for name, value in headers
    ]
