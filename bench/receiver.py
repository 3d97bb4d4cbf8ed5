"""A merchant's server that costs next to nothing: it answers 200 to every POST.

    python bench/receiver.py [--port 0]      prints `listening on http://127.0.0.1:PORT`

So that what a benchmark of deliveries measures is the one who delivers. With `GET /seen` it says
when each notification came for the first time: one line each, the bank's reference and the
nanoseconds of the machine's monotonic clock, which all processes here share.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import uvloop
from bare import Server

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_REFERENCE = re.compile(rb'"bank_reference": ?"([^"]+)"')
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"

_seen: dict[bytes, int] = {}


class Receiver(asyncio.Protocol):
    """One connection: requests with a content length, one after the other."""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        rest = self._rest + data
        while (end := rest.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(rest, 0, end + 2)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(rest) < size:
                break
            self._answer(rest[:size])
            rest = rest[size:]
        self._rest = rest

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET"):
            body = b"".join(b"%s %d\n" % item for item in _seen.items())
            _seen.clear()
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self._transport.write(head % len(body) + body)
            return
        found = _REFERENCE.search(request)
        if found:
            _seen.setdefault(found[1], time.monotonic_ns())
        self._transport.write(_OK)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", port)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def receiving() -> Iterator[Server]:
    """This program in a process of its own."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(process, int(process.stdout.readline().rpartition(":")[2]))
        finally:
            process.terminate()


def seen(server: Server) -> dict[str, int]:
    """When each reference came first since the last call, in monotonic nanoseconds."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/seen")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {name: int(at) for name, _, at in (line.rpartition(" ") for line in lines)}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(given.port))


if __name__ == "__main__":
    main()
