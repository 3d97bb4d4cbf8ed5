"""`arifa delivery`: what was passed on, and how that went.

`endpoint` is the endpoint's name, and `endpoint_id` its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from arifa.cli.arguments import Limit, Time, micros, when
from arifa.cli.context import Context, Given, Misused, noun

if TYPE_CHECKING:
    from arifa.store.opened import Store
    from arifa.store.replays import Counted, Selection

app = noun("delivery", "What was passed on, and how that went.")

State = Literal["pending", "sending", "delivered", "dead", "cancelled"]
To = Literal["current", "original"]


@app.command(name="list")
def list_(
    *,
    state: State | None = None,
    endpoint: str | None = None,
    notification: str | None = None,
    limit: Limit = 50,
    context: Given,
) -> None:
    """List the newest deliveries.

    Args:
        state: only those in this state.
        endpoint: only those to this endpoint, by name or id.
        notification: only those of this notification, by id.
        limit: how many at most.
    """
    from arifa.store import deliveries, endpoints

    with context.store() as store, store.database.read() as connection:
        named = endpoints.names(connection)
        found = deliveries.listed(
            connection,
            state=state,
            endpoint=None if endpoint is None else endpoints.find_id(connection, endpoint),
            notification=notification,
            limit=limit,
        )
    rows = (_row(item, named) for item in found)
    columns = ("id", "notification", "endpoint", "state", "attempt_count", "next_attempt_at")
    context.output.rows(rows, (*columns, "last_status", "last_cause"))


@app.command
def show(identity: str, /, *, context: Given) -> None:
    """Show a delivery with its attempts.

    Args:
        identity: its id.
    """
    from arifa.store import deliveries, endpoints

    with context.store() as store, store.database.read() as connection:
        named = endpoints.names(connection)
        found = deliveries.get(connection, identity)
        attempts = deliveries.attempts_of(connection, found.merchant, found.id)
    context.output.one(
        {
            **_row(found, named),
            "created_at": when(found.created_at),
            "finished_at": when(found.finished_at),
            "url": found.url,
            "replay_of": found.replay_of,
            "order_key": found.order_key,
            "sequence": found.sequence,
            "attempts": [
                {
                    "number": attempt.number,
                    "started_at": when(attempt.started_at),
                    "finished_at": when(attempt.finished_at),
                    "status": attempt.status,
                    "cause": attempt.cause,
                    "detail": attempt.detail,
                    "reference": attempt.reference,
                }
                for attempt in attempts
            ],
        }
    )


@app.command
def retry(identity: str, /, *, to: To = "current", context: Given) -> None:
    """Try a delivery now: one that waits, or one that is dead, from the start of its schedule.

    Args:
        identity: its id.
        to: the endpoint's current URL, or the original one, of when it ended.
    """
    from arifa.clock import now_us
    from arifa.hub.replay import Goal
    from arifa.hub.replay import retry as retry_one
    from arifa.store import endpoints

    with context.store() as store:
        found = retry_one(store, identity, now_us(), Goal(to))
        with store.database.read() as connection:
            named = endpoints.names(connection)
    context.output.one(_row(found, named))


@app.command
def skip(identity: str, /, *, context: Given) -> None:
    """Give a delivery up that waits or is dead; what waits behind it in its order goes on.

    Args:
        identity: its id.
    """
    from arifa.clock import now_us
    from arifa.hub.replay import skip as skip_one
    from arifa.store import endpoints

    with context.store() as store:
        found = skip_one(store, identity, now_us())
        with store.database.read() as connection:
            named = endpoints.names(connection)
    context.output.one(_row(found, named))


@app.command
def recover(
    *,
    since: Time,
    until: Time = None,
    endpoint: str | None = None,
    source: str | None = None,
    cause: str | None = None,
    merchant: str | None = None,
    to: To = "current",
    dry_run: bool = False,
    context: Given,
) -> None:
    """Try every dead delivery of a span of time again, from the start of its schedule.

    What is cut short goes on where it was left when it is run again.

    Args:
        since: those queued since then, such as 2026-11-20T07:00:00Z.
        until: and before then; now without.
        endpoint: only those to this endpoint, by name or id.
        source: only those of this source's notifications, by name or id.
        cause: only those whose last attempt ended so, such as server_error.
        merchant: whose; all without.
        to: the endpoint's current URL, or the original one, of when each ended.
        dry_run: only count.
    """
    from arifa.clock import now_us
    from arifa.hub import replay as replays

    _check_cause(cause)
    with context.store() as store:
        selection = _selection(
            store, since, until, endpoint=endpoint, source=source, cause=cause, merchant=merchant
        )
        found = replays.count_dead(store, selection)
        done = None
        if not dry_run:
            done = replays.recover(store, selection, now_us(), replays.Goal(to))
        _tell(context, store, found, done)


@app.command
def replay(
    *,
    since: Time = None,
    until: Time = None,
    delivery: str | None = None,
    missing: bool = False,
    endpoint: str | None = None,
    source: str | None = None,
    merchant: str | None = None,
    to: To = "current",
    dry_run: bool = False,
    context: Given,
) -> None:
    """Send again what was delivered, or send what an endpoint was never told.

    A replay has the header arifa-replay, and the same webhook-id as the first time: a receiver that
    de-duplicates by it takes no harm.

    arifa delivery replay --since 2026-11-19T00:00:00Z --until 2026-11-20T00:00:00Z --dry-run
    arifa delivery replay --delivery dlv_...
    arifa delivery replay --missing --since 2026-11-19T00:00:00Z --endpoint shop

    Args:
        since: those queued since then; with --missing, notifications received since then.
        until: and before then; now without.
        delivery: only this one, by its id.
        missing: not what was delivered, but what endpoints want and were never told: they were
            made later, or their filter was widened.
        endpoint: only those to this endpoint, by name or id.
        source: only those of this source's notifications, by name or id.
        merchant: whose; all without.
        to: the endpoint's current URL, or the original one, of when each arrived.
        dry_run: only count.
    """
    from arifa.clock import now_us
    from arifa.hub import replay as replays

    goal = replays.Goal(to)
    with context.store() as store:
        if delivery is not None:
            if since or until or missing or dry_run:
                raise Misused("--delivery names one; leave the span and the other choices out")
            made = replays.replay_one(store, delivery, now_us(), goal)
            context.output.one({"queued": 1, "delivery": made, "replay_of": delivery})
            return
        if since is None:
            raise Misused("say from when: --since 2026-11-19T00:00:00Z, or one with --delivery ID")
        selection = _selection(
            store, since, until, endpoint=endpoint, source=source, cause=None, merchant=merchant
        )
        if missing:
            found = replays.missing(store, selection, now_us(), dry_run=dry_run)
            queued = sum(item.number for item in found)
            _tell(context, store, found, None if dry_run else replays.Replayed(queued, 0))
            return
        found = replays.count_delivered(store, selection)
        done = None if dry_run else replays.replay(store, selection, now_us(), goal)
        _tell(context, store, found, done)


def _check_cause(cause: str | None) -> None:
    from arifa.delivery.cause import Cause
    from arifa.store.deliveries import ABANDONED

    never = {Cause.DELIVERED, Cause.ENDPOINT_REMOVED}
    known = sorted({ABANDONED, *(one.value for one in Cause if one not in never)})
    if cause is not None and cause not in known:
        raise Misused(f"nothing dies of {cause!r}; the causes are: {', '.join(known)}")


def _selection(
    store: Store,
    since: str | None,
    until: str | None,
    *,
    endpoint: str | None,
    source: str | None,
    cause: str | None,
    merchant: str | None,
) -> Selection:
    """The span and the filter, with names made ids.

    Raises:
        Misused: the span is empty.
        NotFound: there is no such endpoint or source.
    """
    from arifa.clock import now_us
    from arifa.store import endpoints, merchants, sources
    from arifa.store.replays import Selection

    begin, end = micros(since) or 0, micros(until)
    end = now_us() + 1 if end is None else end
    if begin >= end:
        raise Misused("the span is empty: --since must be before --until")
    with store.database.read() as connection:
        if merchant is not None:
            merchants.get(connection, merchant)
        return Selection(
            since=begin,
            until=end,
            merchant=merchant,
            endpoint=None
            if endpoint is None
            else endpoints.find_id(connection, endpoint, merchant),
            source=None if source is None else sources.find_id(connection, source, merchant),
            cause=cause,
        )


def _tell(context: Context, store: Store, found: list[Counted], done: Any) -> None:
    """What was counted, by endpoint, and what was queued; `done` is None for a dry run."""
    from arifa.store import endpoints

    with store.database.read() as connection:
        named = endpoints.names(connection)
    context.output.one(
        {
            "dry_run": done is None,
            "found": sum(item.number for item in found),
            "queued": 0 if done is None else done.queued,
            "passed_over": 0 if done is None else done.passed_over,
            "endpoints": [
                {
                    "endpoint": named.get(item.endpoint, item.endpoint),
                    "endpoint_id": item.endpoint,
                    "count": item.number,
                    "first_at": when(item.first_at),
                    "last_at": when(item.last_at),
                }
                for item in found
            ],
        }
    )


def _row(found: Any, named: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": found.id,
        "notification": found.notification,
        "endpoint": named.get(found.endpoint, found.endpoint),
        "endpoint_id": found.endpoint,
        "merchant": found.merchant,
        "state": found.state,
        "attempt_count": found.attempt_count,
        "next_attempt_at": when(found.next_attempt_at),
        "last_status": found.last_status,
        "last_cause": found.last_cause,
        "url": found.url,
        "replay_of": found.replay_of,
    }
