"""`arifa trigger`: send a bank's notification as the bank would, well behaved or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from arifa import dialects
from arifa.cli.arguments import NO_KEYS, KeyFlags
from arifa.cli.context import Context, Given, Misused
from arifa.cli.output import printable
from arifa.dialects import Dialect
from arifa.errors import CannotExpress, Refused
from arifa.feed import Source
from arifa.settings import read_secret_text
from arifa.signing import Credentials
from arifa.signing.keys import normal_pem

if TYPE_CHECKING:
    from arifa.simulator.bank import Answer, Bank
    from arifa.simulator.faults import Sending
    from arifa.simulator.message import Message

BODY_CHARACTERS_SHOWN: Final = 300
# A new payment has references of its own, so those that were set are for the first one only.
_OF_ONE_PAYMENT: Final = ("bank_reference", "other_references")


def trigger(
    dialect: str,
    case: str | None = None,
    /,
    *,
    source: str | None = None,
    merchant: str | None = None,
    to: str | None = None,
    url: str | None = None,
    keys: KeyFlags = NO_KEYS,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    repeat: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    fault: str | None = None,
    context: Given,
) -> int:
    """Send a bank's notification, as published or with changes; exit 0 if it is answered rightly.

    arifa trigger kcb --source kcb-main
    arifa trigger cbs --source cbs --set amount=250.00 --repeat 3
    arifa trigger jenga failed --to http://127.0.0.1:8080/ipn/... --username u --password-file f
    arifa trigger kcb --source kcb-main --fault duplicate

    Args:
        dialect: the bank's form; see: arifa dialect list.
        case: which sample message, the first where none is named; see: arifa dialect show NAME.
        source: the source to send to; its path and credentials come from the store.
        merchant: whose source it is, where two have the name.
        to: any other address to send to, with the bank's credentials: "our" keys are the bank's.
        url: where the hub runs, if not where it says itself.
        set_: FIELD=VALUE, such as amount=250.00 or payer.name=Jane; may come several times.
        repeat: how many payments; each after the first has a reference of its own.
        fault: bad-signature, changed-body, duplicate, conflict, other-split, slow, late, reordered
            or reversal.
    """
    from arifa.simulator.bank import Bank
    from arifa.simulator.faults import FAULTS
    from arifa.simulator.message import case_of

    if fault not in (None, *FAULTS):
        raise Misused(f"there is no fault {fault!r}; there are: {', '.join(FAULTS)}")
    spoken = dialects.get(dialect)
    case_of(spoken, case)
    given = keys.credentials()
    if source is not None and to is None:
        found, address = _of_source(context, spoken, source, merchant, url)
        credentials = _banks_side(context, spoken, found, given)
        bank = Bank(spoken, credentials=credentials, url=address, profile=found.profile)
    elif to is not None and source is None:
        spoken.check_credentials(given, sending=True)
        bank = Bank(spoken, credentials=given, url=to)
    else:
        raise Misused("say where to send it: either --source NAME or --to URL")
    base = bank.published(case)
    is_right = True
    for number in range(repeat):
        message = _message(bank, base, set_, number)
        is_right &= _send_all(context, bank, message, fault)
    return 0 if is_right else 1


# ---------------------------------------------------------------------------------- the bank's side


def _of_source(
    context: Context, dialect: Dialect, name: str, merchant: str | None, url: str | None
) -> tuple[Source, str]:
    """The source and the address of its intake."""
    from arifa.store import sources

    with context.store() as store, store.database.read() as connection:
        found = sources.get(connection, store.vault, name, merchant)
    if found.dialect != dialect.name:
        raise Misused(
            f"the source {name!r} speaks {found.dialect}, not {dialect.name}; "
            f"send it: arifa trigger {found.dialect} --source {name}"
        )
    base = (url or _where_it_runs(context)).rstrip("/")
    return found, f"{base}/ipn/{found.token}"


def _where_it_runs(context: Context) -> str:
    """Where the serving hub of the data folder says that it is.

    Raises:
        Refused: none runs; whatever listens on its port otherwise is not the bank's to talk to.
    """
    from arifa.web.announced import serving_url

    folder = context.settings.data.expanduser()
    found = serving_url(folder)
    if found is None:
        raise Refused(
            f"no arifa serve runs on {folder} on this machine: start it, or say where it runs with "
            f"--url http://HOST:PORT"
        )
    return found


def _banks_side(
    context: Context, dialect: Dialect, source: Source, given: Credentials
) -> Credentials:
    """What the bank holds of this feed: secrets are shared, and of each key pair the other half."""
    from arifa.simulator.message import public_half

    hubs = source.credentials
    needs_key = any("private_key" in p.signs_with for p in dialect.controls(hubs))
    private_key = given.private_key
    if private_key is None and needs_key:
        private_key = _kept_key(context, source)
    public_keys = given.public_keys
    if not public_keys and hubs.private_key is not None:
        public_keys = (public_half(hubs.private_key),)
    return Credentials(
        private_key=private_key,
        public_keys=public_keys,
        secrets=given.secrets or hubs.secrets,
        username=given.username or hubs.username,
        passwords=given.passwords or hubs.passwords,
    )


def _kept_key(context: Context, source: Source) -> bytes:
    """The bank's private key, where `source add --generate-key` made one to play the bank with."""
    from arifa.hub.key_files import their_private_key

    path = their_private_key(context.settings.data.expanduser(), source.id)
    if not path.exists():
        raise Refused(
            f"the private key of the bank behind {source.name!r} is not here, and cannot be: give "
            f"one that fits with --private-key FILE, or make a source with --generate-key"
        )
    return normal_pem(read_secret_text(path, "the key made with --generate-key").encode())


# ---------------------------------------------------------------------------------- sending


def _message(bank: Bank, base: Message, settings: tuple[str, ...], number: int) -> Message:
    from arifa.simulator.fields import with_fields

    wanted = list(settings)
    message = base
    if number:
        message = bank.renewed(base)
        wanted = [item for item in wanted if item.partition("=")[0] not in _OF_ONE_PAYMENT]
    try:
        return with_fields(message, wanted)
    except (Refused, CannotExpress) as error:
        raise Misused(str(error)) from error


def _send_all(context: Context, bank: Bank, message: Message, fault: str | None) -> bool:
    """Send what the fault asks for, telling each answer; whether all were the expected ones."""
    from arifa.simulator.faults import plan

    answers: list[Answer] = []
    is_right = True
    for sending in plan(bank, message, fault):
        answer = bank.send(sending.request, sending.pace)
        is_well = sending.is_answered_well(answer, answers)
        answers.append(answer)
        _tell(context, sending, answer, is_well=is_well)
        is_right &= is_well
    return is_right


def _tell(context: Context, sending: Sending, answer: Answer, *, is_well: bool) -> None:
    body = answer.response.body.decode("utf-8", "replace")
    if context.output.as_json:
        row: dict[str, Any] = {
            "sent": sending.request.body.decode("utf-8", "replace"),
            "status": answer.response.status,
            "outcome": answer.outcome.value,
            "body": body,
            "what": sending.what,
            "expected": sending.expected.value,
            "as_expected": is_well,
        }
        context.output.line(row)
        return
    verdict = "as expected" if is_well else f"NOT as expected: {_wanted(sending)}"
    print(f"{sending.what}: {answer.response.status} {answer.outcome.value}, {verdict}")
    if body:
        print(f"    {printable(body[:BODY_CHARACTERS_SHOWN])}")


def _wanted(sending: Sending) -> str:
    if sending.same_as is not None:
        return "the very answer that the same bytes got before"
    return sending.expected.value
