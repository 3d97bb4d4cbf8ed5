"""`arifa verify`, `parse`, `sign` and `render`: the library from the shell; no store is opened.

FILE, or `-` for standard input, is one raw HTTP/1.1 message: a request line, headers, a blank line
and the body. `verify` and `parse` print `{"genuine", "readings", "error"}`, and `query` where the
bank asks a question; `genuine` is null where `parse` was given nothing to prove with. `sign` and
`render` write the raw request, byte for byte.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter
from msgspec import structs

from arifa import dialects
from arifa.cli.arguments import (
    NO_KEYS,
    Currency,
    KeyFlags,
    Networks,
    Time,
    Zone,
    micros,
    pairs,
)
from arifa.cli.context import Given
from arifa.cli.output import raw
from arifa.clock import now_us
from arifa.dialects import Dialect
from arifa.document import JsonObject, decode_object
from arifa.errors import ArifaError, NotGenuine, Refused, Unreadable
from arifa.feed import Profile
from arifa.notification import (
    Notification,
    Query,
    Reading,
    State,
    reading_as_json,
    reading_from_json,
)
from arifa.signing import Credentials
from arifa.timestamp import from_rfc3339
from arifa.wire import WireRequest, read_request

# A lone "-" is standard input, and no option.
File = Annotated[str, Parameter(allow_leading_hyphen=True)]
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_NOT_ONE: Final = "this is not a notification as arifa notification show --json prints it"
# It goes into a header.
_IDENTITY: Final = re.compile(r"[!-\-/-~]{1,255}")


def verify(
    file: File,
    /,
    *,
    dialect: str,
    keys: KeyFlags = NO_KEYS,
    allow_ip: Networks = (),
    peer: str | None = None,
    option: tuple[str, ...] = (),
    currency: Currency = None,
    timezone: Zone = None,
    now: Time = None,
    context: Given,
) -> int:
    """Prove one raw request and read it; exit 4 if it is not genuine.

    arifa verify --dialect kcb --public-key kcb.pem request.http

    Args:
        file: the raw HTTP request, or - for standard input.
        dialect: the bank's form; see: arifa dialect list.
        allow_ip: CIDR that the peer must be in.
        peer: the address that it came from.
        option: K=V of the dialect.
        currency: where the message names none.
        timezone: the bank's zone.
        now: the time to judge it by, such as 2026-11-20T07:00:00Z.
    """
    spoken = dialects.get(dialect)
    profile = _profile(spoken, option, currency, timezone)
    at = _at(now)
    request = _request(file, peer, at)
    credentials = keys.credentials(allow_ip)
    spoken.check_credentials(credentials)
    try:
        verified = spoken.verify(request, credentials, profile, at)
        read = spoken.parse(verified, profile)
    except NotGenuine as error:
        context.output.one(_said(False, [], error))
        return error.exit_code
    except Unreadable as error:
        context.output.one(_said(True, [], error))
        return error.exit_code
    context.output.one(_said(True, read))
    return 0


def parse(
    file: File,
    /,
    *,
    dialect: str,
    keys: KeyFlags = NO_KEYS,
    allow_ip: Networks = (),
    peer: str | None = None,
    option: tuple[str, ...] = (),
    currency: Currency = None,
    timezone: Zone = None,
    now: Time = None,
    context: Given,
) -> int:
    """Read one raw request, proven or not; what it says must not be relied on before it is proven.

    With keys it is proven too, and exit 4 says that it is not genuine; it is read all the same.

    Args:
        file: the raw HTTP request, or - for standard input.
        dialect: the bank's form; see: arifa dialect list.
        allow_ip: CIDR that the peer must be in.
        peer: the address that it came from.
        option: K=V of the dialect.
        currency: where the message names none.
        timezone: the bank's zone.
        now: the time to judge it by.
    """
    spoken = dialects.get(dialect)
    profile = _profile(spoken, option, currency, timezone)
    at = _at(now)
    request = _request(file, peer, at)
    credentials = keys.credentials(allow_ip)
    refusal = _refusal(spoken, request, credentials, profile, at)
    genuine = None if credentials == Credentials() else refusal is None
    try:
        read = spoken.reread(request, credentials, profile, at)
    except Unreadable as error:
        context.output.one(_said(genuine, [], refusal or error))
        return (refusal or error).exit_code
    context.output.one(_said(genuine, read, refusal))
    return 0 if refusal is None else refusal.exit_code


def sign(
    file: File,
    /,
    *,
    dialect: str,
    keys: KeyFlags = NO_KEYS,
    now: Time = None,
) -> int:
    """Put a dialect's proof on one raw request, and write it to standard output.

    arifa sign --dialect cbs --secret-file secret.txt request.http | arifa verify --dialect cbs ... -

    Args:
        file: the raw HTTP request, or - for standard input.
        dialect: the form; see: arifa dialect list.
        now: the time of signing, where the form carries one.
    """
    spoken = dialects.get(dialect)
    at = _at(now)
    credentials = keys.credentials()
    spoken.check_credentials(credentials, sending=True)
    raw(spoken.sign(_request(file, None, at), credentials, at).to_bytes())
    return 0


def render(
    file: File,
    /,
    *,
    dialect: str,
    option: tuple[str, ...] = (),
    currency: Currency = None,
    timezone: Zone = None,
) -> int:
    """Write a notification as a dialect's raw request, without a proof.

    arifa notification show ntf_... --json | arifa render --dialect cbs -

    Args:
        file: the notification in JSON, as `notification show --json` prints it, or -.
        dialect: the form; see: arifa dialect list.
        option: K=V of the dialect.
        currency: where the form writes none.
        timezone: the zone of the times it writes.
    """
    spoken = dialects.get(dialect)
    profile = _profile(spoken, option, currency, timezone)
    notification = _notification(decode_object(_content(file)))
    raw(spoken.render(notification, profile).to_bytes())
    return 0


# ---------------------------------------------------------------------------------- reading


def _profile(
    dialect: Dialect, option: tuple[str, ...], currency: str | None, timezone: str | None
) -> Profile:
    options = pairs(option, "--option")
    dialect.check_options(options)
    return Profile(
        currency=currency or dialect.defaults.currency,
        timezone=timezone or dialect.defaults.timezone,
        options=options,
    )


def _at(now: str | None) -> int:
    at = micros(now)
    return now_us() if at is None else at


def _content(file: str) -> bytes:
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MESSAGE_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(MESSAGE_BYTES_MAX + 1)
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > MESSAGE_BYTES_MAX:
        raise Refused(f"{file} is longer than {MESSAGE_BYTES_MAX} bytes: it is no notification")
    return content


def _request(file: str, peer: str | None, at: int) -> WireRequest:
    return read_request(_content(file), peer=peer, received_at=at)


def _refusal(
    dialect: Dialect, request: WireRequest, credentials: Credentials, profile: Profile, at: int
) -> NotGenuine | None:
    if credentials == Credentials():
        return None
    dialect.check_credentials(credentials)
    try:
        dialect.verify(request, credentials, profile, at)
    except NotGenuine as error:
        return error
    return None


def _said(
    genuine: bool | None, read: list[Reading] | Query, error: ArifaError | None = None
) -> dict[str, Any]:
    said: dict[str, Any] = {
        "genuine": genuine,
        "readings": [],
        "error": None if error is None else str(error),
    }
    if isinstance(read, Query):
        said["query"] = structs.asdict(read)
    else:
        said["readings"] = [{**reading_as_json(reading), "held": reading.held} for reading in read]
    return said


def _notification(row: JsonObject) -> Notification:
    def text(name: str, default: str) -> str:
        value = row.get(name)
        return value if isinstance(value, str) and value else default

    if not _IDENTITY.fullmatch(text("id", "ntf_0")):
        raise Refused("the id of a notification is of visible ASCII, without a point or a space")
    try:
        return Notification(
            id=text("id", "ntf_0"),
            merchant=text("merchant", "default"),
            source=text("source_id", text("source", "")),
            dialect=text("dialect", ""),
            received_at=from_rfc3339(text("received_at", "1970-01-01")),
            state=State(text("state", State.ACCEPTED.value)),
            reading=_typed(reading_from_json(row)),
        )
    except KeyError as error:
        raise Refused(f"{_NOT_ONE}: it has no member {error.args[0]!r}") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise Refused(f"{_NOT_ONE}: {error}") from None
    except (TypeError, AttributeError):
        raise Refused(f"{_NOT_ONE}: one of its members is of another kind") from None


def _typed(reading: Reading) -> Reading:
    """The reading, each of whose fields is of its kind: a file may hold anything.

    Raises:
        msgspec.ValidationError: one is not.
    """
    return msgspec.json.decode(msgspec.json.encode(reading), type=Reading)
