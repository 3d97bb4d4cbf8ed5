"""Settings: which value holds, where it came from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from arifa.errors import Refused
from arifa.settings import load, masked_url, read_secret_text


def origin(settings, name: str) -> tuple[object, str]:
    value = settings.values[name]
    return value.value, value.origin.value


def test_defaults(tmp_path: Path) -> None:
    """Without anything set there is ./arifa-data and SQLite in it."""
    settings = load({}, {}, tmp_path)
    assert origin(settings, "data") == ("arifa-data", "default")
    assert settings.database is None
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8080, 1)


def test_precedence(tmp_path: Path) -> None:
    """Flag before environment, before the data folder's file, before the one here."""
    data = tmp_path / "books"
    data.mkdir()
    (tmp_path / "arifa.toml").write_text(
        'data = "books"\nport = 1\nadmin_port = 1\nworkers = 2\nhost = "here"\n'
    )
    (data / "arifa.toml").write_text('port = 2\nadmin_port = 2\nworkers = 3\ndata = "ignored"\n')
    environment = {"ARIFA_ADMIN_PORT": "3", "ARIFA_WORKERS": "4"}
    settings = load({}, environment, tmp_path).with_flags({"workers": 5, "host": None})
    assert settings.data == data
    assert origin(settings, "host") == ("here", "arifa.toml")
    assert origin(settings, "port") == (2, "arifa.toml")
    assert origin(settings, "admin_port") == (3, "environment")
    assert origin(settings, "workers") == (5, "flag")
    assert settings.values["workers"].where == "--workers"


def test_a_variable_may_name_a_file(tmp_path: Path) -> None:
    """`*_FILE` holds the path of the value, and one final newline is dropped."""
    (tmp_path / "url").write_text("postgresql://u:p@h/d\n")
    settings = load({}, {"ARIFA_DATABASE_URL_FILE": str(tmp_path / "url")}, tmp_path)
    assert origin(settings, "database") == ("postgresql://u:p@h/d", "environment")


def test_a_file_may_name_a_file(tmp_path: Path) -> None:
    """The key is never in arifa.toml, but its file may be named there, beside it."""
    (tmp_path / "key").write_text("abc\n")
    (tmp_path / "arifa.toml").write_text('key_file = "key"\n')
    assert origin(load({}, {}, tmp_path), "key") == ("abc", "arifa.toml")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ARIFA_PORT": "eighty"}, "ARIFA_PORT wants a port"),
        ({"ARIFA_PORT": "65536"}, "ARIFA_PORT wants a port"),
        ({"ARIFA_WORKERS": "0"}, "ARIFA_WORKERS wants a number"),
        ({"ARIFA_ALLOW_PRIVATE": "perhaps"}, "true or false"),
        ({"ARIFA_TRUSTED_PROXIES": "10.0.0.0/99"}, "not an address"),
        ({"ARIFA_ALLOW_PORTS": "443,0"}, "ARIFA_ALLOW_PORTS wants ports"),
        ({"ARIFA_EGRESS_PROXY": "proxy:4750"}, "ARIFA_EGRESS_PROXY wants the address of a proxy"),
        ({"ARIFA_EGRESS_PROXY": "http://proxy:4750/path"}, "the address of a proxy"),
        ({"ARIFA_KEY": "a", "ARIFA_KEY_FILE": "b"}, "unset one"),
        ({"ARIFA_KEY_FILE": "missing"}, "cannot be read"),
    ],
)
def test_wrong_variables(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    """A wrong variable is named in one sentence."""
    with pytest.raises(Refused, match=said):
        load({}, environment, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = ", "is not TOML"),
        ("prot = 1", "'prot'"),
        ('key = "abc"', "key_file"),
        ("port = true", "port"),
        ("workers = 1.5", "number"),
        ("allow_ports = [8443, true]", "ports"),
        ('trusted_proxies = "x"', "not an address"),
        ("data = 1", "text"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, said: str) -> None:
    """A wrong arifa.toml is named in one sentence, unknown settings too."""
    (tmp_path / "arifa.toml").write_text(text)
    with pytest.raises(Refused, match=said):
        load({}, {}, tmp_path)


def test_empty_variables_are_not_set(tmp_path: Path) -> None:
    """An empty variable, as compose files leave them, is none."""
    assert load({}, {"ARIFA_DATA": "", "ARIFA_PORT": ""}, tmp_path).port == 8080


def test_what_is_shown_holds_no_secret(tmp_path: Path) -> None:
    """Key and password are masked; everything else is there with its origin."""
    environment = {"ARIFA_KEY": "topsecret", "ARIFA_DATABASE_URL": "postgresql://u:hunter2@h/d"}
    shown = load({}, environment, tmp_path).shown()
    assert "topsecret" not in str(shown)
    assert "hunter2" not in str(shown)
    assert shown["database"] == {
        "value": "postgresql://u:***@h/d",
        "origin": "environment",
        "where": "ARIFA_DATABASE_URL",
    }


def test_where_deliveries_may_go(tmp_path: Path) -> None:
    """Ports come one by one, with commas, or as a list; the proxy's password is not shown."""
    (tmp_path / "arifa.toml").write_text("allow_ports = [8443, 9443]\n")
    environment = {"ARIFA_EGRESS_PROXY": "http://hub:hunter2@proxy.internal:4750"}
    settings = load({}, environment, tmp_path)
    assert settings.allow_ports == (8443, 9443)
    assert settings.egress_proxy == "http://hub:hunter2@proxy.internal:4750"
    assert "hunter2" not in str(settings.shown())
    assert load({}, {"ARIFA_ALLOW_PORTS": "1, 2"}, tmp_path).allow_ports == (1, 2)
    assert load({"allow_ports": (3,)}, {}, tmp_path).allow_ports == (3,)
    with pytest.raises(Refused, match="--allow-port wants"):
        load({"allow_ports": (0,)}, {}, tmp_path)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://u:p@ss:w/rd@h/d", "postgresql://u:***@h/d"),
        ("postgresql://h/d?user=u&password=p&x=1", "postgresql://h/d?user=u&password=***&x=1"),
    ],
)
def test_masked_urls(url: str, masked: str) -> None:
    """No part of a password is shown, not even where it holds signs of a URL."""
    assert masked_url(url) == masked


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a", "a"),
        (b"a\n", "a"),
        (b"a\r\n", "a"),
        (b"a\n\n", "a\n"),
        (b" a ", " a "),
        ("ä".encode(), "ä"),
    ],
)
def test_secret_files(tmp_path: Path, content: bytes, text: str) -> None:
    """UTF-8, one final newline dropped, and nothing else."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert read_secret_text(path, "--secret-file") == text


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_wrong_secret_files(tmp_path: Path, content: bytes) -> None:
    """An empty secret, or one that is no text, is refused and named by its flag."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(Refused, match="--secret-file"):
        read_secret_text(path, "--secret-file")
