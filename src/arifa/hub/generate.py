"""Making an invoice through the billing system's own form: one request, one answer in that form.

A client is an endpoint in the billing system's dialect: its id is the ClientID, its secret the client
secret, its URL where payments are announced unless the request names another. Two requests of a
client with one RequestReference are one invoice; with other content the second is refused.

What the signature covers decides what is owed, by whose secret it is announced, and where. The rest
is unproven, and decides none of that; and since there is neither a time nor a nonce, whoever sees a
request can have the same amount invoiced again for somebody else, but not see its payment announced
anywhere else. See docs/invoices.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Final

import structlog

from arifa import billing
from arifa.billing import Code, Fault, Made, Order, Refusal, refusal
from arifa.clock import now_us
from arifa.errors import DataRefused, Refused, StoreError, place_of
from arifa.feed import Endpoint
from arifa.hub.checks import check_url
from arifa.hub.invoice import AddedInvoice, NewInvoice, add
from arifa.hub.record import Sample
from arifa.money import Money
from arifa.outcome import Insertion
from arifa.store import changes, endpoints
from arifa.store.database import Connection, Urgency
from arifa.store.invoices import FORM
from arifa.store.opened import Store
from arifa.wire import WireRequest, WireResponse

log: Final = structlog.get_logger("arifa")
RERUNS_MAX: Final = 3


def is_public(url: str) -> bool:
    """Whether the text of an endpoint's URL leads to no inner address.

    Raises:
        Refused: it is no such URL.
    """
    return not check_url(url)


class Generator:
    """Makes invoices for one node. Used by one thread at a time.

    Args:
        is_called: whether a callback to this URL, which may be an endpoint's, would go out from
            here; only to public addresses without.
    """

    def __init__(
        self,
        store: Store,
        *,
        is_called: Callable[[str], bool] = is_public,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self.store = store
        self._is_called = is_called
        self._clock = clock
        self._number: int | None = None
        self._clients: dict[str, Endpoint] = {}
        self._sample = Sample()

    def generate(self, request: WireRequest) -> WireResponse | None:
        """Answer one request; the invoice is on disk by then. It never fails.

        None where this hub has no client, and so no billing system to speak as.
        """
        try:
            self._load_clients()
            if not self._clients:
                return None
            made = self._made(request)
        except DataRefused as error:
            log.error("invoice.failed", error=type(error).__name__)
            made = billing.FAILED
        except StoreError as error:
            log.warning("invoice.unavailable", error=type(error).__name__)
            made = billing.TRY_AGAIN
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets its answer
            log.error("invoice.failed", error=type(error).__name__, at=place_of(error))
            made = billing.FAILED
        if isinstance(made, Refusal):
            self._note(made, request)
            return billing.refuse(made)
        return billing.answer(made)

    def _note(self, refused: Refusal, request: WireRequest) -> None:
        """Log a refusal, of few a second; a client's name only where there is such a client."""
        if self._sample.take(self._clock()):
            client = billing.client_of(request)
            log.info(
                "invoice.refused",
                code=refused.code.value,
                client=client if client in self._clients else None,
                fields=[fault.field for fault in refused.faults],
            )

    # ------------------------------------------------------------------ clients

    def _load_clients(self) -> None:
        with self.store.database.read() as connection:
            if changes.number(connection) != self._number:
                self._read_clients(connection)

    def _read_clients(self, connection: Connection) -> None:
        number = changes.number(connection)
        self._clients = {
            endpoint.id: endpoint
            for endpoint in endpoints.listed(connection, self.store.vault)
            if endpoint.dialect == billing.DIALECT and not endpoint.alerts
        }
        self._number = number

    # ------------------------------------------------------------------ one request

    def _made(self, request: WireRequest) -> Made | Refusal:
        for _ in range(RERUNS_MAX):
            judged = self._judged(request)
            if isinstance(judged, Refusal):
                return judged
            client, order = judged
            try:
                added = self._written(client, order)
            except DataRefused:
                # Another request was faster with the same reference: look again.
                continue
            if added is not None:
                return _told(added, order, client)
        raise DataRefused("the invoice could not be recorded")

    def _judged(self, request: WireRequest) -> tuple[Endpoint, Order] | Refusal:
        """The client that has proven itself, and its order."""
        name = billing.client_of(request)
        if name is None:
            return billing.NO_CLIENT
        client = self._clients.get(name)
        if client is None:
            return billing.UNKNOWN_CLIENT
        refused = billing.proven(request, client.id, self._secrets(client))
        if refused is not None:
            return refused
        order = billing.read(request, client.profile.currency)
        if isinstance(order, Refusal):
            return order
        return self._misdirected(order) or (client, order)

    def _secrets(self, client: Endpoint) -> tuple[bytes, ...]:
        retiring = client.retiring
        if retiring is None or (client.retires_at or 0) <= self._clock():
            return client.credentials.secrets
        return client.credentials.secrets + retiring.secrets

    def _misdirected(self, order: Order) -> Refusal | None:
        """A refusal where the callback URL is one that will never be called."""
        if order.callback_url is None:
            return None
        try:
            check_url(order.callback_url)
        except Refused as error:
            return refusal(Code.FORM, Fault("CallBackURL", str(error)))
        if not self._is_called(order.callback_url):
            return refusal(
                Code.FORM,
                Fault("CallBackURL", "its host or its port is one that is not called from here"),
            )
        return None

    def _written(self, client: Endpoint, order: Order) -> AddedInvoice | None:
        """Make the invoice; None where the configuration has changed since the client was read."""
        wanted = NewInvoice(
            merchant=client.merchant,
            amount=order.amount,
            client=client,
            reference=order.reference,
            callback_url=order.callback_url,
            revenue_head=order.revenue_head,
            category=order.category,
            external_reference=order.external_reference,
            description=order.description,
            payer=asdict(order.payer),
            origin=FORM,
        )
        with self.store.database.write(Urgency.DELIVERY) as connection:
            if changes.number(connection) != self._number:
                self._read_clients(connection)
                return None
            return add(connection, wanted, self._clock())


def _told(added: AddedInvoice, order: Order, client: Endpoint) -> Made | Refusal:
    invoice = added.invoice
    if added.insertion is Insertion.CONFLICT:
        return refusal(
            Code.FORM,
            Fault("RequestReference", "RequestReference was used for another invoice already"),
        )
    return Made(
        number=invoice.number,
        amount_due=Money(max(0, invoice.amount - invoice.paid), invoice.currency),
        order=order,
        merchant=client.merchant,
        is_repeat=added.insertion is Insertion.EXISTS,
    )
