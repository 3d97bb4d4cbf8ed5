"""The clerk: a process of its own that writes the groups of the intake into the books.

    python -m arifa.store.clerk CHANNEL CONTROL      started by `web.clerk`, and by nobody else

While it writes and syncs one group, the serving process proves and reads the next, on another
processor: two threads of one interpreter cannot, they only take it from each other. It is told
what to write (`GroupRows`) and says what became of it, one group at a time; it decides nothing, and
knows neither banks nor keys.

On CHANNEL come the address of the database and then the groups, each behind its length; an
`Answer` goes back for each. CONTROL is for what cannot wait for a group: a byte drops the
connection on which PostgreSQL leaves a commit waiting. When the other end of it is closed, or its
process is gone, the clerk is gone at once: what it was writing was acknowledged to nobody.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from typing import Final

import msgspec

from arifa.errors import (
    AlreadyClaimed,
    DataRefused,
    StoreBroken,
    StoreError,
    StoreUnfit,
    Unavailable,
    UnknownCommit,
)
from arifa.store import seals
from arifa.store.database import Database, Urgency, database_url
from arifa.store.group import GroupRows, Outdated

_LENGTH: Final = struct.Struct(">I")
_CHUNK: Final = 1 << 20
_pack: Final = msgspec.msgpack.Encoder().encode
read_rows: Final = msgspec.msgpack.Decoder(GroupRows).decode
_FAILURES: Final[dict[str, type[Exception]]] = {
    kind.__name__: kind
    for kind in (
        *(Outdated, DataRefused, AlreadyClaimed, Unavailable, UnknownCommit),
        *(StoreBroken, StoreUnfit),
    )
}


class Answer(msgspec.Struct, array_like=True):
    """What became of a group: its seal where it is on disk, else an error and its sentence."""

    seal: seals.Seal | None = None
    error: str = ""
    sentence: str = ""

    def written(self) -> seals.Seal | Exception:
        """The seal, or the error as it was raised over there."""
        return self.seal or _FAILURES.get(self.error, UnknownCommit)(self.sentence)


read_answer: Final = msgspec.msgpack.Decoder(Answer).decode


def framed(message: bytes) -> bytes:
    """A message behind its length, as it goes over the channel."""
    return _LENGTH.pack(len(message)) + message


def packed(rows: GroupRows) -> bytes:
    """A group, framed.

    Raises:
        UnicodeEncodeError: one of its texts has no UTF-8 form.
        OverflowError: one of its integers does not fit into 64 bits.
    """
    return framed(_pack(rows))


def unframed(received: bytearray) -> bytes | None:
    """Take the first whole message out of what has been received; None if there is none yet."""
    if len(received) < _LENGTH.size:
        return None
    end = _LENGTH.size + _LENGTH.unpack_from(received)[0]
    if len(received) < end:
        return None
    message = bytes(received[_LENGTH.size : end])
    del received[:end]
    return message


def main(arguments: list[str]) -> None:
    """Write what comes, until the other end is gone."""
    channel, control = (socket.socket(fileno=int(number)) for number in arguments[:2])
    # Whoever stops the hub may signal all of its processes. This one ends with its channel, so
    # that what is being answered is still written.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    address = _received(channel)
    if address is None:
        return
    database = Database(database_url(address.decode()))
    threading.Thread(target=_obey, args=(control, database), daemon=True).start()
    with suppress(StoreError), database.read():
        pass  # connected beforehand, if it can be reached now
    # What is loaded by now stays, as in the serving process.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    channel.sendall(framed(_pack(Answer())))
    while (message := _received(channel)) is not None:
        channel.sendall(framed(_pack(_written(database, message))))


def _written(database: Database, message: bytes) -> Answer:
    try:
        rows = read_rows(message)
        with database.write(Urgency.INTAKE) as connection:
            seal = rows.write(connection)
    except (Outdated, StoreError) as error:
        return Answer(None, type(error).__name__, str(error))
    except Exception as error:  # noqa: BLE001 - the serving process looks into it, one by one
        return Answer(None, DataRefused.__name__, f"the clerk failed ({type(error).__name__})")
    return Answer(seal)


def _received(channel: socket.socket) -> bytes | None:
    """The next message; None when there will be none."""
    try:
        head = _exactly(channel, _LENGTH.size)
        return None if head is None else _exactly(channel, _LENGTH.unpack(head)[0])
    except OSError:
        return None


def _exactly(channel: socket.socket, size: int) -> bytes | None:
    received = channel.recv(size, socket.MSG_WAITALL)
    if len(received) == size:
        return received
    parts = bytearray(received)
    while received and len(parts) < size:
        received = channel.recv(min(size - len(parts), _CHUNK), socket.MSG_WAITALL)
        parts += received
    return bytes(parts) if len(parts) == size else None


def _obey(control: socket.socket, database: Database) -> None:
    while True:
        try:
            told = control.recv(1)
        except OSError:
            told = b""
        if not told:
            os._exit(0)
        database.abandon(*Urgency)


if __name__ == "__main__":
    main(sys.argv[1:])
