"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from arifa.cli.context import Misused
from arifa.errors import Refused
from arifa.money import is_currency
from arifa.settings import read_secret_text
from arifa.signing import Credentials
from arifa.signing.credentials import network
from arifa.signing.keys import normal_pem, rsa_private_key, rsa_public_key
from arifa.timestamp import from_rfc3339, to_rfc3339, zone

if TYPE_CHECKING:
    from arifa.hub.golive import Override

LIMIT_MAX: Final = 100_000

Mode = Literal["live", "test"]


def checked_by(check: Callable[[str], object]) -> Callable[[Any, Any], None]:
    """A validator of one text or several, from what raises `Refused`."""

    def validate(_type: Any, value: Any) -> None:
        for text in value if isinstance(value, tuple) else (value,):
            if text is not None:
                try:
                    check(text)
                except Refused as error:
                    raise ValueError(str(error)) from None

    return validate


def _check_currency(code: str) -> None:
    if not is_currency(code):
        raise Refused(f"{code!r} is not an ISO 4217 currency; write a code such as KES")


Limit = Annotated[int, Parameter(validator=Number(gte=1, lte=LIMIT_MAX))]
Time = Annotated[str | None, Parameter(validator=checked_by(from_rfc3339))]
Currency = Annotated[str | None, Parameter(validator=checked_by(_check_currency))]
Zone = Annotated[str | None, Parameter(validator=checked_by(zone))]
Many = Annotated[tuple[str, ...], Parameter(consume_multiple=True)]
Yes = Annotated[bool, Parameter(alias="-y")]


def micros(time: str | None) -> int | None:
    """Microseconds of a `Time`."""
    return None if time is None else from_rfc3339(time)


def when(at_us: int | None) -> str | None:
    """A time as rows show it."""
    return None if at_us is None else to_rfc3339(at_us)


def words(given: Iterable[str]) -> list[str]:
    """The words of an option that takes several: apart, or with commas between."""
    return [word for text in given for word in text.split(",") if word]


def pairs(given: Iterable[str], flag: str) -> dict[str, str]:
    """`K=V` texts as a mapping.

    Raises:
        Misused: one has no `=` or no key, or a key comes twice.
    """
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise Misused(f"{flag} wants NAME=VALUE, not {text!r}")
        if key in found:
            raise Misused(f"{flag} has {key!r} twice")
        found[key] = value
    return found


def reasoned(reason: str | None, flag: str, *, is_given: bool) -> str | None:
    """The reason that goes with `flag`; None where that was not given.

    Raises:
        Misused: one was given without the other.
    """
    if is_given and not (reason or "").strip():
        raise Misused(f"{flag} needs --reason TEXT: it is kept in the audit log")
    if reason is not None and not is_given:
        raise Misused(f"--reason goes with {flag}")
    return reason


def overridden(reason: str | None, *, is_given: bool) -> Override | None:
    """Who promotes something untried and why; None where `--override` was not given.

    Raises:
        Misused: `--override` and `--reason` were not given together.
    """
    from arifa.hub.golive import Override

    why = reasoned(reason, "--override", is_given=is_given)
    return None if why is None else Override(_who(), why)


def _who() -> str:
    """The person at this machine, as it knows them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a number that has no name.
        return "unknown"


# ---------------------------------------------------------------------------------- credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What a feed proves itself with, as files.

    Attributes:
        public_key: FILE with the other side's public key, PEM; several while keys are rotated.
        private_key: FILE with our private key, PEM.
        username: the user of HTTP Basic.
        password_file: FILE with its password.
        secret_file: FILE with the shared secret; several while secrets are rotated.
    """

    public_key: tuple[Path, ...] = ()
    private_key: Path | None = None
    username: str | None = None
    password_file: tuple[Path, ...] = ()
    secret_file: tuple[Path, ...] = ()

    def credentials(self, addresses: tuple[str, ...] = ()) -> Credentials:
        """The credentials in these files.

        Raises:
            Refused: a file or a key cannot be read.
        """
        private = self.private_key
        return Credentials(
            public_keys=tuple(
                _key(path, "--public-key", rsa_public_key) for path in self.public_key
            ),
            private_key=None
            if private is None
            else _key(private, "--private-key", rsa_private_key),
            secrets=tuple(
                read_secret_text(path, "--secret-file").encode() for path in self.secret_file
            ),
            username=self.username,
            passwords=tuple(
                read_secret_text(path, "--password-file") for path in self.password_file
            ),
            addresses=addresses,
        )


KeyFlags = Annotated[Keys, Parameter(name="*")]
NO_KEYS: Final = Keys()
Networks = Annotated[tuple[str, ...], Parameter(validator=checked_by(network))]


def _key(path: Path, flag: str, load: Callable[[bytes], object]) -> bytes:
    text = read_secret_text(path, flag).encode()
    try:
        pem = normal_pem(text)
        load(pem)
    except Refused as error:
        raise Refused(f"{flag} {path}: {error}") from None
    return pem
