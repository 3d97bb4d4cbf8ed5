"""The kit of receivers that misbehave, by itself: it does what it says, and can be run by hand."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from arifa.simulator.behaviours import BEHAVIOURS
from arifa.simulator.certificates import Authority
from arifa.simulator.hostile import HostileReceiver, main

REQUEST = b"POST /hook HTTP/1.1\r\nhost: a\r\nwebhook-id: ntf_7\r\ncontent-length: 2\r\n\r\n{}"


async def told(receiver, trust=None, *, enough=1 << 20):
    """What a plain client is sent in answer, up to the end or to `enough` bytes."""
    place = urlsplit(receiver.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, ssl=trust)
    writer.write(REQUEST)
    heard = b""
    with contextlib.suppress(ConnectionError):
        while len(heard) < enough and (piece := await reader.read(65536)):
            heard += piece
    writer.transport.abort()
    return heard


def ask(name, **kwargs):
    async def main():
        async with HostileReceiver(BEHAVIOURS[name], pace=0) as receiver:
            heard = await told(receiver, **kwargs)
            await receiver.left_alone()
            return heard, receiver

    return asyncio.run(main())


def test_each_has_a_name_a_text_and_a_cause():
    """At least forty, each told apart by its name and by what it does."""
    assert len(BEHAVIOURS) >= 40
    assert len({behaviour.what for behaviour in BEHAVIOURS.values()}) == len(BEHAVIOURS)
    for name, behaviour in BEHAVIOURS.items():
        assert re.fullmatch(r"[a-z0-9.-]+", name)
        assert behaviour.cause.split()
        assert behaviour.act is not None or behaviour.name in ("refuses", "silent")


def test_a_request_is_read_and_answered():
    """What is said is said after the request came, and its id is kept."""
    heard, receiver = ask("gone")
    assert heard.startswith(b"HTTP/1.1 410 ")
    assert receiver.ids == ["ntf_7"]
    assert receiver.visits == 1


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("endless-headers", rb"HTTP/1.1 200 OK\r\n(x-a: b\r\n){1000}"),
        ("interim-flood", rb"(HTTP/1.1 103 Early Hints\r\n\r\n){1000}"),
        ("drips-headers", rb"HTTP/1.1 200 OK\r\nx-a: y{9}"),
        ("endless-chunks", rb"(?s).*\r\n\r\n(1\r\ny\r\n){1000}"),
        ("chunk-extensions", rb"(?s).*\r\n\r\n1;a=y{1000}"),
    ],
)
def test_what_is_without_end_goes_on(name, pattern):
    """It is still sending when the client has had enough, and stops when the client is gone."""
    heard, _ = ask(name, enough=1000 if "drips" in name else 100_000)
    assert re.match(pattern, heard)


def test_a_huge_header_is_huge():
    """All of it is sent to who takes it."""
    heard, _ = ask("huge-header", enough=1 << 30)
    assert len(heard) > 10_000_000


def test_a_bomb_is_small_until_it_is_unpacked():
    """64 KB on the way, a thousand times as much behind it."""
    import zlib

    heard, _ = ask("gzip-bomb", enough=1 << 30)
    body = heard.partition(b"\r\n\r\n")[2]
    assert len(body) < 100_000
    assert len(zlib.decompress(body, 31)) == 64 << 20


def test_who_alternates_takes_turns():
    """Its answers follow each other, one a connection."""

    async def main():
        async with HostileReceiver(BEHAVIOURS["alternates"]) as receiver:
            return [(await told(receiver))[9:12] for _ in range(4)]

    assert asyncio.run(main()) == [b"500", b"200", b"500", b"200"]


def test_who_refuses_keeps_its_port():
    """Nothing answers there, and no other program can take it meanwhile."""

    async def main():
        async with HostileReceiver(BEHAVIOURS["refuses"]) as receiver:
            place = urlsplit(receiver.url)
            with pytest.raises(ConnectionRefusedError):
                await told(receiver)
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind((place.hostname, place.port))

    asyncio.run(main())


def test_who_behaves_well_is_believed_by_who_knows_its_authority():
    """And by nobody else."""

    async def main():
        authority = Authority()
        behaviour = BEHAVIOURS["well-behaved"]
        async with HostileReceiver(behaviour, authority=authority) as receiver:
            heard = await told(receiver, authority.trust())
            with pytest.raises(ssl.SSLCertVerificationError):
                await told(receiver, Authority().trust())
        return heard

    assert asyncio.run(main()).startswith(b"HTTP/1.1 200")


def test_the_command_lists_what_there_is(capsys):
    """Each by name, with what it does and the cause."""
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(BEHAVIOURS)


def test_a_name_that_is_not_there(capsys):
    """It is a wrong use, with a hint."""
    with pytest.raises(SystemExit, match="2"):
        main(["drips-everything"])
    assert "--list" in capsys.readouterr().err


def test_the_command_serves():
    """Each behaviour that is named has an address of its own, printed once it can be called."""
    command = [sys.executable, "-m", "arifa.simulator.hostile", "gone", "refuses"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        lines = [serving.stdout.readline() for _ in range(2)]
        urls = {line.split()[1].rstrip(":"): line.split()[0] for line in lines}
        place = urlsplit(urls["gone"])
        with socket.create_connection((place.hostname, place.port), timeout=20) as client:
            client.sendall(REQUEST)
            assert client.recv(12) == b"HTTP/1.1 410"
        place = urlsplit(urls["refuses"])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((place.hostname, place.port), timeout=20)
        serving.terminate()


def test_a_reader_that_goes_away_ends_the_list() -> None:
    """As with `arifa`: exit code 141, and no trace of the program."""
    command = [sys.executable, "-m", "arifa.simulator.hostile", "--list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
