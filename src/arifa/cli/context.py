"""What every command is given: the settings, the output, and the way into the store.

A command is a function with a keyword-only parameter `context: Given`; cyclopts leaves that one
out of the command's options, and `main` fills it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from arifa.cli.output import Output
from arifa.errors import Refused
from arifa.settings import Settings

if TYPE_CHECKING:
    from arifa.store.opened import Store


class Misused(Refused):
    """The command was given what it cannot take: an argument's form is wrong, or one is missing."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Context:
    """The settings of this call, and where it prints."""

    settings: Settings
    output: Output

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The store, made or migrated where needed, for as long as the block runs.

        Raises:
            Refused, StoreError: it cannot be opened.
        """
        from arifa.store.opened import open_store

        store = open_store(self.settings.data, self.settings.database, self.settings.key)
        try:
            yield store
        finally:
            store.close()

    def with_flags(self, flags: Mapping[str, object]) -> Context:
        """This context with a command's own flags among the settings; None was not given.

        Raises:
            Misused: a value cannot be used.
        """
        try:
            return replace(self, settings=self.settings.with_flags(flags))
        except Refused as error:
            raise Misused(str(error)) from None


Given = Annotated[Context, Parameter(parse=False)]


def noun(name: str, summary: str) -> App:
    """The commands of one noun."""
    return App(name=name, help=summary, default_parameter=PLAIN, help_format="plaintext")


PLAIN: Final = Parameter(negative=(), show_default=False)
"""No `--no-x` beside a flag; what a default is stands in the text where it is worth saying."""
