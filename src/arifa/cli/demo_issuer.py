"""The demonstration's hub that issues: a bank's, telling the merchant's hub in five dialects.

What has happened enters as events, what is ordered is submitted and decided by a rule or a person.
Each is announced to the callback that the merchant registered for its account, which is the intake
of the merchant's own hub; it is complete when that has said OK.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from arifa import dialects
from arifa.cli.demo_banks import Part
from arifa.cli.demo_hub import Feed
from arifa.cli.demo_process import ALL, LOOK_AGAIN_SECONDS, HubProcess, Patience
from arifa.cli.demo_report import Issued, announced_by
from arifa.clock import now_us
from arifa.money import EXPONENT, Money
from arifa.notification import Status
from arifa.timestamp import to_rfc3339

FOLDER: Final = "bank"
LIMIT: Final = 5_000
"""Orders up to this, in major units, are approved by a rule; a person decides the others."""

_ORDERS: Final = (("small", LIMIT // 2), ("large", 2 * LIMIT), ("doubtful", 3 * LIMIT))
_OVER: Final = ("complete", "declined")
_FAILED_OF: Final = 6


class Issuer(HubProcess):
    """The bank's hub: one callback for each bank's form, each for an account of its own."""

    def __init__(self, folder: Path, random: Random) -> None:
        super().__init__(folder / FOLDER)
        self._random = random
        self._accounts: dict[str, Part] = {}

    # ------------------------------------------------------------------ set-up

    def register(self, parts: Sequence[Part], feeds: Mapping[str, Feed], url: str) -> None:
        """Let the merchant register its hub's intakes as callbacks."""
        for part in parts:
            assert part.account is not None
            feed = feeds[part.name]
            words = ["--dialect", part.dialect, "--accounts", part.account, *feed.flags]
            self.ask("callback", "new", part.name, "--url", url + feed.path, *words)
            self._accounts[part.account] = part
        for currency in sorted({_currency(part) for part in parts}):
            words = ["--up-to", str(LIMIT), "--currency", currency]
            self.ask("transaction", "rule", "add", f"small-{currency.lower()}", "approve", *words)

    # ------------------------------------------------------------------ a day's work

    def issue(self) -> None:
        """Enter what has happened, submit what is ordered, and decide what no rule decides."""
        events = [
            self._event(part, number)
            for part in self._accounts.values()
            for number in range(part.issued)
        ]
        self.ask("transaction", "import", str(self._file("events", events)))
        orders = [
            _order(part, name, major) for part in self._accounts.values() for name, major in _ORDERS
        ]
        self.ask("transaction", "submit", "--file", str(self._file("orders", orders)))
        for part in self._accounts.values():
            self._decide("approve", part, "large", "the customer has confirmed it")
            self._decide("decline", part, "doubtful", "the customer knows nothing of it")

    def _decide(self, verb: str, part: Part, name: str, reason: str) -> None:
        words = ["--by", "Amina", "--reason", reason]
        self.ask("transaction", verb, _reference(part, name), *words)

    def _event(self, part: Part, number: int) -> dict[str, Any]:
        event = _order(part, f"{number:04d}", self._random.randint(1, LIMIT))
        can_fail = Status.FAILED in dialects.get(part.dialect).expresses.statuses
        is_failed = can_fail and number % _FAILED_OF == 0
        return {
            **event,
            "bank_reference": event["reference"],
            "status": (Status.FAILED if is_failed else Status.SUCCESS).value,
            "occurred_at": to_rfc3339(now_us()),
        }

    def _file(self, name: str, rows: list[dict[str, Any]]) -> Path:
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    # ------------------------------------------------------------------ what it says

    def settle(self, patience: Patience) -> None:
        """Wait until every transaction is over, for as long as one is now and then."""
        while (left := self._unfinished()) and patience.seconds_left(left):
            self.pause(LOOK_AGAIN_SECONDS)

    def _unfinished(self) -> Counter[str]:
        rows = self.ask("transaction", "list", *ALL)
        return Counter(str(row["account"]) for row in rows if row["state"] not in _OVER)

    def says(self) -> dict[str, Issued]:
        """By the name of the callback."""
        complete = self.ask("transaction", "list", "--state", "complete", *ALL)
        deliveries = self.ask("delivery", "list", *ALL)
        unfinished = self._unfinished()
        return {
            part.name: Issued(
                announced=Counter(
                    announced_by(row) for row in complete if row["account"] == account
                ),
                attempts=sum(
                    int(str(row["attempt_count"]))
                    for row in deliveries
                    if row["endpoint"] == part.name
                ),
                unfinished=unfinished[account],
            )
            for account, part in self._accounts.items()
        }


def _order(part: Part, name: str, major: int) -> dict[str, Any]:
    money = Money(major * 10 ** EXPONENT[_currency(part)], _currency(part))
    return {
        "reference": _reference(part, name),
        "amount": money.as_json(),
        "account": part.account,
        "end_to_end_id": f"INV-{name}",
        "payer": {"name": "Jane Doe", "phone": "254700000001"},
        "remittance_information": "for goods",
    }


def _reference(part: Part, name: str) -> str:
    return f"BANK-{part.name}-{name}"


def _currency(part: Part) -> str:
    return dialects.get(part.dialect).defaults.currency
