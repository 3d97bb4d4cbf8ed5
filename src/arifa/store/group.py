"""The rows of one group of requests, and how they go into the books: in one transaction.

They are plain values, so that they can be made in one process and written by another.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from sqlalchemy.engine import Connection

from arifa.store import (
    bulk,
    cases,
    changes,
    deliveries,
    identities,
    inbox,
    notifications,
    refusals,
    seals,
    sources,
)

# By other names than the fields below have: within the class those stand for the fields.
_Request: TypeAlias = inbox.Values
_Body: TypeAlias = inbox.BodyValues
_Notification: TypeAlias = notifications.Values
_Identity: TypeAlias = identities.Values


class Outdated(Exception):
    """A group was composed by a configuration that is no longer the current one."""


class GroupRows(msgspec.Struct, array_like=True):
    """What one group writes, table by table.

    Attributes:
        also_plain: whether identities are looked for among the plain ones too: `identities.find`.
        configuration: the number of the configuration by which it was composed; None where that
            was read in the same transaction.
        writer: whose seal it is.
        previous: the seal before, which its own follows; one that is not sealed takes any.
        sealed_at: microseconds UTC.
    """

    writer: str
    previous: seals.Seal
    sealed_at: int
    also_plain: bool
    configuration: int | None = None
    inbox: list[_Request] = []
    bodies: list[_Body] = []
    notifications: list[_Notification] = []
    identities: list[_Identity] = []
    cases: list[cases.Entry] = []
    deliveries: list[deliveries.Entry] = []
    refusals: list[refusals.Entry] = []
    counted: list[sources.Counted] = []

    def write(self, connection: Connection) -> seals.Seal:
        """Put the rows into the books, and give the last seal there is then.

        Raises:
            AlreadyClaimed: not all was as new as it was composed: compose it again, and ask.
            Outdated: the configuration has moved since; what was written must be rolled back.
        """
        claimed: list[Any] = []
        number, seal = None, self.previous
        with bulk.together(connection):
            if self.configuration is not None:
                number = changes.asked(connection)
            # Keys go first: where nodes collide, or something repeats, it shows here.
            if self.identities:
                claimed = identities.start_claim(connection, self.identities)
            if self.inbox:
                inbox.insert(connection, self.inbox, self.bodies)
                parts = [
                    (identity, seals.part(identity, outcome, body_hash, answer))
                    for (_, identity, _, _, _, outcome, _, body_hash, _, answer, *_) in self.inbox
                ]
                seal = seals.append(connection, self.writer, seal, parts, self.sealed_at)
            if self.notifications:
                notifications.insert(connection, self.notifications)
            if self.counted:
                sources.count(connection, self.counted)
            if self.deliveries:
                deliveries.insert(connection, self.deliveries)
        if number is not None and changes.told(number) != self.configuration:
            raise Outdated
        identities.check_claimed(connection, claimed, self.identities, also_plain=self.also_plain)
        if self.cases:
            cases.insert(connection, self.cases)
        if self.refusals:
            refusals.insert(connection, self.refusals)
        return seal
