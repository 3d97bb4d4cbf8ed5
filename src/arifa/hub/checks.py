"""What makes a source or an endpoint one that can work: everything is looked at before it is stored.

What cannot work is refused with the sentence that says what to do; what works but may surprise
comes back as notes. Where an endpoint's address leads is looked at before each attempt, not here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import SplitResult, urlsplit

from arifa.dialects.base import Dialect
from arifa.errors import Refused
from arifa.feed import Endpoint, Profile
from arifa.host import check_host
from arifa.money import is_currency
from arifa.notification import Direction, Kind, Status
from arifa.signing import Credentials, WebhookSignature
from arifa.signing.credentials import network, normal_address
from arifa.signing.keys import rsa_private_key, rsa_public_key
from arifa.signing.webhook import secret_bytes
from arifa.timestamp import zone

URL_CHARACTERS_MAX: Final = 2048
ACCOUNT_CHARACTERS_MAX: Final = 64
SECRET_BYTES_MIN: Final = 16
"""Of a shared secret: 128 bits, if they are random."""
_INNER_NAMES: Final = ("localhost", ".localhost", ".local", ".internal", ".lan", ".home.arpa")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_IDS: Final = ("src_", "end_")


def check_name(name: str) -> None:
    """See that a source or an endpoint may be called so.

    Raises:
        Refused: it may not.
    """
    if not _NAME.fullmatch(name) or name.startswith(_IDS):
        raise Refused(
            f"{name!r} cannot be a name: use letters, digits, '.', '-' and '_', 63 at most, "
            f"beginning with a letter or a digit and not with 'src_' or 'end_'"
        )


def checked_profile(
    dialect: Dialect, currency: str | None, timezone: str | None, options: Mapping[str, str]
) -> Profile:
    """The profile of a feed; what is None is the dialect's default.

    Raises:
        Refused: no such currency, time zone or option.
    """
    if currency is not None and not is_currency(currency):
        raise Refused(f"{currency!r} is not an ISO 4217 currency; write a code such as KES")
    if timezone is not None:
        zone(timezone)
    dialect.check_options(options)
    return Profile(
        currency=currency or dialect.defaults.currency,
        timezone=timezone or dialect.defaults.timezone,
        options=dict(options),
    )


# ---------------------------------------------------------------------------------- credentials


def check_credentials(
    dialect: Dialect, credentials: Credentials, *, sending: bool = False
) -> list[str]:
    """See that the credentials can be used, and are enough; gives notes on those that are idle.

    Raises:
        Refused: one of them cannot be read, lacks its other half, or is missing.
    """
    for pem in credentials.public_keys:
        rsa_public_key(pem)
    if credentials.private_key is not None:
        rsa_private_key(credentials.private_key)
    for address in credentials.addresses:
        network(address)
    _check_pair(credentials)
    if not all(credentials.secrets) or not all(credentials.passwords):
        raise Refused("an empty secret proves nothing: put one into the file")
    if signs_webhooks(dialect):
        for secret in credentials.secrets:
            secret_bytes(secret)
    dialect.check_credentials(credentials, sending=sending)
    return [
        *_weak(dialect, credentials, sending=sending),
        *_idle(dialect, credentials, sending=sending),
    ]


def _weak(dialect: Dialect, credentials: Credentials, *, sending: bool) -> list[str]:
    """A secret that can be guessed: not ours to make, but a bank's own is as the bank made it."""
    if all(len(secret) >= SECRET_BYTES_MIN for secret in credentials.secrets):
        return []
    if not any("secrets" in proof.verifies_with for proof in dialect.proofs):
        return []
    if sending:
        raise Refused(
            f"the secret is shorter than {SECRET_BYTES_MIN} bytes, so that it could be guessed; "
            f"make one with: openssl rand -hex 32"
        )
    return [f"the secret is shorter than {SECRET_BYTES_MIN} bytes: ask the bank for a longer one"]


def _check_pair(credentials: Credentials) -> None:
    if bool(credentials.username) != bool(credentials.passwords):
        raise Refused("a user and its password go together: --username U --password-file F")
    if credentials.username and ":" in credentials.username:
        raise Refused("the user name holds a colon, which HTTP Basic cannot carry")


def _idle(dialect: Dialect, credentials: Credentials, *, sending: bool) -> list[str]:
    used = {"username", "passwords", *(() if sending else ("addresses",))}
    for proof in dialect.proofs:
        used.update(proof.signs_with if sending else proof.verifies_with)
    flags = {
        "public_keys": "--public-key",
        "private_key": "--private-key",
        "secrets": "--secret-file",
        "addresses": "--allow-ip",
    }
    return [
        f"{dialect.name} makes no use of {flag} here: it proves nothing"
        for name, flag in flags.items()
        if name not in used and getattr(credentials, name)
    ]


def signs_webhooks(dialect: Dialect) -> bool:
    """Whether it signs as Standard Webhooks do, with a secret that the hub can make."""
    return any(isinstance(proof, WebhookSignature) for proof in dialect.proofs)


# ---------------------------------------------------------------------------------- filter


def with_defaults(dialect: Dialect, endpoint: Endpoint) -> Endpoint:
    """The endpoint with the directions and currencies that its dialect has words for, if unsaid."""
    if endpoint.alerts:
        return endpoint
    return replace(
        endpoint,
        directions=endpoint.directions or _directions_by_default(dialect),
        currencies=endpoint.currencies or currencies_by_default(dialect, endpoint.profile),
    )


def _directions_by_default(dialect: Dialect) -> frozenset[str]:
    """Those that the dialect has words for; none, which is all, where it has words for all."""
    words = dialect.expresses.directions
    return frozenset() if words == frozenset(Direction) else frozenset(words)


def currencies_by_default(dialect: Dialect, profile: Profile) -> frozenset[str]:
    """Those that the dialect can say; none, which is all, where it can say all."""
    words = dialect.expresses.currencies
    if words is None:
        return frozenset()
    return words or frozenset({profile.currency})


def check_filter(dialect: Dialect, endpoint: Endpoint) -> list[str]:
    """See that the endpoint's filter lets nothing through that its dialect has no words for.

    Raises:
        Refused: it does; the sentence names the flags that narrow it.
    """
    _check_words(endpoint)
    if endpoint.alerts:
        return _check_alerts(dialect, endpoint)
    words = dialect.expresses
    flags = []
    if not (endpoint.statuses or frozenset(Status)) <= words.statuses:
        only_success = words.statuses == {Status.SUCCESS}
        flags.append("--success-only" if only_success else f"--statuses {_all(words.statuses)}")
    if not (endpoint.kinds or frozenset(Kind)) <= words.kinds:
        flags.append(f"--kinds {_all(words.kinds)}")
    if not (endpoint.directions or frozenset(Direction)) <= words.directions:
        flags.append(f"--directions {_all(words.directions)}")
    known = currencies_by_default(dialect, endpoint.profile)
    if known and not (endpoint.currencies and endpoint.currencies <= known):
        flags.append(f"--currencies {_all(known)}")
    if flags:
        raise Refused(
            f"{dialect.name} has no words for some of what this endpoint would be told of, and a "
            f"message must never say something else: narrow it with {' '.join(flags)}"
        )
    if not known:
        return []
    return [f"{dialect.name} says amounts in {_all(known)} only: of any other it is not told"]


def _check_words(endpoint: Endpoint) -> None:
    for code in sorted(endpoint.currencies):
        if not is_currency(code):
            raise Refused(f"{code!r} is not an ISO 4217 currency; write a code such as KES")
    for account in endpoint.accounts:
        if not account.isprintable() or len(account) > ACCOUNT_CHARACTERS_MAX:
            raise Refused(
                f"an account is of printable characters, {ACCOUNT_CHARACTERS_MAX} at most"
            )


def _check_alerts(dialect: Dialect, endpoint: Endpoint) -> list[str]:
    filters = ("statuses", "kinds", "directions", "sources", "currencies", "accounts")
    if any(getattr(endpoint, name) for name in filters):
        raise Refused(
            "an endpoint for alerts hears of dead deliveries and the like, and of no payment: "
            "leave its filter out, or make two endpoints"
        )
    if dialect.passes_on or not signs_webhooks(dialect):
        raise Refused(
            f"{dialect.name} has words for payments only; alerts need the dialect standard_webhooks"
        )
    return []


def _all(words: Iterable[str]) -> str:
    return " ".join(sorted(words))


# ---------------------------------------------------------------------------------- address


def check_url(url: str) -> list[str]:
    """See that notifications may be sent to this address; gives notes on what may surprise.

    Plain http is for addresses within the house only: a payer's name and number must not cross the
    internet in the clear.

    Raises:
        Refused: it is no such address.
    """
    parts = _split(url)
    host = parts.hostname or ""
    is_inner = _is_inner(host)
    if parts.scheme == "http" and not is_inner:
        raise Refused(
            f"an endpoint at {host} needs https: over http anybody on the way can read who paid "
            f"what, and answer in the merchant's place"
        )
    if is_inner:
        return [f"{host} is a private address: it needs --allow-private on arifa serve"]
    return []


def _split(url: str) -> SplitResult:
    # urlsplit drops tabs and newlines without a word, and a browser takes a backslash for a slash.
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise Refused("the URL holds a character that a URL cannot hold; write it percent-encoded")
    if len(url) > URL_CHARACTERS_MAX:
        raise Refused(f"the URL is longer than {URL_CHARACTERS_MAX} characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("the URL cannot be read; write https://HOST/PATH") from None
    if parts.scheme not in ("https", "http"):
        raise Refused("the URL begins neither with https:// nor with http://")
    if not parts.hostname or port == 0:
        raise Refused("the URL has no host, or no port that can be; write https://HOST/PATH")
    check_host(parts.hostname)
    if "@" in parts.netloc:
        raise Refused(
            "the URL holds a user or a password, which would show in lists and logs; give them "
            "with --username and --password-file"
        )
    if "#" in url:
        raise Refused("the URL has a fragment (behind '#'), which is never sent; leave it out")
    return parts


def _is_inner(host: str) -> bool:
    address = normal_address(host)
    if address is not None:
        return not address.is_global
    # A name without a point is one that only the house's own resolver knows.
    return "." not in host or host.endswith(_INNER_NAMES)
