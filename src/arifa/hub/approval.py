"""Approving and declining what was submitted: by a person with a name and a reason, or by a rule.

A rule decides when an order is submitted, in the same commit. Its conditions must all hold: an
amount up to a limit in one currency, an account that pays. A rule that declines goes before every
rule that approves. What no rule decides waits for a person.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from arifa.errors import AlreadyExists, NotFound, Refused
from arifa.hub.order import LONG_TEXT_CHARACTERS_MAX, TEXT_CHARACTERS_MAX, Order, checked_text
from arifa.identifiers import Identifiers
from arifa.money import Money
from arifa.store import changes, merchants, transactions
from arifa.store.opened import Store
from arifa.store.transactions import Move, Rule, TransactionState

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)


class Decision(StrEnum):
    """What a rule or a person says."""

    APPROVE = "approve"
    DECLINE = "decline"


_TO: Final = {
    Decision.APPROVE: TransactionState.APPROVED,
    Decision.DECLINE: TransactionState.DECLINED,
}


class NewRule(NamedTuple):
    """What a rule is asked to be; a condition that is None always holds."""

    name: str
    decision: Decision
    merchant: str
    up_to: Money | None = None
    source_account: str | None = None


# ---------------------------------------------------------------------------------- people


def decide(
    store: Store, identity: str, decision: Decision, *, by: str, reason: str, now_us: int
) -> Any:
    """Approve or decline one that was submitted; gives its row.

    Raises:
        NotFound: there is no such transaction.
        Refused: it is decided already, or name or reason are missing.
    """
    by = _said(by, "the name of who decides (--by)")
    reason = _said(reason, "the reason (--reason)", LONG_TEXT_CHARACTERS_MAX)
    to = _TO[decision]
    with store.database.write() as connection:
        row = transactions.get(connection, identity)
        transactions.move(connection, row, to, now_us, reason=reason)
        move = Move(row.merchant, row.id, to, by, reason)
        transactions.record_moves(connection, Identifiers(now_us), [move], now_us)
        return transactions.get(connection, identity)


def _said(text: str, name: str, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    """A text that no decision can do without."""
    if not text.strip():
        raise Refused(f"{name} is empty: it is kept in the audit log, so say it")
    return checked_text(text, name, characters_max)


# ---------------------------------------------------------------------------------- rules


def add_rule(store: Store, wanted: NewRule, now_us: int) -> Rule:
    """Store a rule: it decides what is submitted from now on.

    Raises:
        Refused: it has no condition, or its name cannot be one; AlreadyExists where it is taken,
            NotFound where there is no such merchant.
    """
    if not _NAME.fullmatch(wanted.name):
        raise Refused(
            f"{wanted.name!r} cannot name a rule: use small letters, digits, '.', '-' and '_', 63 "
            f"at most, beginning with a letter or a digit"
        )
    if wanted.up_to is None and wanted.source_account is None:
        raise Refused(
            f"a rule without a condition would {wanted.decision} everything: give it --up-to with "
            f"--currency, --source-account, or both"
        )
    if wanted.up_to is not None and wanted.up_to.minor <= 0:
        raise Refused("the limit of a rule is above zero")
    account = wanted.source_account
    rule = Rule(
        merchant=wanted.merchant,
        name=wanted.name,
        decision=wanted.decision.value,
        currency=None if wanted.up_to is None else wanted.up_to.currency,
        up_to=None if wanted.up_to is None else wanted.up_to.minor,
        source_account=None if account is None else checked_text(account, "--source-account"),
        created_at=now_us,
    )
    with store.database.write() as connection:
        merchants.check(connection, rule.merchant, now_us)
        if not transactions.add_rule(connection, rule):
            raise AlreadyExists(
                f"{rule.merchant} has a rule {rule.name!r} already; remove it first, or choose "
                f"another name"
            )
        changes.record(
            connection,
            merchant=rule.merchant,
            action="rule.add",
            subject=rule.name,
            now_us=now_us,
            detail=sentence(rule),
        )
    return rule


def remove_rule(store: Store, merchant: str, name: str, now_us: int) -> None:
    """Remove a rule; what it has decided stays decided.

    Raises:
        NotFound: there is none of this name.
    """
    with store.database.write() as connection:
        if not transactions.remove_rule(connection, merchant, name):
            raise NotFound(f"{merchant} has no rule {name!r}; see: arifa transaction rule list")
        changes.record(
            connection, merchant=merchant, action="rule.remove", subject=name, now_us=now_us
        )


def decided_by_rule(
    rules: Sequence[Rule], order: Order, merchant: str, identity: str
) -> Move | None:
    """The move that a rule makes of an order; None where a person has to look."""
    fitting = [rule for rule in rules if _fits(rule, order)]
    for decision in (Decision.DECLINE, Decision.APPROVE):
        for rule in fitting:
            if rule.decision == decision:
                actor = f"rule {rule.name}"
                return Move(merchant, identity, _TO[decision], actor, sentence(rule))
    return None


def _fits(rule: Rule, order: Order) -> bool:
    amount = order.reading.amount
    if rule.up_to is not None and (
        amount is None or amount.currency != rule.currency or amount.minor > rule.up_to
    ):
        return False
    return rule.source_account in (None, order.source_account)


def sentence(rule: Rule) -> str:
    """What a rule does, in words."""
    parts = []
    if rule.up_to is not None and rule.currency is not None:
        parts.append(f"up to {Money(rule.up_to, rule.currency)}")
    if rule.source_account is not None:
        parts.append(f"paid from {rule.source_account}")
    return f"{rule.decision} what is {' and '.join(parts)}"
