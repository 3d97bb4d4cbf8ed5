"""What the banks and the merchant wrote down, beside what the hub says; and whether that agrees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from arifa.simulator.merchant import Kept
from arifa.simulator.traffic import Announced, Book, Meaning

SURPRISES_SHOWN: Final = 3
_COLUMNS: Final = {"sent": 5, "new": 5, "again": 6, "held": 5, "refused": 8}
_APART: Final = "   "
_VERDICTS: Final = {True: "ok", False: "DIFFERENT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One feed's requests, as one side counts them; each is in one of the last four columns."""

    sent: int
    new: int
    again: int
    held: int
    refused: int

    def figures(self) -> list[int]:
        """In the order of the columns."""
        return [getattr(self, name) for name in _COLUMNS]

    def as_json(self) -> dict[str, int]:
        """By name."""
        return dict(zip(_COLUMNS, self.figures(), strict=True))


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison: what the banks or the merchant say, what the hub says."""

    what: str
    theirs: int
    hubs: int
    agrees: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSays:
    """The hub's figures, read from outside.

    Attributes:
        feeds: by source name.
        open_cases: how many wait for a person.
        deliveries: how many there are in each state.
        attempts: how many attempts were made for them.
        payments: the accepted notifications, each by what it says.
    """

    feeds: Mapping[str, Row]
    open_cases: int
    deliveries: Mapping[str, int]
    attempts: int
    payments: Counter[Announced]


@dataclass(frozen=True, slots=True)
class Issued:
    """What the bank's hub says of one callback.

    Attributes:
        announced: its transactions that are complete, each by what it says.
        attempts: how often a notification went out.
        unfinished: its transactions that are neither complete nor declined.
    """

    announced: Counter[Announced]
    attempts: int
    unfinished: int


@dataclass(slots=True)
class Comparison:
    """Both sides, feed by feed and line by line."""

    feeds: list[tuple[str, Row, Row]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether everything does, and every bank got the answers that it expected."""
        return not self.surprises and not self.differing()

    def differing(self) -> list[str]:
        """What does not agree, by name."""
        feeds = [title for title, theirs, hubs in self.feeds if theirs != hubs]
        return [*feeds, *(line.what for line in self.lines if not line.agrees)]

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "agrees": self.agrees,
            "feeds": [
                {"bank": title, "bank_says": theirs.as_json(), "hub_says": hubs.as_json()}
                for title, theirs, hubs in self.feeds
            ],
            "lines": [
                {"what": line.what, "they_say": line.theirs, "hub_says": line.hubs}
                for line in self.lines
            ],
            "differing": self.differing(),
            "surprises": self.surprises,
        }


# ---------------------------------------------------------------------------------- comparing


def with_issued(book: Book, issued: Issued) -> Book:
    """A simulated bank's book, with what a bank's hub has issued into the same feed.

    Each transaction that is complete was announced once; each further attempt said nothing new.
    """
    complete = issued.announced.total()
    meanings = Counter({Meaning.NEW: complete, Meaning.AGAIN: issued.attempts - complete})
    return replace(
        book,
        meanings=book.meanings + meanings,
        announced=book.announced + issued.announced,
        surprises=book.surprises + ["not every transaction is over"] * bool(issued.unfinished),
    )


def compare(
    titles: Mapping[str, str],
    days: Mapping[str, Book],
    issued: Mapping[str, Issued],
    kept: Kept,
    hub: HubSays,
) -> Comparison:
    """Put the sides beside each other; `titles`, `days` and `issued` are by source name."""
    made = Comparison()
    books = {
        name: with_issued(book, issued[name]) if name in issued else book
        for name, book in days.items()
    }
    for name, title in titles.items():
        made.feeds.append((title, _row_of(books[name]), hub.feeds[name]))
        made.surprises += [f"{title}: {surprise}" for surprise in books[name].surprises]
    announced = sum((book.announced for book in books.values()), Counter[Announced]())
    arrived = Counter(announced_by(event.data) for event in kept.events.values())
    complete = sum((item.announced for item in issued.values()), Counter[Announced]())
    held = sum(book.meanings[Meaning.HELD] for book in books.values())
    unfinished = {name: n for name, n in hub.deliveries.items() if name != "delivered"}
    made.lines = [
        _line(
            "issued by the bank's hub: complete, here",
            complete.total(),
            (complete & hub.payments).total(),
        ),
        _counted("events: announced by banks, delivered", announced.total(), hub.deliveries),
        _counted("events: held by the merchant, delivered", len(kept.events), hub.deliveries),
        _line("attempts: seen by the merchant, made", kept.attempts, hub.attempts),
        _line("doubtful messages: sent, open cases", held, hub.open_cases),
        _line("events not proven, deliveries not done", kept.refused, sum(unfinished.values())),
        _matched("payment by payment: banks, hub", announced, hub.payments),
        _matched("payment by payment: merchant, hub", arrived, hub.payments),
    ]
    return made


def announced_by(data: Mapping[str, Any]) -> Announced:
    """What a notification in the hub's JSON says, as a bank would note it."""
    amount = data.get("amount") or {}
    return Announced(
        str(data.get("bank_reference")),
        str(data.get("kind")),
        str(data.get("status")),
        str(amount.get("amount")),
        str(amount.get("currency")),
    )


def _row_of(book: Book) -> Row:
    meanings = book.meanings
    return Row(
        sent=book.sent,
        new=meanings[Meaning.NEW],
        again=meanings[Meaning.AGAIN],
        held=meanings[Meaning.HELD],
        refused=meanings[Meaning.FORGED],
    )


def _line(what: str, theirs: int, hubs: int) -> Line:
    return Line(what, theirs, hubs, theirs == hubs)


def _counted(what: str, theirs: int, deliveries: Mapping[str, int]) -> Line:
    return _line(what, theirs, deliveries.get("delivered", 0))


def _matched(what: str, theirs: Counter[Announced], hubs: Counter[Announced]) -> Line:
    """How many on each side; they agree only if each payment is the same, to its amount."""
    return Line(what, theirs.total(), hubs.total(), theirs == hubs)


# ---------------------------------------------------------------------------------- printing


def lines_of(made: Comparison, kept: Kept) -> list[str]:
    """The report, without what to do next: at most 20 lines."""
    width = max(len(title) for title, _, _ in made.feeds)
    heads = "".join(f"{name:>{room}}" for name, room in _COLUMNS.items())
    sides = _APART.join(f"{side:>{len(heads)}}" for side in ("the bank says", "the hub says"))
    printed = [f"{'':{width}}{sides}", f"{'':{width}}{_APART.join((heads, heads))}"]
    for title, theirs, hubs in made.feeds:
        cells = _APART.join(map(_cells, (theirs, hubs)))
        printed.append(f"{title:{width}}{cells}  {_VERDICTS[theirs == hubs]}")
    wide = max(len(line.what) for line in made.lines)
    printed.append(f"{'':{wide}}{'they say':>10}{'hub says':>10}")
    printed += [
        f"{line.what:{wide}}{line.theirs:>10}{line.hubs:>10}  {_VERDICTS[line.agrees]}"
        for line in made.lines
    ]
    failures = ", ".join(f"{count} {name.value}" for name, count in sorted(kept.failures.items()))
    printed.append(f"the merchant failed: {failures or 'never'}; {kept.repeats} events came again")
    printed += [f"surprise: {sentence}" for sentence in made.surprises[:SURPRISES_SHOWN]]
    return printed


def _cells(row: Row) -> str:
    rooms = zip(row.figures(), _COLUMNS.values(), strict=True)
    return "".join(f"{figure:>{room}}" for figure, room in rooms)
