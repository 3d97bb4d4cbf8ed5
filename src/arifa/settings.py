"""The settings: what each is, where it may come from, and where it did come from.

    flag  >  environment  >  arifa.toml in the data folder  >  arifa.toml here  >  default

Every setting `name` has the variable `ARIFA_NAME`, and `ARIFA_NAME_FILE` for the path of a file that
holds the value (UTF-8, one final newline dropped), so that a secret need not be in the environment.
The database's variable is `ARIFA_DATABASE_URL`. In `arifa.toml` the names stand as they are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from arifa.errors import Refused

if TYPE_CHECKING:
    from arifa.delivery.mail import MailServer

FILE_NAME: Final = "arifa.toml"
PORT_MAX: Final = 65_535
WORKERS_MAX: Final = 64

T = TypeVar("T")


class Origin(StrEnum):
    """Where a value came from."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "arifa.toml"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Value:
    """A value, its origin, and the flag, variable or file that gave it."""

    value: object
    origin: Origin
    where: str


# ---------------------------------------------------------------------------------- reading


def _text(given: object) -> str:
    if isinstance(given, str) and given.strip():
        return given
    raise ValueError("a text that is not empty")


def _whole(given: object) -> int:
    if isinstance(given, str) and given.strip().isascii() and given.strip().isdigit():
        return int(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    return -1


def _port(given: object) -> int:
    port = _whole(given)
    if 0 <= port <= PORT_MAX:
        return port
    raise ValueError(f"a port from 0 to {PORT_MAX}, where 0 is any that is free")


def _workers(given: object) -> int:
    workers = _whole(given)
    if 1 <= workers <= WORKERS_MAX:
        return workers
    raise ValueError(f"a number from 1 to {WORKERS_MAX}")


def _yes_or_no(given: object) -> bool:
    if isinstance(given, bool):
        return given
    word = given.strip().lower() if isinstance(given, str) else ""
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("true or false")


def _addresses(given: object) -> tuple[str, ...]:
    if isinstance(given, str):
        given = [item.strip() for item in given.split(",") if item.strip()]
    if not isinstance(given, list | tuple) or not all(isinstance(item, str) for item in given):
        raise ValueError("a list of mail addresses, such as ops@example.com")
    return tuple(given)


def _networks(given: object) -> tuple[str, ...]:
    from arifa.signing.credentials import network

    if isinstance(given, str):
        given = [item.strip() for item in given.split(",") if item.strip()]
    if not isinstance(given, list | tuple) or not all(isinstance(item, str) for item in given):
        raise ValueError("a list of addresses or networks, such as 10.0.0.0/8")
    for item in given:
        network(item)
    return tuple(given)


def _ports(given: object) -> tuple[int, ...]:
    if isinstance(given, str):
        given = [item.strip() for item in given.split(",") if item.strip()]
    ports = tuple(_whole(item) for item in given) if isinstance(given, list | tuple) else (-1,)
    if not all(1 <= port <= PORT_MAX for port in ports):
        raise ValueError(f"ports from 1 to {PORT_MAX}")
    return ports


def _proxy_url(given: object) -> str:
    try:
        parts = urlsplit(given if isinstance(given, str) else "")
        is_one = parts.scheme == "http" and bool(parts.hostname and parts.port)
        is_bare = parts.path in ("", "/") and not (parts.query or parts.fragment)
    except ValueError:
        is_one = is_bare = False
    if isinstance(given, str) and is_one and is_bare:
        return given
    raise ValueError("the address of a proxy, such as http://proxy.internal:4750")


@dataclass(frozen=True, slots=True)
class _Setting:
    """How one setting is read. `is_secret`: it may not stand in `arifa.toml`, nor be shown."""

    default: object
    read: Callable[[object], object]
    variable: str
    is_secret: bool = False


_SETTINGS: Final[Mapping[str, _Setting]] = {
    "data": _Setting("arifa-data", _text, "ARIFA_DATA"),
    "database": _Setting(None, _text, "ARIFA_DATABASE_URL"),
    "key": _Setting(None, _text, "ARIFA_KEY", is_secret=True),
    "host": _Setting("127.0.0.1", _text, "ARIFA_HOST"),
    "port": _Setting(8080, _port, "ARIFA_PORT"),
    "admin_port": _Setting(8081, _port, "ARIFA_ADMIN_PORT"),
    "allow_private": _Setting(False, _yes_or_no, "ARIFA_ALLOW_PRIVATE"),
    "allow_ports": _Setting((), _ports, "ARIFA_ALLOW_PORTS"),
    "egress_proxy": _Setting(None, _proxy_url, "ARIFA_EGRESS_PROXY"),
    "workers": _Setting(1, _workers, "ARIFA_WORKERS"),
    "one_process": _Setting(False, _yes_or_no, "ARIFA_ONE_PROCESS"),
    "smtp_url": _Setting(None, _text, "ARIFA_SMTP_URL", is_secret=True),
    "smtp_to": _Setting((), _addresses, "ARIFA_SMTP_TO"),
    "smtp_from": _Setting(None, _text, "ARIFA_SMTP_FROM"),
    "trusted_proxies": _Setting((), _networks, "ARIFA_TRUSTED_PROXIES"),
    "watch_folder": _Setting(None, _text, "ARIFA_WATCH_FOLDER"),
    "processor": _Setting("instant", _text, "ARIFA_PROCESSOR"),
    "callback_dialect": _Setting("standard_webhooks", _text, "ARIFA_CALLBACK_DIALECT"),
}


# ---------------------------------------------------------------------------------- settings


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, each with its origin."""

    values: Mapping[str, Value]

    @property
    def data(self) -> Path:
        """The data folder."""
        return Path(self._get("data", str))

    @property
    def database(self) -> str | None:
        """The URL of the database; None for the SQLite file in the data folder."""
        return cast("str | None", self.values["database"].value)

    @property
    def key(self) -> str | None:
        """The key-encryption key in base64; None for the file in the data folder."""
        return cast("str | None", self.values["key"].value)

    @property
    def host(self) -> str:
        """The address that `serve` listens on."""
        return self._get("host", str)

    @property
    def port(self) -> int:
        """The port of the intake and the portal."""
        return self._get("port", int)

    @property
    def admin_port(self) -> int:
        """The port of health and metrics."""
        return self._get("admin_port", int)

    @property
    def allow_private(self) -> bool:
        """Whether deliveries may go to loopback and private addresses."""
        return self._get("allow_private", bool)

    @property
    def allow_ports(self) -> tuple[int, ...]:
        """The ports besides 443 that deliveries may go to."""
        return cast("tuple[int, ...]", self.values["allow_ports"].value)

    @property
    def egress_proxy(self) -> str | None:
        """The proxy that https deliveries go through; it may hold a password."""
        return cast("str | None", self.values["egress_proxy"].value)

    @property
    def one_process(self) -> bool:
        """Whether the serving process writes the books itself."""
        return self._get("one_process", bool)

    @property
    def workers(self) -> int:
        """How many processes serve."""
        return self._get("workers", int)

    @property
    def mail(self) -> MailServer | None:
        """The mail server that alerts go to; None where none is set.

        Raises:
            Refused: it cannot be used.
        """
        url = cast("str | None", self.values["smtp_url"].value)
        if url is None:
            return None
        from arifa.delivery.mail import mail_server

        recipients = cast("tuple[str, ...]", self.values["smtp_to"].value)
        return mail_server(url, recipients, cast("str | None", self.values["smtp_from"].value))

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """The networks whose `x-forwarded-for` is believed."""
        return cast("tuple[str, ...]", self.values["trusted_proxies"].value)

    @property
    def watch_folder(self) -> Path | None:
        """The folder whose files of events are entered; None watches none."""
        value = cast("str | None", self.values["watch_folder"].value)
        return None if value is None else Path(value)

    @property
    def processor(self) -> str:
        """Who settles the transactions that are approved."""
        return self._get("processor", str)

    @property
    def callback_dialect(self) -> str:
        """The form in which this bank tells its merchants, unless a callback says another."""
        return self._get("callback_dialect", str)

    def _get(self, name: str, kind: type[T]) -> T:
        value = self.values[name].value
        assert isinstance(value, kind)
        return value

    def with_flags(self, flags: Mapping[str, object]) -> Settings:
        """These settings with flags over them; a flag that is None was not given.

        Raises:
            Refused: a value cannot be used.
        """
        given = {
            name: Value(_read(name, value, _flag(name)), Origin.FLAG, _flag(name))
            for name, value in flags.items()
            if value is not None
        }
        return replace(self, values={**self.values, **given})

    def shown(self) -> dict[str, dict[str, object]]:
        """Every setting as `{"value", "origin", "where"}`, with no secret in it."""
        return {
            name: {"value": self._shown(name), "origin": item.origin.value, "where": item.where}
            for name, item in self.values.items()
        }

    def _shown(self, name: str) -> object:
        value = self.values[name].value
        if name == "data":
            return str(self.data.expanduser().absolute())
        if name == "database":
            if value is None:
                return f"sqlite:///{self.data.expanduser().absolute() / 'arifa.db'}"
            return masked_url(str(value))
        if name == "egress_proxy" and value is not None:
            return masked_url(str(value))
        if name == "smtp_url":
            return None if value is None else "***"
        if name == "key":
            folder = self.data.expanduser().absolute()
            return f"in {folder / 'master.key'}" if value is None else "***"
        return value


# What may come several times is named in the singular on the command line.
_SINGULAR: Final = {"allow_ports": "allow_port", "trusted_proxies": "trusted_proxy"}
_SHORTER: Final = {"watch_folder": "watch"}


def _flag(name: str) -> str:
    return "--" + (_SINGULAR | _SHORTER).get(name, name).replace("_", "-")


def _read(name: str, given: object, where: str) -> object:
    try:
        return _SETTINGS[name].read(given)
    except ValueError as error:
        raise Refused(f"{where} wants {error}") from None
    except Refused as error:
        raise Refused(f"{where}: {error}") from None


def masked_url(url: str) -> str:
    """A database's URL without its password."""
    url = re.sub(r"(://[^:/@]*:).*@", r"\1***@", url)
    return re.sub(r"(?i)((?:password|passfile)=)[^&]*", r"\1***", url)


def load(flags: Mapping[str, object], environment: Mapping[str, str], folder: Path) -> Settings:
    """All settings, by order of precedence.

    Args:
        flags: those of the command line, by the settings' names; None is not given.
        environment: the variables.
        folder: the working directory.

    Raises:
        Refused: a value, a variable's file or an `arifa.toml` cannot be used.
    """
    values = {
        name: Value(setting.default, Origin.DEFAULT, "") for name, setting in _SETTINGS.items()
    }
    values |= _from_file(folder / FILE_NAME)
    outer = _from_environment(environment)
    data = flags.get("data") or (outer.get("data") or values["data"]).value
    inner = folder / Path(str(data)).expanduser() / FILE_NAME
    if inner.parent != folder:
        # It lies in the data folder, so it cannot say where that is.
        values |= {name: value for name, value in _from_file(inner).items() if name != "data"}
    return Settings({**values, **outer}).with_flags(flags)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Value]:
    found = {}
    for name, setting in _SETTINGS.items():
        variable, by_file = setting.variable, f"{setting.variable}_FILE"
        text, path = environment.get(variable), environment.get(by_file)
        if text and path:
            raise Refused(f"both {variable} and {by_file} are set; unset one of them")
        if path:
            text, variable = read_secret_text(Path(path), by_file), by_file
        if text:
            found[name] = Value(_read(name, text, variable), Origin.ENVIRONMENT, variable)
    return found


def read_secret_text(path: Path, where: str) -> str:
    """The text in `path`, UTF-8, one final newline dropped; `where` names what asked for it.

    Raises:
        Refused: it cannot be read, is not UTF-8 or is empty.
    """
    try:
        text = path.expanduser().read_bytes().decode("utf-8")
    except OSError as error:
        raise Refused(f"{where}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{where}: {path} is not a text in UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise Refused(f"{where}: {path} is empty")
    return text


def _from_file(path: Path) -> dict[str, Value]:
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path} is not TOML: {error}") from None
    return dict(_of_file(path, name, given) for name, given in document.items())


def _of_file(path: Path, name: str, given: Any) -> tuple[str, Value]:
    by_file = name.removesuffix("_file")
    if by_file != name and by_file in _SETTINGS:
        text = read_secret_text(path.parent / _text_of(path, name, given), f"{name} in {path}")
        return by_file, Value(_read(by_file, text, f"{name} in {path}"), Origin.FILE, str(path))
    setting = _SETTINGS.get(name)
    if setting is None:
        raise Refused(
            f"{path} has a setting {name!r} that is not known; there are {', '.join(_SETTINGS)}"
        )
    if setting.is_secret:
        raise Refused(f"{path} should not hold a secret: name its file in {name}_file instead")
    value = _read(name, given, f"{name} in {path}")
    if name == "data":
        value = str(path.parent / Path(str(value)).expanduser())
    return name, Value(value, Origin.FILE, str(path))


def _text_of(path: Path, name: str, given: object) -> Path:
    if not isinstance(given, str) or not given:
        raise Refused(f"{name} in {path} wants the path of a file")
    return Path(given).expanduser()
