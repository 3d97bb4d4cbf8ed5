"""`arifa serve --workers N` on PostgreSQL: N processes on one port, each a node of its own.

The parent holds the listening sockets, starts the processes, starts one anew that dies, and passes
on the signal to stop. Each has its own admin port, its own seals and its own leases.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from dataclasses import replace
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import TYPE_CHECKING

from arifa.errors import ArifaError
from arifa.store.opened import open_store
from arifa.web import announced
from arifa.web.listening import listener, url_of

if TYPE_CHECKING:
    from arifa.web.server import Serving

RESTART_SECONDS = 1.0
READY_SECONDS = 0.2


def serve_several(told: Serving) -> int:
    """Serve with `told.workers` processes until told to stop; gives the exit code."""
    context = multiprocessing.get_context("spawn")
    stopping, ready = threading.Event(), context.Event()
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
                target=_serve_one, args=(told, worker, public, admins[worker], ready), daemon=False
            )
            process.start()
            return process

        processes = [started(worker) for worker in range(told.workers)]
        while not (ready.wait(READY_SECONDS) or stopping.is_set()):
            if not any(process.is_alive() for process in processes):
                break  # each has said why
        if ready.is_set():
            announced.write(told.store_folder, url_of(public), url_of(admins[0]))
            _announce(public, admins)
        while ready.is_set() and not stopping.wait(RESTART_SECONDS):
            for worker, process in enumerate(processes):
                if not process.is_alive():
                    processes[worker] = started(worker)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        announced.remove(told.store_folder)
        return max(_failed(process) for process in processes)


def _announce(public: socket.socket, admins: list[socket.socket]) -> None:
    lines = [f"listening on {url_of(public)}", *(f"admin on {url_of(one)}" for one in admins)]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _failed(process: BaseProcess) -> int:
    """0 for one that ended as it was told to, also where it was told before it could hear it."""
    return 0 if process.exitcode in (0, -signal.SIGTERM) else 1


def _serve_one(
    told: Serving, worker: int, public: socket.socket, admin: socket.socket, ready: Event
) -> None:
    from arifa.web.server import run

    threading.Thread(target=_end_with_parent, name="arifa-parent", daemon=True).start()
    if worker:
        # One of them watches the folder: all would read every file.
        told = replace(told, watch_folder=None)
    try:
        store = open_store(told.store_folder, told.database_url, told.key, worker=worker)
        try:
            code = run(told, store, public, admin, announce=ready.set)
        finally:
            store.close()
    except ArifaError as error:
        sys.stderr.write(f"arifa: {error}\n")
        code = 1
    sys.exit(code)


def _end_with_parent() -> None:
    """Where the parent was killed nobody else would end this process, and the port stay taken."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
