"""A bank's question before a payment: is there such an invoice, for whom, and how much is owed?

Answered from the invoices of the source's merchant for which something is owed, found by number, and
else by their client's reference. What is paid, cancelled or not there is "not known"; so is a
reference that several have, since a wrong name on the payer's screen is worse than none.
"""

from __future__ import annotations

from arifa.billing import is_plain
from arifa.feed import Source
from arifa.money import Money
from arifa.notification import Query, QueryAnswer
from arifa.store import invoices
from arifa.store.database import Connection

NOT_KNOWN = QueryAnswer(found=False)


def answer_to(connection: Connection, source: Source, query: Query) -> QueryAnswer:
    """What the books know of the reference that the bank asks about.

    Raises:
        StoreError: the books cannot be asked.
    """
    if not is_plain(query.reference):
        return NOT_KNOWN
    owner = source.routes.get(query.account or "", source.merchant)
    found = invoices.payable(connection, owner, query.reference)
    # A client's reference must not stand in the way of another invoice's number.
    found = [invoice for invoice in found if invoice.number == query.reference] or found
    if len(found) != 1:
        return NOT_KNOWN
    (invoice,) = found
    return QueryAnswer(
        found=True,
        name=invoices.unpack(invoice.payer).get("name"),
        amount=Money(invoice.amount - invoice.paid, invoice.currency),
        # A part is recorded, and the rest is owed.
        partial=True,
        account=source.account,
    )
