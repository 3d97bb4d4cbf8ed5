"""The hosts of URLs, as texts: which can be called at all. Where they lead is seen at the call."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from arifa.errors import Refused

HOST_CHARACTERS_MAX: Final = 253
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)


def check_host(host: str) -> None:
    """See that a host is an address in its ordinary spelling, or a name that can be looked up.

    What ends in a number is an address to some programs (`127.1`, `0x7f.1`, 2130706433; WHATWG URL,
    3.5) and a name that does not exist to others: it is taken for neither. Reserved names
    (`.example`, `.test`, `.invalid`; RFC 6761) are taken: those who try things out use them.

    Args:
        host: as a URL has it, without the brackets of IPv6.

    Raises:
        Refused: it is none; the sentence says what to write instead.
    """
    if _is_address(host):
        return
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        raise Refused(
            f"the host {host!r} is a number, and no address in its ordinary spelling; write four "
            f"decimal numbers such as 203.0.113.7, or a name"
        )
    if not all(_LABEL.fullmatch(label) for label in labels) or len(host) > HOST_CHARACTERS_MAX:
        raise Refused(
            f"the host {host[:HOST_CHARACTERS_MAX]!r} is no name that can be looked up: between "
            f"its points are 1 to 63 letters, digits, '-' and '_', and no point at its ends"
        )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
