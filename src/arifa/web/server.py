"""`arifa serve`: the public port, the admin port, the committer and the worker, in one loop.

SIGTERM or SIGINT drains: no new connection, every request that came gets its answer, attempts in
flight end, and the process exits 0. A failed disk stops the process with 1 and a sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn

from arifa import dialects
from arifa.clock import now_us
from arifa.errors import ArifaError, Refused, StoreError
from arifa.hub import processor as processors
from arifa.hub.folder import Folder
from arifa.hub.generate import Generator
from arifa.hub.receive import Receiver
from arifa.observe import Figures, log, set_up_logging
from arifa.store import references
from arifa.store.database import ServingLock, Urgency, sqlite_path
from arifa.store.opened import NODE_FILE, Store, check_sealed, open_store
from arifa.web import announced
from arifa.web.admin import Admin
from arifa.web.app import App
from arifa.web.clerk import Clerk
from arifa.web.committer import Committer
from arifa.web.direct import direct_protocol
from arifa.web.intake import PREFIX, Intake
from arifa.web.invoices import Invoices, called_from
from arifa.web.issuing import Issuing
from arifa.web.listening import listener, url_of
from arifa.web.protocol import Limits, limited_protocol
from arifa.web.proxies import Proxies

if TYPE_CHECKING:
    from arifa.delivery.mail import MailServer

KEEP_ALIVE_SECONDS: Final = 75
DRAIN_SECONDS: Final = 10
GC_THRESHOLD: Final = 20_000
FOLLOW_SECONDS: Final = 5.0
SWITCH_INTERVAL_SECONDS: Final = 0.0005
"""How long a thread may hold the interpreter: with the default of 5 ms a commit that is done would
wait that long for the loop, before it can say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What `arifa serve` was told."""

    store_folder: Path
    database_url: str | None = None
    key: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    admin_port: int = 8081
    allow_private: bool = False
    allow_ports: tuple[int, ...] = ()
    egress_proxy: str | None = None
    workers: int = 1
    trusted_proxies: tuple[str, ...] = ()
    watch_folder: Path | None = None
    processor: str = processors.BUILT_IN
    mail: MailServer | None = None
    deliver: bool = True
    has_clerk: bool = True

    @property
    def ports(self) -> frozenset[int]:
        """The ports that deliveries may go to."""
        return frozenset({443, *self.allow_ports})


def serve(
    *,
    store_folder: Path,
    database_url: str | None = None,
    key: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    admin_port: int = 8081,
    allow_private: bool = False,
    allow_ports: tuple[int, ...] = (),
    egress_proxy: str | None = None,
    workers: int = 1,
    trusted_proxies: tuple[str, ...] = (),
    watch_folder: Path | None = None,
    processor: str = processors.BUILT_IN,
    mail: MailServer | None = None,
    deliver: bool = True,
    has_clerk: bool = True,
) -> int:
    """Serve until told to stop; gives the exit code. Without `deliver` it only receives.

    With `has_clerk` a process of its own writes what the intake receives (`web.clerk`), where the
    machine has a processor for it and there are no other `workers`.

    Raises:
        ArifaError: it cannot begin; the sentence says why and what to do.
    """
    told = Serving(
        store_folder=store_folder,
        database_url=database_url,
        key=key,
        host=host,
        port=port,
        admin_port=admin_port,
        allow_private=allow_private,
        allow_ports=allow_ports,
        egress_proxy=egress_proxy,
        workers=workers,
        trusted_proxies=trusted_proxies,
        watch_folder=watch_folder,
        processor=processor,
        mail=mail,
        deliver=deliver,
        has_clerk=has_clerk,
    )
    set_up_logging(is_json=not sys.stderr.isatty())
    Proxies(trusted_proxies)
    if workers < 1:
        raise Refused("--workers is at least 1")
    store = open_store(store_folder, database_url, key)
    try:
        _check_issuing(told, store)
        if workers > 1:
            from arifa.web.several import serve_several

            if store.database.is_sqlite:
                raise Refused(
                    "SQLite is served by one process; for --workers give --database postgresql://…"
                )
            with _serving_lock(store):
                store.close()
                return serve_several(told)
        with (
            _serving_lock(store) as keeps,
            listener(host, port) as public,
            listener(host, admin_port) as admin,
        ):
            return run(told, store, public, admin, keeps=keeps)
    finally:
        store.close()


def tune_interpreter() -> None:
    """Set the interpreter as a serving process has it; when all that stays has been loaded."""
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    # What is loaded by now stays: the collector need not walk it again, nor come by every 700
    # allocations of a program that makes no cycles on its hot path.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)


def run(
    told: Serving,
    store: Store,
    public: socket.socket,
    admin: socket.socket,
    *,
    announce: Callable[[], None] | None = None,
    keeps: tuple[int, ...] = (),
) -> int:
    """Serve on these listening sockets until told to stop; gives the exit code.

    `announce` is called when it serves; without, it says itself where. `keeps` are the file
    descriptors that every process keeps that may write the books.
    """
    _allow_many_connections()
    # Loaded now, not by the first request: and a process without free file handles cannot.
    for name in dialects.names():
        with contextlib.suppress(ArifaError):
            dialects.get(name)
    tune_interpreter()
    check_sealed(store)
    hub = _Hub(told, store, public, admin, keeps)
    try:
        with asyncio.Runner(loop_factory=_loop) as runner:
            return runner.run(hub.run(announce))
    finally:
        hub.is_over.set()


def _check_issuing(told: Serving, store: Store) -> None:
    """Refuse now what the issuing side could not do later."""
    processors.get(told.processor)
    if told.watch_folder is not None:
        Folder(store, told.watch_folder).prepare()


def _allow_many_connections() -> None:
    """Take as many file handles as this process may have: each connection is one."""
    try:
        import resource
    except ImportError:  # not on this system
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _processors() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def _loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@contextlib.contextmanager
def _serving_lock(store: Store) -> Iterator[tuple[int, ...]]:
    """One serving hub a data folder, which is a node's name, and on SQLite one a file.

    Gives the descriptors that hold the lock.
    """
    is_sqlite = store.database.is_sqlite
    lock = ServingLock(sqlite_path(store.database.url) if is_sqlite else store.folder / NODE_FILE)
    descriptor = lock.acquire()
    try:
        yield (descriptor,)
    finally:
        lock.release()


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the signals to us: there are two of them in one loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Hub:
    """One serving process."""

    def __init__(
        self,
        told: Serving,
        store: Store,
        public: socket.socket,
        admin: socket.socket,
        keeps: tuple[int, ...],
    ) -> None:
        self._told = told
        self._keeps = keeps
        self._store = store
        self._public = public
        self._admin = admin
        self._stopping = asyncio.Event()
        self._failure: str | None = None
        self.is_over = threading.Event()

    async def run(self, announce: Callable[[], None] | None = None) -> int:
        """Serve until told to stop, or until the disk fails."""
        loop = asyncio.get_running_loop()
        figures = Figures()
        receiver = Receiver(self._store)
        clerk = Clerk(self._store.database, loop, self._keeps) if self._has_clerk() else None
        committer = Committer(receiver, loop, self._fail, clerk=clerk)
        worker, issuing = None, None
        if self._told.deliver:
            # A node that only receives has no use for them.
            from arifa.delivery.transport import Reach
            from arifa.delivery.worker import Worker

            reach = Reach(
                allow_private=self._told.allow_private,
                ports=self._told.ports,
                proxy=self._told.egress_proxy,
            )
            worker = Worker(self._store, reach=reach, is_mailed=self._told.mail is not None)
            receiver.delivered_to = worker.wake
            issuing = self._issuing(worker.wake)
        limits = Limits(exempt=(*Limits().exempt, *self._told.trusted_proxies))
        intake = Intake(receiver, committer, Proxies(self._told.trusted_proxies), figures)
        protocol = direct_protocol(limits, PREFIX, intake)
        invoices = Invoices(self._generator(), figures, self._fail)
        server = _Server(_config(App(intake, invoices), protocol))
        admin = _Server(
            _config(Admin(self._store, figures, self._stopping.is_set), limited_protocol(Limits()))
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        committer.start()
        tasks = [
            loop.create_task(server.serve(sockets=[self._public])),
            loop.create_task(admin.serve(sockets=[self._admin])),
            *(behind := self._behind(loop)),
        ]
        if worker is not None:
            tasks.append(loop.create_task(worker.run()))
        if issuing is not None:
            tasks.append(loop.create_task(issuing.run()))
        (announce or self._announce)()
        try:
            await self._until_told(tasks)
        finally:
            self._bound_stop()
            if issuing is not None:
                issuing.stop()
            server.should_exit = True
            await _ended(tasks[0])
            invoices.close()
            await committer.stop()
            if worker is not None:
                await worker.stop()
            admin.should_exit = True
            for task in behind:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            receiver.close()
            announced.remove(self._store.folder)
        if self._failure is not None:
            sys.stderr.write(f"arifa: {self._failure}\n")
            return 1
        return 0

    def _has_clerk(self) -> bool:
        """Whether the books are written by a process of their own: where a processor is free."""
        return self._told.has_clerk and self._told.workers == 1 and _processors() > 1

    def _generator(self) -> Generator:
        """The billing system's form, which takes the callback URLs that deliveries go to."""
        reach = called_from(allow_private=self._told.allow_private, ports=self._told.ports)
        return Generator(self._store, is_called=reach)

    def _issuing(self, woken: Callable[[], None]) -> Issuing:
        """The bank's side: processing, OKs, the watched folder."""
        folder, path = None, self._told.watch_folder
        if path is not None:
            folder = Folder(self._store, path)
            folder.prepare()
        return Issuing(self._store, processors.get(self._told.processor), woken, folder)

    def _behind(self, loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[None]]:
        """What follows the commits in its own time: references, and mails where they are set."""
        found = [loop.create_task(self._follow())]
        if self._told.mail is not None and self._told.deliver:
            from arifa.delivery.mail import Mailer

            found.append(loop.create_task(Mailer(self._store, self._told.mail).run()))
        return found

    async def _until_told(self, tasks: list[asyncio.Task[None]]) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in done:
            if task is stopping or task.cancelled():
                continue
            error = task.exception()
            self._failure = (
                str(error)
                if isinstance(error, ArifaError)
                else f"a part of the hub ended by itself ({type(error).__name__}: {error})"
            )

    def _bound_stop(self) -> None:
        """Let no database keep the process for ever: what it has not answered by then is dropped."""

        def cut() -> None:
            wait = DRAIN_SECONDS
            while not self.is_over.wait(wait):
                self._store.database.abandon(*Urgency)
                wait = 1

        threading.Thread(target=cut, name="arifa-stop", daemon=True).start()

    def _fail(self, sentence: str) -> None:
        if self._failure is None:
            self._failure = sentence
            log.critical("store.broken", detail=sentence)
        self._stopping.set()

    async def _follow(self) -> None:
        """Keep the index of references up, behind the commits."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                behind = 1
                while behind:
                    behind = await asyncio.to_thread(self._follow_once)
            except StoreError as error:
                log.warning("references.behind", detail=str(error))

    def _follow_once(self) -> int:
        with self._store.database.write(Urgency.BACKGROUND) as connection:
            return references.follow(connection, now_us())

    def _announce(self) -> None:
        public, admin = url_of(self._public), url_of(self._admin)
        announced.write(self._store.folder, public, admin)
        sys.stdout.write(f"listening on {public}\nadmin on {admin}\n")
        sys.stdout.flush()


def _config(app: object, protocol: type[asyncio.Protocol]) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # an ASGI application of ours
        http=protocol,
        loop="none",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


async def _ended(task: asyncio.Task[None]) -> None:
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await task
