"""`arifa case`: what a person must decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from arifa.cli.arguments import Limit, when
from arifa.cli.context import Given, noun
from arifa.cli.notification import notification_row

app = noun("case", "What a person must decide.")


@app.command(name="list")
def list_(
    *, state: Literal["open", "decided", "all"] = "open", limit: Limit = 50, context: Given
) -> None:
    """List the cases, the oldest first.

    Args:
        state: open, decided or all.
        limit: how many at most.
    """
    from arifa.store import cases, sources

    with context.store() as store, store.database.read() as connection:
        named = sources.names(connection)
        found = cases.listed(connection, state=None if state == "all" else state, limit=limit)
    rows = (_row(item, named) for item in found)
    columns = ("id", "kind", "state", "source", "notification", "opened_at", "reason")
    context.output.rows(rows, columns)


@app.command
def show(identity: str, /, *, context: Given) -> None:
    """Show a case, with the notification that is held and the one it stands against.

    Args:
        identity: its id.
    """
    from arifa.store import cases, notifications, sources

    with context.store() as store, store.database.read() as connection:
        named = sources.names(connection)
        case = cases.get(connection, identity)
        held = notifications.find(connection, case.notification_merchant, case.notification)
        earlier = None
        if case.against is not None:
            earlier = notifications.find(connection, case.against_merchant, case.against)
    context.output.one(
        {
            **_row(case, named),
            "held": None if held is None else notification_row(notifications.built(held), named),
            "earlier": None
            if earlier is None
            else notification_row(notifications.built(earlier), named),
        }
    )


@app.command
def decide(
    identity: str,
    decision: Literal["accept", "replace", "reject"],
    /,
    *,
    reason: str,
    context: Given,
) -> None:
    """Decide a case, for good.

    accept: it counts, beside what it conflicts with. replace: the earlier one is taken back by a
    reversal, and this one counts. reject: it stays held.

    Args:
        identity: its id.
        decision: accept, replace or reject.
        reason: why, for whoever looks at it later.
    """
    from arifa.clock import now_us
    from arifa.hub.decide import Decision
    from arifa.hub.decide import decide as decide_case
    from arifa.store import cases, sources

    with context.store() as store:
        done = decide_case(store, identity, Decision(decision), reason, now_us())
        with store.database.read() as connection:
            row = _row(cases.get(connection, identity), sources.names(connection))
    row["notification_state"] = done.notification.state.value
    row["reversal"] = None if done.reversal is None else done.reversal.id
    row["deliveries"] = done.deliveries
    context.output.one(row)


def _row(case: Any, named: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": case.id,
        "kind": case.kind,
        "reason": case.reason,
        "state": case.state,
        "merchant": case.merchant,
        "source": named.get(case.source, case.source),
        "source_id": case.source,
        "notification": case.notification,
        "against": case.against,
        "inbox": case.inbox,
        "opened_at": when(case.opened_at),
        "owner": case.owner,
        "decision": case.decision,
        "decision_reason": case.decision_reason,
        "decided_at": when(case.decided_at),
    }
