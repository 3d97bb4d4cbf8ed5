"""`arifa transaction`: what this hub issues, from an order or an event to the merchant's OK.

A row has the fields of the event by their names, `state`, how many endpoints were told and how many
said OK, and `note`, which says what a person should know.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from arifa.cli.arguments import Currency, Limit, Mode, Time, micros, when
from arifa.cli.context import Context, Given, Misused, noun
from arifa.cli.transaction_listen import listen
from arifa.errors import Refused, Unreadable
from arifa.money import Money, read_amount
from arifa.notification import reading_as_json

if TYPE_CHECKING:
    from arifa.hub.acknowledged import Completion
    from arifa.hub.lines import Entered
    from arifa.hub.order import Order
    from arifa.store.opened import Store

app = noun("transaction", "What this hub issues: approved, processed, announced, acknowledged.")
app.command(listen)
rule = noun("rule", "What is approved or declined without a person.")
app.command(rule)

State = Literal[
    "submitted",
    "approved",
    "declined",
    "processing",
    "settled",
    "failed",
    "unacknowledged",
    "complete",
]
File = Annotated[str, Parameter(allow_leading_hyphen=True)]
CORE: Final = "core"
_COLUMNS: Final = ("id", "reference", "state", "status", "amount", "account", "told", "note")
_NOT_SAID: Final = ("unproven", "doubts")


# ---------------------------------------------------------------------------------- orders


@app.command
def submit(
    reference: str | None = None,
    /,
    *,
    amount: str | None = None,
    currency: Currency = None,
    account: str | None = None,
    source_account: str | None = None,
    end_to_end_id: str | None = None,
    payer_name: str | None = None,
    payer_phone: str | None = None,
    remittance_information: str | None = None,
    file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    key: str | None = None,
    by: str = "operator",
    merchant: str = "default",
    mode: Mode = "live",
    context: Given,
) -> None:
    """Submit one order, or a batch from a file: queued, and decided by a rule or a person.

    arifa transaction submit ORD-1 --amount 150.00 --currency KES --account 0021024000039
    arifa transaction submit --file orders.jsonl --key 2026-11-20-a

    Args:
        reference: what the order is known by; a second one of the same reference is the same order.
        amount: in major units, such as 150.00.
        currency: of the amount, such as KES.
        account: the merchant's account, to which the money goes.
        source_account: the account that pays; rules may look at it.
        end_to_end_id: what the payer quotes: the invoice, the order.
        payer_name: who pays.
        payer_phone: with the code of the country, such as 254712345678.
        remittance_information: what the payer writes.
        file: FILE or - with one order a line, by schemas/transaction.v1.json; all or nothing.
        key: an idempotency key: the same orders under it get the same answer again.
        by: who submits, for the audit log.
        merchant: who is paid.
        mode: live, or test for the merchant's twin.
    """
    from arifa.clock import now_us
    from arifa.hub.acknowledged import listed
    from arifa.hub.issue import submit as submit_orders
    from arifa.store.merchants import with_mode

    said = {
        "reference": reference,
        "account": account,
        "source_account": source_account,
        "end_to_end_id": end_to_end_id,
        "remittance_information": remittance_information,
        "amount": _amount(amount, currency),
        "payer": {"name": payer_name, "phone": payer_phone},
    }
    orders = _orders(said, file)
    owner = with_mode(merchant, mode)
    with context.store() as store:
        done = submit_orders(store, orders, merchant=owner, now_us=now_us(), key=key, by=by)
        with store.database.read() as connection:
            found = listed(connection, limit=len(done.transactions), ids=done.transactions)
    if done.is_repeat:
        context.output.note("note: submitted before; nothing is done a second time")
    by_id = {row.id: _row(row, completion) for row, completion in found}
    rows = [by_id[identity] for identity in done.transactions]
    if file is None:
        context.output.one(rows[0])
    else:
        context.output.rows(rows, ("id", "reference", "state", "amount", "account", "batch"))


def _amount(amount: str | None, currency: str | None) -> dict[str, str] | None:
    if (amount is None) != (currency is None):
        raise Misused("--amount and --currency go together")
    return None if amount is None or currency is None else {"amount": amount, "currency": currency}


def _orders(said: Mapping[str, Any], file: str | None) -> list[Order]:
    from arifa.document import encode
    from arifa.hub.lines import numbered
    from arifa.hub.order import read_order

    if file is None:
        if said["reference"] is None:
            raise Misused("say the reference of the order, or give a batch with --file")
        return [read_order(encode(dict(said)))]
    if any(value for name, value in said.items() if name != "payer") or any(said["payer"].values()):
        raise Misused("--file has the orders; nothing of one order goes beside it")
    orders = []
    with _opened(file) as opened:
        for number, line in numbered(opened):
            try:
                orders.append(read_order(line))
            except Refused as error:
                raise Refused(f"line {number}: {error}; nothing of the batch is taken") from None
    return orders


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        opened = Path(file).expanduser().open("rb")
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from None
    with opened:
        yield opened


@app.command
def approve(identity: str, /, *, by: str, reason: str, context: Given) -> None:
    """Approve one that was submitted: it is processed next.

    Args:
        identity: its id, or its reference.
        by: who approves.
        reason: why, for whoever looks at it later.
    """
    _decide(context, identity, "approve", by, reason)


@app.command
def decline(identity: str, /, *, by: str, reason: str, context: Given) -> None:
    """Decline one that was submitted, for good: nothing is processed, nobody is told.

    Args:
        identity: its id, or its reference.
        by: who declines.
        reason: why, for whoever looks at it later.
    """
    _decide(context, identity, "decline", by, reason)


def _decide(context: Context, identity: str, decision: str, by: str, reason: str) -> None:
    from arifa.clock import now_us
    from arifa.hub.approval import Decision, decide

    with context.store() as store:
        decide(store, identity, Decision(decision), by=by, reason=reason, now_us=now_us())
        _show(context, store, identity)


@app.command
def process(
    identity: str | None = None,
    /,
    *,
    fail: str | None = None,
    limit: Limit = 1000,
    context: Given,
) -> int:
    """Process what was approved, now: `arifa serve` does the same by itself, within a second.

    Exits 1 where one that was asked for by its id was not processed.

    Args:
        identity: only this one, by its id or reference.
        fail: let the payment fail, for this reason; for trying, with the built-in processor only.
        limit: how many at most.
    """
    from arifa.hub.process import Processing
    from arifa.hub.processor import BUILT_IN, Instant, get
    from arifa.store import transactions

    if fail is not None and identity is None:
        raise Misused("--fail is for one transaction: say its id")
    name = context.settings.processor
    if fail is not None and name != BUILT_IN:
        raise Misused(f"--fail is for the built-in processor, and this hub's is {name!r}")
    processor = get(name) if fail is None else Instant({"*": fail})
    done = 0
    with context.store() as store:
        if identity is not None:
            with store.database.read() as connection:
                row = transactions.get(connection, identity)
            transactions.check_processable(row)
            identity = row.id
        processing = Processing(store, processor)
        while done < limit and (step := processing.step(limit=limit - done, only=identity)):
            done += step
        if identity is not None:
            _show(context, store, identity)
            return 0 if done else 1
    context.output.one({"processed": done})
    return 0


@app.command
def announce(identity: str, /, *, context: Given) -> None:
    """Announce one of which nobody was told, after its merchant has registered a callback.

    Args:
        identity: its id, or its reference.
    """
    from arifa.clock import now_us
    from arifa.hub.process import announce_again

    with context.store() as store:
        announce_again(store, identity, now_us())
        _show(context, store, identity)


# ---------------------------------------------------------------------------------- events


@app.command(name="import")
def import_(
    file: File,
    /,
    *,
    origin: str = CORE,
    merchant: str = "default",
    mode: Mode = "live",
    context: Given,
) -> int:
    """Enter events of a core banking system, one a line, and announce each that is new.

    A bad line is told with its number and passed over; then the exit code is 1. What was entered
    before is known by its reference, so a file may be imported again.

    Args:
        file: FILE or - with JSON lines, by schemas/transaction.v1.json.
        origin: the system that they come from; a reference is unique within it.
        merchant: whose those are that name no merchant.
        mode: live, or test for the merchants' twins.
    """
    from arifa.hub.lines import enter, numbered
    from arifa.store.merchants import with_mode

    owner = with_mode(merchant, mode)
    with (
        context.store() as store,
        _opened(file) as opened,
        _progress(opened, file, is_quiet=context.output.as_json) as advance,
    ):
        done = enter(store, numbered(opened), merchant=owner, origin=origin, after_chunk=advance)
    for sentence in done.sentences():
        context.output.note(sentence)
    context.output.one(
        {
            "lines": done.lines,
            "entered": done.entered,
            "known": done.known,
            "refused": done.refused,
        }
    )
    return 1 if done.refused else 0


@contextmanager
def _progress(opened: IO[bytes], file: str, *, is_quiet: bool) -> Iterator[Any]:
    """A bar on a terminal; by bytes of a file, by lines of what comes through a pipe."""
    if is_quiet or not sys.stderr.isatty():
        yield lambda _: True
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    total = None if file == "-" else Path(file).expanduser().stat().st_size
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("0 lines", total=total)

        def advance(done: Entered) -> bool:
            said = f"{done.lines} lines, {done.entered} entered, {done.refused} refused"
            place = done.lines if total is None else opened.tell()
            progress.update(task, description=said, completed=place)
            return True

        yield advance


# ---------------------------------------------------------------------------------- looking


@app.command(name="list")
def list_(
    *,
    state: State | None = None,
    reference: str | None = None,
    origin: str | None = None,
    batch: str | None = None,
    merchant: str | None = None,
    since: Time = None,
    limit: Limit = 50,
    context: Given,
) -> None:
    """List the newest transactions.

    Args:
        state: only those that stand there now; unacknowledged ones wait for a merchant's OK.
        reference: only the one of this reference.
        origin: only those from this system; `submit` for orders.
        batch: only those of this batch, by its id.
        merchant: whose; all without.
        since: only those that came since then, such as 2026-11-20T07:00:00Z.
        limit: how many at most.
    """
    from arifa.hub.acknowledged import listed
    from arifa.store.transactions import TransactionState

    with context.store() as store, store.database.read() as connection:
        found = listed(
            connection,
            state=None if state is None else TransactionState(state),
            limit=limit,
            reference=reference,
            origin=origin,
            batch=batch,
            merchant=merchant,
            since=micros(since),
        )
    context.output.rows((_row(row, completion) for row, completion in found), _COLUMNS)


@app.command
def show(identity: str, /, *, context: Given) -> None:
    """Show a transaction: where it stands, who was told, and every move of it.

    Args:
        identity: its id, or its reference.
    """
    with context.store() as store:
        _show(context, store, identity)


def _show(context: Context, store: Store, identity: str) -> None:
    from arifa.hub.acknowledged import completion
    from arifa.store import endpoints, transactions

    with store.database.read() as connection:
        row = transactions.get(connection, identity)
        told = transactions.told(connection, [row])[row.id]
        moves = transactions.moves_of(connection, row.merchant, row.id)
        named = endpoints.names(connection)
    deliveries = [
        {
            "id": item.id,
            "endpoint": named.get(item.endpoint, item.endpoint),
            "state": item.state,
            "finished_at": when(item.finished_at),
        }
        for item in told
    ]
    history = [
        {
            "at": when(move.at),
            "state": move.action.removeprefix("transaction."),
            "actor": move.actor,
            "detail": move.detail or None,
        }
        for move in moves
    ]
    untold = transactions.untold(row)
    shown = _row(row, completion(row, told))
    context.output.one({**shown, "deliveries": deliveries, "untold": untold, "history": history})


def _row(row: Any, completion: Completion) -> dict[str, Any]:
    from arifa.store import transactions

    reading = reading_as_json(transactions.reading_of(row))
    return {
        "id": row.id,
        "merchant": row.merchant,
        "origin": row.origin,
        "reference": row.reference,
        "batch": row.batch,
        "state": completion.state.value,
        "source_account": row.source_account,
        **{name: value for name, value in reading.items() if name not in _NOT_SAID},
        "reason": row.reason,
        "notification": row.notification,
        "told": completion.told,
        "acknowledged": completion.acknowledged,
        "note": completion.note,
        "created_at": when(row.created_at),
        "changed_at": when(row.changed_at),
    }


# ---------------------------------------------------------------------------------- rules


@rule.command(name="add")
def rule_add(
    name: str,
    decision: Literal["approve", "decline"],
    /,
    *,
    up_to: str | None = None,
    currency: Currency = None,
    source_account: str | None = None,
    merchant: str = "default",
    mode: Mode = "live",
    context: Given,
) -> None:
    """Add a rule, for what is submitted from now on. What declines goes before what approves.

    arifa transaction rule add small approve --up-to 5000 --currency KES
    arifa transaction rule add blocked decline --source-account 0010013

    Args:
        name: what to call it.
        decision: approve or decline.
        up_to: what is no more than this, in major units.
        currency: of `--up-to`; other currencies are left alone.
        source_account: what is paid from this account.
        merchant: whose orders it is for.
        mode: live, or test for the merchant's twin.
    """
    from arifa.clock import now_us
    from arifa.hub.approval import Decision, NewRule, add_rule
    from arifa.store.merchants import with_mode

    wanted = NewRule(
        name=name,
        decision=Decision(decision),
        merchant=with_mode(merchant, mode),
        up_to=_limit(up_to, currency),
        source_account=source_account,
    )
    with context.store() as store:
        context.output.one(_rule_row(add_rule(store, wanted, now_us())))


def _limit(up_to: str | None, currency: str | None) -> Money | None:
    if (up_to is None) != (currency is None):
        raise Misused("--up-to and --currency go together")
    if up_to is None or currency is None:
        return None
    try:
        return read_amount(up_to, currency)
    except Unreadable as error:
        raise Misused(f"--up-to: {error}") from None


@rule.command(name="list")
def rule_list(*, merchant: str | None = None, limit: Limit = 1000, context: Given) -> None:
    """List the rules.

    Args:
        merchant: whose; all without.
        limit: how many at most.
    """
    from arifa.store import transactions

    with context.store() as store, store.database.read() as connection:
        found = transactions.rules(connection, merchant)
    rows = (_rule_row(item) for item in found[:limit])
    context.output.rows(rows, ("name", "merchant", "decision", "up_to", "source_account"))


@rule.command(name="remove")
def rule_remove(
    name: str, /, *, merchant: str = "default", mode: Mode = "live", context: Given
) -> None:
    """Remove a rule; what it has decided stays decided.

    Args:
        name: its name.
        merchant: whose it is.
        mode: live, or test for the merchant's twin.
    """
    from arifa.clock import now_us
    from arifa.hub.approval import remove_rule
    from arifa.store.merchants import with_mode

    owner = with_mode(merchant, mode)
    with context.store() as store:
        remove_rule(store, owner, name, now_us())
    context.output.one({"name": name, "merchant": owner, "state": "removed"})


def _rule_row(found: Any) -> dict[str, Any]:
    limit = None
    if found.up_to is not None and found.currency is not None:
        limit = Money(found.up_to, found.currency).as_json()
    return {
        "name": found.name,
        "merchant": found.merchant,
        "decision": found.decision,
        "up_to": limit,
        "source_account": found.source_account,
        "created_at": when(found.created_at),
    }
