"""The sessions of a batch: which it joins, which it opens, and what becomes of others; and sessions as rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apsw
import msgspec
from msgspec.structs import replace

from openusher.ledger.base import Start
from openusher.model.attempt import AttemptRequest
from openusher.model.session import (
    HALF,
    OWED,
    EndedBy,
    FoundSessions,
    Session,
    SessionWish,
    taking_place,
    viewer_digest,
)
from openusher.model.ticket import Ticket

# In the order of the model's fields.
TICKET_COLUMNS = (
    "number, cdn, key, pass, app, video, ip, uses_limit, uses_taken, active, created_s, expires_s, used_s, "
    "max_sessions, newest_wins"
)
# Whether a ticket is there: not while its import is under way, or was broken off (imports.py).
THERE = "(import = 0 OR EXISTS (SELECT 1 FROM imports WHERE imports.number = import AND done_s > 0))"
_COLUMNS = ", ".join(Session.__struct_fields__)
# By client too: of a whole event that watches with one ticket from behind one address, one connection is of interest.
_BY_VIEWER = f"""
SELECT {_COLUMNS} FROM sessions
WHERE (viewer, client) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?)) AND ended_ms = 0
"""
_OPEN = f"INSERT INTO sessions ({_COLUMNS}) VALUES ({', '.join('?' for _ in Session.__struct_fields__)})"
_SEEN = "UPDATE sessions SET seen_ms = max(seen_ms, ?), watched_ms = max(watched_ms, ?) WHERE number = ?"
_ENDED_SO = "ended_ms = ?, ended_by = ?, owes = (? AND client <> '')"
_END = f"UPDATE sessions SET {_ENDED_SO} WHERE number = ? AND ended_ms = 0"
_END_TICKET = f"UPDATE sessions SET {_ENDED_SO} WHERE ticket = ? AND ended_ms = 0"
_NUMBERED = f"SELECT {_COLUMNS} FROM sessions WHERE number IN (SELECT value FROM json_each(?)) AND ended_ms = 0"
_TAKE_OVER = "UPDATE sessions SET client = ? WHERE number = ?"
_PAY = "UPDATE sessions SET owes = 0 WHERE number = ?"
_OWED = f"SELECT {_COLUMNS} FROM sessions WHERE owes = 1 AND number > ? ORDER BY number LIMIT ?"
_OF_TICKETS = f"SELECT {_COLUMNS} FROM sessions WHERE ticket IN (SELECT value FROM json_each(?)) AND ended_ms = 0"
_ANY_HELD = "SELECT 1 FROM holds LIMIT 1"
_HELD = """
SELECT ticket, ip FROM json_each(?) AS pair CROSS JOIN holds
ON ticket = pair.value ->> 0 AND ip = unhex(pair.value ->> 1) WHERE until_ms > ?
"""
_HOLD = "INSERT OR REPLACE INTO holds (ticket, ip, until_ms) VALUES (?, ?, ?)"
_PRUNE_HOLDS = "DELETE FROM holds WHERE until_ms <= ?"
_LIVE = f"SELECT {_COLUMNS} FROM sessions WHERE ended_ms = 0 AND number > ? ORDER BY number LIMIT ?"
_REPLACED = """
SELECT viewer, ended_ms FROM sessions
WHERE viewer IN (SELECT value FROM json_each(?)) AND ended_by = 'replaced' AND ended_ms > ?
"""
_ENDED = f"""
SELECT {_COLUMNS} FROM sessions WHERE cdn = ? AND ended_ms > 0 AND ended_ms >= ? ORDER BY ended_ms DESC LIMIT ?
"""
# By account, of which there are few: else all that are kept would be looked at for none.
_PRUNE = """
DELETE FROM sessions WHERE number IN (
  SELECT number FROM accounts CROSS JOIN sessions
  ON sessions.cdn = accounts.cdn AND ended_ms > 0 AND ended_ms < ? LIMIT ?)
"""
_TICKETS = f"""
SELECT json_group_array(json_array('Ticket', {TICKET_COLUMNS})) FROM tickets
WHERE number IN (SELECT value FROM json_each(?))
"""


class Room(msgspec.Struct, frozen=True):
    """Whether a ticket has room for one session more, and the numbers of those that must end for it."""

    is_there: bool = True
    taken_from: tuple[int, ...] = ()


class SessionBatch:
    """What one transaction reads of sessions and writes to them. Used once."""

    def __init__(self, connection: apsw.Connection, *, now_ms: int, last_session: int) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self.last_session = last_session
        # By viewer and client.
        self._by_viewer: dict[tuple[str, str], Session] = {}
        self._by_number: dict[int, Session] = {}
        # Of tickets that limit their sessions, by ticket and number.
        self._by_ticket: dict[int, dict[int, Session]] = {}
        self._held: set[tuple[int, int]] = set()
        self._replaced: set[str] = set()
        self._holds: list[tuple[int, bytes, int]] = []
        self._opened: list[Session] = []
        self._seen: list[tuple[int, int, int]] = []
        self._ended: list[tuple[int, str, bool, int]] = []
        self._ended_tickets: list[tuple[int, str, bool, int]] = []
        self._taken_over: list[tuple[str, int]] = []
        self._paid: list[tuple[int]] = []

    def read(
        self,
        asked: Sequence[AttemptRequest],
        starts: Sequence[Start],
        tickets: Mapping[tuple[int, str], Ticket],
    ) -> None:
        """Read who of those that ask is held, and the live sessions that `starts` may join or have to make room among.

        Raises apsw.Error.
        """
        if asked and list(self._connection.execute(_ANY_HELD)):
            self._read_held(asked, tickets)
        if not starts:
            return
        asking = {(viewer_digest(start.request, start.wish.base), start.wish.client) for start in starts}
        self._by_viewer = {(each.viewer, each.client): each for each in self._live(_BY_VIEWER, asking)}
        if taken_over := {start.wish.takes_over for start in starts if start.wish.takes_over}:
            self._by_number = {session.number: session for session in self._live(_NUMBERED, taken_over)}
        named = (tickets.get((start.request.cdn, start.request.key)) for start in starts)
        limited = {ticket.number for ticket in named if ticket is not None and ticket.max_sessions}
        if limited:
            hold_ms = max(start.wish.hold_ms for start in starts)
            viewers = {viewer for viewer, _ in asking}
            replaced = self._connection.execute(_REPLACED, (_json(viewers), self._now_ms - hold_ms))
            self._replaced = {viewer for viewer, _ in replaced}
            self._by_ticket = {number: {} for number in limited}
            for session in self._live(_OF_TICKETS, limited):
                self._by_ticket[session.ticket][session.number] = session

    def _live(self, statement: str, names: Iterable[object]) -> Iterator[Session]:
        return map(session_of_row, self._connection.execute(statement, (_json(names),)))

    def _read_held(self, asked: Sequence[AttemptRequest], tickets: Mapping[tuple[int, str], Ticket]) -> None:
        named = ((tickets.get((request.cdn, request.key)), request.ip) for request in asked)
        pairs = {(ticket.number, f"{ip:032x}") for ticket, ip in named if ticket is not None}
        held = self._connection.execute(_HELD, (_json(pairs), self._now_ms))
        self._held = {(ticket, int.from_bytes(ip, "big")) for ticket, ip in held}

    def is_held(self, ticket: Ticket, ip: int) -> bool:
        """Whether somebody was kicked who had this ticket at this address."""
        return bool(self._held) and (ticket.number, ip) in self._held

    def room(self, ticket: Ticket, request: AttemptRequest, wish: SessionWish, *, viewer: str) -> Room:
        """Whether another session of the ticket may begin."""
        if not ticket.max_sessions:
            return Room()
        known = dict(wish.seen)
        seen = [
            (session, max(session.seen_ms, known.get(number, 0)))
            for number, session in self._by_ticket.get(ticket.number, {}).items()
        ]
        seen_ms = {session.number: at_ms for session, at_ms in seen}
        there = taking_place(seen, idle_ms=wish.idle_ms, hop_ms=wish.hop_ms, now_ms=self._now_ms)
        taking = []
        for session in there:
            silent_ms = self._now_ms - seen_ms[session.number]
            is_same_player = session.ip == request.ip and session.user_agent == request.user_agent
            has_hopped = is_same_player and not session.client
            if not (has_hopped and silent_ms >= wish.hop_ms):
                taking.append((silent_ms, session.number))
        missing = len(taking) + 1 - ticket.max_sessions
        if missing <= 0:
            return Room()
        if not ticket.newest_wins or viewer in self._replaced:
            return Room(is_there=False)
        longest_silent = sorted(taking, key=lambda each: (-each[0], each[1]))
        return Room(taken_from=tuple(number for _, number in longest_silent[:missing]))

    def joined(self, viewer: str, wish: SessionWish) -> Session | None:
        """The viewer's live session, which another start has opened meanwhile."""
        taken_over = self._by_number.get(wish.takes_over)
        # Not one that the same viewer's other connection has taken meanwhile: two would watch for one use.
        if taken_over is not None and taken_over.viewer == viewer and taken_over.client.startswith(HALF):
            return self._take_over(taken_over, wish.client)
        session = self._by_viewer.get((viewer, wish.client))
        # Of a connection whose question is never the same, not even one that came in the same millisecond.
        if session is None or (wish.client and not wish.repeat_ms):
            return None
        until_ms = session.started_ms + wish.repeat_ms if wish.client else session.seen_ms + wish.resume_ms
        return session if until_ms >= self._now_ms else None

    def _take_over(self, session: Session, client: str) -> Session:
        taken_over = replace(session, client=client)
        self._taken_over.append((client, session.number))
        self._forget(lambda each: each.number == session.number)
        self._remember(taken_over)
        return taken_over

    def _remember(self, session: Session) -> None:
        self._by_viewer[session.viewer, session.client] = session
        if session.ticket in self._by_ticket:
            self._by_ticket[session.ticket][session.number] = session

    def open(self, wish: SessionWish, request: AttemptRequest, *, viewer: str, ticket: Ticket, attempt: int) -> Session:
        """A new session of `viewer` by the accepted `attempt`."""
        self.last_session += 1
        session = Session(
            number=self.last_session,
            id=wish.id,
            cdn=request.cdn,
            edge=request.edge,
            ticket=ticket.number,
            viewer=viewer,
            app=request.app,
            appinst=request.appinst,
            video=request.video,
            base=wish.base,
            ip=request.ip,
            user_agent=request.user_agent,
            attempt=attempt,
            started_ms=self._now_ms,
            seen_ms=self._now_ms,
            watched_ms=0,
            ended_ms=0,
            ended_by="",
            client=wish.client,
        )
        self._remember(session)
        self._opened.append(session)
        return session

    def see(self, seen: Iterable[tuple[int, int, int]]) -> None:
        """Note number, `seen_ms` and `watched_ms` of sessions."""
        self._seen += [(seen_ms, watched_ms, number) for number, seen_ms, watched_ms in seen]

    def end(self, numbers: Collection[int], by: str) -> None:
        if not numbers:
            return
        self._ended += [(self._now_ms, by, by in OWED, number) for number in numbers]
        gone = set(numbers)
        if by == EndedBy.REPLACED:
            of_tickets = (session for sessions in self._by_ticket.values() for session in sessions.values())
            self._replaced |= {session.viewer for session in of_tickets if session.number in gone}
        self._forget(lambda session: session.number in gone)

    def hold(self, held: Iterable[tuple[int, int]], hold_ms: int) -> None:
        """Refuse starts of these tickets from these addresses for a while."""
        for ticket, ip in held:
            self._held.add((ticket, ip))
            self._holds.append((ticket, ip.to_bytes(16, "big"), self._now_ms + hold_ms))

    def end_ticket(self, ticket: Ticket) -> None:
        """End all sessions of a ticket that was revoked."""
        self._ended_tickets.append((self._now_ms, EndedBy.REVOKED, True, ticket.number))
        self._forget(lambda session: session.ticket == ticket.number)

    def _forget(self, is_over: Callable[[Session], bool]) -> None:
        self._by_viewer = {v: session for v, session in self._by_viewer.items() if not is_over(session)}
        self._by_number = {n: session for n, session in self._by_number.items() if not is_over(session)}
        for number, sessions in self._by_ticket.items():
            self._by_ticket[number] = {n: session for n, session in sessions.items() if not is_over(session)}

    def pay(self, numbers: Iterable[int]) -> None:
        """Their servers need not be told any more."""
        self._paid += [(number,) for number in numbers]

    def write(self) -> None:
        """Write it all inside the open transaction. Raises apsw.Error."""
        # Opened first: one that the same batch ends is ended then. None of these is a statement when it has no rows.
        write_all = self._connection.executemany
        write_all(_OPEN, [_row_of_session(session) for session in self._opened])
        write_all(_TAKE_OVER, self._taken_over)
        write_all(_SEEN, self._seen)
        write_all(_END, self._ended)
        write_all(_END_TICKET, self._ended_tickets)
        write_all(_PAY, self._paid)
        if self._holds:
            self._connection.execute(_PRUNE_HOLDS, (self._now_ms,))
            write_all(_HOLD, self._holds)


def _json(names: Iterable[object]) -> str:
    return msgspec.json.encode(list(names)).decode()


def session_of_row(row: tuple[Any, ...]) -> Session:
    """A session from the columns of `sessions`, in their order."""
    fields = dict(zip(Session.__struct_fields__, row, strict=True))
    fields["ip"] = int.from_bytes(fields["ip"], "big")
    return Session(**fields)


def _row_of_session(session: Session) -> tuple[Any, ...]:
    fields = msgspec.structs.asdict(session)
    return tuple({**fields, "ip": session.ip.to_bytes(16, "big")}.values())


def read_live_sessions(connection: apsw.Connection, *, after: int, limit: int) -> FoundSessions:
    """A page of the sessions that have not ended, by number. Raises apsw.Error."""
    return _found(connection, _LIVE, (after, limit))


def read_owed_sessions(connection: apsw.Connection, *, after: int, limit: int) -> FoundSessions:
    """A page of those whose servers are to be told, by number. Raises apsw.Error."""
    return _found(connection, _OWED, (after, limit))


def read_ended_sessions(connection: apsw.Connection, cdn: int, *, from_ms: int, limit: int) -> FoundSessions:
    """An account's sessions that ended since, the last ended first. Raises apsw.Error."""
    return _found(connection, _ENDED, (cdn, from_ms, limit))


def _found(connection: apsw.Connection, statement: str, values: tuple[int, ...]) -> FoundSessions:
    with connection:
        sessions = [session_of_row(row) for row in connection.execute(statement, values)]
        numbers = msgspec.json.encode({session.ticket for session in sessions}).decode()
        ((tickets,),) = connection.execute(_TICKETS, (numbers,))
    return FoundSessions(sessions=sessions, tickets=msgspec.json.decode(tickets, type=list[Ticket], strict=False))


def prune(connection: apsw.Connection, *, before_ms: int, limit: int) -> int:
    """Delete rows of sessions that ended before. Raises apsw.Error."""
    connection.execute(_PRUNE, (before_ms, limit))
    return connection.changes()
