"""The cast of the demonstration: which banks, how each proves itself, what its samples mean.

`again` says nothing new, `held` must wait for a second proof: see the page of each dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from arifa.simulator.traffic import Meaning

NEW, AGAIN, HELD = Meaning.NEW, Meaning.AGAIN, Meaning.HELD
HERE: Final = "127.0.0.1/32"
USER: Final = "bank"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One bank.

    Attributes:
        flags: what `source add` is told of the proof; files are named by what they hold, and the
            demonstration makes them.
        samples: the published cases in the order of sending, and what each means.
        payments: how many new payments it makes up besides.
        after: the bank whose day must be over first, since it is the same bank by another way.
        account: the account for which a bank's hub issues in this dialect; None where none does.
        issued: how many events it issues there, beside three orders.
    """

    name: str
    title: str
    dialect: str
    flags: tuple[str, ...]
    samples: Mapping[str, Meaning]
    payments: int = 45
    after: str | None = None
    account: str | None = None
    issued: int = 10


PASSWORD_FILE: Final = "{password}"  # noqa: S105 - stands for a file
SECRET_FILE: Final = "{secret}"  # noqa: S105 - likewise
_BY_PASSWORD: Final = ("--username", USER, "--password-file", PASSWORD_FILE)

CAST: Final = (
    Part(
        name="kcb",
        title="KCB",
        dialect="kcb",
        flags=("--generate-key",),
        samples={"account": NEW, "till": NEW},
        account="JD001",
    ),
    Part(
        name="credit-bank",
        title="Credit Bank",
        dialect="credit_bank",
        flags=(*_BY_PASSWORD, "--allow-ip", HERE),
        samples={
            "ft": NEW,
            "pesalink": NEW,
            "debit": NEW,
            "refund": HELD,
            "dispute": HELD,
            "chargeback": HELD,
            "authorization": HELD,
            "fraud_action": HELD,
        },
        account="0021024000039",
    ),
    Part(
        name="jenga",
        title="Jenga",
        dialect="jenga",
        flags=_BY_PASSWORD,
        # One reference with the money going the other way, or into an account; and the one whose
        # order was in dollars, which is the same payment.
        samples={
            "new": NEW,
            "old": NEW,
            "stk": NEW,
            "failed": NEW,
            "debit": HELD,
            "bill": HELD,
            "converted": AGAIN,
        },
        account="0111234241028",
    ),
    Part(
        name="xente",
        title="Xente",
        dialect="xente",
        flags=("--allow-ip", HERE),
        # Two shapes publish no amount: they wait, as one case.
        samples={
            "success": NEW,
            "failed": NEW,
            "processing": NEW,
            "camel": HELD,
            "pascal": AGAIN,
        },
        account="256784378515",
    ),
    Part(
        name="xente-keys",
        title="Xente, sealed",
        dialect="xente",
        flags=("--generate-key", "--allow-ip", HERE),
        samples={"success": AGAIN, "failed": AGAIN},
        payments=12,
        after="xente",
    ),
    Part(
        name="cbs",
        title="CBS",
        dialect="cbs",
        flags=("--secret-file", SECRET_FILE),
        samples={
            "web": NEW,
            "reversal": HELD,
            "negative-reversal": HELD,
            "no-request-reference": HELD,
        },
        account="1000000001",
    ),
)
"""Every bank that is known, each by its usual proof, and Xente by both of its ways."""
