"""Ways to write a URL that leads to an address: sixty and more, of which none must lead inside.

Each takes the inner address, and gives the host or the whole URL to try. A name in it is resolved
to what `answers` says, one list a look-up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

OUTSIDE_4 = "8.8.8.8"
OUTSIDE_6 = "2606:4700:4700::1111"


@dataclass(frozen=True)
class Inner:
    """An inner address in the forms that spellings are made of; an IPv6 one has a 4 in its end."""

    text: str

    @property
    def address(self) -> IPv4Address | IPv6Address:
        return ip_address(self.text.partition("%")[0])

    @property
    def number(self) -> int:
        return int(self.address)

    @property
    def low(self) -> IPv4Address:
        return IPv4Address(self.number & 0xFFFF_FFFF)

    @property
    def octets(self) -> tuple[int, ...]:
        return tuple(self.low.packed)

    @property
    def host(self) -> str:
        return f"[{self.address}]" if self.address.version == 6 else str(self.address)

    @property
    def groups(self) -> str:
        a, b, c, d = self.octets
        return f"{a:x}{b:02x}:{c:x}{d:02x}"


@dataclass(frozen=True)
class Tried:
    """A URL to try, and what names in it resolve to."""

    url: str
    answers: list[list[str]] = field(default_factory=list)


def _host(spell: Callable[[Inner], str]) -> Callable[[Inner, int, str], Tried]:
    return lambda inner, port, _: Tried(f"https://{spell(inner)}:{port}/hook")


def _url(spell: Callable[[Inner, int], str]) -> Callable[[Inner, int, str], Tried]:
    return lambda inner, port, _: Tried(spell(inner, port))


def _name(*answers: Callable[[Inner], list[str]]) -> Callable[[Inner, int, str], Tried]:
    return lambda inner, port, name: Tried(
        f"https://{name}:{port}/hook", [answer(inner) for answer in answers]
    )


def _percent(text: str) -> str:
    return "".join(f"%{ord(letter):02x}" for letter in text)


def _shifted(text: str, zero: int) -> str:
    return "".join(chr(zero + int(x)) if x.isdigit() else x for x in text)


def _circled(text: str) -> str:
    return "".join(
        "\u24ea\u2460\u2461\u2462\u2463\u2464\u2465\u2466\u2467\u2468"[int(x)] if x.isdigit() else x
        for x in text
    )


def _v6(prefix: int, inner: Inner, place: int = 0) -> str:
    return str(IPv6Address(prefix | int(inner.low) << place))


def _nat64_48(inner: Inner) -> str:
    # RFC 6052: behind a prefix of 48 bits the IPv4 address goes around the bits 64 to 71.
    high, end = int(inner.low) >> 16, int(inner.low) & 0xFFFF
    return str(IPv6Address((0x64FF9B0001 << 80) | (high << 64) | (end << 40)))


_TEREDO = 0x2001_0000 << 96
_ISATAP = int(IPv6Address("2606:4700::5efe:0:0"))
_UNIVERSAL_ISATAP = int(IPv6Address("2606:4700::200:5efe:0:0"))

SPELLINGS: dict[str, Callable[[Inner, int, str], Tried]] = {
    # as it is
    "plain": _host(lambda i: i.host),
    "no brackets": _host(lambda i: str(i.address)),
    "brackets": _host(lambda i: f"[{i.address}]"),
    "upper case": _url(lambda i, port: f"HTTPS://{i.host.upper()}:{port}/HOOK"),
    "exploded": _host(
        lambda i: (
            f"[{i.address.exploded}]"
            if i.address.version == 6
            else ".".join(f"{x:03}" for x in i.octets)
        )
    ),
    "trailing dot": _host(lambda i: f"{i.host}."),
    "two trailing dots": _host(lambda i: f"{i.host}.."),
    # numbers as the C library reads them
    "decimal": _host(lambda i: str(i.number)),
    "decimal of four bytes": _host(lambda i: str(int(i.low))),
    "decimal, zeros before": _host(lambda i: f"{i.number:020}"),
    "decimal, too large by 2^32": _host(lambda i: str(int(i.low) + 2**32)),
    "hex": _host(lambda i: f"0x{i.number:x}"),
    "hex, upper case": _host(lambda i: f"0X{int(i.low):X}"),
    "hex, zeros before": _host(lambda i: f"0x0000{int(i.low):08x}"),
    "octal": _host(lambda i: f"0{int(i.low):o}"),
    "octal, 0o": _host(lambda i: f"0o{int(i.low):o}"),
    "dotted hex": _host(lambda i: ".".join(f"0x{x:x}" for x in i.octets)),
    "dotted octal": _host(lambda i: ".".join(f"0{x:o}" for x in i.octets)),
    "dotted octal, zeros before": _host(lambda i: ".".join(f"00000{x:o}" for x in i.octets)),
    "dotted, mixed": _host(lambda i: "0x{:x}.0{:o}.{}.0x{:x}".format(*i.octets)),
    "three parts": _host(lambda i: f"{i.octets[0]}.{i.octets[1]}.{int(i.low) & 0xFFFF}"),
    "two parts": _host(lambda i: f"{i.octets[0]}.{int(i.low) & 0xFFFFFF}"),
    "octets too large by 256": _host(lambda i: ".".join(str(x + 256) for x in i.octets)),
    "signs": _host(lambda i: ".".join(f"+{x}" for x in i.octets)),
    "negative": _host(lambda i: str(int(i.low) - 2**32)),
    # IPv4 inside IPv6
    "mapped": _host(lambda i: f"[::ffff:{i.low}]"),
    "mapped, hex": _host(lambda i: f"[::ffff:{i.groups}]"),
    "mapped, exploded": _host(lambda i: f"[0:0:0:0:0:ffff:{i.low}]"),
    "compatible": _host(lambda i: f"[::{i.low}]"),
    "translated": _host(lambda i: f"[::ffff:0:{i.low}]"),
    "NAT64": _host(lambda i: f"[64:ff9b::{i.low}]"),
    "NAT64, hex": _host(lambda i: f"[64:ff9b::{i.groups}]"),
    "NAT64 of local use": _host(lambda i: f"[64:ff9b:1::{i.low}]"),
    "NAT64 of local use, /48": _host(lambda i: f"[{_nat64_48(i)}]"),
    "6to4": _host(lambda i: f"[{_v6(0x2002 << 112, i, 80)}]"),
    "Teredo's server": _host(lambda i: f"[{_v6(_TEREDO, i, 64)}]"),
    "Teredo's client": _host(lambda i: f"[{IPv6Address(_TEREDO | int(i.low) ^ 0xFFFF_FFFF)}]"),
    "ISATAP": _host(lambda i: f"[{_v6(_ISATAP, i)}]"),
    "ISATAP, universal": _host(lambda i: f"[{_v6(_UNIVERSAL_ISATAP, i)}]"),
    "ISATAP, link-local": _host(lambda i: f"[fe80::5efe:{i.low}]"),
    "mapped, with a zone": _host(lambda i: f"[::ffff:{i.low}%25lo]"),
    "zone": _host(lambda i: f"[{i.address}%25lo]"),
    "zone, not encoded": _host(lambda i: f"[{i.address}%lo]"),
    "empty zone": _host(lambda i: f"[{i.address}%25]"),
    # characters
    "percent": _host(lambda i: _percent(str(i.address))),
    "percent twice": _host(lambda i: _percent(str(i.address)).replace("%", "%25")),
    "percent dots": _host(lambda i: str(i.low).replace(".", "%2e")),
    "fullwidth digits": _host(lambda i: _shifted(str(i.low), 0xFF10)),
    "Arabic digits": _host(lambda i: _shifted(str(i.low), 0x0660)),
    "circled digits": _host(lambda i: _circled(str(i.low))),
    "ideographic dots": _host(lambda i: str(i.low).replace(".", "\u3002")),
    "soft hyphen": _host(lambda i: f"{str(i.low)[:2]}\u00ad{str(i.low)[2:]}"),
    "space before": _host(lambda i: f" {i.host}"),
    "tab behind": _host(lambda i: f"{i.host}\t"),
    "newline within": _host(lambda i: f"{str(i.low)[:2]}\n{str(i.low)[2:]}"),
    "NUL and a name": _host(lambda i: f"{i.host}%00.shop.example"),
    "line break and a header": _url(
        lambda i, port: f"https://{OUTSIDE_4}:{port}/\r\nHost: {i.address}"
    ),
    # where the authority ends
    "user": _host(lambda i: f"user@{i.host}"),
    "user and password": _host(lambda i: f"user:word@{i.host}"),
    "outside as the user": _host(lambda i: f"{OUTSIDE_4}@{i.host}"),
    "outside as the user, encoded": _host(lambda i: f"{OUTSIDE_4}%40{i.host}"),
    "two at signs": _host(lambda i: f"a@{OUTSIDE_4}@{i.host}"),
    "backslash": _host(lambda i: f"{OUTSIDE_4}\\@{i.host}"),
    "backslash for a slash": _host(lambda i: f"{i.host}\\.shop.example"),
    "fragment before": _url(lambda i, port: f"https://{OUTSIDE_4}:{port}#@{i.host}:{port}/"),
    "fragment behind": _url(lambda i, port: f"https://{i.host}:{port}#@{OUTSIDE_4}:{port}/"),
    "query behind": _url(lambda i, port: f"https://{i.host}:{port}?@{OUTSIDE_4}:{port}/"),
    "slashes": _url(lambda i, port: f"https:////{i.host}:{port}/"),
    "no slashes": _url(lambda i, port: f"https:{i.host}:{port}/"),
    "two ports": _host(lambda i: f"{i.host}:443"),
    "plain http": _url(lambda i, port: f"http://{i.host}:{port}/"),
    "another scheme": _url(lambda i, port: f"gopher://{i.host}:{port}/"),
    # names
    "name": _name(lambda i: [str(i.address)]),
    "name, zone in the answer": _name(lambda i: [f"{i.address}%lo"]),
    "name, mapped": _name(lambda i: [f"::ffff:{i.low}"]),
    "name, NAT64": _name(lambda i: [f"64:ff9b::{i.low}"]),
    "name, mixed, inner last": _name(lambda i: [OUTSIDE_4, OUTSIDE_6, str(i.address)]),
    "name, mixed, inner first": _name(lambda i: [str(i.address), OUTSIDE_4]),
    "name, inner behind 200": _name(lambda i: [OUTSIDE_4] * 200 + [str(i.address)]),
    "name, rebinding": _name(lambda _: [OUTSIDE_4], lambda i: [str(i.address)]),
    "name, rebinding to mixed": _name(lambda _: [OUTSIDE_4], lambda i: [OUTSIDE_4, str(i.address)]),
}
