"""The demonstration's hub that receives: the merchant's.

Nothing here looks into the store: what the hub says is what any operator would be told.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from arifa.cli.demo_banks import PASSWORD_FILE, SECRET_FILE, USER, Part
from arifa.cli.demo_process import ALL, HubProcess
from arifa.cli.demo_report import HubSays, Row, announced_by
from arifa.document import JsonObject
from arifa.signing import Credentials


@dataclass(frozen=True, slots=True)
class Feed:
    """A source as its bank was told of it: the path to post to, and the bank's credentials.

    Attributes:
        flags: the same credentials as files, as the command line takes them.
    """

    path: str
    credentials: Credentials
    flags: tuple[str, ...]


class DemoHub(HubProcess):
    """The hub that the merchant runs: one source for each bank, one endpoint."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._names: list[str] = []
        self._files = {
            PASSWORD_FILE: self.secret_file("bank-password"),
            SECRET_FILE: self.secret_file("bank-secret"),
        }

    # ------------------------------------------------------------------ set-up

    def add_source(self, part: Part) -> Feed:
        """Make a source, and the bank's side of its credentials."""
        flags = [str(self._files.get(flag, flag)) for flag in part.flags]
        (row,) = self.ask("source", "add", part.name, "--dialect", part.dialect, *flags)
        self._names.append(part.name)
        return Feed(str(row["path"]), self._banks_side(part, row), self._banks_flags(part, row))

    def _banks_side(self, part: Part, row: JsonObject) -> Credentials:
        private_key, public_key = row.get("private_key_path"), row.get("public_key_path")
        by_password, by_secret = PASSWORD_FILE in part.flags, SECRET_FILE in part.flags
        return Credentials(
            private_key=Path(str(private_key)).read_bytes() if private_key else None,
            public_keys=(Path(str(public_key)).read_bytes(),) if public_key else (),
            username=USER if by_password else None,
            passwords=(self.read(self._files[PASSWORD_FILE]),) if by_password else (),
            secrets=(self.read(self._files[SECRET_FILE]).encode(),) if by_secret else (),
        )

    def _banks_flags(self, part: Part, row: JsonObject) -> tuple[str, ...]:
        flags: tuple[str, ...] = ()
        if row.get("private_key_path"):
            flags += ("--private-key", str(row["private_key_path"]))
        if PASSWORD_FILE in part.flags:
            flags += ("--username", USER, "--password-file", str(self._files[PASSWORD_FILE]))
        if SECRET_FILE in part.flags:
            flags += ("--secret-file", str(self._files[SECRET_FILE]))
        return flags

    def add_endpoint(self, url: str) -> str:
        """Make the merchant's endpoint; gives the secret of its signatures."""
        (row,) = self.ask("endpoint", "add", "merchant", "--url", url)
        return str(row["secret"])

    # ------------------------------------------------------------------ what it says

    def says(self) -> HubSays:
        """All its figures."""
        notifications = self.ask("notification", "list", *ALL)
        deliveries = self.ask("delivery", "list", *ALL)
        return HubSays(
            feeds={name: self._feed_says(name, notifications) for name in self._names},
            open_cases=len(self.ask("case", "list", *ALL)),
            deliveries=Counter(str(row["state"]) for row in deliveries),
            attempts=sum(int(str(row["attempt_count"])) for row in deliveries),
            payments=Counter(
                announced_by(row) for row in notifications if row["state"] == "accepted"
            ),
        )

    def _feed_says(self, name: str, notifications: list[JsonObject]) -> Row:
        (source,) = self.ask("source", "show", name)
        received, refused = int(str(source["received"])), int(str(source["refused"]))
        states = Counter(row["state"] for row in notifications if row["source"] == name)
        new, held = states["accepted"], states["held"]
        return Row(
            sent=received + refused,
            new=new,
            again=received - new - held,
            held=held,
            refused=refused,
        )
