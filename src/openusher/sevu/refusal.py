"""How a command is refused: the code, what is particular to this refusal, and which error gets which code."""

from __future__ import annotations

import msgspec

from openusher.errors import (
    Busy,
    CommandRefused,
    CommitUnknown,
    CountUnavailable,
    InvalidParameter,
    LedgerUnavailable,
    LogDamaged,
    LogUnavailable,
    NotAuthorised,
    ReplayedCommand,
    UnknownTicket,
)
from openusher.sevu import codes
from openusher.sevu.codes import Code


class CommandCodes(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of one command: for its success, and for each failure that is its own."""

    success: Code
    invalid: Code
    unknown_ticket: Code = codes.UNEXPECTED_ERROR
    replayed: Code = codes.UNEXPECTED_ERROR
    unavailable: Code = codes.UNEXPECTED_ERROR


def refused(code: Code, detail: str = "", *, debug: str = "") -> CommandRefused:
    """A refusal with `code`; its message is the code's sentence and, after a colon, `detail`."""
    return CommandRefused(code.number, f"{code.sentence}: {detail}" if detail else code.sentence, debug=debug)


def missing_fields(names: list[str]) -> CommandRefused:
    """0006 with the list of what is missing after the colon, as ScaleEngine writes it."""
    return refused(codes.MISSING_FIELDS, ", ".join(names))


def refusal_of(error: Exception, command: CommandCodes | None) -> CommandRefused:
    """Say how `error` is answered. `command` is None where no command had been recognised yet.

    Only a caller's own mistake is told in detail: what happened inside is for the log, not for a stranger.
    """
    match error:
        case CommandRefused():
            return error
        case InvalidParameter():
            return refused(command.invalid if command else codes.MALFORMED_REQUEST, str(error))
        case NotAuthorised():
            return refused(codes.NOT_AUTHORISED)
        case Busy() | LedgerUnavailable():
            return refused(codes.BUSY)
        case CommitUnknown():
            return refused(codes.OUTCOME_UNKNOWN)
        case UnknownTicket() if command:
            return refused(command.unknown_ticket)
        case ReplayedCommand() if command:
            return refused(command.replayed)
        case LogUnavailable() | LogDamaged() | CountUnavailable() if command:
            return refused(command.unavailable)
        case _:
            return refused(codes.UNEXPECTED_ERROR)
