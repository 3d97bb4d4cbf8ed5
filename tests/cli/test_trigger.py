"""`arifa trigger` against a real hub: what it sends, what it prints, how it exits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from arifa.cli.main import main
from arifa.feed import Source
from arifa.simulator.message import public_half
from arifa.web.announced import SERVING_FILE
from tests.simulator.hub import PASSWORD, WAYS, Hub, running, sides


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("hub")) as found:
        yield found


@dataclass(frozen=True)
class Done:
    """One call of the command."""

    code: int
    rows: list[dict[str, Any]]
    error: str

    @property
    def statuses(self) -> list[int]:
        """Of all answers."""
        return [row["status"] for row in self.rows]


class Trigger:
    """`arifa trigger … --json` on the hub's data."""

    def __init__(self, hub: Hub, capture: pytest.CaptureFixture[str]) -> None:
        self.hub = hub
        self._capture = capture

    def __call__(self, *words: str, data: Path | None = None) -> Done:
        self._capture.readouterr()
        code = main(["trigger", *words, "--json", "--data", str(data or self.hub.folder)])
        said, complained = self._capture.readouterr()
        return Done(code, [json.loads(line) for line in said.splitlines()], complained)


@pytest.fixture
def trigger(hub: Hub, capsys: pytest.CaptureFixture[str]) -> Trigger:
    return Trigger(hub, capsys)


def source_of(hub: Hub, way: str, folder: Path) -> tuple[Source, list[str]]:
    """A new source, and the flags for the key that the hub does not have."""
    _, theirs, ours = sides(way)
    source = hub.source(sides(way)[0], ours)
    if theirs.private_key is None:
        return source, []
    key = folder / "bank.pem"
    key.write_bytes(theirs.private_key)
    return source, ["--private-key", str(key)]


@pytest.mark.parametrize("way", WAYS)
def test_by_the_sources_name(hub: Hub, trigger: Trigger, tmp_path: Path, way: str):
    """Path, secrets and passwords come from the store, and the address from the serving hub."""
    source, flags = source_of(hub, way, tmp_path)
    done = trigger(source.dialect, "--source", source.name, *flags)
    assert (done.code, done.statuses, done.error) == (0, [200], "")
    assert set(done.rows[0]) >= {"sent", "status", "outcome", "body"}
    assert done.rows[0]["sent"].encode() == hub.bodies(source)[0]
    assert len(hub.notifications(source)) == 1


@pytest.mark.parametrize(
    ("way", "fault", "outcomes"),
    [
        ("kcb", "bad-signature", ["NOT_GENUINE"]),
        ("cbs", "changed-body", ["NOT_GENUINE"]),
        ("jenga", "duplicate", ["ACCEPTED"] * 2),
        ("xente by address", "conflict", ["ACCEPTED"] * 2),
        ("cbs", "other-split", ["ACCEPTED"] * 2),
        ("kcb", "slow", ["ACCEPTED"]),
        ("standard_webhooks", "late", ["ACCEPTED"] * 4),
        ("credit_bank by password", "reordered", ["ACCEPTED"] * 2),
        ("cbs", "reversal", ["ACCEPTED"] * 2),
    ],
)
def test_a_fault_that_is_answered_well_is_no_failure(
    trigger: Trigger, tmp_path: Path, way: str, fault: str, outcomes: list[str]
):
    """Exit 0 says that the hub did right."""
    source, flags = source_of(trigger.hub, way, tmp_path)
    done = trigger(source.dialect, "--source", source.name, *flags, "--fault", fault)
    assert done.code == 0, done.rows
    assert [row["outcome"] for row in done.rows] == outcomes


def test_a_wrong_answer_is_a_failure(hub: Hub, trigger: Trigger, tmp_path: Path):
    """A genuine message that is refused exits with 1, and says what was expected."""
    source, _ = source_of(hub, "cbs", tmp_path)
    wrong = tmp_path / "secret"
    wrong.write_text("another secret\n")
    done = trigger("cbs", "--source", source.name, "--secret-file", str(wrong))
    assert (done.code, done.statuses) == (1, [401])
    assert (done.rows[0]["expected"], done.rows[0]["as_expected"]) == ("ACCEPTED", False)


def test_a_case_and_repeats(hub: Hub, trigger: Trigger, tmp_path: Path):
    """The first goes out as published; each further one is another payment."""
    source, flags = source_of(hub, "kcb", tmp_path)
    done = trigger("kcb", "till", "--source", source.name, *flags, "--repeat", "3")
    references = [item.reading.bank_reference for item in hub.notifications(source)]
    assert done.code == 0
    assert references[-1] == "FT25139M3RM6"
    assert len(set(references)) == 3


def test_set_fields(hub: Hub, trigger: Trigger, tmp_path: Path):
    """Several fields at once, by their canonical names; each repeat has them, but its own reference."""
    source, _ = source_of(hub, "jenga", tmp_path)
    settings = ("amount=250.00", "currency=USD", "payer.name=Jane", "bank_reference=R1")
    flags = [word for setting in settings for word in ("--set", setting)]
    done = trigger("jenga", "--source", source.name, *flags, "--repeat", "2")
    second, first = (item.reading for item in hub.notifications(source))
    assert done.code == 0
    assert first.bank_reference == "R1"
    assert second.bank_reference != "R1"
    for reading in (first, second):
        assert (str(reading.amount), reading.payer.name) == ("250.00 USD", "Jane")


def test_to_an_address(hub: Hub, trigger: Trigger, tmp_path: Path):
    """Without a store behind it: the address and the credentials are given."""
    source, _ = source_of(hub, "jenga", tmp_path)
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n", "utf-8")
    done = trigger(
        *("jenga", "failed", "--to", hub.address(source)),
        *("--username", "bank", "--password-file", str(password)),
        data=tmp_path / "nowhere",
    )
    assert (done.code, done.statuses) == (0, [200])
    assert not (tmp_path / "nowhere").exists()


def test_a_generated_key_is_found(hub: Hub, trigger: Trigger, tmp_path: Path):
    """`source add --generate-key` leaves the bank's key where trigger looks for it."""
    assert main([*_add("generated", "kcb"), "--generate-key", "--data", str(hub.folder)]) == 0
    assert trigger("kcb", "--source", "generated").code == 0


def test_both_generated_keys_are_found(hub: Hub, trigger: Trigger):
    """Also where messages are sealed to a key of ours, whose secret half is in the store."""
    flags = ["--generate-key", "--allow-ip", "127.0.0.1", "--data", str(hub.folder)]
    assert main([*_add("sealed", "xente"), *flags]) == 0
    done = trigger("xente", "--source", "sealed")
    assert done.code == 0
    assert not done.rows[0]["sent"].startswith("{")


def _add(name: str, dialect: str) -> list[str]:
    return ["source", "add", name, "--dialect", dialect]


def test_another_place(hub: Hub, trigger: Trigger, tmp_path: Path):
    """--url says where the hub runs, with or without a slash at its end."""
    source, flags = source_of(hub, "kcb", tmp_path)
    done = trigger("kcb", "--source", source.name, *flags, "--url", f"{hub.url}/")
    assert done.code == 0


@pytest.mark.parametrize("pid", [None, 2**22 + 1, 2**80, "1", True, -1])
def test_a_hub_that_is_gone_is_not_called(
    hub: Hub, trigger: Trigger, tmp_path: Path, pid: object
) -> None:
    """Whatever listens where it was is another program: nothing is sent there without --url."""
    source, flags = source_of(hub, "kcb", tmp_path)
    path = hub.folder / SERVING_FILE
    told = json.loads(path.read_bytes())
    try:
        path.unlink() if pid is None else path.write_text(json.dumps({**told, "pid": pid}))
        done = trigger("kcb", "--source", source.name, *flags)
        assert (done.code, done.rows) == (1, [])
        assert "no arifa serve runs on" in done.error
        assert trigger("kcb", "--source", source.name, *flags, "--url", hub.url).code == 0
    finally:
        path.write_text(json.dumps(told))


def test_for_a_person(hub: Hub, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Without --json: what it was, the status, and the answer in the bank's form."""
    source, flags = source_of(hub, "kcb", tmp_path)
    words = ["trigger", "kcb", "--source", source.name, *flags, "--data", str(hub.folder)]
    assert main([*words, "--fault", "bad-signature"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "the message with a stranger's proof: 401 NOT_GENUINE, as expected"
    assert "Signature verification failed" in second


@pytest.mark.usefixtures("with_kcb")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nix", "--source", "kcb"], 3, "no dialect 'nix'"),
        (["kcb", "nix", "--source", "kcb"], 3, "account, till"),
        (["kcb", "--source", "nix"], 3, "no source 'nix'"),
        (["as_received", "--to", "http://127.0.0.1:9/"], 3, "no sample messages"),
        (["jenga", "--source", "kcb"], 2, "speaks kcb"),
        (["kcb"], 2, "--source NAME or --to URL"),
        (["kcb", "--source", "kcb", "--to", "http://127.0.0.1:9/"], 2, "either"),
        (["kcb", "--source", "kcb", "--fault", "nix"], 2, "bad-signature"),
        (["kcb", "--source", "kcb", "--fault", "reversal"], 2, "cannot be shown"),
        (["kcb", "--source", "kcb", "--set", "amont=1"], 2, "bank_reference"),
        (["kcb", "--source", "kcb", "--set", "fee=1"], 2, "no place for fee"),
        (["kcb", "--source", "kcb", "--set", "status=failed"], 1, "no word for the status"),
        (["kcb", "--source", "kcb", "--repeat", "0"], 2, "--repeat"),
        (["kcb", "--source", "kcb", "--url", "http://127.0.0.1:9"], 1, "does not answer"),
        (["jenga", "--to", "http://127.0.0.1:9/"], 1, "--username"),
    ],
)
def test_what_goes_wrong(trigger: Trigger, words: list[str], code: int, said: str):
    """One sentence that says what to do, and an exit code of its kind; nothing is sent."""
    done = trigger(*words)
    assert (done.code, done.rows) == (code, [])
    assert said in done.error
    assert done.error.count("\n") == 1


@pytest.fixture(scope="module")
def with_kcb(hub: Hub) -> None:
    """A source named kcb, whose bank's key was made here."""
    assert main([*_add("kcb", "kcb"), "--generate-key", "--data", str(hub.folder)]) == 0


def test_the_banks_key_is_not_ours_to_have(hub: Hub, trigger: Trigger):
    """A source that was made with the bank's own public key needs the private one for a trial."""
    _, theirs, ours = sides("kcb")
    assert ours.public_keys == (public_half(theirs.private_key or b""),)
    done = trigger("kcb", "--source", hub.source("kcb", ours).name)
    assert done.code == 1
    assert "--private-key FILE" in done.error
