"""`arifa serve --workers N` on PostgreSQL: N processes on one port, each a node of its own.

The parent holds the listening sockets, starts the processes, starts one anew that dies, and passes
on the signal to stop. Each has its own admin port, its own seals and its own leases.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import socket
import sys
import threading
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from arifa.store.opened import open_store
from arifa.web.listening import listener, url_of

if TYPE_CHECKING:
    from arifa.web.server import Serving

RESTART_SECONDS = 1.0


def serve_several(told: Serving) -> int:
    """Serve with `told.workers` processes until told to stop; gives the exit code."""
    context = multiprocessing.get_context("spawn")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with contextlib.ExitStack() as stack:
        public = stack.enter_context(listener(told.host, told.port))
        admins = [
            stack.enter_context(listener(told.host, told.admin_port and told.admin_port + worker))
            for worker in range(told.workers)
        ]

        def started(worker: int) -> BaseProcess:
            process = context.Process(
                target=_serve_one, args=(told, worker, public, admins[worker]), daemon=False
            )
            process.start()
            return process

        processes = [started(worker) for worker in range(told.workers)]
        lines = [f"listening on {url_of(public)}", *(f"admin on {url_of(one)}" for one in admins)]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        while not stopping.wait(RESTART_SECONDS):
            for worker, process in enumerate(processes):
                if not process.is_alive():
                    processes[worker] = started(worker)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        return max(abs(process.exitcode or 0) for process in processes)


def _serve_one(told: Serving, worker: int, public: socket.socket, admin: socket.socket) -> None:
    from arifa.web.server import run

    store = open_store(told.store_folder, told.database_url, told.key, worker=worker)
    try:
        sys.exit(run(told, store, public, admin, is_announced=False))
    finally:
        store.close()
