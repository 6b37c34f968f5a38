"""The commands Usher knows: what each is called, how its parameters are read, and its codes."""

from __future__ import annotations

from typing import Protocol

import msgspec

from openusher.sevu import attempts, codes, sessions, tickets
from openusher.sevu.attempts import CountAttempts, GroupAttempts, ListAttempts
from openusher.sevu.parameters import Parameters
from openusher.sevu.refusal import CommandCodes
from openusher.sevu.sessions import KickSessions, ListSessions
from openusher.sevu.tickets import IssueTicket, RevokeTicket, ShowTicket

Ask = (
    IssueTicket | ShowTicket | RevokeTicket | ListAttempts | CountAttempts | GroupAttempts | ListSessions | KickSessions
)


class Reader(Protocol):
    """Turns a command's parameters into what is asked. Raises CommandRefused (0006) and InvalidParameter."""

    def __call__(self, parameters: Parameters, *, cdn: int, now_s: int) -> Ask: ...


class CommandKind(msgspec.Struct, frozen=True, kw_only=True):
    """One command. One that `creates` something is refused when its signature was seen before."""

    name: str
    read: Reader
    codes: CommandCodes
    creates: bool = False


COMMANDS: dict[str, CommandKind] = {
    kind.name: kind
    for kind in (
        CommandKind(
            name="sevu.request",
            read=tickets.read_request,
            codes=CommandCodes(
                success=codes.TICKET_ISSUED, invalid=codes.REQUEST_INVALID, replayed=codes.REQUEST_REPLAYED
            ),
            creates=True,
        ),
        CommandKind(
            name="sevu.status",
            read=tickets.read_status,
            codes=CommandCodes(
                success=codes.TICKET_FOUND, invalid=codes.STATUS_INVALID, unknown_ticket=codes.STATUS_UNKNOWN_TICKET
            ),
        ),
        CommandKind(
            name="sevu.revoke",
            read=tickets.read_revoke,
            codes=CommandCodes(
                success=codes.TICKET_REVOKED, invalid=codes.REVOKE_INVALID, unknown_ticket=codes.REVOKE_UNKNOWN_TICKET
            ),
        ),
        CommandKind(
            name="sevu.errorlog",
            read=attempts.read_errorlog,
            codes=CommandCodes(
                success=codes.ATTEMPTS_LISTED, invalid=codes.ERRORLOG_INVALID, unavailable=codes.ERRORLOG_UNAVAILABLE
            ),
        ),
        CommandKind(
            name="sevu.errorcount",
            read=attempts.read_errorcount,
            codes=CommandCodes(
                success=codes.ATTEMPTS_COUNTED,
                invalid=codes.ERRORCOUNT_INVALID,
                unavailable=codes.ERRORCOUNT_UNAVAILABLE,
            ),
        ),
        CommandKind(
            name="sevu.sessions",
            read=sessions.read_sessions,
            codes=CommandCodes(success=codes.SESSIONS_LISTED, invalid=codes.SESSIONS_INVALID),
        ),
        CommandKind(
            name="sevu.kick",
            read=sessions.read_kick,
            codes=CommandCodes(success=codes.SESSIONS_KICKED, invalid=codes.KICK_INVALID),
        ),
    )
}
