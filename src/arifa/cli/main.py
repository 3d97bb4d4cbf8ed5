"""The command `arifa`: finds the noun, gives it the settings, and turns errors into exit codes.

    0 done · 1 failed · 2 used wrongly · 3 not found · 4 not genuine · 130 interrupted · 141 cut short

`--data`, `--database` and `--json` may stand before or after the command, up to a `--`. A noun's
module is imported only when it is asked for, so that `arifa --help` and `arifa verify` are quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import arifa
from arifa.cli.context import PLAIN, Context, Misused
from arifa.cli.output import Output
from arifa.errors import ArifaError, Refused
from arifa.settings import load

# name → where it lies, and what it is for. In this order they are shown.
COMMANDS: Final = {
    "demo": ("arifa.cli.demo:demo", "Run the demonstration: simulated banks, the hub, a merchant."),
    "serve": ("arifa.cli.serve:serve", "Run the hub."),
    "dialect": ("arifa.cli.dialect:app", "The wire formats that are known."),
    "merchant": ("arifa.cli.merchant:app", "Whose money it is."),
    "source": ("arifa.cli.source:app", "Feeds from banks."),
    "endpoint": ("arifa.cli.endpoint:app", "Where merchants want to be told."),
    "callback": ("arifa.cli.callback:app", "What merchants register for their accounts."),
    "inbox": ("arifa.cli.inbox:app", "The requests that came, and what was answered."),
    "notification": ("arifa.cli.notification:app", "The payments that were announced."),
    "case": ("arifa.cli.case:app", "What a person must decide."),
    "delivery": ("arifa.cli.delivery:app", "What was passed on, and how that went."),
    "invoice": ("arifa.cli.invoice:app", "Money owed, on the issuing side."),
    "transaction": (
        "arifa.cli.transaction:app",
        "What this hub issues: approved, processed, announced, acknowledged.",
    ),
    "trigger": ("arifa.cli.trigger:trigger", "Send a bank's notification, well or ill."),
    "verify": ("arifa.cli.library:verify", "Prove and read one raw request."),
    "parse": ("arifa.cli.library:parse", "Read one raw request without its proof."),
    "sign": ("arifa.cli.library:sign", "Put a dialect's proof on one raw request."),
    "render": ("arifa.cli.library:render", "Write a notification as a dialect's request."),
    "doctor": ("arifa.cli.doctor:doctor", "Check this installation."),
    "migrate": ("arifa.cli.migrate:migrate", "Bring the database to this program's schema."),
    "config": ("arifa.cli.config:app", "The settings and where they come from."),
}

EPILOGUE: Final = (
    "Everywhere, before or after the command: --data DIR (./arifa-data unless set), --database URL "
    "(sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME), --json, --debug.\n"
    "Exit codes: 0 done, 1 failed, 2 used wrongly, 3 not found, 4 not genuine."
)

_MODULE_MISSING: Final = "the command {!r} is not part of this installation"
_WITH_VALUE: Final = {"--data": "data", "--database": "database"}


@dataclass(slots=True)
class Globals:
    """The options that every command takes, found among the arguments."""

    data: str | None = None
    database: str | None = None
    as_json: bool = False
    debug: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    before_end = tokens[: tokens.index("--")] if "--" in tokens else tokens
    # Known before anything can fail, so that a failure is told in the right form.
    output = Output(as_json="--json" in before_end)
    debug = "--debug" in before_end or bool(os.environ.get("ARIFA_DEBUG"))
    try:
        code = _run(tokens, output)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read us has enough. Nothing more may be written, not even by Python at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except ArifaError as error:
        if debug:
            _print_traceback()
        output.error(_title(error), str(error), error.status)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: a person gets a sentence
        if debug:
            _print_traceback()
        # The text of an unforeseen error may hold anybody's data; its name does not.
        output.error(
            "Unexpected error",
            f"something unforeseen happened ({type(error).__name__}); run it again with --debug "
            f"to see where, and report it",
            500,
        )
        return 1


def _run(tokens: list[str], output: Output) -> int:
    given, rest = take_globals(tokens)
    if not rest:
        rest = ["--help"]
    _check_command(rest[0])
    command, bound, wanted = _parsed(rest)
    if command.__name__ == "version_print" and output.as_json:
        output.one({"version": arifa.__version__})
        return 0
    if command.__name__ in ("help_print", "version_print"):
        if rest[-1] in ("--help", "-h", "--version"):
            command(*bound.args, **bound.kwargs)
            return 0
        if output.as_json:
            raise Misused(f"say what to do: a command is missing; see: arifa {rest[0]} --help")
        _show_help_as_error(command, bound)
        return Misused.exit_code
    flags = {"data": given.data, "database": given.database}
    context = Context(load(flags, os.environ, Path.cwd()), output)
    code = command(*bound.args, **bound.kwargs, **dict.fromkeys(wanted, context))
    return code if isinstance(code, int) else 0


def take_globals(tokens: Sequence[str]) -> tuple[Globals, list[str]]:
    """The global options among `tokens` up to a `--`, and what is left.

    Raises:
        Misused: an option lacks its value.
    """
    given, items = Globals(), iter(tokens)
    rest: list[str] = []
    for word in items:
        name, equals, value = word.partition("=")
        if word == "--":
            return given, [*rest, word, *items]
        if word == "--json":
            given.as_json = True
        elif word == "--debug":
            given.debug = True
        elif name in _WITH_VALUE:
            found = value if equals else next(items, "")
            if not found or found == "--":
                raise Misused(f"{name} wants a value")
            setattr(given, _WITH_VALUE[name], found)
        else:
            rest.append(word)
    return given, rest


def _check_command(word: str) -> None:
    if word in ("--help", "-h", "--version"):
        return
    if word not in COMMANDS:
        near = get_close_matches(word, COMMANDS, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else "; see: arifa --help"
        kind = "option" if word.startswith("-") else "command"
        raise Misused(f"there is no {kind} {word!r}{meant}")
    module = COMMANDS[word][0].partition(":")[0]
    if find_spec(module) is None:
        raise Refused(_MODULE_MISSING.format(word))


def _parsed(tokens: list[str]) -> tuple[Any, Any, dict[str, Any]]:
    from cyclopts import App, CycloptsError

    app = App(
        name="arifa",
        help="The payment-notification hub: hears banks, books each payment once, tells merchants.",
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        version=f"arifa {arifa.__version__}",
        default_parameter=PLAIN,
    )
    for order, (name, (place, summary)) in enumerate(COMMANDS.items()):
        app.command(place, name=name, help=summary, sort_key=order)
    try:
        return app.parse_args(tokens, print_error=False, exit_on_error=False, verbose=False)
    except CycloptsError as error:
        raise Misused(_sentence(error)) from None


def _sentence(error: Any) -> str:
    from cyclopts import MissingArgumentError, UnusedCliTokensError, ValidationError

    if type(error) is MissingArgumentError and error.argument is not None:
        return _missing(error)
    if isinstance(error, UnusedCliTokensError):
        extra = " ".join(error.unused_tokens or ())
        return f"there is an argument too many: {extra}"
    if isinstance(error, ValidationError) and error.argument is not None:
        return f"{error.argument.name}: {error.exception_message}"
    text = " ".join(str(error).split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _missing(error: Any) -> str:
    """What is not there: an option, its value, or an argument; and what was meant for it."""
    argument = error.argument
    given = error.keyword or next((token.keyword for token in argument.tokens), None)
    if given is not None:
        return f"{given} wants a value"
    name = argument.name
    _, _, meant = str(error).partition("Did you mean ")
    if meant:
        return f"{name} is missing; did you mean {' '.join(meant.split())}"
    return f"{name} is missing; see: arifa {' '.join(error.command_chain or ())} --help"


def _show_help_as_error(command: Any, bound: Any) -> None:
    """A noun without a verb shows its help, but not as data: it is a wrong use all the same."""
    from rich.console import Console

    bound.arguments["console"] = Console(stderr=True)
    command(*bound.args, **bound.kwargs)


def _title(error: ArifaError) -> str:
    name = type(error).__name__
    words = "".join(f" {mark.lower()}" if mark.isupper() else mark for mark in name)
    return words.strip().capitalize()


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


if __name__ == "__main__":
    sys.exit(main())
