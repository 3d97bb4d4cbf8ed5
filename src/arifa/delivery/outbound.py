"""The only HTTP client of the delivering side, and its guard of addresses.

What decides is the address that is connected to, never the text: a resolver, a spelling or a second
look-up may say anything. Redirects, proxies of the environment, cookies and decompression do not
exist here. One deadline covers the whole of an attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from arifa import __version__
from arifa.delivery.cause import SENTENCE, Cause
from arifa.errors import Refused
from arifa.wire import WireRequest, WireResponse

DEADLINE_SECONDS: Final = 15.0
BODY_MAX: Final = 65_536
HEADER_LINE_MAX: Final = 8_190
HEADERS_MAX: Final = 64
URL_MAX: Final = 2_048
IDLE_SECONDS: Final = 20.0
"""How long an idle connection is kept for the next delivery to the same host."""
STALE_MAX: Final = 8
"""How many kept connections of one host may turn out to be closed before a new one is made."""
LOOKUPS_MAX: Final = 32
"""Names looked up at once: a resolver that hangs holds a thread, and must not hold them all."""

USER_AGENT: Final = f"arifa/{__version__}"

_NOT_OURS_TO_SET: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te"}
    | {"trailer", "expect", "proxy-connection", "proxy-authorization", "user-agent", "cookie"}
)
_PRINTABLE: Final = re.compile(r"[!-~]+")
_AUTHORITY_END: Final = re.compile(r"[/?#]")


class NoAnswer(Exception):
    """There was no answer: `cause` says why, the text says it to people."""

    def __init__(self, cause: Cause, more: str = "") -> None:
        super().__init__(f"{SENTENCE[cause]} ({more})" if more else SENTENCE[cause])
        self.cause = cause


class NotPublic(Refused):
    """A URL whose host is written as an address that is not called."""


class AddressRefused(OSError):
    """This address is not called. An `OSError`, so that the client's libraries let it through."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "not a public address")


# ---------------------------------------------------------------------------------- addresses

# The special-purpose registries of IANA (RFC 6890 and its successors), and what clouds keep for
# themselves. Also refused: what the registries call global, but where no merchant can be.
_REFUSED_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' own
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform, seen from inside only
        "169.254.0.0/16",  # link-local, where clouds keep their secrets
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_UNICAST_6: Final = IPv6Network("2000::/3")
_REFUSED_6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_CARRIES_4: Final = tuple(
    IPv6Network(text)
    for text in (
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b::/96",  # NAT64
    )
)
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)


def is_public(text: str) -> bool:
    """Whether `text` is the address of a host on the public internet, as far as an address tells.

    An IPv4 address inside an IPv6 one counts as itself where the network would lead there.
    """
    try:
        address = ip_address(text)
    except ValueError:
        # Also with a zone (`fe80::1%eth0`): only what is not public has one.
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_4)
    return _is_public_6(address)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    inner = IPv4Address(int(address) & 0xFFFF_FFFF)
    if any(address in network for network in _CARRIES_4):
        return is_public(str(inner))
    if address not in _UNICAST_6 or any(address in network for network in _REFUSED_6):
        return False
    is_isatap = (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP
    return not is_isatap or is_public(str(inner))


# ---------------------------------------------------------------------------------- URLs


@lru_cache(maxsize=4096)
def target(text: str, *, allow_private: bool = False) -> URL:
    """The URL of an endpoint, as it is called.

    Args:
        allow_private: for development: http and addresses that are not public are allowed too.

    Raises:
        Refused: it cannot be called; the sentence says what to write instead.
    """
    if len(text) > URL_MAX:
        raise Refused(f"the URL has more than {URL_MAX} characters")
    if not _PRINTABLE.fullmatch(text) or "\\" in text:
        raise Refused(
            "the URL has a space or a character that URLs do not have; write those as %20 or "
            "the like, and a host name in its xn-- form"
        )
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError:
        raise Refused("the URL cannot be read; write https://HOST/PATH") from None
    schemes = ("https", "http") if allow_private else ("https",)
    if url.scheme not in schemes:
        raise Refused(
            "the URL must begin with https://"
            if url.scheme != "http"
            else "http:// would send payments in the clear; use https:// (for development, serve "
            "with --allow-private)"
        )
    if "@" in _AUTHORITY_END.split(text.partition("//")[2], 1)[0] or url.raw_user is not None:
        raise Refused(
            "the URL holds a user or a password, which end up in logs; give them with "
            "--username U --password-file F"
        )
    if not host or port == 0:
        raise Refused("the URL has no host, or port 0; write https://HOST/PATH")
    if not allow_private and _is_address(host) and not is_public(host):
        raise NotPublic(SENTENCE[Cause.ADDRESS])
    return url.with_fragment(None)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------------------------- the client


class _Progress:
    """How far one request has come: for the words of a time-out, and to know a kept connection."""

    __slots__ = ("is_asking", "is_begun", "made")

    def __init__(self) -> None:
        self.made: list[socket.socket] = []
        self.is_asking = False
        self.is_begun = False

    def phase(self) -> str:
        if self.is_begun:
            return "while it sent its answer"
        if self.is_asking:
            return "while we looked up its name"
        if self.made and not any(_is_connected(item) for item in self.made):
            return "while we connected"
        return "while we waited for its answer"


# Seen by the socket and the name that are made for a request, also in the tasks that make them.
_progress: ContextVar[_Progress] = ContextVar("_progress")


def _is_connected(item: socket.socket) -> bool:
    try:
        item.getpeername()
    except OSError:
        return False
    return True


class _Resolver(AbstractResolver):
    """The system's resolver, in threads of its own; drops the whole of an answer that is mixed."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._threads = ThreadPoolExecutor(LOOKUPS_MAX, "arifa-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        progress = _progress.get()
        progress.is_asking = True
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, _looked_up, host, port, family
        )
        progress.is_asking = False
        if not self._allow_private and not all(is_public(item["host"]) for item in found):
            raise AddressRefused
        return found

    async def close(self) -> None:
        # A look-up that hangs ends by itself; nobody waits for it.
        self._threads.shutdown(wait=False, cancel_futures=True)


def _looked_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    infos = socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=int(address[1]),
            family=found,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for found, _, protocol, _, address in infos
    ]


class Outbound:
    """Sends requests and reads answers, within limits. Made inside a running event loop.

    Connections are kept and used again by host. Not more than the caller has open at once are
    made: there is no limit here.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        deadline: float = DEADLINE_SECONDS,
        trust: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._deadline = deadline
        self._resolver = resolver or _Resolver(allow_private=allow_private)
        connector = aiohttp.TCPConnector(
            limit=0,
            resolver=self._resolver,
            socket_factory=self._socket,
            ssl=trust or _default_trust(),
            keepalive_timeout=IDLE_SECONDS,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            max_line_size=HEADER_LINE_MAX,
            max_field_size=HEADER_LINE_MAX,
            max_headers=HEADERS_MAX,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
        await self._resolver.close()

    async def send(self, url: str, request: WireRequest) -> WireResponse:
        """Send the request's method, headers and body to `url`, and give the answer.

        Of a body no more than `BODY_MAX` bytes are read; then the connection is closed.

        Raises:
            NoAnswer: there was none within the deadline, or it may not be asked for.
        """
        try:
            place = target(url, allow_private=self._allow_private)
            headers = _headers(request)
        except NotPublic as error:
            raise NoAnswer(Cause.ADDRESS) from error
        except (Refused, UnicodeError) as error:
            raise NoAnswer(Cause.URL, str(error)) from error
        progress = _Progress()
        try:
            async with asyncio.timeout(self._deadline):
                for _ in range(STALE_MAX):
                    progress = _Progress()
                    try:
                        return await self._exchanged(place, request, headers, progress)
                    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                        # A kept connection that the other side had closed in the meantime tells
                        # nothing about the endpoint.
                        if progress.made or progress.is_begun:
                            raise
                return await self._exchanged(place, request, headers, progress)
        except TimeoutError as error:
            more = f"{self._deadline:g} s, {progress.phase()}"
            raise NoAnswer(Cause.TIMEOUT, more) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _no_answer(error) from error

    async def _exchanged(
        self, url: URL, request: WireRequest, headers: CIMultiDict[str], progress: _Progress
    ) -> WireResponse:
        token = _progress.set(progress)
        try:
            async with self._session.request(
                request.method, url, data=request.body, headers=headers, allow_redirects=False
            ) as response:
                progress.is_begun = True
                body = await _read(response)
                return WireResponse(response.status, body, response.raw_headers)
        finally:
            _progress.reset(token)

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """The wall: every address that is connected to passes here, however it was spelt."""
        family, kind, protocol, _, address = info
        if not self._allow_private and not is_public(str(address[0])):
            raise AddressRefused
        made = socket.socket(family, kind, protocol)
        _progress.get().made.append(made)
        return made


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    room = BODY_MAX
    while room > 0:
        part = await response.content.read(room)
        if not part:
            return b"".join(parts)
        parts.append(part)
        room -= len(part)
    if not response.content.at_eof():
        response.close()
    return b"".join(parts)


def _headers(request: WireRequest) -> CIMultiDict[str]:
    headers = CIMultiDict({"user-agent": USER_AGENT, "accept-encoding": "identity"})
    for name, value in request.headers:
        key = name.decode("ascii")
        if key.lower() not in _NOT_OURS_TO_SET:
            headers.add(key, _text(value))
    return headers


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


@lru_cache(maxsize=1)
def _default_trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_answer(error: Exception) -> NoAnswer:
    """The cause of a client's error. The library's own text is not shown: it may hold the URL."""
    causes = list(_chain(error))
    for kind, cause in _CAUSES:
        if any(isinstance(item, kind) for item in causes):
            return NoAnswer(cause, _more(cause, causes))
    return NoAnswer(Cause.UNREACHABLE)


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    item: BaseException | None = error
    while item is not None and item not in found:
        found.append(item)
        item = item.__cause__ or getattr(item, "os_error", None)
    return found


_CAUSES: Final[tuple[tuple[type[BaseException], Cause], ...]] = (
    (AddressRefused, Cause.ADDRESS),
    (aiohttp.InvalidURL, Cause.URL),
    (aiohttp.ClientConnectorDNSError, Cause.DNS),
    (socket.gaierror, Cause.DNS),
    (ssl.SSLError, Cause.TLS),
    (ssl.CertificateError, Cause.TLS),
    (ConnectionResetError, Cause.RESET),
    (BrokenPipeError, Cause.RESET),
    (aiohttp.ServerDisconnectedError, Cause.RESET),
    (aiohttp.ClientConnectorError, Cause.UNREACHABLE),
    (aiohttp.ClientPayloadError, Cause.NOT_HTTP),
    (aiohttp.ClientResponseError, Cause.NOT_HTTP),
    (aiohttp.ClientOSError, Cause.RESET),
    (aiohttp.ClientError, Cause.NOT_HTTP),
    (ValueError, Cause.URL),
)


def _more(cause: Cause, causes: list[BaseException]) -> str:
    if cause is Cause.TLS:
        for item in causes:
            with contextlib.suppress(AttributeError):
                reason = getattr(item, "verify_message", "") or getattr(item, "reason", "")
                if reason:
                    return str(reason)
    return ""


__all__ = ["BODY_MAX", "DEADLINE_SECONDS", "NoAnswer", "Outbound", "is_public", "target"]
