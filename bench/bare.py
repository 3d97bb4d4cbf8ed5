"""The baseline of the intake's figures: a handler that reads the body and answers 200.

    python bench/bare.py serve [--plain] [--port 0]     prints `listening on http://127.0.0.1:PORT`
    python bench/bare.py compare [--seconds 3]          what our protocol's limits cost

The same uvicorn flags as `arifa serve`: uvloop, httptools in our protocol class, no access log.
`--plain` takes uvicorn's own class, to see what the limits cost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from load import Load, run_apart
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from arifa.web.direct import direct_protocol
from arifa.web.protocol import Limits

ANSWER = b'{"transactionID":"ntf_00000000000000000000000000","statusCode":0,"statusMessage":"OK"}'
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(ANSWER)),
]


async def handler(_scope: Any, receive: Any, send: Any) -> None:
    """Read the whole body, answer 200 with a short JSON text."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


def config(app: Any, protocol: type[Any]) -> uvicorn.Config:
    """The flags that every server in these benchmarks has."""
    return uvicorn.Config(
        app,
        http=protocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
    )


def serve(port: int, *, is_plain: bool) -> None:
    """Serve until told to stop."""
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    # The class of `arifa serve`; without a handler of its own every request goes to the handler.
    protocol = HttpToolsProtocol if is_plain else direct_protocol(Limits(), "/ipn/", None)
    uvicorn.Server(config(handler, protocol)).run(sockets=[listener])


@dataclass(frozen=True)
class Server:
    """A server in another process."""

    process: subprocess.Popen[str]
    port: int

    def cpu_seconds(self) -> float:
        """The processor time that it and its child processes have taken so far (Linux only)."""
        return _cpu_seconds(self.process.pid)

    def children(self) -> list[int]:
        """The processes that it has started (Linux only)."""
        return _children(self.process.pid)


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    taken = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return taken + sum(_cpu_seconds(child) for child in _children(process))


def _children(process: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == process:
                found.append(int(path.parent.name))
    return found


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[Server]:
    """This program's `serve` in a process of its own, with these arguments.

    Raises:
        RuntimeError: it did not come up.
    """
    command = [sys.executable, __file__, "serve", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+)$", line.strip())
        try:
            if found is None:
                raise RuntimeError(f"the bare server did not start: {line!r}")
            yield Server(process, int(found[1]))
        finally:
            process.terminate()


def measure(server: Server, seconds: float) -> tuple[float, float]:
    """The rate of one run, and the server's CPU microseconds for a request of it."""
    before = server.cpu_seconds()
    result = run_apart(Load(server.port, seconds=seconds))
    return result.rate, 1e6 * (server.cpu_seconds() - before) / max(1, result.requests)


def compare(seconds: float, rounds: int) -> dict[str, float]:
    """Uvicorn's own protocol and ours, in turns, so that both see the same noise.

    A ratio below 1 is what ours costs; each is of one round, and the median round, is given. On a machine that
    does other things as well, the ratio of CPU is the one to go by.
    """
    with started("--plain") as plain, started() as limited:
        for server in (plain, limited):
            measure(server, 0.3)  # warm
        pairs = [(measure(plain, seconds), measure(limited, seconds)) for _ in range(rounds)]
    median = statistics.median
    return {
        "plain_rate": median(theirs[0] for theirs, _ in pairs),
        "limited_rate": median(ours[0] for _, ours in pairs),
        "protocol_rate_ratio": median(ours[0] / theirs[0] for theirs, ours in pairs),
        "plain_cpu_us": median(theirs[1] for theirs, _ in pairs),
        "limited_cpu_us": median(ours[1] for _, ours in pairs),
        "protocol_cpu_ratio": median(theirs[1] / ours[1] for theirs, ours in pairs),
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve")
    serving.add_argument("--port", type=int, default=0)
    serving.add_argument("--plain", action="store_true", help="uvicorn's own protocol class")
    comparing = commands.add_parser("compare")
    comparing.add_argument("--seconds", type=float, default=2.0)
    comparing.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.command == "serve":
        serve(given.port, is_plain=given.plain)
    else:
        print(json.dumps(compare(given.seconds, given.rounds)))


if __name__ == "__main__":
    main()
